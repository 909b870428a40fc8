"""Handlers as their authors write them; each line that mypy is to refuse says with which error."""

from __future__ import annotations

import logging
import socket

from srvctl import BaseRequestHandler, DatagramRequestHandler, StreamRequestHandler
from srvctl import StreamRequestHandlr as Misspelt  # E: attr-defined
from srvctl.socketserver import TCPServer


class Lines(StreamRequestHandler):
    timeout = 5.0
    greeting: str = "hello"

    def handle(self) -> None:
        self.wfile.write(b"bytes")
        self.wfile.write("text")  # E: arg-type
        self.wfile.write(self.greeting.encode())
        self.wfile.write(self.greeting)  # E: arg-type
        for line in self.rfile:
            line.upper().startswith(b"x")
            line.startswith("x")  # E: arg-type
        data: bytes = self.rfile.readline()
        text: str = self.rfile.read(3)  # E: assignment
        self.rfile.readlin()  # E: attr-defined
        self.connection.sendall(data)
        self.connection.sendall(text)  # E: arg-type
        self.request.shutdown(socket.SHUT_WR)
        self.request.shut()  # E: attr-defined


class Datagram(DatagramRequestHandler):
    def handle(self) -> None:
        self.wfile.write(self.packet.upper())
        self.wfile.write(self.packet.decode())  # E: arg-type
        data, sock = self.request
        sock.sendto(data, self.client_address)
        sock.sendto(data, 0, self.client_address)
        self.socket.sendto("text", self.client_address)  # E: call-overload
        self.socket.send(self.rfile.read())
        self.socket.listen()  # E: attr-defined
        self.packet.sendto()  # E: attr-defined


class Anything(BaseRequestHandler):
    """Of either kind of socket: what the request is, is the author's to know."""

    client_address: tuple[str, int]

    def handle(self) -> None:
        self.request.sendall(b"x")
        host: str = self.client_address[0]
        port: str = self.client_address[1]  # E: assignment
        self.finish(host)  # E: call-arg
        self.log.info("from %s:%s", host, port, extra={"user": "ann"})
        self.log.inform("x")  # E: union-attr
        identifier: str = self.connection_id
        number: int = self.connection_id  # E: assignment
        logging.info("%s %s", identifier, number)


class OfServer(StreamRequestHandler):
    """The server is srvctl's, or that of a program."""

    def handle(self) -> None:
        while not self.server.draining:
            self.server.state.anything()
            host, _ = self.server.server_address
            self.wfile.write(host.encode())
        print(self.server.drainin)  # E: attr-defined


class Counting(TCPServer):
    count = 0


class OfCounting(StreamRequestHandler):
    server: Counting

    def handle(self) -> None:
        self.server.count += 1
        self.server.counts += 1  # E: attr-defined
        self.server.shutdown()


class Wrong(StreamRequestHandler):
    def handle(self, more: int) -> None:  # E: override
        self.wfile = more  # E: assignment


print(Misspelt)
