"""The owner of a port: the process that listens on it, for the error "address already in use". Best effort."""

from __future__ import annotations

import contextlib
import os

_TCP_LISTEN = "0A"  # proc(5), include/net/tcp_states.h


def port_owner(is_tcp: bool, port: int) -> str:
    """Return ``held by pid 123, nginx`` for the owner of `port`, or an empty string where /proc does not tell."""
    inodes = _inodes_of_port(is_tcp, port)
    if not inodes:
        return ""
    for pid in sorted(int(name) for name in os.listdir("/proc") if name.isdecimal()):
        if pid != os.getpid() and _holds(pid, inodes):
            with contextlib.suppress(OSError), open(f"/proc/{pid}/comm", errors="replace") as comm:
                return f"held by pid {pid}, {comm.read().strip()}"
    return ""


def _inodes_of_port(is_tcp: bool, port: int) -> set[str]:
    inodes = set()
    for table in ("tcp", "tcp6") if is_tcp else ("udp", "udp6"):
        with contextlib.suppress(OSError), open(f"/proc/net/{table}") as lines:
            next(lines)
            for line in lines:
                fields = line.split()
                local, state, inode = fields[1], fields[3], fields[9]
                if int(local.rpartition(":")[2], 16) == port and (state == _TCP_LISTEN or not is_tcp):
                    inodes.add(f"socket:[{inode}]")
    return inodes


def _holds(pid: int, inodes: set[str]) -> bool:
    try:
        with os.scandir(f"/proc/{pid}/fd") as entries:
            return any(os.readlink(entry.path) in inodes for entry in entries)
    except OSError:
        return False
