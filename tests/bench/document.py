"""The results as a document: what tests/bench/RESULTS.md consists of. Nothing here measures."""

from __future__ import annotations

import time
from collections.abc import Iterator

from . import growth, held, life, needs, report, versions
from .everything import Plan
from .figures import Figures
from .targets import TARGETS

HEAD = """\
# Results of the bench

`python -m tests.bench` compares srvctl with the standard library, gevent, asyncio, uvloop, Twisted, gunicorn,
`tcpserver`, `socat` and with servers in C that do the least that can be done, driven by `redis-benchmark`,
`dnsperf`, `ab`, `wrk` and a C client that gives each request an id and checks each answer. Compare rows of one
table only: another machine, and another day on the same machine, has other figures. With connections that are kept,
srvctl's rows with threads are bound by what the handler does in Python, not by how it is served; rows near the
limit are bound by the client."""
CAPTION = """\
Median of {rounds} rounds of about {seconds:g} s. In each round every server of a scenario is driven once, so that
what slows the machine for a while slows all of them. A ratio is the geometric mean of the rounds' ratios, and 95 %
is its confidence interval (Student's t on the logarithms). The peer is the standard library's row of the same
model, or the row without a log; the limit is the C program, or the client if that is slower. Two workers share
the server's one core. srvctl runs with --quiet unless its log is named, for its peers write no line for each
connection. Every answer is checked."""
NOISE = "In doubt means that the bound lies in the interval: more rounds would show which side of it is right."
REPEAT = """\
## How to repeat it

    apt install gcc {tools}
    pip install -e '.[bench]'
    python -m tests.bench --write           # this file, whole; without --write it is printed
    python -m tests.bench --only fork log   # some scenarios; --list names them
    python -m tests.bench --rounds 40       # narrower intervals

As root it has a network namespace of its own. Nothing else should run on the machine while it measures."""
LIFE = {"start": "start", "stop": "stop", "reload": "reload"}
IDLE = {
    "wake-ups": "wake-ups",
    "system calls": "system calls",
    "first, PSS": "memory, first process (PSS)",
    "USS": "memory, first process (USS)",
    "workers, PSS": "memory, its workers (PSS)",
    "USS ": "memory, its workers (USS)",
}


def compose(plan: Plan, figures: Figures, seconds: float, markdown: bool) -> str:
    """Return all that was measured, as tests/bench/RESULTS.md has it; tables in Markdown, or for a terminal."""
    took = f"{seconds:.0f} seconds" if seconds < 100 else f"{seconds / 60:.0f} minutes"
    when = f"Measured on {time.strftime('%Y-%m-%d')} in {took}:"
    facts = "\n".join(f"- {fact}" for fact in (figures.machine, versions.described(used(plan))))
    tools = " ".join(sorted({words.split()[-1] for words in needs.TOOLS.values()} - {"gcc", "valgrind"}))
    parts = [HEAD, when, facts, *tables(plan, figures, markdown), REPEAT.format(tools=tools)]
    return "\n\n".join(parts) + "\n"


def used(plan: Plan) -> set[str]:
    """Return the tools and modules that the plan's servers and clients are."""
    rows = [server for scenario in plan.scenarios for server in scenario.servers]
    rows += [one.server for one in life.LIVES if "life" in plan.others]
    return {need for row in (*plan.scenarios, *rows) for need in row.needs}


def tables(plan: Plan, figures: Figures, markdown: bool) -> Iterator[str]:
    """Yield what was measured, a table or a sentence at a time; nothing of what was not."""
    if driven := report.rates(plan.scenarios, figures, markdown):
        yield driven
        yield CAPTION.format(rounds=plan.rounds, seconds=plan.seconds)
    others = [
        report.grid(f"Life (ms, median of {plan.lives})", LIFE, figures, markdown),
        report.grid("Idle: in 10 s, and memory in KiB", IDLE, figures, markdown),
        report.grid("Memory", {"KiB for each idle connection": held.SCENARIO}, figures, markdown),
        *(report.growth(axis, figures, markdown) for axis in growth.GROWTHS),
        report.checked(figures),
        report.targets(figures, markdown),
    ]
    yield from filter(None, others)
    if any(target.measured(figures) for target in TARGETS):
        yield NOISE
    if figures.left_out:
        yield "\n".join(f"- left out: {what}" for what in figures.left_out)
    if figures.wrong:
        yield "\n".join(f"- WRONG: {what}" for what in figures.wrong)
