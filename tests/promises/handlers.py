"""Handlers that misbehave or ask for much; copied to `promised.py` where srvctl is started."""

import builtins
import subprocess
import sys

from srvctl import DatagramRequestHandler, StreamRequestHandler


class Unprintable(Exception):
    """An exception whose text cannot be had."""

    def __str__(self):
        raise RuntimeError("no text")


class Rude(Exception):
    """An exception whose text ends the program."""

    def __str__(self):
        raise SystemExit(9)


def recurse():
    """Recurse for real."""
    return recurse() + 1


class RaiseAny(StreamRequestHandler):
    """Raise the exception whose name the first line is, `recurse` for a real recursion; behind a space its text."""

    def handle(self):
        name, _, text = self.rfile.readline().rstrip(b"\n").decode("utf-8", "surrogateescape").partition(" ")
        if name == "recurse":
            recurse()
        if name == "none":
            self.wfile.write(b"served\n")
            return
        kind = {"Unprintable": Unprintable, "Rude": Rude}.get(name) or getattr(builtins, name)
        raise kind(text)


class Large(StreamRequestHandler):
    """Read the first line, leave the rest unread, and reply `size` bytes."""

    size: int = 200_000

    def handle(self):
        self.rfile.readline()
        self.wfile.write(b"x" * self.size)


class Program(StreamRequestHandler):
    """Run a program that exits with the status that the line says, and say which one it was told."""

    def handle(self):
        status = int(self.rfile.readline())
        said = subprocess.run([sys.executable, "-SEc", f"raise SystemExit({status})"]).returncode
        self.wfile.write(b"%d\n" % said)


class Measure(DatagramRequestHandler):
    """Say how long the datagram was."""

    def handle(self):
        self.wfile.write(b"%d" % len(self.packet))
