"""A network of the bench's own: a fresh namespace with nothing but loopback, when the user may have one.

There, the many ports that a connection per request needs are neither taken from the machine nor limited by it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

MARK = "--in-namespace"
# 54,000 ports to come from instead of 28,000; and one that waits is used again after a second, tcp(7).
SETTINGS = {"ip_local_port_range": "10240 65000", "tcp_tw_reuse": "1"}


def is_possible() -> bool:
    """Say whether this user may have a namespace."""
    return os.geteuid() == 0 and all(map(shutil.which, ("unshare", "ip")))


def enter(arguments: Sequence[str]) -> None:
    """Run the bench again, in a namespace; does not return."""
    words = ["unshare", "--net", "--", sys.executable, "-m", "tests.bench", *arguments, MARK]
    sys.stdout.flush()
    os.execvp(words[0], words)


def prepare() -> None:
    """Bring up loopback and widen the range of ports, of the namespace that this process is in."""
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    for name, value in SETTINGS.items():
        (Path("/proc/sys/net/ipv4") / name).write_text(value)
