"""Tiny handlers for the tests, each for one purpose; copied to `myapp.py` where srvctl is started."""

import os
import time

from srvctl import BaseRequestHandler, DatagramRequestHandler, StreamRequestHandler


class Echo(StreamRequestHandler):
    """Send each line back."""

    def handle(self):
        for line in self.rfile:
            self.wfile.write(line)


class Upper(DatagramRequestHandler):
    """Send the datagram back in capitals."""

    def handle(self):
        self.wfile.write(self.packet.upper())


class Greet(StreamRequestHandler):
    """Say what `greeting` is set to, and end without reading."""

    greeting: str = "hello"
    times: int = 1
    loud: bool = False
    pause: float = 0.0

    def handle(self):
        text = (self.greeting + "\n") * self.times
        self.wfile.write((text.upper() if self.loud else text).encode())


class Wait(StreamRequestHandler):
    """Say ``began``, wait until a line comes, say ``ended``."""

    def handle(self):
        self.wfile.write(b"began\n")
        self.rfile.readline()
        self.wfile.write(b"ended\n")


class Stubborn(StreamRequestHandler):
    """Say ``began`` and then look at nothing any more for `seconds`."""

    seconds: float = 60.0

    def handle(self):
        self.wfile.write(b"began\n")
        end = time.monotonic() + self.seconds
        while time.monotonic() < end:
            time.sleep(0.05)


class Raise(StreamRequestHandler):
    """Raise what the first line names."""

    def handle(self):
        name = self.rfile.readline().strip().decode()
        raise {
            "ValueError": ValueError("a value\nwith two lines"),
            "SystemExit": SystemExit(3),
            "KeyboardInterrupt": KeyboardInterrupt(),
            "GeneratorExit": GeneratorExit(),
            "MemoryError": MemoryError(),
            "RecursionError": RecursionError("too deep"),
            "OSError": OSError(5, "input/output error"),
        }[name]


class Pid(StreamRequestHandler):
    """Say which process serves."""

    def handle(self):
        self.wfile.write(b"%d\n" % os.getpid())


class Who(StreamRequestHandler):
    """Say where the client is."""

    def handle(self):
        self.wfile.write(self.client_address[0].encode() + b"\n")


class Hang(BaseRequestHandler):
    """Say ``began``, on either type of socket, and look at nothing any more."""

    def handle(self):
        if isinstance(self.request, tuple):
            self.request[1].sendto(b"began\n", self.client_address)
        else:
            self.request.sendall(b"began\n")
        while True:
            time.sleep(60)


class State(StreamRequestHandler):
    """Answer each line with whether the server drains."""

    def handle(self):
        for _ in self.rfile:
            self.wfile.write(b"draining\n" if self.server.draining else b"serving\n")


class Draining(StreamRequestHandler):
    """Say ``began``, then whether the server drains when a line has come."""

    def handle(self):
        self.wfile.write(b"began\n")
        self.rfile.readline()
        self.wfile.write(b"draining\n" if self.server.draining else b"serving\n")


def function(request, client_address, server):
    """A plain function of three arguments."""
    request.sendall(b"function\n")


class Anything(BaseRequestHandler):
    """A handler that is for either type of socket."""

    def handle(self):
        if isinstance(self.request, tuple):
            data, sock = self.request
            sock.sendto(data, self.client_address)
        else:
            self.request.sendall(self.request.recv(65536))


not_a_handler = 3


def two_arguments(request, client_address):
    """Not a handler either."""
