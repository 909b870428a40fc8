"""Mix-ins: the classes that ``--mixin`` names, in front of what serves.

They are written for `BaseServer`, of the standard library or of `srvctl.socketserver`. A server class of either is one
too: what it adds is used, and its socket and its loop are srvctl's.
"""

from __future__ import annotations

from functools import partial

from srvctl.errors import LoadError
from srvctl.loader.importer import failure, find_class
from srvctl.serving.facade import Facade, is_of_library
from srvctl.serving.hooks import HookedServer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

# Classes of a library that are a concurrency model, by the option that stands for it.
_MODELS = {"ThreadingMixIn": "threads", "ForkingMixIn": "fork"}


class Mixins:
    """The classes that were named, in their order, and the class that has them in front of the hooks."""

    def __init__(self, classes: Sequence[type]) -> None:
        """Combine `classes`. Raises `LoadError` where they contradict each other."""
        self.classes = tuple(classes)
        self.facade_class = _facade_class(classes)

    @property
    def server_class(self) -> Callable[..., HookedServer]:
        """What `assemble` makes a server of."""
        return partial(HookedServer, self._make)

    def _make(self, server: HookedServer, handler: Callable[[Any, Any, Any], Any]) -> Facade:
        made = self.facade_class.__new__(self.facade_class)
        made._engine = server
        try:
            made.__init__(server.server_address, handler)  # type: ignore[misc]
        except BaseException as error:
            raise failure("make", f"a server of {_names(self.classes)}", error) from error
        return made


def load(targets: Sequence[str], model: str) -> Mixins:
    """Import the classes that `targets` name, for a server of that model. Raises `LoadError`."""
    classes = []
    for target in targets:
        found, label = find_class(target), f"mix-in {target!r}"
        if is_of_library(found):
            raise LoadError("load", label, "srvctl assembles that class itself; expected one that adds something to it")
        for cls in found.__mro__:
            if is_of_library(cls) and (brought := _MODELS.get(cls.__name__, model)) != model:
                raise LoadError("load", label, f"it has {cls.__name__}, which is --{brought}; this server is --{model}")
        classes.append(found)
    return Mixins(classes)


def _facade_class(classes: Sequence[type]) -> type[Facade]:
    """Return a class with `classes` in front and the hooks below them.

    Below the hooks are the library's classes from which `classes` are derived, for what else their constructors set.
    """
    below = {c for cls in classes for c in cls.__mro__ if is_of_library(c) and c.__name__ not in _MODELS}
    lowest = [c for c in below if not any(c is not other and issubclass(other, c) for other in below)]
    try:
        bottom = type("Hooks", (Facade, *lowest), {"__module__": Facade.__module__})
        return type("Server", (*classes, bottom), {"__module__": Facade.__module__})
    except TypeError as error:  # two of them want another order, or have layouts of their own
        why = str(error).partition("\n")[0].rstrip(": ")
        raise LoadError("combine", f"mix-ins {_names(classes)}", why) from None


def _names(classes: Sequence[type]) -> str:
    return " and ".join(cls.__name__ for cls in classes)
