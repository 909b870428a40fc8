"""systemd's protocols: inherited sockets, notifications, watchdog, descriptor store, journal.

Only this module reads the environment variables of these protocols:
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
    from collections.abc import Callable, Mapping, Sequence

LISTEN_FDS_START = 3

# A number of descriptors of more digits is none.
_MOST_DIGITS = 9

# FDNAME= of our listening socket in the descriptor store of systemd.
STORED = "srvctl-listener"

# These are for this process only. Workers, and so handlers and programs, do not inherit them.
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
    """Tell whether an environment variable is for this process only: one of `PRIVATE_VARIABLES`, or like them."""
    return name in PRIVATE_VARIABLES or name.startswith(("LISTEN_", "WATCHDOG_"))


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def listen_descriptors(
    environ: Mapping[str, str] = os.environ, is_open: Callable[[int], bool] = _is_open
) -> dict[int, str]:
    """Return the names of the descriptors that were passed to this process, by number.

    The first that is not open ends them, whatever LISTEN_FDS says: sd_listen_fds(3) fails there.
    """
    if environ.get("LISTEN_PID") != str(os.getpid()):
        return {}
    count = environ.get("LISTEN_FDS", "")
    if not (count.isascii() and count.isdecimal() and len(count) <= _MOST_DIGITS):
        return {}
    names = environ.get("LISTEN_FDNAMES", "").split(":")
    passed = {}
    for n in range(int(count)):
        fd = LISTEN_FDS_START + n
        if not is_open(fd):
            break
        passed[fd] = names[n] if n < len(names) and names[n] else "unknown"
    return passed


def without_private(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the environment of a worker."""
    return {name: value for name, value in environ.items() if name not in PRIVATE_VARIABLES}


def has_manager(environ: Mapping[str, str] = os.environ) -> bool:
    """Tell whether a service manager reads the notifications of this process."""
    return bool(environ.get("NOTIFY_SOCKET"))


def notify(
    state: str, environ: Mapping[str, str] = os.environ, ancillary: Sequence[tuple[int, int, bytes]] = ()
) -> bool:
    """Send `state`, such as ``READY=1``, to the service manager; return whether it was sent. Never blocks."""
    path = environ.get("NOTIFY_SOCKET", "")
    if path[:1] not in ("/", "@"):
        return False
    address = "\0" + path[1:] if path[0] == "@" else path
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.sendmsg([state.encode()], ancillary, socket.MSG_DONTWAIT, address)
        return True
    return False


def watchdog_seconds(environ: Mapping[str, str] = os.environ) -> float:
    """Return the seconds within which systemd expects a WATCHDOG=1, sd_watchdog_enabled(3), or 0 without a watchdog."""
    usec, pid = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID", "")
    if not (usec.isascii() and usec.isdecimal() and len(usec) < 20) or (pid and pid != str(os.getpid())):
        return 0.0
    return int(usec) / 1e6


def store(sock: socket.socket, name: str, environ: Mapping[str, str] = os.environ) -> bool:
    """Put a copy of `sock` into the descriptor store, sd_pid_notify_with_fds(3); return whether it was sent."""
    # FDPOLL=0: keep a listening socket that reports a hang-up.
    message = f"FDSTORE=1\nFDNAME={name}\nFDPOLL=0"
    return notify(message, environ, [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack("i", sock.fileno()))])


def drop(name: str, environ: Mapping[str, str] = os.environ) -> bool:
    """Remove the descriptors under `name` from the descriptor store; return whether the request was sent."""
    return notify(f"FDSTOREREMOVE=1\nFDNAME={name}", environ)


def is_journal(fd: int, environ: Mapping[str, str] = os.environ) -> bool:
    """Tell whether descriptor `fd` is the stream that systemd connected to the journal."""
    device, _, inode = environ.get("JOURNAL_STREAM", "").partition(":")
    try:
        status = os.fstat(fd)
    except OSError:
        return False
    return (device, inode) == (str(status.st_dev), str(status.st_ino))
