"""Twisted: ``reactor FAMILY ADDRESS``. A line protocol on the default reactor, which is epoll on Linux."""

import sys

from twisted.internet import reactor
from twisted.internet.protocol import Factory
from twisted.protocols.basic import LineOnlyReceiver

from . import BACKLOG, announce, host_and_port


class Lines(LineOnlyReceiver):
    delimiter = b"\n"

    def lineReceived(self, line: bytes) -> None:  # noqa: N802
        self.transport.write(b"+PONG\r\n")


def main(family: str, address: str) -> None:
    """Serve until TERM."""
    factory = Factory.forProtocol(Lines)
    if family == "unix":
        reactor.listenUNIX(address, factory, backlog=BACKLOG)
    else:
        host, port = host_and_port(address)
        reactor.listenTCP(port, factory, backlog=BACKLOG, interface=host)
    announce()
    reactor.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
