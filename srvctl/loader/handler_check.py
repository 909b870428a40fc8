"""Check of a handler at the start: that it can be called, is made for this socket, and does something.

What is wrong is known without a client, so it is one line and status 78, and not a success in the log for each request.
"""

from __future__ import annotations

import sys

from srvctl.errors import LoadError
from srvctl.runtime.unfinished import UNFINISHED, refuse_unfinished

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# Modules whose base classes tell what kind of socket a handler is for. By name, so that neither has to be imported.
_HANDLER_MODULES = ("socketserver", "srvctl.socketserver.handlers")
# A class that overrides one of these may do everything there.
_OTHER_PLACES = ("__init__", "setup", "finish")
# What an asyncio protocol has, and a handler has not.
_PROTOCOL_METHODS = ("connection_made", "data_received", "datagram_received")
_VARIABLE_ARGUMENTS, _GENERATOR, _COROUTINE, _ASYNC_GENERATOR = 0x04, 0x20, 0x80, 0x200  # inspect.CO_*


def check(handler: Any, is_stream: bool, label: str) -> None:
    """Raise `LoadError` when `handler` cannot serve; `label` names it in the message."""
    if not callable(handler):
        raise _refusal(
            label,
            f"{type(handler).__name__} objects cannot be called; "
            "expected a class or a function of (request, client_address, server)",
        )
    if isinstance(handler, type):
        _check_class(handler, is_stream, label)
    elif hasattr(handler, "__code__"):
        _check_function(handler, label, "it")
        _check_arity(handler, 3, label)


def _check_class(handler: type, is_stream: bool, label: str) -> None:
    made_for = {c.__name__ for c in handler.__mro__ if c.__module__ in _HANDLER_MODULES}
    wrong = "DatagramRequestHandler" if is_stream else "StreamRequestHandler"
    if wrong in made_for:
        is_for, socket = ("datagrams", "connections") if is_stream else ("connections", "datagrams")
        raise LoadError("load", label, f"it is made for {is_for} ({wrong}), and this socket is for {socket}")
    handle = getattr(handler, "handle", None)
    if handle is None and any(hasattr(handler, name) for name in _PROTOCOL_METHODS):
        why = "it is an asyncio protocol; expected a class with a method handle(self), such as a StreamRequestHandler"
        raise _refusal(label, why)
    for name in ("handle", *_OTHER_PLACES[1:], *(name for name in dir(handler) if name.startswith("do_"))):
        method = getattr(handler, name, None)
        if hasattr(method, "__code__"):
            _check_function(method, label, f"its method {name}")
    if made_for:
        _check_handle_is_there(handler, label)
    if "__init__" in vars(handler):
        _check_arity(vars(handler)["__init__"], 4, label)
    elif type(handler) is type and not any({"__init__", "__new__"} & set(vars(cls)) for cls in handler.__mro__[:-1]):
        why = "its constructor takes no arguments; expected a StreamRequestHandler, or __init__(self, request, "
        raise _refusal(label, why + "client_address, server)")


def watch_results(handler: Any) -> None:
    """Have a handler of the standard library's fail when its ``handle`` returns what has not run, a coroutine say.

    Their constructor takes no notice of what ``handle`` returns; that of `srvctl.socketserver` does. Changes the class.
    """
    library = sys.modules.get("socketserver")
    if library is None or not (isinstance(handler, type) and issubclass(handler, library.BaseRequestHandler)):
        return
    handle: Any = handler.handle  # type: ignore[attr-defined]
    if handle.__module__ in sys.stdlib_module_names or handle.__module__ == "http.server":
        return

    def checked(self: Any) -> None:
        result = handle(self)
        if type(result) in UNFINISHED:
            refuse_unfinished(result)

    checked.__wrapped__ = handle  # type: ignore[attr-defined]
    handler.handle = checked  # type: ignore[attr-defined]


def _check_handle_is_there(handler: type, label: str) -> None:
    own = [cls for cls in handler.__mro__ if cls.__module__ not in _HANDLER_MODULES and cls is not object]
    names = {name for cls in own for name in vars(cls)}
    if "handle" in names or names.intersection(_OTHER_PLACES):
        return
    from difflib import get_close_matches

    methods = [name for name in names if callable(getattr(handler, name, None)) and not name.startswith("__")]
    near = get_close_matches("handle", methods, 1)
    hint = f"; is {near[0]!r} meant to be it?" if near else ""
    raise _refusal(label, f"it has no method handle(self), so it would do nothing{hint}")


def _check_function(function: Any, label: str, what: str) -> None:
    """Refuse a function whose body does not run when it is called; `what` is the subject of the message."""
    flags = function.__code__.co_flags
    if flags & (_COROUTINE | _ASYNC_GENERATOR):
        why = "is a coroutine function, which nothing awaits; expected a plain function, which may call asyncio.run()"
        raise _refusal(label, f"{what} {why}")
    if flags & _GENERATOR:
        raise _refusal(label, f"{what} is a generator, whose body does not run when it is called; write without yield")


def _check_arity(function: Any, count: int, label: str) -> None:
    """Refuse a function that cannot take `count` positional arguments; `inspect` would cost a worker 1 MB."""
    code = getattr(function, "__code__", None)
    if code is None:  # written in C, or a callable object: it checks its arguments itself
        return
    takes_any = bool(code.co_flags & _VARIABLE_ARGUMENTS)
    max_args = code.co_argcount
    min_args = max_args - len(function.__defaults__ or ())
    mandatory = set(code.co_varnames[max_args : max_args + code.co_kwonlyargcount]) - set(function.__kwdefaults__ or ())
    if (count > max_args and not takes_any) or count < min_args or mandatory:
        takes = f"{max_args}" if min_args == max_args else f"{min_args} to {max_args}"
        raise _refusal(label, f"it takes {takes} arguments; expected (request, client_address, server)")


def _refusal(label: str, why: str) -> LoadError:
    return LoadError("load", label, f"it is not a handler: {why}")
