"""Facade: the lowest class of an object that has the user's mix-ins in front, and each hook of `BaseServer`.

A handler sees that object as ``self.server``. Each hook is done by the parts of a `HookedServer`.
"""

from __future__ import annotations

import sys

from srvctl.net.address import format_sockaddr
from srvctl.serving.handling import log_error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from srvctl.config.settings import Settings
    from srvctl.serving.hooks import HookedServer

# Where the classes of a hierarchy come from; one of their methods is not something that a user has overridden.
_LIBRARIES = ("socketserver", "srvctl.socketserver")


def is_of_library(thing: Any) -> bool:
    """Tell whether a class, or a function, is one of the two hierarchies' or of `Facade`."""
    module = getattr(thing, "__module__", "") or ""
    return module == Facade.__module__ or module.startswith(_LIBRARIES)


class Facade:
    """Each hook as a mix-in finds it with ``super()``, and what `socketserver` promises to a handler.

    The socket is bound and listens already, and stays the server's: binding it again, or putting another in its place,
    has no effect.
    """

    _engine: HookedServer
    timeout: float | None = None
    state: Any = None

    def __init__(
        self, server_address: Any, RequestHandlerClass: Callable[[Any, Any, Any], Any], bind_and_activate: bool = True
    ) -> None:
        self.server_address, self.RequestHandlerClass = server_address, RequestHandlerClass
        if bind_and_activate:
            self.server_bind()
            self.server_activate()

    # --- attributes

    @property
    def socket(self) -> Any:
        """The socket that is served; binding it and listening on it have been done."""
        return self._engine.served_socket

    @socket.setter
    def socket(self, other: Any) -> None:
        if other is not self._engine.served_socket:
            other.close()  # a constructor of the standard library has made it

    @property
    def settings(self) -> Settings:
        """The options of the command line."""
        return self._engine.settings

    @property
    def draining(self) -> bool:
        """Whether the server was asked to stop."""
        return self._engine.draining

    def fileno(self) -> int:
        """Return the descriptor of the socket."""
        return self._engine.socket.fileno()

    # --- hooks of the server's life

    def server_bind(self) -> None:
        """Set ``server_address`` to what the socket is bound to."""
        self.server_address = self._engine.source.address

    def server_activate(self) -> None:
        """Called when the server is constructed."""

    def server_close(self) -> None:
        """Called when the server has drained, and its socket is closed."""

    def shutdown(self) -> None:
        """Raise RuntimeError: a service is stopped by a signal to its supervisor."""
        raise RuntimeError("the service is stopped by a signal to srvctl, srvctl(1)")

    def service_actions(self) -> None:
        """Called after each turn of the loop, and every half second."""

    def handle_timeout(self) -> None:
        """Called when no request came for ``timeout`` seconds."""

    # --- hooks of a request

    def get_request(self) -> tuple[Any, Any]:
        """Accept a request; return it, and where it comes from. Raises BlockingIOError when there is none."""
        return self._engine.accept()

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Return whether a request is to be served."""
        return True

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve a request as the model says: now, or in a thread or process of its own; it is ended after that."""
        self._engine.execute(request)

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Call the handler."""
        self.RequestHandlerClass(request, client_address, self)

    def shutdown_request(self, request: Any) -> None:
        """End a request."""
        self.close_request(request)

    def close_request(self, request: Any) -> None:
        """Half-close a connection, and close it when its peer has; count and log the conversation."""
        self._engine.end(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log the exception of a handler or a hook."""
        if (error := sys.exc_info()[1]) is not None:
            log_error(format_sockaddr(client_address), error)


class BoundSocket:
    """The server's socket as a server class sees it, whose constructor would bind it and listen on it."""

    def __init__(self, server: HookedServer, sock: Any) -> None:
        self._server, self._sock = server, sock

    def accept(self) -> tuple[Any, Any]:
        """Accept a connection that is counted."""
        return self._server.accept()

    def bind(self, address: Any) -> None:
        """Do nothing: the socket is bound."""

    def listen(self, backlog: int = 0) -> None:
        """Do nothing: the socket listens."""

    def close(self) -> None:
        """Do nothing: the server closes it."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)
