"""The standard library's socketserver: ``standard MODEL FAMILY ADDRESS MODULE:HANDLER [MAX]``.

As its documentation shows it, with a signal handler that stops it from a thread, a queue as long as everybody's and
room for a datagram of any size. `MAX` is `max_children` with fork.
"""

from __future__ import annotations

import importlib
import signal
import socketserver
import sys
import threading

from . import BACKLOG, announce, host_and_port

SERVERS: dict[str, type[socketserver.BaseServer]] = {
    "tcp4": socketserver.TCPServer,
    "unix": socketserver.UnixStreamServer,
    "udp4": socketserver.UDPServer,
    "unix-dgram": socketserver.UnixDatagramServer,
}
MODELS: dict[str, tuple[type, ...]] = {
    "sync": (),
    "threads": (socketserver.ThreadingMixIn,),
    "fork": (socketserver.ForkingMixIn,),
}


def main(model: str, family: str, address: str, handler: str, limit: str = "40") -> None:
    """Serve until TERM."""
    module, _, name = handler.partition(":")
    settings = {"request_queue_size": BACKLOG, "allow_reuse_address": family == "tcp4", "max_packet_size": 65536}
    if model == "fork":
        settings["max_children"] = int(limit)
    Server = type("Server", (*MODELS[model], SERVERS[family]), settings)
    where = host_and_port(address) if family in ("tcp4", "udp4") else address
    server = Server(where, getattr(importlib.import_module(module), name))
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    announce()
    server.serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
