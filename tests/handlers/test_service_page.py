"""The manual page srvctl-service(7): what it shows works, in the models that it names."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.launched import Launched, receive_all

PAGE = Path(__file__).parents[2] / "man" / "srvctl-service.7"
Launch = Callable[..., Launched]


def example(name: str) -> str:
    """Return the example whose first line names the file."""
    blocks = re.findall(r"^\.Bd -literal.*?\n(.*?)^\.Ed$", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    (found,) = (block for block in blocks if block.startswith(f"# {name}"))
    return found.replace(r"\e", "\\")


@pytest.mark.parametrize(
    ("file", "words", "answers"),
    [
        ("visits.py", ("--threads", "visits:Visits"), [b"visit 1\n", b"visit 2\n", b"visit 3\n"]),
        ("locked.py", ("--threads", "locked:Locked"), [b"1\n", b"2\n", b"3\n"]),
        ("stored.py", ("--fork", "--workers", "2", "stored:Stored"), [b"1\n", b"2\n", b"3\n"]),
        ("shared.py", ("--fork", "shared:Shared"), [b"1\n", b"2\n", b"3\n"]),
    ],
)
def test_each_way_to_share_counts_every_request(
    file: str, words: tuple[str, ...], answers: list[bytes], launch: Launch, tmp_path: Path
) -> None:
    """As printed, from the first request to the last; and the end is in order, with nothing to complain of."""
    (tmp_path / file).write_text(example(file))
    server = launch("tcp4", "127.0.0.1:0", *words)
    received = []
    for _ in answers:
        with server.connect() as client:
            received.append(receive_all(client))
    assert received == answers
    assert server.stop() == 0
    assert not re.search(" (error|warning) (?!running as root)", server.log), server.log
