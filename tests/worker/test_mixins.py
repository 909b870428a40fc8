"""Mix-ins: which classes can be put in front of what serves, and in which order their hooks are found."""

from __future__ import annotations

import socketserver
from collections.abc import Callable
from pathlib import Path

import pytest

from srvctl import socketserver as ours
from srvctl.errors import LoadError
from srvctl.worker import mixins
from srvctl.worker.mixins import Mixins


class First:
    def verify_request(self, request: object, address: object) -> str:
        return "first"


class Second:
    def verify_request(self, request: object, address: object) -> str:
        return "second"


def mro(*classes: type) -> list[str]:
    return [cls.__name__ for cls in Mixins(classes).facade_class.__mro__]


def test_they_come_in_their_order_with_the_hooks_below() -> None:
    """The first is asked first."""
    assert mro(First, Second) == ["Server", "First", "Second", "Hooks", "Facade", "object"]
    assert Mixins([Second, First]).facade_class.verify_request is Second.verify_request


@pytest.mark.parametrize("library", [socketserver, ours])
def test_the_hooks_stand_between_a_server_class_and_its_library(library: object) -> None:
    """What the library does with a socket is not reached by `super`."""
    own = type("Own", (library.TCPServer,), {})  # type: ignore[attr-defined]
    order = mro(First, own)
    assert order[:5] == ["Server", "First", "Own", "Hooks", "Facade"]
    assert order[5] == "TCPServer"


def test_the_most_derived_class_of_the_library_is_the_one_below() -> None:
    """A mix-in over BaseServer goes with a class over TCPServer."""
    base, tcp = type("Base", (socketserver.BaseServer,), {}), type("Tcp", (socketserver.TCPServer,), {})
    assert mro(base, tcp)[:6] == ["Server", "Base", "Tcp", "Hooks", "Facade", "TCPServer"]


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Mixins]:
    """Load classes as if they had been found under the names ``m0``, ``m1`` and so on."""

    def load(*classes: type, model: str = "sync") -> Mixins:
        found = {f"m{n}": cls for n, cls in enumerate(classes)}
        monkeypatch.setattr(mixins, "find_class", found.__getitem__)
        return mixins.load(tuple(found), model)

    return load


def test_a_class_of_the_library_itself_adds_nothing(load: Callable[..., Mixins]) -> None:
    """srvctl has its own, and whoever names it expects something of it."""
    with pytest.raises(LoadError, match="srvctl assembles that class itself"):
        load(socketserver.ThreadingTCPServer)


@pytest.mark.parametrize(
    ("mixin", "model"),
    [(socketserver.ThreadingMixIn, "threads"), (ours.ThreadingMixIn, "threads"), (socketserver.ForkingMixIn, "fork")],
)
def test_a_class_that_has_a_model_needs_that_option(mixin: type, model: str, load: Callable[..., Mixins]) -> None:
    """It would not be served as it says."""
    brings = type("Brings", (mixin, socketserver.TCPServer), {})
    assert load(brings, model=model).classes == (brings,)
    with pytest.raises(LoadError, match=f"which is --{model}; this server is --sync"):
        load(brings)


@pytest.mark.parametrize(
    "classes",
    [
        (First, First),
        (type("Slots", (), {"__slots__": ("a",)}), type("Others", (), {"__slots__": ("b",)})),
    ],
)
def test_classes_that_cannot_be_combined_are_one_line(classes: tuple[type, ...]) -> None:
    """Of the error, and not a traceback."""
    with pytest.raises(LoadError) as raised:
        Mixins(classes)
    assert raised.value.what == f"mix-ins {classes[0].__name__} and {classes[1].__name__}"
    assert "\n" not in raised.value.why and raised.value.why


def test_what_is_not_a_class_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A function cannot stand in front of anything."""
    (tmp_path / "functions_only.py").write_text("def rule(): ...\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(LoadError, match="it is not a class: function"):
        mixins.load(["functions_only:rule"], "sync")
