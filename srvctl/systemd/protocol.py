"""systemd's protocols: sockets in, notices out. No other module reads these environment variables.

LISTEN_FDS, LISTEN_PID and LISTEN_FDNAMES: sd_listen_fds(3). NOTIFY_SOCKET: sd_notify(3). JOURNAL_STREAM:
systemd.exec(5).
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

LISTEN_FDS_START = 3

# The name of our own listening socket in systemd's descriptor store.
STORED = "srvctl-listener"

# None of these reaches a worker, and so no handler and no program either: they are about this process.
PRIVATE_VARIABLES = (
    "LISTEN_FDS",
    "LISTEN_PID",
    "LISTEN_FDNAMES",
    "LISTEN_PIDFDID",
    "NOTIFY_SOCKET",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
    "JOURNAL_STREAM",
)


def is_private(name: str) -> bool:
    """Tell whether an environment variable is about this process and no other: one of those above, or of their kind."""
    return name in PRIVATE_VARIABLES or name.startswith(("LISTEN_", "WATCHDOG_"))


def listen_descriptors(environ: Mapping[str, str] = os.environ) -> dict[int, str]:
    """Return the descriptors that were passed to this very process, by number, with their names."""
    if environ.get("LISTEN_PID") != str(os.getpid()):
        return {}
    count = environ.get("LISTEN_FDS", "")
    if not count.isdecimal():
        return {}
    names = environ.get("LISTEN_FDNAMES", "").split(":")
    return {LISTEN_FDS_START + n: names[n] if n < len(names) and names[n] else "unknown" for n in range(int(count))}


def without_private(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the environment that a worker gets."""
    return {name: value for name, value in environ.items() if name not in PRIVATE_VARIABLES}


def notify(
    state: str, environ: Mapping[str, str] = os.environ, ancillary: Sequence[tuple[int, int, bytes]] = ()
) -> bool:
    """Tell the service manager, ``READY=1`` and the like; return whether there is one that took it. Never blocks."""
    path = environ.get("NOTIFY_SOCKET", "")
    if path[:1] not in ("/", "@"):
        return False
    address = "\0" + path[1:] if path[0] == "@" else path
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.sendmsg([state.encode()], ancillary, socket.MSG_DONTWAIT, address)
        return True
    return False


def watchdog_seconds(environ: Mapping[str, str] = os.environ) -> float:
    """Return how long systemd waits for a WATCHDOG=1 of this process, sd_watchdog_enabled(3), or 0 when it does not."""
    usec, pid = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID", "")
    if not usec.isdecimal() or (pid and pid != str(os.getpid())):
        return 0.0
    return int(usec) / 1e6


def store(sock: socket.socket, name: str, environ: Mapping[str, str] = os.environ) -> bool:
    """Leave a copy of `sock` with the service manager, sd_pid_notify_with_fds(3); return whether there is one."""
    # FDPOLL=0: a listening socket that hangs up is still wanted.
    message = f"FDSTORE=1\nFDNAME={name}\nFDPOLL=0"
    return notify(message, environ, [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack("i", sock.fileno()))])


def drop(name: str, environ: Mapping[str, str] = os.environ) -> bool:
    """Have the service manager let go of what it keeps under `name`."""
    return notify(f"FDSTOREREMOVE=1\nFDNAME={name}", environ)


def is_journal(fd: int, environ: Mapping[str, str] = os.environ) -> bool:
    """Tell whether descriptor `fd` is the stream that systemd connected to the journal."""
    device, _, inode = environ.get("JOURNAL_STREAM", "").partition(":")
    try:
        found = os.fstat(fd)
    except OSError:
        return False
    return (device, inode) == (str(found.st_dev), str(found.st_ino))
