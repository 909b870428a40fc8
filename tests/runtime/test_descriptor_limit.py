"""The soft limit of descriptors: raised to what is needed, never above the hard one; and what is left of it."""

from __future__ import annotations

import resource

import pytest

from srvctl.runtime import descriptor_limit
from srvctl.runtime.descriptor_limit import closing_limit, raise_soft_limit

UNLIMITED = resource.RLIM_INFINITY


@pytest.mark.parametrize(
    ("before", "conversations", "after", "lacking"),
    [
        ((1024, 4096), 10, (1024, 4096), None),
        ((1024, 4096), 1000, (2576, 4096), None),
        ((1024, 4096), 3000, (4096, 4096), None),  # each connection has one, if not more
        ((1024, 4096), 5000, (4096, 4096), (4096, 10576)),
        ((1024, 1024), 1000, (1024, 1024), (1024, 2576)),
        ((1024, UNLIMITED), 5000, (10576, UNLIMITED), None),
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


@pytest.mark.parametrize(
    ("soft", "conversations", "most"),
    [(1024, 16, 512), (2576, 1000, 512), (1024, 300, 360), (1024, 1000, 64), (UNLIMITED, 10**6, 512)],
)
def test_connections_that_are_closed_have_what_is_left(
    soft: int, conversations: int, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not more than 512, and a few where nothing is left."""
    monkeypatch.setattr(descriptor_limit.resource, "getrlimit", lambda which: (soft, soft))
    assert closing_limit(conversations) == most
