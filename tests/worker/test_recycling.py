"""When a worker asks for a successor."""

from __future__ import annotations

from typing import Any

import pytest

from srvctl.config.settings import Settings
from srvctl.worker import recycling
from srvctl.worker.recycling import RecyclePolicy
from tests.serving.running import Clock


def policy(**options: Any) -> RecyclePolicy:
    return RecyclePolicy(Settings.resolve("tcp", ":0", "x", "threads", **options))


def test_without_a_limit_there_is_no_reason() -> None:
    """The worker need not even ask."""
    assert not policy().is_enabled
    assert policy().reason(10**9) == ""


def test_the_limit_of_requests_is_a_reason() -> None:
    """From the request that reaches it on."""
    limited = policy(max_requests=100)
    assert limited.is_enabled
    assert (limited.reason(99), limited.reason(100)) == ("", "it has served 100 requests")


def test_the_jitter_is_added_to_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that workers that were started together do not end together."""
    monkeypatch.setattr(recycling, "monotonic_ns", lambda: 7)
    limited = policy(max_requests=100, max_requests_jitter=10)
    assert (limited.reason(106), limited.reason(107)) == ("", "it has served 107 requests")


def test_memory_is_read_once_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """It costs a file that is read, which not each request is to pay."""
    clock, sizes = Clock(), iter([50, 100])
    monkeypatch.setattr(recycling, "monotonic", clock)
    monkeypatch.setattr(recycling, "resident_bytes", lambda: next(sizes))
    limited = policy(max_worker_memory=100)
    assert [limited.reason(1), limited.reason(2)] == ["", ""]
    clock.now += 1.0
    assert limited.reason(3) == "it holds 100 bytes of memory"


def test_the_memory_of_this_process_is_some_megabytes() -> None:
    """As proc(5) has it, in bytes."""
    assert 2**20 < recycling.resident_bytes() < 2**40
