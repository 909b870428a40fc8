"""How many Python functions one conversation calls: ``python -m tests.bench.calls``, from the root of a checkout.

Counted are the calls of functions that are written in Python, of srvctl's own files and of the standard library's, in
the worker and in the children that it forks, from one state at rest to the next. Nothing of srvctl is imported: an
interpreter with any version of it can be measured, and compared by ``--against``.

A conversation is: connect, send a line, half-close, read to the end; or a datagram and its answer. What `B` more of
them add to the calls, divided by `B`, is what one costs; starts and timers fall out.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

# Loaded by each Python process on its start. The counts of a process are written when it ends or gets SIGUSR2's
# neighbour, SIGRTMIN, which nobody else uses; a forked child writes its own.
_SITE = """
import os, signal, sys

def _begin():
    counts = {}
    def note(frame, event, argument):
        if event == "call":
            code = frame.f_code
            key = code.co_filename, code.co_name
            counts[key] = counts.get(key, 0) + 1
    def write(*ignored):
        sys.setprofile(None)
        mine = dict(counts)
        with open(f"{os.environ['CALLS_INTO']}/{os.getpid()}", "w") as file:
            for (path, name), count in mine.items():
                file.write(f"{count}\\t{path}\\t{name}\\n")
        os.rename(file.name, file.name + ".done")
        sys.setprofile(note)
    signal.signal(signal.SIGRTMIN, write)
    import _thread
    def profiled(start):  # threads are profiled from their own first call on
        def start_profiled(function, *arguments, **options):
            def run(*args, **kwargs):
                sys.setprofile(note)
                return function(*args, **kwargs)
            return start(run, *arguments, **options)
        return start_profiled
    for name in ("start_new_thread", "start_joinable_thread"):  # the second is threading's from Python 3.13 on
        if hasattr(_thread, name):
            setattr(_thread, name, profiled(getattr(_thread, name)))
            if "threading" in sys.modules and hasattr(sys.modules["threading"], "_" + name):
                setattr(sys.modules["threading"], "_" + name, getattr(_thread, name))
    leave = os._exit
    def exit_and_write(status):
        if os.getpid() != owner:
            write()
        leave(status)
    owner = os.getpid()
    os._exit = exit_and_write
    os.register_at_fork(after_in_child=counts.clear)
    sys.setprofile(note)

if any("srvctl.worker" in word or "srvctl" in word for word in sys.orig_argv):
    _begin()
"""

ROWS = {
    "tcp --sync": ("tcp4", ("--sync",)),
    "tcp --threads": ("tcp4", ("--threads",)),
    "tcp --fork": ("tcp4", ("--fork",)),
    "tcp program": ("tcp4", ("--", "/bin/cat")),
    "udp --sync": ("udp4", ("--sync",)),
    "udp --threads": ("udp4", ("--threads",)),
    "udp --fork": ("udp4", ("--fork",)),
    "udp program": ("udp4", ("--", "/bin/cat")),
}


@contextmanager
def serving(python: str, family: str, words: Sequence[str], into: Path) -> Iterator[tuple[int, int]]:
    """Run a server under the count; yield its port and the process id of its worker."""
    (into / "sitecustomize.py").write_text(_SITE)
    environment = os.environ | {"PYTHONPATH": str(into), "CALLS_INTO": str(into)}
    options, program = (words, ()) if words[0] != "--" else ((), words)
    command = [python, "-m", "srvctl", family, "127.0.0.1:0", "--announce", *options, *program]
    server = subprocess.Popen(  # not in the checkout, whose srvctl would be found first
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment, cwd=into, text=True
    )
    try:
        assert server.stdout
        port = int(server.stdout.readline().rpartition(":")[2])
        children = Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()
        yield port, int(children[0])
    finally:
        server.send_signal(signal.SIGTERM)
        server.communicate(timeout=30)


def converse(family: str, port: int, count: int) -> None:
    """Have `count` conversations, one after the other."""
    for number in range(count):
        line = b"line %d\n" % number
        if family == "udp4":
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
                client.settimeout(10)
                client.connect(("127.0.0.1", port))
                client.send(line)
                assert client.recv(100) == line
            continue
        with socket.create_connection(("127.0.0.1", port), 10) as client:
            client.sendall(line)
            client.shutdown(socket.SHUT_WR)
            assert client.makefile("rb").read() == line


def counted(worker: int, into: Path) -> Counter[tuple[str, str]]:
    """Return the calls of the worker so far, and of the children that have ended."""
    time.sleep(0.2)  # for ends that are logged, and children that leave
    os.kill(worker, signal.SIGRTMIN)
    path = into / f"{worker}.done"
    deadline = time.monotonic() + 10
    while not path.exists():
        if time.monotonic() > deadline:
            raise TimeoutError("the worker does not write its counts")
        time.sleep(0.01)
    total: Counter[tuple[str, str]] = Counter()
    for file in into.glob("*.done"):
        for line in file.read_text().splitlines():
            count, name, function = line.split("\t")
            total[name, function] += int(count)
    path.unlink()
    return total


def measure(python: str, row: str, count: int = 200) -> dict[str, float]:
    """Return how many calls a conversation takes, of srvctl and of the standard library, and in how many files."""
    family, words = ROWS[row]
    with tempfile.TemporaryDirectory() as directory:
        into = Path(directory)
        with serving(python, family, words, into) as (port, worker):
            converse(family, port, 20)
            before = counted(worker, into)
            converse(family, port, count)
            after = counted(worker, into)
    more = {key: (calls - before[key]) / count for key, calls in after.items()}
    more = {key: calls for key, calls in more.items() if calls >= 0.5 and key[0] != str(into / "sitecustomize.py")}
    own = {key: calls for key, calls in more.items() if re.search(r"/(srvctl|handlers)/", key[0])}
    return {
        "calls": round(sum(own.values()), 1),
        "files": len({path for path, _ in own}),
        "others": round(sum(more.values()) - sum(own.values()), 1),
        **{f"{Path(path).name}:{name}": calls for (path, name), calls in sorted(own.items())},
    }


def main(arguments: Sequence[str]) -> int:
    """Print a table, a row for each way to serve."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.calls", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--python", default=sys.executable, help="an interpreter that has srvctl")
    parser.add_argument("--against", metavar="PYTHON", help="another one, to compare with")
    parser.add_argument("--only", nargs="+", choices=ROWS, metavar="ROW", default=list(ROWS))
    parser.add_argument("--count", type=int, default=200, metavar="B")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write each function with its calls")
    options = parser.parse_args(arguments)
    found = {}
    for row in options.only:
        found[row] = now = measure(options.python, row, options.count)
        text = f"{row:<14} {now['calls']:6.1f} calls in {now['files']:2.0f} files, {now['others']:5.1f} of the library"
        if options.against:
            before = measure(options.against, row, options.count)
            text += f"; before {before['calls']:6.1f} in {before['files']:2.0f}, {before['others']:5.1f}"
        print(text, flush=True)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
