"""The C programs of the bench, compiled once into a directory of the run."""

from __future__ import annotations

import subprocess
from pathlib import Path

SOURCES = Path(__file__).parent / "c"
PROGRAMS = ("epoll", "forking", "load", "pong", "udp")


def build(place: Path) -> None:
    """Compile every program into `place`; raises `CalledProcessError` with what the compiler said."""
    for name in PROGRAMS:
        command = ["cc", "-O2", "-Wall", "-D_GNU_SOURCE", "-o", str(place / name), str(SOURCES / f"{name}.c")]
        subprocess.run(command, check=True)
