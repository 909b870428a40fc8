"""Wire format of messages between processes: plain values, in version 2 of `marshal`'s format, read with suspicion.

`marshal.loads` is not for input of others: it may use all memory, or crash. A supervisor reads what a worker sends, and
that one runs code which may have been taken over. So `loads` here checks each length against what is there, the depth,
and the type of each value. Version 2 has been written and read by every Python since 2.5.
"""

from __future__ import annotations

import marshal
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_VERSION = 2
_DEEPEST = 8
_INT, _LENGTH, _FLOAT = struct.Struct("<i"), struct.Struct("<I"), struct.Struct("<d")
_DIGIT_BITS = 15


def dumps(value: Any) -> bytes:
    """Return `value` as bytes: None, booleans, numbers, text, bytes, and tuples, lists and dicts of them."""
    return marshal.dumps(value, _VERSION)


def loads(data: bytes) -> Any:
    """Return the value in `data`. Raises ValueError when that is anything but one whole value of these types."""
    reader = _Reader(data)
    value = reader.value(_DEEPEST)
    if value is _END or reader.position != len(data):
        raise ValueError("not one value")
    return value


_END = object()  # marshal's null, after the last item of a dict


class _Reader:
    """Read values from `data`, from `position` on."""

    def __init__(self, data: bytes) -> None:
        self._data, self.position = data, 0

    def _take(self, size: int) -> bytes:
        end = self.position + size
        if end > len(self._data):
            raise ValueError("it ends in the middle of a value")
        taken, self.position = self._data[self.position : end], end
        return taken

    def _length(self, item_bytes: int) -> int:
        """Return a length, of items that take at least `item_bytes` each."""
        count: int = _LENGTH.unpack(self._take(4))[0]
        if count * item_bytes > len(self._data) - self.position:
            raise ValueError("a length goes beyond the end")
        return count

    def value(self, depth: int) -> Any:
        """Return the next value, with containers `depth` deep at most; `_END` for the end of a dict."""
        kind = self._take(1)
        if kind in _CONSTANTS:
            return _CONSTANTS[kind]
        if kind == b"i":
            return _INT.unpack(self._take(4))[0]
        if kind == b"g":
            return _FLOAT.unpack(self._take(8))[0]
        if kind == b"l":
            return self._long()
        if kind in b"su":
            data = self._take(self._length(1))
            return data if kind == b"s" else data.decode("utf-8", "surrogatepass")
        if depth and kind in b"([{":
            return self._container(kind, depth - 1)
        raise ValueError(f"a value of type {kind!r}")

    def _long(self) -> int:
        """Return a number of more than 32 bits: the count of its digits, negative if it is, and the digits."""
        count: int = _INT.unpack(self._take(4))[0]
        if abs(count) > 16:  # 240 bits: more than any figure of ours
            raise ValueError("a number of too many digits")
        digits = struct.unpack(f"<{abs(count)}H", self._take(2 * abs(count)))
        number: int = sum(digit << _DIGIT_BITS * n for n, digit in enumerate(digits))
        return -number if count < 0 else number

    def _container(self, kind: bytes, depth: int) -> Any:
        if kind != b"{":
            items = [self._item(depth) for _ in range(self._length(1))]
            return tuple(items) if kind == b"(" else items
        found = {}
        while (key := self.value(depth)) is not _END:
            if not isinstance(key, (str, int)):
                raise ValueError("a key that is neither text nor a number")
            found[key] = self._item(depth)
        return found

    def _item(self, depth: int) -> Any:
        if (value := self.value(depth)) is _END:
            raise ValueError("an end in the middle")
        return value


_CONSTANTS: dict[bytes, Any] = {b"N": None, b"T": True, b"F": False, b"0": _END}
