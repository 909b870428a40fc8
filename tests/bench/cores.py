"""Cores of the machine: one for the server under test, another for its client, so that neither takes from the other."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Cores:
    """The cores of the server, of the client, and all of them. With a single core, all three are that one."""

    server: frozenset[int]
    client: frozenset[int]
    available: frozenset[int]

    @property
    def are_shared(self) -> bool:
        return self.server == self.client

    @property
    def described(self) -> str:
        """Where server and client run, in words."""
        if self.are_shared:
            return "not pinned: server and client share the one core"
        return f"server pinned to core {min(self.server)}, client to core {min(self.client)}"


def divide(available: Collection[int]) -> Cores:
    """Give the server the lowest core and the client the highest.

    Siblings of one physical core have neighbouring numbers, or numbers that are half of the cores apart: the lowest
    and the highest are no siblings on any machine with more than two.
    """
    return Cores(frozenset({min(available)}), frozenset({max(available)}), frozenset(available))


# Of the process as it was started: what it pins itself to later does not change the division.
CORES = divide(os.sched_getaffinity(0))


@contextlib.contextmanager
def pinned_to(cores: Collection[int]) -> Iterator[None]:
    """Have what is started inside run on `cores`: a child inherits the affinity of the thread that starts it."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
