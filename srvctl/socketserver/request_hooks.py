"""What becomes of a request once there is one: verified, processed, finished, ended; each step a hook of its own."""

from __future__ import annotations

import contextlib
import sys

from srvctl.runtime.error_text import describe
from srvctl.socketserver.accept_errors import RequestDeferred

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from srvctl.socketserver.protocols import Handler


class RequestHooks:
    """The hooks that a request goes through, in their order, and those that are told when one of them fails.

    Knows nothing of where requests come from, nor of the loop that brings them.
    """

    RequestHandlerClass: Handler

    def _defer(self, request: Any, client_address: Any, error: RequestDeferred) -> None:
        """Called with a request that the system has no process or thread for."""
        raise error

    def _dispatch(self, request: Any, client_address: Any) -> None:
        is_welcome = False
        try:
            is_welcome = self._is_allowed(request, client_address)
        finally:
            if not is_welcome:
                self.shutdown_request(request)
        if is_welcome:
            self._start(request, client_address)

    def _start(self, request: Any, client_address: Any) -> None:
        try:
            self.process_request(request, client_address)
        except RequestDeferred as error:
            self._defer(request, client_address, error)
        except Exception:
            try:
                self.handle_error(request, client_address)
            finally:
                self.shutdown_request(request)
        except BaseException:
            self.shutdown_request(request)
            raise

    def _is_allowed(self, request: Any, client_address: Any) -> bool:
        try:
            return self.verify_request(request, client_address)
        except Exception:  # a rule that fails must not let anyone in
            self.handle_rule_error(request, client_address)
            return False

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Return whether the request is to be served. When it raises, it is not."""
        return True

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve the request now and end it; the mix-ins do so in a process or a thread of its own."""
        self.finish_request(request, client_address)
        self.shutdown_request(request)

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Call the handler, whose constructor does the whole work."""
        self.RequestHandlerClass(request, client_address, self)

    def shutdown_request(self, request: Any) -> None:
        """End a request in good form, then `close_request` it."""
        self.close_request(request)

    def close_request(self, request: Any) -> None:
        """Release what a request holds in this process."""

    def handle_timeout(self) -> None:
        """Called when no request came for ``timeout`` seconds."""

    def service_actions(self) -> None:
        """Called after each turn of the loop, and every ``poll_interval`` when overridden."""

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Report the exception of a handler, with its traceback; the server goes on."""
        import traceback

        rule = "-" * 40
        text = f"{rule}\nException occurred during processing of request from {client_address}\n"
        with contextlib.suppress(OSError, ValueError, AttributeError):  # standard error may be gone
            sys.stderr.write(f"{text}{traceback.format_exc()}{rule}\n")

    def handle_rule_error(self, request: Any, client_address: Any) -> None:
        """Report the exception of `verify_request`; that request is refused."""
        self.handle_error(request, client_address)

    def accept_failed(self, error: Exception, suppressed: int, pause: float) -> None:
        """Report that a request could not be taken, at most once in 5 s; it is tried again in `pause` seconds."""
        self._warn(
            f"cannot take a request: {describe(error)} (and {suppressed} times before); retrying in {pause:.1f} s"
        )

    def start_failed(self, error: BaseException, suppressed: int, pause: float) -> None:
        """Report that the system has no process or thread for a request, at most once in 5 s; the request waits."""
        self._warn(
            f"cannot start a request: {describe(error)} (and {suppressed} times before); retrying in {pause:.1f} s"
        )

    def _warn(self, what: str) -> None:
        with contextlib.suppress(OSError, ValueError, AttributeError):
            sys.stderr.write(f"{type(self).__name__}: {what}\n")
