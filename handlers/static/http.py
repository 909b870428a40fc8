"""HTTP/1.1 for files, on top of `http.server`: the requests of a connection and their responses."""

from __future__ import annotations

import html
import io
import os
import socket
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler
from time import monotonic
from urllib.parse import quote_from_bytes

from srvctl import StreamRequestHandler

from .conditions import Unsatisfiable, is_unchanged, wanted_range
from .tree import Tree, path_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, BinaryIO

    from . import Stream

# Limit of the request line and headers together; http.client alone would accept 100 headers of 64 KiB.
MAX_HEAD_BYTES = 64 * 1024
# A file up to this size is sent with its headers in one write. A longer one is sent by sendfile(2) in pieces, so that
# the counted bytes and the idle limit follow its progress.
SMALL_BYTES = 64 * 1024
PIECE_BYTES = 1024 * 1024


class HttpConnection(SimpleHTTPRequestHandler):
    """The requests of one connection, all of them served by the constructor. `handler` has the options."""

    protocol_version = "HTTP/1.1"

    def __init__(self, handler: Stream) -> None:
        self.handler = handler
        self.tree = Tree(handler.root, handler.well_known)
        self.timeout = handler.timeout  # type: ignore[misc]
        super().__init__(handler.request, handler.client_address, handler.server)

    def setup(self) -> None:
        StreamRequestHandler.setup(self)  # type: ignore[arg-type]  # its wfile counts the bytes that it sends
        self.rfile.close()
        self._reader = _Reader(self.connection)
        self.rfile = io.BufferedReader(self._reader)

    def finish(self) -> None:
        StreamRequestHandler.finish(self)  # type: ignore[arg-type]

    def handle_one_request(self) -> None:
        self._reader.start_request(self.timeout or 0.0)
        super().handle_one_request()

    def parse_request(self) -> bool:
        if not super().parse_request():
            return False
        if self.request_version == "HTTP/1.1" and "Host" not in self.headers:  # RFC 9112, 3.2
            self.send_error(HTTPStatus.BAD_REQUEST, "Host is missing")
            return False
        # A request body is not read, so close the connection: its bytes must not be parsed as the next request.
        if self.headers.get("Content-Length", "0") != "0" or "Transfer-Encoding" in self.headers:
            self.close_connection = True
        if getattr(self.server, "draining", False):
            self.close_connection = True
        return True

    def do_GET(self) -> None:
        file = self.send_head()
        if file:
            file.close()

    def do_HEAD(self) -> None:
        self.do_GET()

    def _refuse_method(self) -> None:
        self.close_connection = True
        self._answer(HTTPStatus.METHOD_NOT_ALLOWED, {"Allow": "GET, HEAD"})

    def send_head(self) -> Any:
        """Send the response; return the file, which the caller closes, or None."""
        path = path_of(self.path)
        real = self.tree.find(path)
        if real is None:
            return self._answer(HTTPStatus.NOT_FOUND)
        if os.path.isdir(real):
            if not path.endswith(b"/"):
                return self._redirect(path + b"/")
            index = self.handler.index and self.tree.find(path + os.fsencode(self.handler.index))
            if not index or os.path.isdir(index):
                return self._send_listing(path, real) if self.handler.listing else self._answer(HTTPStatus.NOT_FOUND)
            real = index
        elif path.endswith(b"/"):
            return self._answer(HTTPStatus.NOT_FOUND)
        file = self.tree.open(real)
        if file is None:
            return self._answer(HTTPStatus.NOT_FOUND)
        try:
            self._send_file(file, os.fsdecode(real))
        except BaseException:
            file.close()
            raise
        return file

    def _redirect(self, path: bytes) -> None:
        # Exactly one leading slash: after two, the client would read a host name, RFC 3986, 4.2.
        query = self.path.partition("?")[1] + self.path.partition("?")[2]
        self._answer(HTTPStatus.MOVED_PERMANENTLY, {"Location": "/" + quote_from_bytes(path.lstrip(b"/")) + query})

    def _send_listing(self, path: bytes, real: bytes) -> None:
        title = _escape_html(b"/" + path.strip(b"/"))
        try:
            names = [(quote_from_bytes(n), _escape_html(n)) for n in self.tree.entries(real)]
        except OSError:
            self._answer(HTTPStatus.NOT_FOUND)
            return
        items = "".join(f'<li><a href="./{link}">{name}</a></li>\n' for link, name in names)
        page = (
            f'<!DOCTYPE html>\n<meta charset="utf-8">\n<title>{title}</title>\n<h1>{title}</h1>\n<ul>\n{items}</ul>\n'
        )
        self._answer(HTTPStatus.OK, {"Content-Type": "text/html; charset=utf-8"}, page.encode())

    def _send_file(self, file: BinaryIO, name: str) -> None:
        status = os.fstat(file.fileno())
        headers = {
            "Content-Type": self.guess_type(name),
            "Last-Modified": self.date_time_string(int(status.st_mtime)),
            "ETag": f'"{status.st_mtime_ns:x}-{status.st_size:x}"',
            "Accept-Ranges": "bytes",
            "X-Content-Type-Options": "nosniff",
        }
        etag, modified = headers["ETag"], headers["Last-Modified"]
        if is_unchanged(self.headers, etag, int(status.st_mtime)):
            self._answer(HTTPStatus.NOT_MODIFIED, {"ETag": etag}, None)
            return
        try:
            part = wanted_range(self.headers, etag, modified, status.st_size) if self.command == "GET" else None
        except Unsatisfiable:
            whole = {"Content-Range": f"bytes */{status.st_size}"}
            self._answer(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, whole)
            return
        if part:
            headers["Content-Range"] = f"bytes {part[0]}-{part[1] - 1}/{status.st_size}"
            self._send(HTTPStatus.PARTIAL_CONTENT, headers, file, *part)
        else:
            self._send(HTTPStatus.OK, headers, file, 0, status.st_size)

    def _send(self, status: HTTPStatus, headers: dict[str, str], file: BinaryIO, start: int, stop: int) -> None:
        count = stop - start
        head = self._head(status, headers, count)
        if self.command == "HEAD":
            sent = 0
            self.wfile.write(head)
        elif count <= SMALL_BYTES:
            body = os.pread(file.fileno(), count, start)
            sent = len(body)
            self.wfile.write(head + body)
        else:
            self.wfile.write(head)
            sent = self._send_pieces(file, start, count)
        if sent < count and self.command != "HEAD":
            self.close_connection = True  # the file was truncated: closing early tells the client that data is missing
        self.handler.log_access(self.requestline, status, sent)

    def _send_pieces(self, file: BinaryIO, start: int, count: int) -> int:
        sent = 0
        while sent < count:
            piece = self.connection.sendfile(file, start + sent, min(PIECE_BYTES, count - sent))
            if not piece:
                break
            sent += piece
        return sent

    def _answer(self, status: HTTPStatus, headers: dict[str, str] | None = None, body: bytes | None = b"") -> None:
        """Send a complete response. An empty `body` is replaced by the phrase of `status`; None sends none at all."""
        if body == b"":
            body = f"{status.value} {status.phrase}\n".encode()
        headers = dict(headers or {})
        if body is not None:
            headers.setdefault("Content-Type", "text/plain; charset=utf-8")
        head = self._head(status, headers, None if body is None else len(body))
        sent_body = b"" if body is None or self.command == "HEAD" else body
        self.wfile.write(head + sent_body)
        self.handler.log_access(self.requestline, status, len(sent_body))

    def _head(self, status: HTTPStatus, headers: dict[str, str], length: int | None) -> bytes:
        if self.request_version == "HTTP/0.9":
            return b""
        lines = [f"HTTP/1.1 {status.value} {status.phrase}", f"Date: {self.date_time_string()}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        if length is not None:
            lines.append(f"Content-Length: {length}")
        if self.close_connection:
            lines.append("Connection: close")
        elif self.request_version == "HTTP/1.0":
            lines.append("Connection: keep-alive")
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")

    def version_string(self) -> str:
        return "srvctl"  # in error responses of http.server: no version numbers

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        self.handler.log_access(self.requestline, int(code), 0)  # called for error responses of http.server

    def log_message(self, format: str, *args: Any) -> None:
        pass  # srvctl has its own log


# The other methods of RFC 9110 and 5789 are answered with 405. An unknown word gets 501 from http.server.
for _method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT"):
    setattr(HttpConnection, f"do_{_method}", HttpConnection._refuse_method)


class _Reader(io.RawIOBase):
    """Reader of a connection that limits the time and the bytes of each request head."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def start_request(self, seconds: float) -> None:
        """Allow another `seconds` and `MAX_HEAD_BYTES` for the next request."""
        self._deadline, self._left = monotonic() + seconds, MAX_HEAD_BYTES
        self._seconds = seconds

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        if not self._left:
            raise ConnectionAbortedError(f"the head of a request is longer than {MAX_HEAD_BYTES} bytes")
        self._connection.settimeout(max(0.001, self._deadline - monotonic()))
        try:
            with memoryview(buffer)[: self._left] as room:
                count = self._connection.recv_into(room)
        finally:
            self._connection.settimeout(self._seconds)
        self._left -= count
        return count


def _escape_html(name: bytes) -> str:
    return html.escape(name.decode(errors="backslashreplace"))
