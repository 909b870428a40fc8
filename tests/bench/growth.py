"""How cost grows: with connections, with workers, with the size of a message."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from . import clients, needs
from .clients import Aim, WrongError
from .figures import Figures
from .progress import say
from .scenarios import EPOLL, OURS, datagram_rows, srvctl, standard
from .servers import NotServedError, Running, Server

Drive = Callable[[Running, Aim, int], float]


def _connections(running: Running, aim: Aim, count: int) -> float:
    return clients.redis_kept(running, Aim(aim.seconds, count, aim.place))


def _each(running: Running, aim: Aim, count: int) -> float:
    return clients.redis_each(running, aim)


def _kept(running: Running, aim: Aim, count: int) -> float:
    return clients.redis_kept(running, aim)


def _bytes(running: Running, aim: Aim, size: int) -> float:
    # So many in flight as fit into the receive buffer that a socket has unless it asks for more (208 KiB).
    return clients.load(running, aim, "datagrams", max(1, min(16, 32_768 // size)), size)["rate"]


def _stream_bytes(running: Running, aim: Aim, size: int) -> float:
    return clients.load(running, aim, "keep", 10, size)["rate"]


@dataclass(frozen=True)
class Growth:
    """One axis: what grows, through which values, and the servers that are driven at each value.

    ``{n}`` in a server's command is the value.
    """

    name: str
    axis: str
    values: tuple[int, ...]
    family: str
    servers: tuple[Server, ...]
    drive: Drive
    needs: tuple[str, ...] = field(default=("redis-benchmark",))


PACKETS = [row for row in datagram_rows("Datagram", "datagrams") if row.name not in ("stdlib fork", "srvctl --fork")]
# Many points, and it is their shape that is looked at.
MOST_ROUNDS = 5
WORKERS = (
    replace(srvctl("--threads --workers {n}", f"{OURS}:Pong", "", label="srvctl --threads --workers N"), pinned=False),
)
GROWTHS = (
    Growth(
        *("growth: connections", "connections that are kept", (1, 8, 64, 512), "tcp4"),
        (standard("threads", "Pong"), srvctl("--threads --max-connections 600", f"{OURS}:Pong", ""), EPOLL),
        _connections,
    ),
    Growth("growth: workers, kept alive", "workers", (1, 2, 3, 4), "tcp4", WORKERS, _kept),
    Growth("growth: workers, per connection", "workers", (1, 2, 3, 4), "tcp4", WORKERS, _each),
    Growth(
        *("growth: bytes of a datagram", "bytes", (1, 64, 1024, 8192, 65507), "udp4"),
        tuple(row for row in PACKETS if "threads" not in row.name and "asyncio" not in row.name),
        _bytes,
        ("cc",),
    ),
    Growth(
        *("growth: bytes of a line", "bytes", (2, 64, 1024, 8192, 65507), "tcp4"),
        (
            standard("threads", "Lines"),
            srvctl("--threads", f"{OURS}:Lines", ""),
            Server("C epoll", "{programs}/epoll echo {address}", needs=("cc",)),
        ),
        _stream_bytes,
        ("cc",),
    ),
)


def at(server: str, value: int) -> str:
    """Return the name that a server's figure at a value has."""
    return f"{server} @{value}"


def run(figures: Figures, rounds: int, seconds: float, place: Path) -> None:
    """Measure every axis, in interleaved rounds; each figure with a fresh server."""
    for growth in GROWTHS:
        if lacking := needs.missing(growth.needs):
            figures.left_out.append(f"{growth.name}: {needs.in_words(lacking)}")
            continue
        for number in range(rounds):
            say(f"{growth.name}: round {number + 1} of {rounds}")
            for value in growth.values:
                for server in growth.servers:
                    # Half as long as elsewhere, for the same reason as `MOST_ROUNDS`.
                    _measure(growth, server, value, figures, Aim(seconds / 2, 50, place))


def _measure(growth: Growth, server: Server, value: int, figures: Figures, aim: Aim) -> None:
    if needs.missing(server.needs):
        return
    one = replace(server, command=server.command.replace("{n}", str(value)))
    try:
        with Running(one, growth.family, aim.place) as running:
            figures.add(growth.name, at(server.name, value), growth.drive(running, aim, value))
    except (WrongError, NotServedError, OSError) as error:
        figures.wrong.append(f"{growth.name}, {at(server.name, value)}: {error}")
