"""posix_spawn(3) without the interpreter's lock, so that several threads can be in it at the same time.

`os.posix_spawn` keeps the lock until the program has been executed: 0.3 ms, of which 0.04 are the processor's, and
however long the file system takes to read the program. With ctypes nobody else waits for that.
"""

from __future__ import annotations

import ctypes
import os
import sys
from ctypes import byref, c_char_p, c_int, c_void_p, create_string_buffer

from srvctl.spawn import SIGNALS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

if sys.platform != "linux":
    raise ImportError("the numbers and sizes below are those of Linux")

# spawn.h, with glibc as with musl.
_SETPGROUP, _SETSIGDEF, _SETSIGMASK = 2, 4, 8
# More than a posix_spawnattr_t (336 bytes with both), a posix_spawn_file_actions_t (80) and a sigset_t (128) take.
_ROOM_BYTES = 1024

# The same descriptors come again, since new ones are the lowest that are free: so many combinations are kept ready.
_MOST_ACTIONS = 1024

# What cannot wait keeps the lock; giving it up and getting it back takes longer than such a call.
_quick = ctypes.PyDLL(None)
_posix_spawn = ctypes.CDLL(None).posix_spawn
_posix_spawn.argtypes = [c_void_p, c_char_p, c_void_p, c_void_p, c_void_p, c_void_p]
_init_actions = _quick.posix_spawn_file_actions_init
_add_dup2 = _quick.posix_spawn_file_actions_adddup2
_destroy_actions = _quick.posix_spawn_file_actions_destroy
_add_dup2.argtypes = [c_void_p, c_int, c_int]
for _function in (_init_actions, _destroy_actions):
    _function.argtypes = [c_void_p]


class UnlockedSpawn:
    """`srvctl.spawn.Spawn`; may be called by several threads at the same time."""

    def __init__(self, path: str, words: Sequence[str], base: Sequence[bytes]) -> None:
        self._path = os.fsencode(path)
        self._argv = _array([os.fsencode(word) for word in words])
        self._base = base
        self._actions: dict[tuple[int, ...], Any] = {}

    def __call__(self, descriptors: tuple[int, ...], assignments: Sequence[bytes]) -> int:
        if actions := self._actions.get(descriptors):
            return self._spawn(actions, assignments)
        actions = _actions(descriptors)
        if len(self._actions) < _MOST_ACTIONS:
            self._actions[descriptors] = actions
            return self._spawn(actions, assignments)
        try:
            return self._spawn(actions, assignments)
        finally:
            _destroy_actions(actions)

    def _spawn(self, actions: Any, assignments: Sequence[bytes]) -> int:
        pid = c_int()
        environ = _array([*self._base, *assignments])
        _check(_posix_spawn(byref(pid), self._path, actions, _attributes, self._argv, environ))
        return pid.value


def _actions(descriptors: tuple[int, ...]) -> Any:
    """Return what puts `descriptors` on the first ones; it is only read then, by whatever thread."""
    actions = create_string_buffer(_ROOM_BYTES)
    _check(_init_actions(actions))
    for number, fd in enumerate(descriptors):
        _check(_add_dup2(actions, fd, number))
    return actions


def _array(strings: Sequence[bytes]) -> Any:
    """Return them as C has the words of a program: a pointer to each, and a null pointer behind the last."""
    return (c_char_p * (len(strings) + 1))(*strings)


def _check(number: int) -> None:
    if number:
        raise OSError(number, os.strerror(number))


def _make_attributes() -> Any:
    attributes, signals = create_string_buffer(_ROOM_BYTES), create_string_buffer(_ROOM_BYTES)
    _check(_quick.posix_spawnattr_init(attributes))
    _check(_quick.posix_spawnattr_setflags(attributes, ctypes.c_short(_SETPGROUP | _SETSIGDEF | _SETSIGMASK)))
    _check(_quick.posix_spawnattr_setpgroup(attributes, 0))
    _quick.sigemptyset(signals)
    _check(_quick.posix_spawnattr_setsigmask(attributes, signals))
    for number in SIGNALS:
        _quick.sigaddset(signals, int(number))
    _check(_quick.posix_spawnattr_setsigdefault(attributes, signals))
    return attributes


_attributes = _make_attributes()  # only read, by whatever thread
