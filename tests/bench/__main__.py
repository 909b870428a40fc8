"""The bench: ``python -m tests.bench``, from the root of a checkout."""

from __future__ import annotations

import argparse
import resource
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from . import document, everything, namespace, needs
from .cores import CORES, pinned_to
from .scenarios import SCENARIOS, quick

RESULTS = Path(__file__).with_name("RESULTS.md")


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Return what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="Measure srvctl beside its peers.")
    parser.add_argument("--quick", action="store_true", help="fewer servers, shorter runs: a minute")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--seconds", type=float, help="length of a measurement (default: 0.5, with --quick 0.1)")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these scenarios or groups only; see --list")
    parser.add_argument("--list", action="store_true", help="list the scenarios")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="draw how cost grows, as .svg or .png")
    parser.add_argument("--markdown", action="store_true", help="tables in Markdown, as --write has them")
    parser.add_argument("--write", action="store_true", help="write tests/bench/RESULTS.md, if every answer was right")
    parser.add_argument(namespace.MARK, action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.write and (options.only or options.quick):
        parser.error("--write is for the whole bench, without --only and --quick")
    known = {*everything.OTHERS, *(name for s in SCENARIOS for name in (s.name, s.group))}
    if unknown := sorted({*(options.only or ())} - known):
        parser.error(f"unknown: {', '.join(unknown)}; expected some of {', '.join(sorted(known))}")
    return options


def wanted(name: str, group: str, only: Sequence[str] | None) -> bool:
    """Say whether ``--only`` selects it."""
    return only is None or name in only or group in only


def planned(options: argparse.Namespace) -> everything.Plan:
    """Return what the options come to."""
    scenarios = [s for s in SCENARIOS if wanted(s.name, s.group, options.only)]
    plan = everything.Plan(
        scenarios=quick(scenarios) if options.quick else tuple(scenarios),
        others=frozenset(name for name in everything.OTHERS if wanted(name, name, options.only)),
        rounds=options.rounds,
        lives=min(3, options.rounds) if options.quick else options.rounds,
        seconds=options.seconds or (0.1 if options.quick else 0.5),
    )
    if options.quick and not options.only and not options.picture:
        return replace(plan, others=plan.others - {"growth"})  # a minute has no time for curves
    return plan


def main(arguments: Sequence[str]) -> int:
    """Run the bench; return 1 when an answer was wrong."""
    options = parse(arguments)
    if options.list:
        for scenario in SCENARIOS:
            print(f"{scenario.group:<16} {scenario.name:<20} {scenario.title}")
        for name, title in everything.OTHERS.items():
            print(f"{name:<16} {name:<20} {title}")
        return 0
    if options.picture and needs.missing(["matplotlib"]):
        print(needs.in_words(["matplotlib"]), file=sys.stderr)
        return 2
    if options.in_namespace:
        namespace.prepare()
    elif namespace.is_possible():
        namespace.enter(arguments)
    else:
        print("not root: on the machine's own loopback, with the ports that it has", file=sys.stderr)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started ends with the bench
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    plan = planned(options)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="srvctl-bench-") as place, pinned_to(CORES.client):
        figures = everything.measure(plan, Path(place))
    seconds = time.monotonic() - began
    print(document.compose(plan, figures, seconds, options.markdown), end="")
    if options.write and not figures.wrong:
        RESULTS.write_text(document.compose(plan, figures, seconds, markdown=True))
    if options.picture and figures.has("growth"):
        from . import picture  # matplotlib is an extra: only who wants a picture needs it

        picture.draw(figures, options.picture)
    return 1 if figures.wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
