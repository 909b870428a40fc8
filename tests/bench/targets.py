"""Where srvctl is to be: each target as a row, and whether the figures of this run meet it."""

from __future__ import annotations

from dataclasses import dataclass

from .figures import Figures
from .interval import Interval


@dataclass(frozen=True)
class Target:
    """`server` of `scenario` against `other`: at least `bound` times as much, or at most when `at_most`.

    Without `other` the figure itself is held against the bound, in `unit`.
    """

    what: str
    scenario: str
    server: str
    bound: float
    other: str = ""
    at_most: bool = False
    unit: str = ""

    def measured(self, figures: Figures) -> Interval | None:
        """Return what is held against the bound, or None when it was not measured. A figure alone has no interval."""
        if self.other:
            return figures.ratio(self.scenario, self.server, self.other)
        middle = figures.median(self.scenario, self.server)
        return None if middle is None else Interval(middle, middle, middle, 1)

    def verdict(self, measured: Interval) -> str:
        """Say whether it is met, and whether another run may say the opposite."""
        is_met = measured.middle <= self.bound if self.at_most else measured.middle >= self.bound
        doubt = ", in doubt" if measured.rounds > 1 and measured.contains(self.bound) else ""
        return ("met" if is_met else "NOT MET") + doubt

    @property
    def wanted(self) -> str:
        """The bound in words."""
        sense = "at most" if self.at_most else "at least"
        return f"{sense} {self.bound:g} {'x ' + self.other if self.other else self.unit}".rstrip()


def _streams(prefix: str, what: str) -> tuple[Target, ...]:
    kept, each, fork = f"{prefix}kept-alive", f"{prefix}per-connection", f"{prefix}fork"
    two = "srvctl --threads --workers 2"
    return (
        Target(f"{what}, --threads, kept alive", kept, "srvctl --threads", 1.2, "stdlib threads"),
        Target(f"{what}, --threads, per connection", each, "srvctl --threads", 4, "stdlib threads"),
        Target(f"{what}, --threads, per connection", each, "srvctl --threads", 0.5, "C epoll"),
        Target(f"{what}, --threads --workers 2, kept alive", kept, two, 0.8, "C epoll"),
        Target(f"{what}, --threads --workers 2, per connection", each, two, 0.6, "C epoll"),
        Target(f"{what}, --threads --workers 2, per connection", each, two, 1, "uvloop protocol"),
        Target(f"{what}, --fork, per connection", fork, "srvctl --fork", 2, "stdlib fork"),
        Target(f"{what}, --sync, per connection", each, "srvctl --sync", 1.2, "stdlib sync"),
    )


def _datagrams(scenario: str, what: str) -> tuple[Target, ...]:
    return (
        Target(f"{what}, --sync", scenario, "srvctl --sync", 1.1, "stdlib sync"),
        Target(f"{what}, --threads", scenario, "srvctl --threads", 10, "stdlib threads"),
    )


def _log(model: str) -> Target:
    """A line costs at most a tenth of a conversation: with it, a server does at least 1 / 1.1 as many."""
    quiet = f"srvctl {model}"
    return Target(f"A line of the log a connection, {model}", "log", f"{quiet}, its log to a file", 0.91, quiet)


WEB = "SimpleHTTPRequestHandler, ab"
TARGETS = (
    *_streams("", "TCP"),
    Target("--fork, latency at 100 a second", "latency", "srvctl --fork", 0.5, "stdlib fork", at_most=True),
    Target("-- ./pong, per connection", "fork", "srvctl --fork -- ./pong", 1, "tcpserver ./pong"),
    *map(_log, ("--sync", "--threads")),
    *_streams("unix-", "Unix"),
    *_datagrams("udp", "UDP"),
    *_datagrams("unix-dgram", "Unix datagrams"),
    Target(WEB, "http-ab", "srvctl --threads", 1.5, "python -m http.server"),
    Target(f"{WEB}, equal queues", "http-ab", "srvctl --threads", 1.5, "stdlib ThreadingHTTPServer, equal queue"),
    Target("Start, exec to first answer", "start", "srvctl --sync", 0.6, "gunicorn sync", at_most=True),
    Target("Start, the same application", "start", "srvctl --sync, http.server", 0.6, "gunicorn sync", at_most=True),
    Target("Idle stop, --threads", "stop", "srvctl --threads", 50, at_most=True, unit="ms"),
    Target("Idle stop, --fork", "stop", "srvctl --fork", 50, at_most=True, unit="ms"),
    Target("Idle wake-ups in 10 s, --threads", "wake-ups", "srvctl --threads", 0, at_most=True),
    Target("Idle wake-ups in 10 s, --fork", "wake-ups", "srvctl --fork", 0, at_most=True),
    Target("Idle system calls, --threads", "system calls", "srvctl --threads", 0, at_most=True),
    Target("An idle connection, --threads", "memory of a connection", "srvctl --threads", 40, at_most=True, unit="KiB"),
)
