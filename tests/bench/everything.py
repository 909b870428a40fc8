"""The whole bench: measure what was asked for, while the idle servers wait; then the tables."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from . import checked, checks, growth, held, life, programs, report, rounds
from .figures import Figures
from .idle import Idle
from .reload import APPLICATION
from .scenarios import Scenario

OTHERS = {
    "checked": "Every family and model of srvctl, with an id in each request",
    "life": "Start, stop and reload",
    "memory": "Memory of an idle connection",
    "idle": "Wake-ups, system calls and memory of a server that nobody talks to",
    "growth": "How cost grows with connections, workers and sizes",
}
CAPTION = """\
Median of {rounds} interleaved rounds of about {seconds:g} s; spread is half of what lies between the lowest and the
highest; a ratio is the median of the rounds' ratios, to the standard library's row of the same model and to the limit,
the C program. srvctl runs with --quiet: its peers write no line for each connection either. Every answer is checked."""
LIFE = {"start": "start", "stop": "stop", "reload": "reload"}
IDLE = {
    "wake-ups": "wake-ups",
    "system calls": "system calls",
    "first, PSS": "memory, first process (PSS)",
    "USS": "memory, first process (USS)",
    "workers, PSS": "memory, its workers (PSS)",
    "USS ": "memory, its workers (USS)",
}


@dataclass(frozen=True)
class Plan:
    """What to measure: scenarios, names of `OTHERS`, how many rounds, and how long each measurement takes.

    `lives` is how often servers are started, reloaded and stopped, which is slow.
    """

    scenarios: tuple[Scenario, ...]
    others: frozenset[str]
    rounds: int
    lives: int
    seconds: float


def measure(plan: Plan, place: Path) -> Figures:
    """Measure all of it, with files in `place`."""
    figures = Figures(machine=report.machine())
    (place / "www").mkdir()
    (place / "www" / "file.txt").write_bytes(checks.FILE)
    (place / "application.py").write_text(APPLICATION)
    with contextlib.suppress(FileNotFoundError):  # no compiler: each row that needs it says so
        programs.build(place)
    with contextlib.closing(Idle(figures, place)) as idle:
        if "idle" in plan.others:
            idle.begin()
        for scenario in plan.scenarios:
            rounds.run(scenario, figures, plan.rounds, plan.seconds, place)
        if "checked" in plan.others:
            checked.run(figures, plan.seconds, place)
        if "life" in plan.others:
            life.run(figures, plan.lives, place)
        if "memory" in plan.others:
            held.run(figures, place)
        if "growth" in plan.others:
            growth.run(figures, plan.rounds, plan.seconds, place)
        if "idle" in plan.others:
            idle.finish()
    return figures


def tables(plan: Plan, figures: Figures, markdown: bool) -> Iterator[str]:
    """Yield what was measured, a table or a sentence at a time; nothing of what was not."""
    yield figures.machine
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
    mark = "- " if markdown else ""
    if figures.left_out:
        yield "\n".join(f"{mark}left out: {what}" for what in figures.left_out)
    if figures.wrong:
        yield "\n".join(f"{mark}WRONG: {what}" for what in figures.wrong)
