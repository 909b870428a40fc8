"""HTTP/1.1 for files: the requests of a connection and their responses. Parsing and framing are h11's (RFC 9112)."""

from __future__ import annotations

import email.utils
import html
import os
import re
import socket
from http import HTTPStatus
from time import monotonic
from urllib.parse import quote_from_bytes

import h11

from .conditions import FailedPrecondition, NotModified, Unsatisfiable, check_conditions, wanted_range
from .content_type import content_type
from .tree import Tree, path_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import BinaryIO

    from . import Stream

# Limit of the request line and headers together; nginx has 32 KiB, Apache 8 KiB for each line.
MAX_HEAD_BYTES = 64 * 1024
# A file up to this size is sent with its headers in one write. A longer one is sent by sendfile(2) in pieces, so that
# the counted bytes and the idle limit follow its progress.
SMALL_BYTES = 64 * 1024
PIECE_BYTES = 1024 * 1024

# h11 looks at the limit of a head between two reads: a head may be this much longer.
_READ_BYTES = 4 * 1024
_ABOVE_ASCII = re.compile(rb"[\x80-\xff]")
# What the access log has of a line that is no request line.
_LOGGED_BYTES = 256

_VERSIONS = (b"1.0", b"1.1")
# Methods of RFC 9110 and RFC 5789 that a directory has no use for; any other word is unknown.
_OTHER_METHODS = frozenset((b"POST", b"PUT", b"DELETE", b"PATCH", b"OPTIONS", b"TRACE", b"CONNECT"))


class _Gone(Exception):
    """The client has closed the connection, or there is nothing more to say to it."""


class _Piece:
    """A part of a file in the place of its bytes, for h11 to count."""

    def __init__(self, count: int) -> None:
        self._count = count

    def __len__(self) -> int:
        return self._count


class HttpConnection:
    """The requests of one connection. `handler` has the options."""

    def __init__(self, handler: Stream) -> None:
        self._handler, self._socket = handler, handler.request
        self._tree = Tree(handler.root, handler.well_known)
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD_BYTES)
        self._deadline = 0.0
        self._request: h11.Request | None = None
        self._first_line = b""  # what has come of it, and what came with it
        self._awaits_first_line = True

    def serve(self) -> None:
        """Answer requests until the connection ends; blocks. Raises OSError, TimeoutError among them."""
        try:
            while True:
                self._serve_one()
                if self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE:
                    return  # one of both closes
                self._http.start_next_cycle()
        except _Gone:
            return

    def _serve_one(self) -> None:
        self._deadline = monotonic() + self._handler.timeout
        self._request, self._first_line = None, self._http.trailing_data[0]
        self._awaits_first_line = not self._first_line  # a request that came with the one before is as it is
        try:
            self._request = request = self._next_request()
            self._socket.settimeout(self._handler.timeout)
            self._respond(request)
            self._finish_reading()
        except h11.RemoteProtocolError as error:
            if self._http.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
                raise _Gone from error
            self._socket.settimeout(self._handler.timeout)
            self._answer(self._status_of(error))

    # --- reading

    def _next_request(self) -> h11.Request:
        """Return the next request, whose head must have come in time. Raises `h11.RemoteProtocolError`."""
        event = self._next_event()
        if not isinstance(event, h11.Request):
            raise _Gone
        return event

    def _next_event(self) -> object:
        while (event := self._http.next_event()) is h11.NEED_DATA:
            self._socket.settimeout(max(0.001, self._deadline - monotonic()))
            data = self._socket.recv(_READ_BYTES)
            for part in self._complete_first_line(data) if self._awaits_first_line else (data,):
                self._http.receive_data(part)
        return event

    def _complete_first_line(self, data: bytes) -> Iterable[bytes]:
        """Return what h11 gets now: nothing before the request line is whole, or as long as a head may be.

        Bytes above ASCII are percent-encoded there: browsers do that, but tools that are given such a name do not.
        """
        self._first_line += data
        if data and b"\n" not in data and len(self._first_line) <= MAX_HEAD_BYTES:
            return ()
        self._awaits_first_line = False
        line, end, rest = self._first_line.partition(b"\n")
        if len(line) > MAX_HEAD_BYTES:
            raise h11.RemoteProtocolError("the request line is too long", HTTPStatus.REQUEST_URI_TOO_LONG)
        whole = _ABOVE_ASCII.sub(lambda byte: b"%%%02X" % byte[0][0], line) + end + rest
        return (whole, b"") if not data and whole else (whole,)

    def _finish_reading(self) -> None:
        """Read the end of a request without a body; one with a body has been answered with ``Connection: close``."""
        if self._http.our_state is h11.DONE and self._http.their_state is h11.SEND_BODY:
            self._next_event()

    def _status_of(self, error: h11.RemoteProtocolError) -> HTTPStatus:
        """Return what to answer to bytes that are no request."""
        status = HTTPStatus(error.error_status_hint)
        if status is HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE and b"\n" not in self._first_line:
            return HTTPStatus.REQUEST_URI_TOO_LONG  # RFC 9110, 15.5.15
        return status

    # --- responding

    def _respond(self, request: h11.Request) -> None:
        if request.http_version not in _VERSIONS:
            self._answer(HTTPStatus.HTTP_VERSION_NOT_SUPPORTED, closes=True)
        elif request.method in _OTHER_METHODS:
            self._answer(HTTPStatus.METHOD_NOT_ALLOWED, {"Allow": "GET, HEAD"}, closes=True)
        elif request.method not in (b"GET", b"HEAD"):
            self._answer(HTTPStatus.NOT_IMPLEMENTED, closes=True)
        else:
            self._send_target(request, request.target.decode("ascii"))

    def _send_target(self, request: h11.Request, target: str) -> None:
        path = path_of(target)
        real = self._tree.find(path)
        if real is None:
            self._answer(HTTPStatus.NOT_FOUND)
            return
        if os.path.isdir(real):
            if not path.endswith(b"/"):
                self._redirect(path + b"/", target)
                return
            index = self._handler.index and self._tree.find(path + os.fsencode(self._handler.index))
            if not index or os.path.isdir(index):
                if self._handler.listing:
                    self._send_listing(path, real)
                else:
                    self._answer(HTTPStatus.NOT_FOUND)
                return
            real = index
        elif path.endswith(b"/"):
            self._answer(HTTPStatus.NOT_FOUND)
            return
        file = self._tree.open(real)
        if file is None:
            self._answer(HTTPStatus.NOT_FOUND)
            return
        with file:
            self._send_file(request, file, os.fsdecode(real))

    def _redirect(self, path: bytes, target: str) -> None:
        # Exactly one leading slash: after two, the client would read a host name, RFC 3986, 4.2.
        query = target.partition("?")[1] + target.partition("?")[2]
        self._answer(HTTPStatus.MOVED_PERMANENTLY, {"Location": "/" + quote_from_bytes(path.lstrip(b"/")) + query})

    def _send_listing(self, path: bytes, real: bytes) -> None:
        title = _escape_html(b"/" + path.strip(b"/"))
        try:
            names = [(quote_from_bytes(n), _escape_html(n)) for n in self._tree.entries(real)]
        except OSError:
            self._answer(HTTPStatus.NOT_FOUND)
            return
        items = "".join(f'<li><a href="./{link}">{name}</a></li>\n' for link, name in names)
        page = (
            f'<!DOCTYPE html>\n<meta charset="utf-8">\n<title>{title}</title>\n<h1>{title}</h1>\n<ul>\n{items}</ul>\n'
        )
        self._answer(HTTPStatus.OK, {"Content-Type": "text/html; charset=utf-8"}, page.encode())

    def _send_file(self, request: h11.Request, file: BinaryIO, name: str) -> None:
        status = os.fstat(file.fileno())
        etag, modified = f'"{status.st_mtime_ns:x}-{status.st_size:x}"', int(status.st_mtime)
        fields = _fields(request)
        headers = {
            "Content-Type": content_type(name),
            "Last-Modified": email.utils.formatdate(modified, usegmt=True),
            "ETag": etag,
            "Accept-Ranges": "bytes",
            "X-Content-Type-Options": "nosniff",
        }
        part = None
        try:
            check_conditions(fields, etag, modified)
            if request.method == b"GET":
                part = wanted_range(fields, etag, headers["Last-Modified"], status.st_size)
        except NotModified:
            self._answer(HTTPStatus.NOT_MODIFIED, {"ETag": etag}, None)
        except FailedPrecondition:
            self._answer(HTTPStatus.PRECONDITION_FAILED)
        except Unsatisfiable:
            whole = {"Content-Range": f"bytes */{status.st_size}"}
            self._answer(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, whole)
        else:
            if part:
                headers["Content-Range"] = f"bytes {part[0]}-{part[1] - 1}/{status.st_size}"
                self._send_part(HTTPStatus.PARTIAL_CONTENT, headers, file, *part)
            else:
                self._send_part(HTTPStatus.OK, headers, file, 0, status.st_size)

    def _send_part(self, status: HTTPStatus, headers: dict[str, str], file: BinaryIO, start: int, stop: int) -> None:
        count = stop - start
        head = self._head(status, headers, count)
        assert self._request is not None
        if self._request.method == b"HEAD":
            sent = count = 0
            self._socket.sendall(head)
        elif count <= SMALL_BYTES:
            body = os.pread(file.fileno(), count, start)
            sent = len(body)
            self._socket.sendall(head + body)
        else:
            self._socket.sendall(head)
            sent = self._send_pieces(file, start, count)
        self._handler.log_access(self._request_line(), status, sent)
        if sent < count:  # the file was truncated: closing early tells the client that data is missing
            raise _Gone
        if count:
            self._http.send_with_data_passthrough(h11.Data(data=_Piece(count)))  # type: ignore[arg-type]
        self._http.send(h11.EndOfMessage())

    def _send_pieces(self, file: BinaryIO, start: int, count: int) -> int:
        sent = 0
        while sent < count:
            piece = self._socket.sendfile(file, start + sent, min(PIECE_BYTES, count - sent))
            if not piece:
                break
            sent += piece
        return sent

    def _answer(
        self,
        status: HTTPStatus,
        headers: dict[str, str] | None = None,
        body: bytes | None = b"",
        *,
        closes: bool = False,
    ) -> None:
        """Send a complete response. An empty `body` is replaced by the phrase of `status`; None sends none at all."""
        if body == b"":
            body = f"{status.value} {status.phrase}\n".encode()
        headers = dict(headers or {})
        if body is not None:
            headers.setdefault("Content-Type", "text/plain; charset=utf-8")
        head = self._head(status, headers, None if body is None else len(body), closes)
        is_head = self._request is not None and self._request.method == b"HEAD"
        sent_body = b"" if body is None or is_head else body
        if sent_body:
            self._http.send(h11.Data(data=sent_body))
        self._socket.sendall(head + sent_body)
        self._http.send(h11.EndOfMessage())
        self._handler.log_access(self._request_line(), status, len(sent_body))

    def _head(self, status: HTTPStatus, headers: dict[str, str], length: int | None, closes: bool = False) -> bytes:
        lines = [("Date", email.utils.formatdate(usegmt=True)), *headers.items()]
        if length is not None:
            lines.append(("Content-Length", str(length)))
        # The body of a request is not read, and what comes after it would have to be.
        has_body = self._http.their_state is h11.SEND_BODY and self._has_body()
        if closes or has_body or getattr(self._handler.server, "draining", False):
            lines.append(("Connection", "close"))
        response = h11.Response(status_code=status.value, headers=lines, reason=status.phrase.encode())
        return self._http.send(response) or b""

    def _has_body(self) -> bool:
        fields = _fields(self._request) if self._request else {}
        return fields.get("content-length", "0") != "0" or "transfer-encoding" in fields

    def _request_line(self) -> str:
        """Return the request line for the access log; of what is no request, what there is of its first line."""
        if self._request is None:
            return self._first_line.partition(b"\n")[0][:_LOGGED_BYTES].decode("latin-1").rstrip("\r")
        method, target, version = self._request.method, self._request.target, self._request.http_version
        return f"{method.decode()} {target.decode()} HTTP/{version.decode()}"


def _fields(request: h11.Request) -> dict[str, str]:
    """Return the header fields by their names in small letters; several of one name are one list, RFC 9110, 5.3."""
    fields: dict[str, str] = {}
    for raw_name, raw_value in request.headers:
        name, value = raw_name.decode("ascii"), raw_value.decode("latin-1")
        fields[name] = f"{fields[name]}, {value}" if name in fields else value
    return fields


def _escape_html(name: bytes) -> str:
    return html.escape(name.decode(errors="backslashreplace"))


def disable_delay(connection: socket.socket) -> None:
    """Send each response at once, tcp(7)."""
    if connection.family in (socket.AF_INET, socket.AF_INET6):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
