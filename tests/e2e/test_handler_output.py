"""What a handler prints, warns of and logs, of a server as it is started."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from tests.launched import Launched

TEXTS = ["own", "root's", "printed", "warned {}", "thread", "child"]


@pytest.mark.parametrize("model", ["--sync", "--threads", "--fork"])
def test_it_is_in_the_log_with_the_conversation(model: str, launch: Callable[..., Launched]) -> None:
    """One line each, with the peer and the identifier of the line that says how the conversation ended."""
    server = launch("tcp", "127.0.0.1:0", model, "--log-format", "json", "myapp:Talk")
    ids, peers = [], []
    for _ in range(2):
        with server.connect() as client:
            peers.append("{}:{}".format(*client.getsockname()))
            ids.append(client.makefile().read())
    records = [json.loads(line) for line in server.wait_for_log('"ended"', 2).splitlines()]
    for peer, id in zip(peers, ids, strict=True):
        mine = [record for record in records if record.get("id") == id]
        texts = [record.get("message") or record.get("line") for record in mine]
        assert texts == [*(text.format(id) for text in TEXTS), None]
        assert {record["peer"] for record in mine} == {peer}
        assert (mine[-1]["event"], mine[-1]["how"]) == ("ended", "done")
    assert ids[0] != ids[1]


def test_a_module_that_prints_and_logs_at_its_import_is_in_the_log_too(place, launch) -> None:  # type: ignore[no-untyped-def]
    """Without a conversation, and in text as every line."""
    (place / "loud.py").write_text(
        "import logging\nfrom srvctl.handlers.echo import Stream\nprint('im', end='')\nprint('ported')\n"
        "logging.getLogger(__name__).info('ready')\n"
    )
    server = launch("tcp", "127.0.0.1:0", "loud:Stream")
    assert " notice printed stream=stdout line=imported\n" in server.log
    assert " info logged logger=loud message=ready\n" in server.log
