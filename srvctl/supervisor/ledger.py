"""Ledger of a worker: what is known of what it serves when it dies. The worker writes it, its supervisor reads it.

It is a record of its connections (`srvctl.serving.recorder`), and the places that it has taken of those that all
workers share (`srvctl.serving.shared_limit`).
"""

from __future__ import annotations

import os
from time import monotonic

from srvctl.runtime import log
from srvctl.serving import recorder
from srvctl.supervisor.places import Places, make_taken

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Ledger:
    """One worker's. Owns the memory `record` and the eventfd `taken`, -1 where there is none; borrows `places`."""

    def __init__(self, record: int = -1, taken: int = -1, places: Places | None = None) -> None:
        self._record, self._taken, self._places = record, taken, places

    @classmethod
    def make(cls, places: Places | None) -> Ledger:
        """Return the ledger of a new worker, which shares `places`, if there are any. Raises OSError."""
        taken = make_taken() if places else -1
        return cls(os.memfd_create("srvctl-connections", os.MFD_CLOEXEC), taken, places)

    @classmethod
    def adopt(cls, handed_over: dict[str, Any], places: Places | None) -> Ledger:
        """Take over a ledger from the program before this one; srvctl 0.1 had none."""
        record, taken = handed_over.get("record", -1), handed_over.get("taken", -1)
        for fd in (record, taken):
            if fd >= 0:
                os.set_inheritable(fd, False)
        return cls(record, taken, places)

    def hand_over(self) -> dict[str, int]:
        """Return what `adopt` needs in the program that takes this one's place; the descriptors stay open for it."""
        for fd in (self._record, self._taken):
            if fd >= 0:
                os.set_inheritable(fd, True)
        return {"record": self._record, "taken": self._taken}

    @property
    def descriptors(self) -> list[int]:
        """What the worker is sent, in this order."""
        return [self._record, *([self._places.fd, self._taken] if self._places else [])]

    @property
    def can_share(self) -> bool:
        """Whether the worker can count what it serves together with others."""
        return self._places is not None and self._taken >= 0

    def report_lost(self) -> int | None:
        """Log each connection that ended with the worker, and return how many; None where that is not known."""
        lost = recorder.read(self._record) if self._record >= 0 else None
        if lost is None:
            return None
        for record in lost:
            log.conversation_cut(record.peer, monotonic() - record.began, "its worker died", record.id)
        return len(lost)

    def close(self) -> None:
        """Close it, and free the places that the worker had taken, which has ended."""
        if self._record >= 0:
            os.close(self._record)
        if self._places and self._taken >= 0:
            self._places.give_back(self._taken)
        self._record = self._taken = -1
