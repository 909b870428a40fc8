"""What the bench needs beside Python, where it comes from, and what of it is missing here."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Iterable

TOOLS = {
    "cc": "apt install gcc",
    "redis-benchmark": "apt install redis-tools",
    "dnsperf": "apt install dnsperf",
    "ab": "apt install apache2-utils",
    "wrk": "apt install wrk",
    "tcpserver": "apt install ucspi-tcp",
    "socat": "apt install socat",
    "systemd-socket-activate": "apt install systemd",
    "strace": "apt install strace",
    "valgrind": "apt install valgrind",
}
MODULES = {name: f"pip install {name}" for name in ("gevent", "uvloop", "twisted", "gunicorn", "matplotlib")}


def missing(needs: Iterable[str]) -> list[str]:
    """Return those of `needs`, names of tools or modules, that are not installed."""
    return [need for need in needs if not _is_here(need)]


def _is_here(need: str) -> bool:
    if need in TOOLS:
        return shutil.which(need) is not None
    return importlib.util.find_spec(need) is not None


def in_words(names: Iterable[str]) -> str:
    """Return how to get `names`."""
    return ", ".join(f"{name} is not installed ({(TOOLS | MODULES)[name]})" for name in names)
