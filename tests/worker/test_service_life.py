"""The hooks of a worker's life: their order, what becomes of their result, and what they raise."""

from __future__ import annotations

from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from srvctl.errors import LoadError, NoPermission
from srvctl.worker import service_life
from srvctl.worker.service_life import ServiceLife, hook_of


class Owner:
    """Notes its calls in `calls`; returns or raises what it was made with."""

    def __init__(self, calls: list[str], name: str, result: object = None) -> None:
        self.calls, self.name, self.result = calls, name, result

    def service_start(self, server: Any) -> object:
        self.calls.append(f"start {self.name}")
        if isinstance(self.result, BaseException):
            raise self.result
        return self.result

    def service_stop(self, server: Any) -> None:
        self.calls.append(f"stop {self.name}")


def a_server() -> SimpleNamespace:
    return SimpleNamespace(state=None)


def life_of(*owners: Any) -> ServiceLife:
    return ServiceLife([(f"owner {n}", owner) for n, owner in enumerate(owners)])


def test_the_end_goes_the_other_way_round() -> None:
    """What was opened last is closed first, and nothing twice."""
    calls: list[str] = []
    life, server = life_of(Owner(calls, "module"), Owner(calls, "class")), a_server()
    life.start(server)
    life.stop(server)
    life.stop(server)
    assert calls == ["start module", "start class", "stop class", "stop module"]


def test_the_result_is_the_state_of_the_server() -> None:
    """The last that returned something; one that returned nothing leaves it."""
    server = a_server()
    life_of(Owner([], "a", {"first": 1}), Owner([], "b", {"second": 2}), Owner([], "c")).start(server)
    assert server.state == {"second": 2}


def test_an_owner_without_hooks_is_passed_over() -> None:
    """A module may have one of the two, or an attribute of that name that is no function."""
    server, module = a_server(), ModuleType("mine")
    module.service_stop = "not to be called"  # type: ignore[attr-defined]
    life = life_of(module, object())
    life.start(server)
    life.stop(server)
    assert server.state is None


@pytest.mark.parametrize("error", [ValueError("no"), SystemExit(3), KeyboardInterrupt()])
def test_what_a_start_raises_ends_the_launch_and_stops_the_others(error: BaseException) -> None:
    """Status 78, with a line that names owner and exception; what was started before has its end."""
    calls: list[str] = []
    life = life_of(Owner(calls, "a"), Owner(calls, "b", error), Owner(calls, "c"))
    with pytest.raises(LoadError) as raised:
        life.start(a_server())
    assert (raised.value.verb, raised.value.what, int(raised.value.status)) == ("start", "owner 1", 78)
    assert raised.value.why.startswith(f"service_start raised {type(error).__name__}")
    assert calls == ["start a", "start b", "stop a"]


def test_an_error_of_srvctl_keeps_its_status() -> None:
    """A hook may say itself what is wrong, in one line."""
    with pytest.raises(NoPermission):
        life_of(Owner([], "a", NoPermission("open", "the file", "it is secret"))).start(a_server())


def test_what_an_end_raises_is_logged_and_the_others_have_theirs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stop goes on whatever a hook raises, SystemExit as well."""
    calls: list[str] = []
    logged: list[tuple[str, BaseException]] = []
    monkeypatch.setattr(service_life.log, "hook_failed", lambda what, error: logged.append((what, error)))

    class Failing(Owner):
        def service_stop(self, server: Any) -> None:
            super().service_stop(server)
            raise SystemExit(4)

    life = life_of(Owner(calls, "a"), Failing(calls, "b"))
    life.start(a_server())
    life.stop(a_server())
    assert calls[2:] == ["stop b", "stop a"]
    ((what, error),) = logged
    assert (what, type(error)) == ("service_stop of owner 1", SystemExit)


def test_a_hook_that_needs_an_object_is_refused_before_anything_is_started() -> None:
    """The class is what there is: with no request, there is no object of it."""
    calls: list[str] = []

    class Handler:
        def service_stop(self, server: Any) -> None: ...

    with pytest.raises(LoadError, match="put @classmethod over def service_stop"):
        life_of(Owner(calls, "a"), Handler).start(a_server())
    assert calls == []


def test_a_hook_of_a_class_may_be_a_class_method_or_a_static_method() -> None:
    """Or a function that takes the server alone, which works on a class."""

    class Handler:
        @classmethod
        def service_start(cls, server: Any) -> str:
            return cls.__name__

        @staticmethod
        def service_stop(server: Any) -> str:
            return "stopped"

        def plain(server: Any) -> str:  # noqa: N805
            return "plain"

    assert [
        hook(None) for name in ("service_start", "service_stop", "plain") if (hook := hook_of(Handler, name, ""))
    ] == [
        "Handler",
        "stopped",
        "plain",
    ]
