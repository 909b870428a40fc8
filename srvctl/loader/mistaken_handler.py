"""Mistaken handlers: what a word in the place of a handler is, when it does not name one.

It may be a program without ``--`` before it, a module or file without the name of a class, or a name that is spelled
wrong. Nothing is imported or executed here: the source of a module is only parsed.
"""

from __future__ import annotations

import os
import sys

from srvctl.errors import LaunchError, LoadError, UsageError, did_you_mean

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


def explain_word(word: str, ready_made: Sequence[str]) -> LaunchError:
    """Return the error for a bare `word` that is none of the names `ready_made`."""
    if local := _local_module(word):
        return _no_class(word, *local)
    if program := explain_program([word]):
        return program
    label = f"handler {word!r}"
    if hint := did_you_mean(word, ready_made):
        return LoadError("load", label, f"there is no ready-made handler of that name{hint}")
    if path := _installed_module(word):
        return _no_class(word, word, path, "module")
    names = ", ".join(ready_made) or "none is installed"
    return LoadError("load", label, f"there is no ready-made handler of that name ({names}); expected MODULE:NAME")


def explain_file(word: str) -> LaunchError | None:
    """Return the error for a `word` without a colon that is the name of a file; None if it may be a handler, too."""
    if word.endswith(".py"):
        return _no_class(word, word, word, "file")
    if program := explain_program([word]):
        return program
    if "/" not in word:  # a dotted name, by chance that of a file as well
        return None
    why = "it is neither a Python file nor executable; expected FILE.py:NAME, or a program after --"
    return LoadError("load", f"handler {word!r}", why)


def explain_program(words: Sequence[str]) -> UsageError | None:
    """Return the error for a program and its arguments without ``--``, or None if the first word is not a program."""
    import shlex
    import shutil

    name, *arguments = words
    if name.endswith(".py") or ":" in name:
        return None
    if os.path.isfile(name) and os.access(name, os.X_OK):
        path = name if "/" in name else f"./{name}"
    elif "/" not in name and shutil.which(name):
        path = name
    else:
        return None
    return UsageError(
        "run", f"program {name!r}", f"there is no -- before it; did you mean: -- {shlex.join([path, *arguments])}"
    )


def _no_class(word: str, location: str, path: str, kind: str) -> LoadError:
    """Return the error for a module or file that `word` names without a class of it; `location` is how to name it."""
    classes = _handler_classes(path)
    match classes:
        case None:
            why = f"it is a {kind}; expected {location}:NAME"
        case []:
            why = f"it is a {kind} in which no class has a method handle; expected {location}:NAME"
        case [name]:
            why = f"it is a {kind}; did you mean {location}:{name}?"
        case _:
            why = f"it is a {kind}; expected {location}:NAME, NAME being one of {', '.join(classes)}"
    return LoadError("load", f"handler {word!r}", why)


def _local_module(name: str) -> tuple[str, str, str] | None:
    """Return how to name the module `name` of the current directory, its file, and what it is; None without one."""
    for path in (f"{name}.py", os.path.join(name, "__init__.py")):
        if os.path.isfile(path):
            if name not in sys.stdlib_module_names:
                return name, path, "module"
            return path, path, "file"  # as a module, the one of the standard library would be imported
    return None


def _installed_module(name: str) -> str:
    """Return the file of a module that is installed, or an empty string."""
    from importlib.machinery import PathFinder

    spec = PathFinder.find_spec(name)
    return spec.origin or "" if spec else ""


def _handler_classes(path: str) -> list[str] | None:
    """Return the public classes in the source at `path` that have a method ``handle``; None if it cannot be parsed."""
    import ast

    try:
        with open(path, "rb") as source:
            body = ast.parse(source.read()).body
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):  # null bytes; deep nesting
        return None
    found: list[str] = []
    for node in body:
        if isinstance(node, ast.ClassDef):
            bases = {base.id for base in node.bases if isinstance(base, ast.Name)}
            methods = {method.name for method in node.body if isinstance(method, ast.FunctionDef)}
            if "handle" in methods or bases.intersection(found):
                found.append(node.name)
    return [name for name in found if not name.startswith("_")]
