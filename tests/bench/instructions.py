"""Instructions of the processor that one conversation takes: ``python -m tests.bench.instructions``.

Requests per second differ by several per cent between two runs. A count of instructions differs by one per cent,
on a busy machine too. callgrind counts the worker and the children that it forks, in user space. It does not count the
supervisor, the kernel, the programs that a worker executes, and the steps of a child between fork and exec.

One server has some conversations and stops; a second server has `B` more of them. What these add, divided by `B`, is
what one conversation takes; start, import and stop fall out. Each conversation begins when the worker sleeps again, so
that all find the same state. valgrind 3.19 does not know pidfd_open(2): under it a worker with `--fork` reaps its
children as on a kernel without that call.
"""

from __future__ import annotations

import argparse
import re
import shlex
import sys
import tempfile
from collections.abc import Collection, Sequence
from pathlib import Path

from tests.launched import Launched, clean_environment, wait_until

from . import needs, processes
from .calls import ROWS, converse
from .servers import ROOT

# What is imported or started by the first conversations only.
WARM_UP = 20
# A conversation with a process of its own takes callgrind a hundred times as long, and makes a file of its own.
FEWER = 10
PROFILES = "profile."
# The supervisor runs as always; `sys.executable` is what it starts its workers with.
SUPERVISOR = "import runpy, sys; sys.executable = {!r}; runpy.run_module('srvctl', run_name='__main__', alter_sys=True)"


def lay_out(checkout: Path, into: Path) -> None:
    """Make the package of `checkout` importable from `into`, as an installation has it: with `srvctl.handlers`."""
    (into / "srvctl").mkdir()
    for part in (checkout / "srvctl").iterdir():
        if part.name != "__pycache__":
            (into / "srvctl" / part.name).symlink_to(part)
    (into / "srvctl" / "handlers").symlink_to(checkout / "handlers")


def counting_interpreter(into: Path, words: Sequence[str]) -> Path:
    """Return a program that is this interpreter under callgrind; each process writes a file to `into` at its end.

    A forked child inherits the count of its parent. It begins anew where the interpreter continues in the child.
    """
    valgrind = ["valgrind", "-q", "--tool=callgrind", "--trace-children=yes", "--zero-before=PyOS_AfterFork_Child"]
    valgrind.append(f"--callgrind-out-file={into}/{PROFILES}%p")
    if words[0] == "--":
        valgrind.append(f"--trace-children-skip=*/{Path(words[1]).name}")
    path = into / "python"
    path.write_text(f'#!/bin/sh\nexec {shlex.join([*valgrind, sys.executable])} "$@"\n')
    path.chmod(0o755)
    return path


def profiles(checkout: Path, row: str, count: int) -> list[str]:
    """Serve `count` conversations and stop; return what callgrind wrote of each process."""
    family, words = ROWS[row]
    # The same order in every dictionary and set, and nothing written into the checkout.
    environment = clean_environment(PYTHONHASHSEED="0", PYTHONDONTWRITEBYTECODE="1")
    with tempfile.TemporaryDirectory() as directory:
        into = Path(directory)
        lay_out(checkout, into)
        command = [sys.executable, "-c", SUPERVISOR.format(str(counting_interpreter(into, words)))]
        environment["PYTHONPATH"] = directory
        with Launched(family, "127.0.0.1:0", *words, cwd=into, command=command, env=environment) as server:
            for _ in range(count):
                converse(family, int(server.address.rpartition(":")[2]), 1)
                wait_until(lambda: is_at_rest(server.worker), "rest of the worker", server)
            if status := server.stop():
                raise RuntimeError(f"the server ended with status {status}; its log:\n{server.log}")
        return [path.read_text(errors="replace") for path in into.glob(PROFILES + "*")]


def is_at_rest(worker: int) -> bool:
    """Say whether every thread of the worker and of its children sleeps: the next conversation meets the same state."""
    return all(state == "S" for pid in processes.tree(worker) for state in processes.states(pid))


def total(profile: str) -> int:
    """Return the instructions of a process from the file that callgrind wrote; ValueError when it has no total."""
    if found := re.search(r"^totals: (\d+)$", profile, re.MULTILINE):
        return int(found[1])
    raise ValueError("callgrind wrote a file without a total")


def each(fewer: Collection[str], more: Collection[str], count: int) -> float:
    """Return what `count` conversations add from `fewer` to `more`, the files of the processes, for one of them."""
    if not fewer or not more:
        raise ValueError("callgrind wrote no file")
    return (sum(map(total, more)) - sum(map(total, fewer))) / count


def measure(checkout: Path, row: str, count: int) -> float:
    """Return the instructions of a conversation."""
    return each(profiles(checkout, row, WARM_UP), profiles(checkout, row, WARM_UP + count), count)


def line(row: str, now: float, before: float | None) -> str:
    """Return a row of the table; with a ratio when there is something to compare with."""
    text = f"{row:<14} {now:>12,.0f} instructions"
    return text if before is None else f"{text}; before {before:>12,.0f}, ratio {now / before:.3f}"


def is_forking(row: str) -> bool:
    """Say whether each conversation has a process of its own."""
    return row.endswith(("--fork", "program"))


def checkout(word: str) -> Path:
    """Return the directory of a checkout, from the command line."""
    path = Path(word).resolve()
    if not (path / "srvctl" / "__main__.py").exists() or not (path / "handlers").is_dir():
        raise argparse.ArgumentTypeError(f"no checkout of srvctl: {word!r}")
    return path


def main(arguments: Sequence[str]) -> int:
    """Print a table, a row for each way to serve."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.instructions", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--against", type=checkout, metavar="DIRECTORY", help="another checkout, to compare with")
    parser.add_argument("--only", nargs="+", choices=ROWS, metavar="ROW", default=list(ROWS))
    parser.add_argument(
        *("--count", "-B"), type=int, default=1000, metavar="B", help="conversations; a tenth with a process for each"
    )
    options = parser.parse_args(arguments)
    if lacking := needs.missing(["valgrind"]):
        print(needs.in_words(lacking), file=sys.stderr)
        return 2
    for row in options.only:
        count = max(1, options.count // FEWER) if is_forking(row) else options.count
        now = measure(ROOT, row, count)
        print(line(row, now, measure(options.against, row, count) if options.against else None), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
