"""After-import hooks: functions that are called with a module as soon as that has been imported.

For modules of the standard library that srvctl adds to when a handler uses them, and does not import by itself.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType
    from typing import Any

    Hook = Callable[[ModuleType], None]

_hooks: dict[str, Hook] = {}


def call_after_import(name: str, hook: Hook) -> None:
    """Call `hook` with the module `name` when its code has run: now, if it has been imported already."""
    if (module := sys.modules.get(name)) is not None:
        hook(module)
        return
    if not _hooks:
        sys.meta_path.insert(0, _finder)
    _hooks[name] = hook


class _Finder:
    """Find nothing by itself; have the hook called by the loader that the other finders have."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if name not in _hooks:
            return None
        hook = _hooks.pop(name)
        if not _hooks:
            sys.meta_path.remove(self)
        for finder in [finder for finder in sys.meta_path if finder is not self]:
            spec = finder.find_spec(name, path, target)
            if spec is not None:
                if spec.loader is not None:
                    spec.loader = _Loader(spec.loader, hook)  # type: ignore[assignment]
                return spec
        return None


_finder: Any = _Finder()


class _Loader:
    """Load a module as `loader` does, and call the hook; after that, `loader` is the module's again."""

    def __init__(self, loader: Any, hook: Hook) -> None:
        self._loader, self._hook = loader, hook

    def create_module(self, spec: Any) -> Any:
        return self._loader.create_module(spec)

    def exec_module(self, module: Any) -> None:
        module.__loader__ = module.__spec__.loader = self._loader
        self._loader.exec_module(module)
        self._hook(module)
