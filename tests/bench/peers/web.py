"""The standard library's ThreadingHTTPServer with a queue as long as everybody's: ``web ADDRESS``.

``python -m http.server`` is the same with a queue of 5, in which a client that opens 20 connections loses SYNs.
"""

from __future__ import annotations

import sys
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

from . import BACKLOG, announce, host_and_port


class Server(ThreadingHTTPServer):
    request_queue_size = BACKLOG


def main(address: str) -> None:
    """Serve the files of the current directory until killed."""
    with Server(host_and_port(address), SimpleHTTPRequestHandler) as server:
        announce()
        server.serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
