"""Recorder: which connections a worker serves, in memory that its supervisor has too, in case the worker dies.

A connection is a record, in the place of its descriptor: when it began (CLOCK_MONOTONIC), the number in its id, and the
peer. Only one function written in C is called when it begins, and one when it ends.
"""

from __future__ import annotations

import mmap
import os
import resource
import struct
from collections import namedtuple
from functools import partial

from srvctl.net.address import format_sockaddr
from srvctl.runtime.current import ID_PREFIX

# When it began (0: nothing is there), the number, the port, and the host or the path, which is cut.
_RECORD = struct.Struct("<dQH46s")
_BEGAN = struct.Struct("<d")
RECORD_BYTES = _RECORD.size
# More descriptors than this are not recorded; the memory is taken a page at a time, as far as it is written to.
_MOST_RECORDS = 65536


class Record(namedtuple("Record", "began id peer")):
    """A connection that was being served; `began` is in seconds of `time.monotonic`."""

    __slots__ = ()


class Recorder:
    """Write records into the memory `fd` (memfd_create(2)), which stays its owner's. Raises OSError.

    `begin` takes the place, the time, the number, the port and the host or path, in bytes; `end` the place and 0.0. The
    place of a descriptor is its number times `RECORD_BYTES`, if the number is below `limit`.
    """

    def __init__(self, fd: int) -> None:
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self.limit = _MOST_RECORDS if soft == resource.RLIM_INFINITY else min(soft, _MOST_RECORDS)
        size = (self.limit + 1) * RECORD_BYTES
        os.ftruncate(fd, size)
        self._memory = mmap.mmap(fd, size)
        prefix = os.fsencode(ID_PREFIX)
        self._memory[-RECORD_BYTES : -RECORD_BYTES + len(prefix)] = prefix
        self.begin = partial(_RECORD.pack_into, self._memory)
        self.end = partial(_BEGAN.pack_into, self._memory)
        self.close = self._memory.close  # for a forked child, which ends no conversation of the worker


def read(fd: int) -> list[Record] | None:
    """Return the connections that a worker, which has ended, was serving; None if it recorded none. Leaves `fd` open.

    Raises OSError.
    """
    found = []
    size = os.fstat(fd).st_size
    if size < RECORD_BYTES:
        return None
    prefix = os.pread(fd, RECORD_BYTES, size - RECORD_BYTES).rstrip(b"\0").decode("ascii", "replace")
    end = min(size // RECORD_BYTES - 1, _MOST_RECORDS) * RECORD_BYTES  # a worker that was taken over may say anything
    for at in range(0, end, mmap.PAGESIZE):
        page = os.pread(fd, min(end - at, mmap.PAGESIZE), at)
        if page.count(0) == len(page):  # nearly all of them
            continue
        for began, number, port, host in _RECORD.iter_unpack(page):
            if began:
                found.append(Record(began, f"{prefix}{number:x}", _peer_of(host.rstrip(b"\0"), port)))
    return found


def _peer_of(host: bytes, port: int) -> str:
    text = os.fsdecode(host)
    return format_sockaddr((text, port)) if port else format_sockaddr(text)
