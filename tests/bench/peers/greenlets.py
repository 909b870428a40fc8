"""gevent: ``greenlets FAMILY ADDRESS``. The same handler class, each connection in a greenlet."""

from gevent import monkey

monkey.patch_all()

import os  # noqa: E402
import socket  # noqa: E402
import sys  # noqa: E402

from gevent.server import StreamServer  # noqa: E402

from tests.bench.handlers.standard import Pong  # noqa: E402
from tests.bench.peers import BACKLOG, announce, host_and_port  # noqa: E402


def main(family: str, address: str) -> None:
    """Serve until TERM."""
    if family == "unix":
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(os.fspath(address))
        listener.listen(BACKLOG)
    else:
        listener = socket.create_server(host_and_port(address), backlog=BACKLOG)
    listener.setblocking(False)
    server = StreamServer(listener, lambda sock, peer: Pong(sock, peer, server))
    server.start()
    announce()
    server.serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
