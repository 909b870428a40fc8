"""The whole bench: measure what was asked for, while the idle servers wait."""

from __future__ import annotations

import contextlib
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
            growth.run(figures, min(plan.rounds, growth.MOST_ROUNDS), plan.seconds, place)
        if "idle" in plan.others:
            idle.finish()
    return figures
