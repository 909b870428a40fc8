"""The messages between a supervisor and its worker, and those of srvctl 0.1."""

from __future__ import annotations

import pytest

from srvctl.worker.protocol import FromWorker, ToWorker, WorkerSetup, from_0_1, to_0_1


def test_a_setup_is_frozen_and_travels_as_a_message() -> None:
    """The message carries exactly the fields of the setup."""
    setup = WorkerSetup({}, "/", "m:f", False, True, "tcp://127.0.0.1:1", "text", 1)
    assert ToWorker.SETUP.fields == setup._asdict().keys()
    assert WorkerSetup(**setup._asdict()) == setup
    with pytest.raises(AttributeError):
        setup.index = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("message", "word"), [(ToWorker.SET_LIMIT, "share"), (ToWorker.STOP_NOW, "hurry"), (ToWorker.DRAIN, "drain")]
)
def test_a_worker_of_0_1_gets_the_words_that_it_knows(message: ToWorker, word: str) -> None:
    """A new supervisor drains workers that the program before it started."""
    assert to_0_1(message) == word


@pytest.mark.parametrize(
    ("word", "values", "message"),
    [
        ("tired", {"why": "it is old"}, FromWorker.RECYCLE),
        ("alive", {"served": 1}, FromWorker.HEARTBEAT),
        ("figures", {"served": 1}, FromWorker.STATS),
        ("drained", {"cut": 0}, FromWorker.DRAINED),
        ("draining", {}, FromWorker.NOT_ACCEPTING),
    ],
)
def test_the_words_of_a_worker_of_0_1_are_understood(word: str, values: dict[str, object], message: FromWorker) -> None:
    """With what they carry."""
    new_word, new_values = from_0_1(word, values)
    assert FromWorker(new_word) is message
    assert new_values.keys() == message.fields
    assert new_values.get("stats", values) == values
