"""The lifeline: a process group ends with the pipe that is held elsewhere, without any code of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

ARM = (
    "import os, sys\nfrom srvctl.runtime import lifeline\nlifeline.arm(int(sys.argv[1]))\nprint('armed', flush=True)\n"
)


@pytest.fixture
def pipe():  # type: ignore[no-untyped-def]
    """Both ends of a pipe; the test closes the second."""
    read, write = os.pipe()
    yield read, write
    os.close(read)


def start(script: str, read: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", script, str(read)],
        stdout=subprocess.PIPE,
        pass_fds=[read],
        process_group=0,
    )


@pytest.mark.parametrize(
    "hang",
    [
        "import re; re.match(r'(a+)+$', 'a' * 60 + 'b')",  # in C, with the interpreter's lock
        "import signal; os.kill(os.getpid(), signal.SIGSTOP)",
        "os.fork(); import signal; signal.pause()",
    ],
    ids=["in C", "stopped", "with a child"],
)
def test_the_group_ends_with_the_pipe(hang: str, pipe: tuple[int, int]) -> None:
    """Whatever its processes are doing; standard output ends when the last of them has."""
    read, write = pipe
    with start(ARM + hang, read) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"armed\n"
        os.close(write)
        assert process.wait(20) == -signal.SIGKILL
        assert process.stdout.read() == b""


def test_a_pipe_that_has_ended_before_ends_the_group_at_once(pipe: tuple[int, int]) -> None:
    """The supervisor may die while its worker starts."""
    read, write = pipe
    os.close(write)
    with start(ARM, read) as process:
        assert process.stdout is not None
        assert process.stdout.read() == b""
        assert process.wait(20) == -signal.SIGKILL
