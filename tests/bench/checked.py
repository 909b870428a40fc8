"""Correctness: every request has an id, and only the same bytes are its answer; every model of srvctl, every family."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from . import needs
from .clients import Aim, WrongError, load
from .figures import Figures
from .progress import say
from .scenarios import OURS, srvctl
from .servers import STREAMS, NotServedError, Running

MODELS = ("--sync", "--threads", "--threads --workers 2", "--fork")
FAMILIES = ("tcp4", "unix", "udp4", "unix-dgram")


@dataclass(frozen=True)
class Drive:
    """How `load` drives: see c/load.c. `number` is connections, or datagrams in flight."""

    how: str
    number: int


def drives(family: str, model: str) -> tuple[Drive, ...]:
    """Return what a family and model are driven with: as much at a time as they serve."""
    if family not in STREAMS:
        return (Drive("datagrams", 32),)
    return (Drive("keep", {"--sync": 1, "--fork": 20}.get(model, 50)), Drive("each", 50))


def run(figures: Figures, seconds: float, place: Path) -> None:
    """Drive every model over every family; what is wrong or missing is an error of the bench."""
    if lacking := needs.missing(["cc"]):
        figures.left_out.append(f"checked: {needs.in_words(lacking)}")
        return
    for family in FAMILIES:
        say(f"checked: {family}")
        for model in MODELS:
            name = f"{family} {model}"
            handler = "Lines" if family in STREAMS else "Datagram"
            try:
                # On every core: what is looked for are faults of processes and threads that run at the same time.
                server = replace(srvctl(model, f"{OURS}:{handler}", "", label=name), pinned=False)
                with Running(server, family, place) as running:
                    for drive in drives(family, model):
                        found = load(running, Aim(seconds, drive.number, place), drive.how, drive.number)
                        figures.add("checked", f"{name}, {drive.how} {drive.number}", found["answered"])
            except (WrongError, NotServedError, OSError) as error:
                figures.wrong.append(f"checked, {name}: {error}")
