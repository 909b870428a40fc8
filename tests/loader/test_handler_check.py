"""Check of a handler: what is found out only when it has run."""

from __future__ import annotations

import http.server
import importlib
import socketserver
from typing import Any

import pytest

from srvctl.loader import builtin, handler_check


async def work() -> None:
    """Do nothing, once it is awaited."""


class Mine(socketserver.BaseRequestHandler):
    """A handler of the standard library whose plain method returns what `answer` says."""

    answer: Any = None

    def handle(self) -> None:
        """Return a value, which the constructor drops."""
        return self.answer() if self.answer else None  # type: ignore[no-any-return]


@pytest.mark.parametrize(("answer", "kind"), [(work, "coroutine"), (lambda: (n for n in ()), "generator")])
def test_a_library_handler_that_returns_what_has_not_run_fails(answer: Any, kind: str) -> None:
    """It would be a success in the log, and a warning that nobody awaited it."""
    handler = type("Handler", (Mine,), {"answer": staticmethod(answer)})
    handler_check.watch_results(handler)
    with pytest.raises(TypeError, match=f"the handler returned a {kind}, whose body has not run"):
        handler(None, None, None)


def test_a_library_handler_that_does_its_work_is_left_to_it() -> None:
    """The class is the same, and so is what others derive from."""
    handler = type("Handler", (Mine,), {})
    handler_check.watch_results(handler)
    handler(None, None, None)
    assert Mine.handle is not handler.handle  # type: ignore[attr-defined]


@pytest.mark.parametrize("is_stream", [True, False])
@pytest.mark.parametrize("name", sorted(builtin.OWN))
def test_every_ready_made_handler_can_serve(name: str, is_stream: bool) -> None:
    """What it is made for, and what it is not for says so by itself."""
    module = importlib.import_module(f"handlers.{name}")
    if (handler := getattr(module, "Stream" if is_stream else "Datagram", None)) is not None:
        handler_check.check(handler, is_stream, name)


def test_what_the_library_does_itself_is_not_watched() -> None:
    """Its own methods return nothing, and each call costs a request."""
    handler = type("Handler", (http.server.BaseHTTPRequestHandler,), {})
    handler_check.watch_results(handler)
    handler_check.watch_results(print)
    assert handler.handle is http.server.BaseHTTPRequestHandler.handle  # type: ignore[attr-defined]
