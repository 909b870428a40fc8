"""Importer: finds, imports and checks the handler that the command line names, and sets its attributes.

Runs in the worker, with the worker's privileges. There are four errors: no such module, a module that fails to import
(with a traceback of the user's frames), no such name in the module, and an object that is not a handler.
"""

from __future__ import annotations

import os
import sys

from srvctl.errors import LaunchError, LoadError, did_you_mean
from srvctl.loader import handler_check, source_finder
from srvctl.loader.attributes import set_attributes
from srvctl.loader.trust import why_unsafe

TYPE_CHECKING = False
if TYPE_CHECKING:
    import traceback
    from collections.abc import Callable, Sequence
    from types import ModuleType
    from typing import Any

_HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


class Loaded:
    """A loaded handler, or a program to start, the file that it came from, and the module that was named."""

    def __init__(self, handler: Any, file: str, module: ModuleType | None = None) -> None:
        self.handler, self.file, self.module = handler, file, module


def load(
    target: str,
    is_ready_made: bool,
    is_stream: bool,
    assignments: Sequence[tuple[str, str]],
    mixins: type | None = None,
) -> Loaded:
    """Import the handler `target`, and make `assignments` on it.

    An attribute that the handler does not have is set on the class `mixins`. Raises as `find`, and `UsageError` for an
    assignment.
    """
    loaded, label = find(target, is_ready_made, is_stream), f"handler {target!r}"
    set_attributes(loaded.handler, assignments, label, mixins)
    handler_check.watch_results(loaded.handler)
    return loaded


def find(target: str, is_ready_made: bool, is_stream: bool) -> Loaded:
    """Import and return the handler `target`, without changing it.

    The target of a ready-made handler may be a module; `is_stream` then selects its ``Stream`` or ``Datagram``. The
    current directory, or the directory of a file, is added to the import path. Raises `LoadError`.
    """
    label = f"handler {target!r}"
    if is_ready_made:
        location, _, name = target.partition(":")
        module = _import(location, label, "", is_ready_made)
        handler = _attribute(module, name or ("Stream" if is_stream else "Datagram"), label)
    else:
        module, handler = _find(target, label)
    handler_check.check(handler, is_stream, label)
    return Loaded(handler, getattr(module, "__file__", None) or "(built in)", module)


def find_class(target: str) -> type:
    """Import and return the class `target`, a mix-in. Raises `LoadError`."""
    label = f"mix-in {target!r}"
    _, found = _find(target, label)
    if not isinstance(found, type):
        raise LoadError("load", label, f"it is not a class: {type(found).__name__}")
    return found


def _find(target: str, label: str) -> tuple[ModuleType, Any]:
    """Import what `target` names, from the current directory as well, or that of a file; return its module and it."""
    location, _, name = target.partition(":")
    if location.endswith(".py") or "/" in location:
        name = _required(name, label)
        module = _import_file(location, label)
        return module, _attribute(module, name, label)
    unsafe = _make_importable(_here(label))
    if name:
        module = _import(location, label, unsafe)
    else:
        module, name = _import_dotted(location, label, unsafe)
    return module, _attribute(module, name, label)


def own_classmethod(handler: Any, name: str) -> Callable[[], Any] | None:
    """Return the class method `name` of a ready-made handler, or None.

    Anything else with that name, such as an instance method, is not meant for srvctl.
    """
    method = getattr(handler, name, None)
    return method if isinstance(handler, type) and getattr(method, "__self__", None) is handler else None


def _here(label: str) -> str:
    try:
        return os.getcwd()
    except OSError:
        raise LoadError("load", label, "the current directory, where it would be looked for, is gone") from None


def _required(name: str, label: str) -> str:
    if not name:
        raise LoadError("load", label, "expected FILE.py:NAME, such as myapp.py:Echo")
    return name


def _make_importable(directory: str) -> str:
    """Add `directory` to the import path, between the standard library and installed packages; or return why not.

    After the standard library, so that the user's ``socket.py`` does not replace the standard module.
    """
    if directory in sys.path:  # a mix-in came from it
        return ""
    if why := why_unsafe(directory):
        return f"as root, directory {directory!r} is not searched: {why}"
    library = os.path.dirname(os.path.realpath(os.__file__))
    indexes = [n for n, entry in enumerate(sys.path) if os.path.realpath(entry) == library or "lib-dynload" in entry]
    sys.path.insert(max(indexes, default=-1) + 1, directory)
    source_finder.watch(directory)
    return ""


def _import_file(path: str, label: str) -> ModuleType:
    from importlib.util import module_from_spec, spec_from_file_location

    path = os.path.abspath(path)
    if not os.path.isfile(path):
        raise LoadError("load", label, f"there is no file {path!r}{_similar_file(path)}")
    directory = os.path.dirname(path)
    if unsafe := _make_importable(directory):
        raise LoadError("load", label, unsafe)
    _refuse_unsafe_file(path, label)
    name = os.path.splitext(os.path.basename(path))[0]
    if name in sys.stdlib_module_names or name in sys.modules:
        name = f"_handler_{name}"  # the user's socket.py must not become the module socket
    spec = spec_from_file_location(name, path, loader=source_finder.FreshLoader(name, path))
    if spec is None or spec.loader is None:
        raise LoadError("load", label, "it is not a Python file")
    module = module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException as error:
        raise _failed_to_import(name, error, label) from error
    return module


def _similar_file(path: str) -> str:
    directory, name = os.path.split(path)
    return did_you_mean(name, [f"{module}.py" for module in _modules_in(directory)])


def _modules_in(directory: str) -> list[str]:
    """Return the names of the modules that are files in `directory`; none if it cannot be read."""
    try:
        names = os.listdir(directory)
    except OSError:
        return []
    return sorted(name.removesuffix(".py") for name in names if name.endswith(".py"))


def _import_dotted(path: str, label: str, unsafe: str) -> tuple[ModuleType, str]:
    """Import the longest prefix of ``pkg.mod.Name`` that is a module; return it and the rest."""
    module_name, dot, name = path.rpartition(".")
    if not dot:
        raise LoadError("load", label, "expected MODULE:NAME, or a ready-made handler; see: srvctl handlers")
    while True:
        try:
            return _import(module_name, label, unsafe), name
        except _NoSuchModule:
            shorter, dot, last = module_name.rpartition(".")
            if not dot:
                raise
            module_name, name = shorter, f"{last}.{name}"


class _NoSuchModule(LoadError):
    pass


def _import(name: str, label: str, unsafe: str, is_ready_made: bool = False) -> ModuleType:
    if not all(part.isidentifier() for part in name.split(".")):
        raise LoadError("load", label, f"{name!r} is not the name of a module")
    if not is_ready_made and not unsafe:
        _refuse_unsafe_module(name, label)
    try:
        __import__(name)
    except ModuleNotFoundError as error:
        # Missing is the module itself or its package. Any other name was imported inside of the module.
        if error.name and (name + ".").startswith(error.name + "."):
            where = f" ({unsafe})" if unsafe else f" in {_here(label)!r} or among the installed packages"
            hint = did_you_mean(error.name, _modules_in(_here(label)))
            raise _NoSuchModule("load", label, f"there is no module {error.name!r}{where}{hint}") from None
        raise _failed_to_import(name, error, label) from error
    except LaunchError:  # the module says itself what it lacks
        raise
    except BaseException as error:  # also SystemExit, raised by the module's code
        raise _failed_to_import(name, error, label) from error
    return sys.modules[name]


def _refuse_unsafe_module(name: str, label: str) -> None:
    """As root, refuse the module `name` if another user can write to its file or packages in the current directory."""
    if os.geteuid() != 0:
        return
    parts = name.split(".")
    if parts[0] in sys.stdlib_module_names:  # the standard library comes first
        return
    top = _here(label)
    for part in parts:
        top = os.path.join(top, part)
        for path in (f"{top}.py", top, os.path.join(top, "__init__.py")):
            if os.path.exists(path):
                _refuse_unsafe_file(path, label)


def _refuse_unsafe_file(path: str, label: str) -> None:
    if why := why_unsafe(path):
        raise LoadError("load", label, f"as root, {path!r} is not run: {why}")


def _failed_to_import(name: str, error: BaseException, label: str) -> LoadError:
    return failure("load", label, error, f"module {name!r} failed to import: ")


def failure(verb: str, label: str, error: BaseException, where: str = "") -> LoadError:
    """Return the error for an exception of code outside srvctl, with the traceback of that code."""
    import traceback

    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith((_HERE, "<frozen importlib"))
    ]
    detail = "".join(traceback.format_list(frames) + traceback.format_exception_only(error))
    why = traceback.format_exception_only(error)[-1].strip().splitlines()[0]
    return LoadError(verb, label, where + why + _place_of(error, frames), detail)


def _place_of(error: BaseException, frames: Sequence[traceback.FrameSummary]) -> str:
    """Return file and line of an exception, as the end of its message."""
    if isinstance(error, SyntaxError) and error.filename:
        return f" ({error.filename}:{error.lineno})"
    return f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""


def _attribute(module: ModuleType, name: str, label: str) -> Any:
    value: Any = module
    for part in name.split("."):
        try:
            value = getattr(value, part)
        except AttributeError:
            names = _public_callables(module)
            has = f"it has {', '.join(names) or 'nothing to call'}{did_you_mean(part, names)}"
            why = f"there is no {name!r} in module {module.__name__!r}; {has}"
            raise LoadError("load", label, why) from None
    return value


def _public_callables(module: ModuleType) -> list[str]:
    """Return the names of what can be called in `module`: what it defines, or, if that is nothing, what it imports."""
    public = {name: value for name, value in vars(module).items() if callable(value) and not name.startswith("_")}
    own = [name for name, value in public.items() if getattr(value, "__module__", "") == module.__name__]
    return own or list(public)
