"""Meters in memory that forked children share with their parent, and the one bit that tells them to come to an end."""

from __future__ import annotations

import mmap

from srvctl.serving.conversation import METER_ITEMS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from srvctl.serving.conversation import Meter

_SLOT = METER_ITEMS  # behind a meter's items: which slot it is
_METER_BYTES = 64  # a cache line each: neighbours are written by other processes
_WIDTH = _METER_BYTES // 8


class SharedCounters:
    """`count` meters; `acquire` and `release` are the parent's. Owns its memory, which ends with the process."""

    def __init__(self, count: int) -> None:
        self._memory = mmap.mmap(-1, (count + 1) * _METER_BYTES)
        self._words = memoryview(self._memory).cast("q")
        self._free = list(range(count))
        self._flag = count * _WIDTH

    @property
    def draining(self) -> bool:
        """Whether the parent was asked to stop."""
        return self._words[self._flag] != 0

    def set_draining(self) -> None:
        """Tell the children, for good."""
        self._words[self._flag] = 1

    def acquire(self) -> Meter | None:
        """Return a meter that reads zero, or None when all are taken."""
        if not self._free:
            return None
        slot = self._free.pop()
        at = slot * _WIDTH
        self._words[at : at + _WIDTH] = memoryview(bytes(_METER_BYTES)).cast("q")
        meter = self._words[at : at + _WIDTH]
        meter[_SLOT] = slot
        return meter  # type: ignore[return-value]  # typeshed has no cast("q") that is a sequence of int

    def at(self, slot: int) -> Meter | None:
        """Return the meter of a slot, in another process; none for -1."""
        return self._words[slot * _WIDTH : (slot + 1) * _WIDTH] if slot >= 0 else None  # type: ignore[return-value]

    def slot_of(self, meter: Meter) -> int:
        """Return the slot of a meter of `acquire`, or -1."""
        return meter[_SLOT] if isinstance(meter, memoryview) else -1

    def release(self, meter: Meter) -> None:
        """Take back a meter of `acquire`; any other is not ours."""
        if isinstance(meter, memoryview):
            self._free.append(meter[_SLOT])
