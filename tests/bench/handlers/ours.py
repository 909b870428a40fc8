"""The handlers on srvctl's base classes, as people write them for srvctl."""

from __future__ import annotations

from srvctl import DatagramRequestHandler, StreamRequestHandler

from . import bodies


class Pong(bodies.Pong, StreamRequestHandler):
    pass


class Lines(bodies.Lines, StreamRequestHandler):
    pass


class Dns(bodies.Dns, DatagramRequestHandler):
    pass


class Datagram(bodies.Datagram, DatagramRequestHandler):
    pass
