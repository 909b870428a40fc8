"""Source finder: modules below the user's directory are compiled from the source as it is now.

Python trusts bytecode in ``__pycache__`` when the source's time and size are the same. Archives, images and
``rsync --times`` leave those as they were, and a reload would serve the code of before. As root, a directory
``__pycache__`` of another user's would be run as well. So bytecode is neither read nor written there.
"""

from __future__ import annotations

import _frozen_importlib_external as bootstrap  # importlib itself is slow to import
import _imp
import os
import sys

from srvctl.loader.trust import why_unsafe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class FreshLoader(bootstrap.SourceFileLoader):
    """Load a module from its source alone."""

    def get_code(self, fullname: str) -> Any:
        """Compile the source. As root, raises ImportError when another user could have written it."""
        path = self.get_filename(fullname)
        if why := why_unsafe(path):
            raise ImportError(f"as root, {path!r} is not run: {why}", name=fullname, path=path)
        return self.source_to_code(self.get_data(path), path)


class _GuardedExtensionLoader(bootstrap.ExtensionFileLoader):
    """Load a module that was written in C, if root may."""

    def create_module(self, spec: Any) -> Any:
        if why := why_unsafe(self.path):
            raise ImportError(f"as root, {self.path!r} is not run: {why}", name=spec.name, path=self.path)
        return super().create_module(spec)


def watch(directory: str) -> None:
    """Have modules in `directory` and in the packages below it found so; once for each."""
    directory = os.path.abspath(directory)
    if directory in _directories:
        return
    if not _directories:
        sys.path_hooks.insert(0, _hook)
    _directories.append(directory)
    for known in [known for known in sys.path_importer_cache if _is_below(known)]:
        del sys.path_importer_cache[known]


_directories: list[str] = []


def _hook(path: str) -> Any:
    if not _is_below(path):
        raise ImportError("not the user's", path=path)
    loaders = (_GuardedExtensionLoader, _imp.extension_suffixes()), (FreshLoader, [".py"])
    return bootstrap.FileFinder(path, *loaders)


def _is_below(path: str) -> bool:
    """Tell whether the entry of the import path that `path` belongs to is one of ours: a `.venv` may be below it."""
    path = os.path.abspath(path)
    entries = [entry for entry in map(os.path.abspath, sys.path) if f"{path}/".startswith(f"{entry}/")]
    return max(entries, key=len, default="") in _directories
