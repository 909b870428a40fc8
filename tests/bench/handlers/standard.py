"""The handlers on the standard library's base classes, as people wrote them before."""

from __future__ import annotations

from socketserver import DatagramRequestHandler, StreamRequestHandler

from . import bodies


class Pong(bodies.Pong, StreamRequestHandler):
    pass


class Lines(bodies.Lines, StreamRequestHandler):
    pass


class Dns(bodies.Dns, DatagramRequestHandler):
    pass


class Datagram(bodies.Datagram, DatagramRequestHandler):
    pass
