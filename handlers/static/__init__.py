"""Serve the files of a directory over HTTP (RFC 9110)."""

from __future__ import annotations

import os
import time

from srvctl import BaseRequestHandler
from srvctl.errors import LoadError, UsageError

from ..shared.append_file import shared_output, written_directories

try:
    from .http import HttpConnection, disable_delay
except ModuleNotFoundError as error:
    if error.name != "h11":
        raise
    why = "it needs the package h11; install srvctl[http], or h11 beside it"
    raise LoadError("load", "handler 'static'", why) from None

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from srvctl.loader.builtin import SandboxNeeds

    from ..shared.append_file import Output


class Stream(BaseRequestHandler):
    """Answer GET and HEAD requests until the connection ends.

    Only files below ``directory`` are served. Names that begin with a dot are hidden, and so is everything below such
    a directory. A symbolic link is judged by its target.
    """

    directory: str = "."
    listing: bool = True
    index: str = "index.html"
    well_known: bool = False
    timeout: float = 30.0
    access_log: str = ""

    @classmethod
    def service_start(cls, server: Any) -> tuple[bytes, Output | None]:
        """Return the real path of ``directory`` and the access log, if any. Raises `UsageError` and `LoadError`."""
        if not 0 < cls.timeout < float("inf"):
            raise UsageError("set", f"timeout={cls.timeout:g}", "expected a number of seconds above 0")
        try:
            root = os.fsencode(os.path.realpath(cls.directory, strict=True))
            os.scandir(root).close()
        except OSError as error:
            raise LoadError("serve", f"directory {cls.directory!r}", error.strerror or str(error)) from error
        return root, shared_output(cls.access_log, 0o640) if cls.access_log else None

    @classmethod
    def needs(cls) -> SandboxNeeds:
        """Return what ``srvctl unit`` must leave accessible."""
        from srvctl.loader.builtin import SandboxNeeds

        return SandboxNeeds(reads=(cls.directory,), writes=written_directories(cls.access_log))

    def handle(self) -> None:
        self.root, log = self.server.state
        self.access_log_file = log and log.ensure_open()
        disable_delay(self.request)
        HttpConnection(self).serve()

    def log_access(self, request: str, status: int, sent: int) -> None:
        """Append a line in the Common Log Format to the access log, if there is one."""
        if self.access_log_file:
            peer = self.client_address[0] if isinstance(self.client_address, tuple) else "-"
            when = time.strftime("%d/%b/%Y:%H:%M:%S +0000", time.gmtime())
            # The request line comes from the client: escaped, it cannot forge a line or end the quotes.
            escaped = request.encode("unicode_escape").decode().replace('"', r"\"")
            self.access_log_file.append(f'{peer} - - [{when}] "{escaped}" {status} {sent}\n'.encode())
