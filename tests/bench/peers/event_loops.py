"""asyncio and uvloop: ``event_loops asyncio|uvloop streams|protocol|dns|datagrams FAMILY ADDRESS``."""

from __future__ import annotations

import asyncio
import importlib
import socket
import sys

from . import BACKLOG, announce, host_and_port

PONG = b"+PONG\r\n"


async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer each line, over streams."""
    while await reader.readline():
        writer.write(PONG)
        await writer.drain()
    writer.close()


class Lines(asyncio.Protocol):
    """Answer each line, over a protocol."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(PONG * data.count(b"\n"))  # type: ignore[attr-defined]


class Datagrams(asyncio.DatagramProtocol):
    """Send back each datagram, `dns` with the answer bit set."""

    def __init__(self, dns: bool) -> None:
        self.dns = dns

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, address: object) -> None:
        if self.dns:
            data = data[:2] + bytes((data[2] | 0x80,)) + data[3:]
        self.transport.sendto(data, address)  # type: ignore[attr-defined]


async def serve(how: str, family: str, address: str) -> None:
    """Serve until killed."""
    loop = asyncio.get_running_loop()
    inet = family in ("tcp4", "udp4")
    type_ = socket.SOCK_STREAM if how in ("streams", "protocol") else socket.SOCK_DGRAM
    listener = socket.socket(socket.AF_INET if inet else socket.AF_UNIX, type_)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(host_and_port(address) if inet else address)
    listener.setblocking(False)
    if how == "streams":
        start = asyncio.start_server if inet else asyncio.start_unix_server
        server: object = await start(converse, sock=listener, backlog=BACKLOG)  # type: ignore[operator]
    elif how == "protocol":
        make = loop.create_server if inet else loop.create_unix_server
        server = await make(Lines, sock=listener, backlog=BACKLOG)  # type: ignore[operator]
    else:
        server = await loop.create_datagram_endpoint(lambda: Datagrams(how == "dns"), sock=listener)
    announce()
    await asyncio.Event().wait()
    del server


def main(loop: str, how: str, family: str, address: str) -> None:
    """Serve on the loop that was asked for."""
    with asyncio.Runner(loop_factory=importlib.import_module(loop).new_event_loop) as runner:
        runner.run(serve(how, family, address))


if __name__ == "__main__":
    main(*sys.argv[1:])
