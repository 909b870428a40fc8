"""From a handler's dotted path to the handler: found, imported, checked, its attributes set, and prepared.

Runs in the worker, after privileges are gone. The four ways in which a handler is not found are four different errors:
no such module, a module that fails to import (with the user's own frames), no such name in it, and not a handler.
"""

from __future__ import annotations

import os
import stat
import sys

from srvctl.errors import LaunchError, LoadError
from srvctl.loader.attributes import set_attributes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import ModuleType
    from typing import Any

_HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
# Base classes that say what a handler was made for, ours and the standard library's; by name, so that neither
# module is imported to ask.
_HANDLER_MODULES = ("socketserver", "srvctl.socketserver.handlers")


class Loaded:
    """A handler that was loaded, or a program: what to call or to start, and the file it came from."""

    def __init__(self, handler: Any, file: str) -> None:
        self.handler, self.file = handler, file


def load(target: str, is_ready_made: bool, is_stream: bool, assignments: Sequence[tuple[str, str]]) -> Loaded:
    """Import and return the handler `target`, with `assignments` made on it, and a ready-made one prepared.

    Prepared, it has looked at its attributes, and may hold files open. Raises as `find` does, `UsageError` for an
    assignment, and the `LaunchError` with which a ready-made handler says that it cannot serve so.
    """
    loaded, what = find(target, is_ready_made, is_stream), f"handler {target!r}"
    set_attributes(loaded.handler, assignments, what)
    if is_ready_made:
        _prepare(loaded.handler, what)
    return loaded


def find(target: str, is_ready_made: bool, is_stream: bool) -> Loaded:
    """Import and return the handler `target`, as it is written.

    A ready-made one's target may be a module alone, whose ``Stream`` or ``Datagram`` is taken by `is_stream`. The
    current directory, or that of a file, becomes importable. Raises `LoadError`.
    """
    what = f"handler {target!r}"
    location, _, name = target.partition(":")
    if is_ready_made:
        module = _import(location, what, "")
        handler = _attribute(module, name or ("Stream" if is_stream else "Datagram"), what)
    elif location.endswith(".py") or "/" in location:
        module = _import_file(location, what)
        handler = _attribute(module, _required(name, what), what)
    else:
        unsafe = _make_importable(os.getcwd())
        if name:
            module = _import(location, what, unsafe)
        else:
            module, name = _import_dotted(location, what, unsafe)
        handler = _attribute(module, name, what)
    _check(handler, is_stream, what)
    return Loaded(handler, getattr(module, "__file__", None) or "(built in)")


def own_classmethod(handler: Any, name: str) -> Callable[[], Any] | None:
    """Return the class method `name` of a ready-made handler, which srvctl may call when there is no request yet.

    A method for instances, and anything else of that name, is the handler's own business.
    """
    found = getattr(handler, name, None)
    return found if isinstance(handler, type) and getattr(found, "__self__", None) is handler else None


def _prepare(handler: Any, what: str) -> None:
    """Have the handler look at its attributes now, where it otherwise would with the first request."""
    prepare = own_classmethod(handler, "prepare")
    if prepare is None:
        return
    try:
        prepare()
    except LaunchError:
        raise
    except BaseException as error:  # somebody else's package
        raise _failed("prepare", what, error) from error


def _required(name: str, what: str) -> str:
    if not name:
        raise LoadError("load", what, "expected a name behind it, such as myapp.py:Echo")
    return name


def _make_importable(directory: str) -> str:
    """Put `directory` on the path, behind the standard library and before what is installed; or say why not.

    Behind, so that a ``socket.py`` beside the user's module replaces nothing that others import.
    """
    if why := why_unsafe(directory):
        return f"as root, directory {directory!r} is not searched: {why}"
    library = os.path.dirname(os.path.realpath(os.__file__))
    behind = [n for n, entry in enumerate(sys.path) if os.path.realpath(entry) == library or "lib-dynload" in entry]
    sys.path.insert(max(behind, default=-1) + 1, directory)
    return ""


def why_unsafe(path: str) -> str:
    """Return why root must not run what is at `path`, or an empty string."""
    if os.geteuid() != 0:
        return ""
    found = os.stat(path)
    if found.st_uid != 0:
        return f"user {found.st_uid} can write to it"
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return "others can write to it"
    return ""


def _import_file(path: str, what: str) -> ModuleType:
    from importlib.util import module_from_spec, spec_from_file_location

    path = os.path.abspath(path)
    if not os.path.isfile(path):
        raise LoadError("load", what, f"there is no file {path!r}")
    directory = os.path.dirname(path)
    if unsafe := _make_importable(directory):
        raise LoadError("load", what, unsafe)
    _refuse_unsafe_file(path, what)
    name = os.path.splitext(os.path.basename(path))[0]
    if name in sys.stdlib_module_names or name in sys.modules:
        name = f"_handler_{name}"  # a file that is called socket.py is nobody's socket
    spec = spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise LoadError("load", what, "it is not a Python file")
    module = module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException as error:
        raise _failed_to_import(name, error, what) from error
    return module


def _import_dotted(path: str, what: str, unsafe: str) -> tuple[ModuleType, str]:
    """Import the longest part of ``pkg.mod.Name`` that is a module; return it and the rest."""
    module_name, dot, name = path.rpartition(".")
    if not dot:
        raise LoadError("load", what, "expected MODULE:NAME, or a ready-made handler; see: srvctl handlers")
    while True:
        try:
            return _import(module_name, what, unsafe), name
        except _NoSuchModule:
            shorter, dot, last = module_name.rpartition(".")
            if not dot:
                raise
            module_name, name = shorter, f"{last}.{name}"


class _NoSuchModule(LoadError):
    pass


def _import(name: str, what: str, unsafe: str) -> ModuleType:
    if not all(part.isidentifier() for part in name.split(".")):
        raise LoadError("load", what, f"{name!r} is not the name of a module")
    _refuse_unsafe_module(name, what)
    try:
        __import__(name)
    except ModuleNotFoundError as error:
        # The module that was asked for, or a package it would be in; anything else is missing inside of it.
        if error.name and (name + ".").startswith(error.name + "."):
            hint = f" ({unsafe})" if unsafe else f" in {os.getcwd()!r} or among what is installed"
            raise _NoSuchModule("load", what, f"there is no module {error.name!r}{hint}") from None
        raise _failed_to_import(name, error, what) from error
    except BaseException as error:  # SystemExit too: the module's code ran, and failed
        raise _failed_to_import(name, error, what) from error
    return sys.modules[name]


def _refuse_unsafe_module(name: str, what: str) -> None:
    """As root, look at what the current directory has of that name, packages on the way included, before it runs."""
    parts = name.split(".")
    if parts[0] in sys.stdlib_module_names:  # which comes first
        return
    top = os.getcwd()
    for part in parts:
        top = os.path.join(top, part)
        for path in (f"{top}.py", top, os.path.join(top, "__init__.py")):
            if os.path.exists(path):
                _refuse_unsafe_file(path, what)


def _refuse_unsafe_file(path: str, what: str) -> None:
    if why := why_unsafe(path):
        raise LoadError("load", what, f"as root, {path!r} is not run: {why}")


def _failed_to_import(name: str, error: BaseException, what: str) -> LoadError:
    return _failed("load", what, error, f"module {name!r} failed to import: ")


def _failed(verb: str, what: str, error: BaseException, where: str = "") -> LoadError:
    """Return the error for what code that is not srvctl's has raised, with the frames of that code."""
    import traceback

    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith((_HERE, "<frozen importlib"))
    ]
    detail = "".join(traceback.format_list(frames) + traceback.format_exception_only(error))
    why = traceback.format_exception_only(error)[-1].strip().splitlines()[0]
    return LoadError(verb, what, where + why, detail)


def _attribute(module: ModuleType, name: str, what: str) -> Any:
    found: Any = module
    for part in name.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            names = ", ".join(n for n, v in vars(module).items() if callable(v) and not n.startswith("_"))
            raise LoadError(
                "load", what, f"there is no {name!r} in module {module.__name__!r}; it has {names or 'nothing to call'}"
            ) from None
    return found


def _check(handler: Any, is_stream: bool, what: str) -> None:
    if not callable(handler):
        raise LoadError(
            "load",
            what,
            f"it is not a handler: {type(handler).__name__} objects cannot be called; "
            "expected a class or a function of (request, client_address, server)",
        )
    if isinstance(handler, type):
        made_for = {c.__name__ for c in handler.__mro__ if c.__module__ in _HANDLER_MODULES}
        wrong = "DatagramRequestHandler" if is_stream else "StreamRequestHandler"
        if wrong in made_for:
            is_for, socket = ("datagrams", "connections") if is_stream else ("connections", "datagrams")
            raise LoadError("load", what, f"it is made for {is_for} ({wrong}), and this socket is for {socket}")
        if "__init__" in vars(handler):
            _check_arity(vars(handler)["__init__"], 4, what)
    elif hasattr(handler, "__code__"):
        _check_arity(handler, 3, what)


def _check_arity(function: Any, count: int, what: str) -> None:
    """Refuse a function that cannot take `count` positional arguments; `inspect` would cost a worker 1 MB."""
    code = getattr(function, "__code__", None)
    if code is None:  # written in C, or an object that is called: it knows
        return
    is_coroutine, takes_any = bool(code.co_flags & 0x80), bool(code.co_flags & 0x04)  # inspect.CO_*
    if is_coroutine:
        raise LoadError("load", what, "it is not a handler: a coroutine function is not called but awaited")
    most = code.co_argcount
    least = most - len(function.__defaults__ or ())
    mandatory = set(code.co_varnames[most : most + code.co_kwonlyargcount]) - set(function.__kwdefaults__ or ())
    if (count > most and not takes_any) or count < least or mandatory:
        takes = f"{most}" if least == most else f"{least} to {most}"
        raise LoadError(
            "load", what, f"it is not a handler: it takes {takes} arguments; expected (request, client_address, server)"
        )
