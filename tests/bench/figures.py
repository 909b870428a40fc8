"""What was measured: a list of rounds for each server of each scenario, and the statistics over them."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from statistics import median

from . import interval
from .interval import Interval


@dataclass
class Figures:
    """Rounds by scenario and server, in the order in which they were first seen; and what is to be said about them.

    `machine` is where, `left_out` is what could not be measured here, `wrong` is what was measured and is not right.
    """

    rounds: dict[tuple[str, str], list[float]] = field(default_factory=lambda: defaultdict(list))
    left_out: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    machine: str = ""

    def add(self, scenario: str, server: str, figure: float) -> None:
        self.rounds[scenario, server].append(figure)

    def drop(self, scenario: str, server: str) -> None:
        """Forget a server: one that was wrong once has no figure."""
        self.rounds.pop((scenario, server), None)

    def servers(self, scenario: str) -> list[str]:
        """Return the servers of a scenario that have figures."""
        return [server for name, server in self.rounds if name == scenario]

    def has(self, prefix: str) -> bool:
        """Say whether anything was measured in the scenarios whose names begin so."""
        return any(name.startswith(prefix) for name, _ in self.rounds)

    def median(self, scenario: str, server: str) -> float | None:
        """Return the median of the rounds, or None when there are none."""
        rounds = self.rounds.get((scenario, server))
        return median(rounds) if rounds else None

    def ratio(self, scenario: str, server: str, other: str) -> Interval | None:
        """Return the mean of the ratios of each round to the same round of `other`, with its interval.

        Rounds are interleaved, so what slows the machine for a while slows both sides of a ratio.
        """
        ours, theirs = self.rounds.get((scenario, server)), self.rounds.get((scenario, other))
        if not ours or not theirs:
            return None
        return interval.of_ratios([a / b for a, b in zip(ours, theirs, strict=True)])
