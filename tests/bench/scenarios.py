"""What is compared with what: tables of servers, each driven by one client. Nothing here runs anything."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from . import checks, clients
from .servers import Server
from .targets import TARGETS

SRVCTL = "{python} -m srvctl {family} {address} --announce"
OURS = "tests.bench.handlers.ours"
STANDARD = "tests.bench.handlers.standard"
PEERS = "{python} -m tests.bench.peers"


@dataclass(frozen=True)
class Scenario:
    """Servers that do the same, the client that drives them, and the row that is the limit.

    `group` is what ``--only`` selects beside the name; `unit` is what the figures count. `needs` is what the client is.
    """

    name: str
    group: str
    title: str
    family: str
    client: clients.Client
    check: checks.Check
    servers: tuple[Server, ...]
    limit: str = ""
    connections: int = 50
    unit: str = "requests/s"
    needs: tuple[str, ...] = ()
    weight: float = 1.0  # how much longer than others a measurement is


def srvctl(options: str, handler: str, peer: str, quiet: bool = True, label: str = "") -> Server:
    """Return a row of srvctl; it runs with --quiet, for its peers write no line for each connection."""
    command = f"{SRVCTL} {options} {'--quiet' if quiet else ''} {handler}"
    return Server(label or f"srvctl {options}", command, peer)


def standard(model: str, handler: str) -> Server:
    """Return a row of the standard library."""
    name = f"stdlib {model}"
    return Server(name, f"{PEERS}.standard {model} {{family}} {{address}} {STANDARD}:{handler}", name)


THREADS = "stdlib threads"
EPOLL = Server("C epoll", "{programs}/epoll pong {address}", THREADS, ("cc",))
GEVENT = Server("gevent", f"{PEERS}.greenlets {{family}} {{address}}", THREADS, ("gevent",))
TWISTED = Server("Twisted", f"{PEERS}.reactor {{family}} {{address}}", THREADS, ("twisted",))
STREAMS = Server("asyncio streams", f"{PEERS}.event_loops asyncio streams {{family}} {{address}}", THREADS)
PROTOCOL = Server("asyncio protocol", f"{PEERS}.event_loops asyncio protocol {{family}} {{address}}", THREADS)
UVLOOP = Server("uvloop protocol", f"{PEERS}.event_loops uvloop protocol {{family}} {{address}}", THREADS, ("uvloop",))

KEPT = (
    standard("threads", "Pong"),
    srvctl("--threads", f"{OURS}:Pong", THREADS),
    srvctl("--threads --workers 2", f"{OURS}:Pong", THREADS),
    srvctl("--threads", f"{STANDARD}:Pong", THREADS, label="srvctl --threads, stdlib's base class"),
    GEVENT,
    STREAMS,
    PROTOCOL,
    UVLOOP,
    TWISTED,
    EPOLL,
)
EACH = (
    standard("sync", "Pong"),
    srvctl("--sync", f"{OURS}:Pong", "stdlib sync"),
    *KEPT,
)
LOG = tuple(
    srvctl(model, f"{OURS}:Pong", f"srvctl {model}", quiet=not ending, label=f"srvctl {model}{ending}")
    for model in ("--sync", "--threads", "--fork")
    for ending in ("", ", its log to a file")
)
FORK = (
    standard("fork", "Pong"),
    srvctl("--fork", f"{OURS}:Pong", "stdlib fork"),
    Server("srvctl --fork -- ./pong", f"{SRVCTL} --fork --quiet -- {{programs}}/pong", "stdlib fork", ("cc",)),
    Server(
        "tcpserver ./pong",
        "tcpserver -H -R -l 0 -b 1024 127.0.0.1 {port} {programs}/pong",
        "stdlib fork",
        ("cc", "tcpserver"),
        announces=False,
    ),
    Server(
        "socat fork EXEC:./pong",
        "socat TCP4-LISTEN:{port},bind=127.0.0.1,fork,backlog=1024,max-children=40 EXEC:{programs}/pong",
        "stdlib fork",
        ("cc", "socat"),
        announces=False,
    ),
    Server(
        "systemd-socket-activate -a ./pong",
        "systemd-socket-activate --inetd -a -l {address} {programs}/pong",
        "stdlib fork",
        ("cc", "systemd-socket-activate"),
        announces=False,
    ),
    Server("C fork", "{programs}/forking {address}", "stdlib fork", ("cc",)),
)
UNIX_FORK = tuple(row for row in FORK if "{port}" not in row.command and "systemd" not in row.name)


def datagram_rows(handler: str, program: str) -> tuple[Server, ...]:
    """Return the rows of a datagram scenario; `program` is how the peers call what `handler` does."""
    loop = f"{PEERS}.event_loops {{loop}} {program} {{family}} {{address}}"
    return (
        standard("sync", handler),
        srvctl("--sync", f"{OURS}:{handler}", "stdlib sync"),
        standard("threads", handler),
        srvctl("--threads", f"{OURS}:{handler}", THREADS),
        srvctl("--threads --workers 2", f"{OURS}:{handler}", THREADS),
        standard("fork", handler),
        srvctl("--fork", f"{OURS}:{handler}", "stdlib fork"),
        Server("asyncio datagrams", loop.replace("{loop}", "asyncio"), "stdlib sync"),
        Server("uvloop datagrams", loop.replace("{loop}", "uvloop"), "stdlib sync", ("uvloop",)),
        Server("C recvfrom, sendto", f"{{programs}}/udp {program.removesuffix('grams')} {{address}}", "", ("cc",)),
    )


WWW = "{place}/www"
WEB = "http.server:SimpleHTTPRequestHandler"
STOCK = "python -m http.server"
HTTP = (
    Server(STOCK, "{python} -m http.server --bind 127.0.0.1 {port}", STOCK, announces=False, cwd=WWW),
    Server("stdlib ThreadingHTTPServer, equal queue", f"{PEERS}.web {{address}}", STOCK, cwd=WWW),
    replace(srvctl("--threads", WEB, STOCK), cwd=WWW),
    replace(srvctl("--threads --workers 2", WEB, STOCK), cwd=WWW),
)
# On every core: at 100 a second the cores have nothing else to do. On a single core the child that is forked ahead for
# the next connection would delay the answer to this one.
LATENCY = tuple(
    replace(row, pinned=False)
    for row in (
        standard("fork", "Lines"),
        srvctl("--fork", f"{OURS}:Lines", "stdlib fork"),
        standard("threads", "Lines"),
        srvctl("--threads", f"{OURS}:Lines", THREADS),
        Server("C epoll", "{programs}/epoll echo {address}", "stdlib fork", ("cc",)),
    )
)
# uvloop does not answer a unix datagram.
UNIX_DATAGRAMS = tuple(row for row in datagram_rows("Datagram", "datagrams") if "uvloop" not in row.name)
REDIS = ("redis-benchmark",)
SCENARIOS = (
    Scenario(
        *("kept-alive", "kept-alive", "TCP, 50 connections that are kept", "tcp4"),
        *(clients.redis_kept, checks.pong, KEPT, "C epoll"),
        needs=REDIS,
    ),
    Scenario(
        *("per-connection", "per-connection", "TCP, a connection per request, 50 at a time", "tcp4"),
        *(clients.redis_each, checks.pong, EACH, "C epoll"),
        needs=REDIS,
    ),
    Scenario(
        *("log", "log", "TCP, a connection per request, each with a line of the log", "tcp4"),
        *(clients.redis_each, checks.pong, LOG),
        needs=REDIS,
    ),
    Scenario(
        *("fork", "fork", "TCP, a connection per request, a process for each", "tcp4"),
        *(clients.redis_each, checks.pong, FORK, "C fork"),
        needs=REDIS,
    ),
    Scenario(
        *("latency", "fork", "Latency from connect to answer, 100 connections a second, on every core", "tcp4"),
        *(clients.paced, checks.lines, LATENCY, "C epoll"),
        unit="µs, median",
        needs=("cc",),
        weight=3,
    ),
    Scenario(
        *("unix-kept-alive", "unix", "Unix stream, 50 connections that are kept", "unix"),
        *(clients.redis_kept, checks.pong, KEPT, "C epoll"),
        needs=REDIS,
    ),
    Scenario(
        *("unix-per-connection", "unix", "Unix stream, a connection per request, 50 at a time", "unix"),
        *(clients.redis_each, checks.pong, EACH, "C epoll"),
        needs=REDIS,
    ),
    Scenario(
        *("unix-fork", "unix", "Unix stream, a connection per request, a process for each", "unix"),
        *(clients.redis_each, checks.pong, UNIX_FORK, "C fork"),
        needs=REDIS,
    ),
    Scenario(
        *("udp", "udp", "UDP, dnsperf's 100 queries outstanding", "udp4"),
        *(clients.dnsperf, checks.dns, datagram_rows("Dns", "dns"), "C recvfrom, sendto"),
        needs=("dnsperf",),
    ),
    Scenario(
        *("unix-dgram", "unix-dgram", "Unix datagrams, 32 in flight", "unix-dgram"),
        *(clients.datagrams, checks.datagram, UNIX_DATAGRAMS, "C recvfrom, sendto"),
        connections=32,
        needs=("cc",),
    ),
    Scenario(
        *("http-ab", "http", "SimpleHTTPRequestHandler, a small file, ab, 20 at a time", "tcp4"),
        *(clients.ab, checks.file, HTTP),
        connections=20,
        needs=("ab",),
    ),
    Scenario(
        *("http-wrk", "http", "SimpleHTTPRequestHandler, a small file, wrk, 20 at a time", "tcp4"),
        *(clients.wrk, checks.file, HTTP),
        connections=20,
        needs=("wrk",),
    ),
)


def quick(scenarios: Iterable[Scenario]) -> tuple[Scenario, ...]:
    """Return what a minute has time for: the scenarios and rows that a target names, and the limit."""
    named = {(target.scenario, server) for target in TARGETS for server in (target.server, target.other)}
    short = []
    for scenario in scenarios:
        rows = tuple(s for s in scenario.servers if (scenario.name, s.name) in named)
        if rows:
            limit = tuple(s for s in scenario.servers if s.name == scenario.limit and s not in rows)
            short.append(replace(scenario, servers=rows + limit))
    return tuple(short)
