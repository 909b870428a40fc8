"""Types for authors of handlers: mypy refuses each mistake of the samples, and nothing else."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
CHECKOUT = HERE.parents[1]
SAMPLES = ("handlers.py", "servers.py")


def test_mypy_finds_the_mistakes_of_the_samples_and_no_others() -> None:
    """By line and by kind; one run for all of them, since each takes seconds."""
    paths = [str((HERE / name).relative_to(CHECKOUT)) for name in SAMPLES]
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--no-error-summary", *paths]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True)
    assert not done.stderr
    found = set(re.findall(r"^(\S+?):(\d+): error: .*\[(\S+)\]$", done.stdout, re.MULTILINE))
    wanted = {
        (path, str(number), kind)
        for path in paths
        for number, line in enumerate((CHECKOUT / path).read_text().splitlines(), 1)
        for kind in re.findall(r"# E: (\S+)$", line)
    }
    assert found == wanted, done.stdout
