"""The soft limit of descriptors: raised to what is needed, never above the hard one, and never lowered."""

from __future__ import annotations

import resource

import pytest

from srvctl.worker import descriptor_limit
from srvctl.worker.descriptor_limit import raise_soft_limit

UNLIMITED = resource.RLIM_INFINITY


@pytest.mark.parametrize(
    ("before", "conversations", "after", "lacking"),
    [
        ((1024, 4096), 10, (1024, 4096), None),
        ((1024, 4096), 1000, (2064, 4096), None),
        ((1024, 4096), 3000, (4096, 4096), None),  # each connection has one, if not more
        ((1024, 4096), 5000, (4096, 4096), (4096, 10064)),
        ((1024, 1024), 1000, (1024, 1024), (1024, 2064)),
        ((1024, UNLIMITED), 5000, (10064, UNLIMITED), None),
        ((UNLIMITED, UNLIMITED), 5000, (UNLIMITED, UNLIMITED), None),
        ((20000, 20000), 5000, (20000, 20000), None),
    ],
)
def test_the_limit_is_raised_as_far_as_it_may(
    before: tuple[int, int],
    conversations: int,
    after: tuple[int, int],
    lacking: tuple[int, int] | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What cannot be had is returned, to be said at the start."""
    limits = [before]
    monkeypatch.setattr(descriptor_limit.resource, "getrlimit", lambda which: limits[-1])
    monkeypatch.setattr(descriptor_limit.resource, "setrlimit", lambda which, new: limits.append(new))
    assert raise_soft_limit(conversations) == lacking
    assert limits[-1] == after
