"""Interleaved rounds: every server of a scenario once, then every server again; each answer checked around each run.

A server is started once for its scenario and serves all rounds, so that the interval of a ratio is about the measuring
and not about the start. Only one is driven at a time. The others wait: the standard library's wake up twice a second,
which is some ten thousandths of a core for all of them together.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path

from . import needs
from .clients import Aim, WrongError
from .figures import Figures
from .progress import say
from .scenarios import Scenario
from .servers import NotServedError, Running, Server


def run(scenario: Scenario, figures: Figures, rounds: int, seconds: float, place: Path) -> None:
    """Measure every server of `scenario`; what is missing or wrong goes to `figures`, in words."""
    if lacking := needs.missing(scenario.needs):
        figures.left_out.append(f"{scenario.name}: {needs.in_words(lacking)}")
        return
    aim = Aim(seconds * scenario.weight, scenario.connections, place)
    with contextlib.ExitStack() as ended:
        running = _start(scenario, figures, place, ended)
        for number in range(rounds):
            say(f"{scenario.name}: round {number + 1} of {rounds}")
            for server in list(running):
                try:
                    scenario.check(server)
                    figure = scenario.client(server, aim)
                    scenario.check(server)
                    if figure <= 0:
                        raise WrongError("no request was answered")
                except (WrongError, OSError) as error:
                    figures.wrong.append(f"{scenario.name}, {server.server.name}: {error}")
                    figures.drop(scenario.name, server.server.name)
                    running.remove(server)
                    server.end()
                else:
                    figures.add(scenario.name, server.server.name, figure)


def _start(scenario: Scenario, figures: Figures, place: Path, ended: contextlib.ExitStack) -> list[Running]:
    """Start what can be started; `ended` ends it."""
    wanted = [server for server in scenario.servers if is_here(server, scenario.name, figures)]
    return start(wanted, scenario.family, scenario.name, figures, place, ended)


def is_here(server: Server, scenario: str, figures: Figures) -> bool:
    """Say whether `server` has what it needs; if not, that is said in `figures`, too."""
    if lacking := needs.missing(server.needs):
        figures.left_out.append(f"{scenario}, {server.name}: {needs.in_words(lacking)}")
    return not lacking


def start(
    servers: Iterable[Server],
    family: str,
    scenario: str,
    figures: Figures,
    place: Path,
    ended: contextlib.ExitStack,
) -> list[Running]:
    """Start servers side by side and return those that serve; `ended` ends them."""
    started = []
    for server in servers:
        started.append(Running(server, family, place))
        ended.callback(started[-1].end)
    running = []
    for one in started:
        try:
            one.await_ready()
            running.append(one)
        except NotServedError as error:
            figures.left_out.append(f"{scenario}, {one.server.name}: did not start: {error}")
    return running
