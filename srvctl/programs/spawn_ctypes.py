"""posix_spawn(3) without the interpreter's lock, so that several threads can be in it at the same time.

`os.posix_spawn` keeps the lock until the program has been executed: 0.3 ms, of which 0.04 are the processor's, and
however long the file system takes to read the program. With ctypes nobody else waits for that.
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys
from ctypes import byref, c_char_p, c_int, c_void_p, create_string_buffer
from functools import partial

from srvctl.programs.spawn import SIGNALS, check

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

if sys.platform != "linux":
    raise ImportError("the numbers and sizes below are those of Linux")

# spawn.h, with glibc as with musl.
_SETPGROUP, _SETSIGDEF, _SETSIGMASK = 2, 4, 8
# More than a posix_spawnattr_t (336 bytes with both), a posix_spawn_file_actions_t (80) and a sigset_t (128) take.
_STRUCT_BYTES = 1024

# The same descriptors come again, since new ones are the lowest that are free: so many combinations are kept ready.
_MOST_ACTIONS = 1024

# More than the variables of a connection take; when they do not fit in, there is other memory for that one.
_ROOM_COUNT, _ROOM_BYTES = 48, 2048
_MOST_IDLE = 64
_POINTER_BYTES = struct.calcsize("P")

# What cannot wait keeps the lock; giving it up and getting it back takes longer than such a call.
_quick = ctypes.PyDLL(None)
_posix_spawn = ctypes.CDLL(None).posix_spawn  # is given references alone, which need no conversion
_init_actions = _quick.posix_spawn_file_actions_init
_add_dup2 = _quick.posix_spawn_file_actions_adddup2
_destroy_actions = _quick.posix_spawn_file_actions_destroy
_add_dup2.argtypes = [c_void_p, c_int, c_int]
for _function in (_init_actions, _destroy_actions):
    _function.argtypes = [c_void_p]


class CtypesSpawner:
    """`srvctl.programs.spawn.Spawn`, of which several can run at the same time."""

    def __init__(self, path: str, words: Sequence[str], base: Sequence[bytes]) -> None:
        self._path = byref(create_string_buffer(os.fsencode(path)))
        self._argv = byref(_array([os.fsencode(word) for word in words]))
        self._base = b"".join([assignment + b"\0" for assignment in base])
        self._actions: dict[tuple[int, ...], Any] = {}
        self._idle: list[_UnlockedSpawning] = []

    def prepare(self, descriptors: tuple[int, ...], assignments: bytes) -> _UnlockedSpawning:
        spawning = self._idle.pop() if self._idle else _UnlockedSpawning(self._idle, self._base)
        if not spawning.add(assignments):
            spawning = _UnlockedSpawning(self._idle, self._base, assignments.count(b"\0"), len(assignments))
            spawning.add(assignments)
        if not (actions := self._actions.get(descriptors)):
            actions = _actions(descriptors)
            if len(self._actions) < _MOST_ACTIONS:
                self._actions[descriptors] = actions
            else:
                spawning.own_actions = actions
        pid, environ = spawning.pid, spawning.environ
        # No code of ours, for the thread that runs it: see `srvctl.programs.spawn_threads`.
        spawning.run = partial(_posix_spawn, pid, self._path, byref(actions), _attributes, self._argv, environ)
        return spawning


class _UnlockedSpawning:
    """Memory for what the program gets in its environment, a pointer to each string and the strings, and for its id.

    Made once for many programs, with what all of them get; between two it is in `idle`. An array of ctypes' own, made
    each time, takes ten times as long to fill.
    """

    run: Callable[[], int]
    own_actions: Any = None

    def __init__(
        self,
        idle: list[_UnlockedSpawning],
        base: bytes,
        room_count: int = _ROOM_COUNT,
        room_bytes: int = _ROOM_BYTES,
    ) -> None:
        """Put `base` in, strings as `add` has them, and make room for `room_count` others, of `room_bytes` together."""
        self._idle = idle
        count = base.count(b"\0")
        self._most_count, self._most_bytes = count, len(base)
        self._pointers_at, self._text_at = 0, (count + room_count + 1) * _POINTER_BYTES
        self._memory = create_string_buffer(self._text_at + len(base) + room_bytes)
        self._view = memoryview(self._memory).cast("B")
        self._address = ctypes.addressof(self._memory)
        self.environ = byref(self._memory)
        self._pid = c_int()
        self.pid = byref(self._pid)
        self.add(base)
        self._most_count, self._most_bytes = room_count, room_bytes
        self._pointers_at = count * _POINTER_BYTES
        self._text_at += len(base)

    def add(self, text: bytes) -> bool:
        """Have strings, each with a null character behind it, behind what every program gets; tell whether they fit."""
        strings = text.split(b"\0")
        if len(strings) - 1 > self._most_count or len(text) > self._most_bytes:
            return False
        self._view[self._text_at : self._text_at + len(text)] = text
        at = self._address + self._text_at
        pointers = []
        for string in strings:
            pointers.append(at)
            at += len(string) + 1
        pointers[-1] = 0  # in the place of the empty one behind the last
        struct.pack_into(f"{len(pointers)}P", self._view, self._pointers_at, *pointers)
        return True

    def result(self, number: int) -> int:
        pid = self._pid.value
        self.cancel()
        check(number)
        return pid

    def cancel(self) -> None:
        if self.own_actions:
            _destroy_actions(self.own_actions)
            self.own_actions = None
        if len(self._idle) < _MOST_IDLE:
            self._idle.append(self)


def _actions(descriptors: tuple[int, ...]) -> Any:
    """Return what puts `descriptors` on the first ones; it is only read then, by whatever thread."""
    actions = create_string_buffer(_STRUCT_BYTES)
    check(_init_actions(actions))
    for number, fd in enumerate(descriptors):
        check(_add_dup2(actions, fd, number))
    return actions


def _array(strings: Sequence[bytes]) -> Any:
    """Return them as C has the words of a program: a pointer to each, and a null pointer behind the last."""
    return (c_char_p * (len(strings) + 1))(*strings)


def _make_attributes() -> Any:
    attributes, signals = create_string_buffer(_STRUCT_BYTES), create_string_buffer(_STRUCT_BYTES)
    check(_quick.posix_spawnattr_init(attributes))
    check(_quick.posix_spawnattr_setflags(attributes, ctypes.c_short(_SETPGROUP | _SETSIGDEF | _SETSIGMASK)))
    check(_quick.posix_spawnattr_setpgroup(attributes, 0))
    _quick.sigemptyset(signals)
    check(_quick.posix_spawnattr_setsigmask(attributes, signals))
    for number in SIGNALS:
        _quick.sigaddset(signals, int(number))
    check(_quick.posix_spawnattr_setsigdefault(attributes, signals))
    return attributes


_attributes = byref(_make_attributes())  # only read, by whatever thread
