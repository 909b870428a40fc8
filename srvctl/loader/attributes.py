"""Attributes of a handler: the class attributes that ``--set NAME=VALUE`` can set, and the conversion of the values."""

from __future__ import annotations

from srvctl.errors import UsageError, did_you_mean

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any


def _read_bool(text: str) -> bool:
    words = {"yes": True, "true": True, "on": True, "1": True, "no": False, "false": False, "off": False, "0": False}
    try:
        return words[text.lower()]
    except KeyError:
        raise ValueError("expected yes or no") from None


def _read_int(text: str) -> int:
    try:
        return int(text, 0)
    except ValueError:
        raise ValueError("expected a whole number") from None


def _read_float(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError("expected a number") from None


def _read_anything(text: str) -> Any:
    """Convert a value for an attribute whose type is unknown, such as ``timeout = None``."""
    for read in (_read_int, _read_float):
        try:
            return read(text)
        except ValueError:
            continue
    return text


# The modules of the server classes from which a mix-in may be derived, and of what stands below it.
_SERVER_MODULES = ("socketserver", "srvctl.socketserver", "srvctl.serving")

_READERS: dict[str, Callable[[str], Any]] = {
    "bool": _read_bool,
    "int": _read_int,
    "float": _read_float,
    "str": str,
    "bytes": lambda text: text.encode(),
}


def declared_attributes(handler: Any) -> dict[str, str]:
    """Return the names of the attributes that can be set on `handler`, with the name of their types.

    These are the public class attributes with a value of bool, int, float, str, bytes or None, or such an annotation.
    """
    kinds: dict[str, str] = {}
    for cls in reversed(handler.__mro__ if isinstance(handler, type) else ()):
        if hasattr(cls, "verify_request") and cls.__module__.startswith(_SERVER_MODULES):
            continue  # below a mix-in: what the server has is set by options
        annotations = getattr(cls, "__annotations__", {})  # without those of base classes, since Python 3.10
        for name in (*cls.__dict__, *annotations):
            if not name.startswith("_") and (kind := _kind(cls, name, annotations)):
                kinds[name] = kind
    return kinds


def _kind(cls: type, name: str, annotations: dict[str, Any]) -> str:
    value = cls.__dict__.get(name)
    annotation = annotations.get(name, "")
    text = annotation.__name__ if isinstance(annotation, type) else str(annotation).removeprefix("typing.")
    options = [part.strip() for part in text.removeprefix("Optional[").rstrip("]").split("|")]
    for option in options:
        if option in _READERS:
            return f"{option} or none" if len(options) > 1 or text.startswith("Optional") else option
    if value is None:
        return "any" if name in cls.__dict__ and not annotation else ""
    kind = type(value).__name__
    return kind if kind in _READERS else ""


def set_attributes(
    handler: Any, assignments: Sequence[tuple[str, str]], owner: str, mixins: type | None = None
) -> None:
    """Set `assignments`, pairs of name and text, on the class `handler`. Raises `UsageError` with the valid names.

    An attribute that it does not declare is set on the class `mixins`. `owner` names the handler in errors.
    """
    if not assignments:
        return
    own, others = declared_attributes(handler), declared_attributes(mixins)
    declared = others | own
    for name, text in assignments:
        holder = handler if name in own else mixins
        if name not in declared:
            valid = ", ".join(f"{n} ({kind})" for n, kind in sorted(declared.items())) or "none"
            why = f"no such attribute; it has {valid}{did_you_mean(name, declared)}"
            raise UsageError("set", f"{name!r} of {owner}", why)
        kind, _, optional = declared[name].partition(" or ")
        if optional and text.lower() == "none":
            setattr(holder, name, None)
            continue
        try:
            value = _READERS.get(kind, _read_anything)(text)
        except ValueError as error:
            valid = ", ".join(f"{n} ({k})" for n, k in sorted(declared.items()))
            raise UsageError("set", f"{name}={text!r} of {owner}", f"{error}; it has {valid}") from None
        setattr(holder, name, value)
