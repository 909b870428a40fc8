"""Tiny handlers for the tests, each for one purpose; copied to `myapp.py` where srvctl is started."""

import contextlib
import os
import select
import socket
import sys
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


class Die(StreamRequestHandler):
    """Reads the number of a signal and dies of it."""

    def handle(self):
        os.kill(os.getpid(), int(self.rfile.readline()))


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


class Complain(BaseRequestHandler):
    """Raise an exception whose text is what the client sent, on either type of socket."""

    def handle(self):
        data = self.request[0] if isinstance(self.request, tuple) else self.request.recv(65536)
        raise ValueError(data.decode("latin-1"))


class Fussy(DatagramRequestHandler):
    """Send the datagram back in capitals, unless it is ``quiet``, and raise what ``raise NAME`` names."""

    def handle(self):
        verb, _, name = self.packet.decode("latin-1").partition(" ")
        if verb == "raise":
            raise {"ValueError": ValueError(1), "SystemExit": SystemExit(3), "KeyboardInterrupt": KeyboardInterrupt()}[
                name
            ]
        if verb != "quiet":
            self.wfile.write(self.packet.upper())


class Urgent(StreamRequestHandler):
    """Wait for a byte of out-of-band data; send it back, and behind it what came in order, up to a newline."""

    def handle(self):
        self.wfile.write(b"began\n")
        poll = select.poll()
        poll.register(self.connection, select.POLLPRI)
        poll.poll()
        self.wfile.write(self.connection.recv(1, socket.MSG_OOB) + self.rfile.readline())


class UrgentInline(StreamRequestHandler):
    """Have out-of-band data come in order (SO_OOBINLINE), and send a line back."""

    def handle(self):
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)
        self.wfile.write(b"began\n")
        self.wfile.write(self.rfile.readline())


class Forks(StreamRequestHandler):
    """Fork for itself: the child says ``child`` and ends as `ends` says, the parent waits and says how it did."""

    ends: str = "exit"

    def handle(self):
        pid = os.fork()
        if pid == 0:
            self.wfile.write(b"child\n")
            if self.ends == "exit":
                os._exit(7)
            return
        _, status = os.waitpid(pid, 0)
        self.wfile.write(b"%d\n" % os.waitstatus_to_exitcode(status))


class Modules(StreamRequestHandler):
    """Say, as JSON, in which process it runs, and what that process has: modules, descriptors, environment."""

    def handle(self):
        modules = sorted(sys.modules)
        descriptors = {}
        for fd in os.listdir("/proc/self/fd"):
            with contextlib.suppress(FileNotFoundError):  # the listing's own
                descriptors[fd] = os.readlink(f"/proc/self/fd/{fd}")
        import json

        said = {
            "pid": os.getpid(),
            "ppid": os.getppid(),
            "modules": modules,
            "descriptors": descriptors,
            "environment": dict(os.environ),
        }
        self.wfile.write(json.dumps(said).encode())


class Shell(StreamRequestHandler):
    """Say which descriptors a program has that is executed without closing any."""

    def handle(self):
        read, write = os.pipe()
        # Not os.fork: that runs Python's hooks, which could close what a library written in C would not.
        to_pipe = [(os.POSIX_SPAWN_DUP2, write, 1)]
        pid = os.posix_spawnp("ls", ["ls", "/proc/self/fd"], os.environ, file_actions=to_pipe)
        os.close(write)
        with open(read, "rb") as listing:
            self.wfile.write(listing.read())
        os.waitpid(pid, 0)


class Print(StreamRequestHandler):
    """Print what comes to standard output."""

    def handle(self):
        for line in self.rfile:
            print(line.decode(), end="", flush=True)
            self.wfile.write(b"printed\n")


class Talk(StreamRequestHandler):
    """Log, print and warn, here, in a thread and in a child; answer with the identifier."""

    def handle(self):
        import logging
        import threading
        import warnings

        self.log.info("own")
        logging.getLogger("myapp").warning("root's")
        print("printed")
        warnings.warn(f"warned {self.connection_id}", stacklevel=1)  # another text, or it would be shown once
        thread = threading.Thread(target=print, args=("thread",))
        thread.start()
        thread.join()
        if (pid := os.fork()) == 0:
            print("child")
            os._exit(0)
        os.waitpid(pid, 0)
        self.wfile.write(self.connection_id.encode())


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
