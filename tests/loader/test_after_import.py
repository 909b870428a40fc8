"""After-import hooks: they are called once, when the code of the module has run, and leave the module as it is."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from srvctl.loader import after_import
from srvctl.loader.after_import import call_after_import


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The name of a module that has not been imported."""
    (tmp_path / "imported_later.py").write_text("value = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    before = sys.meta_path.copy()
    yield "imported_later"
    sys.modules.pop("imported_later", None)
    after_import._hooks.clear()
    sys.meta_path[:] = before


def test_a_hook_is_called_when_the_module_has_been_imported(module: str) -> None:
    """With its names in it, and not again for a module that is imported afterwards."""
    values: list[int] = []
    call_after_import(module, lambda found: values.append(found.value))
    assert values == []
    importlib.import_module(module)
    importlib.import_module(module)
    assert values == [1]
    assert after_import._finder not in sys.meta_path


def test_a_hook_for_a_module_that_is_there_is_called_at_once(module: str) -> None:
    """Nothing waits then."""
    there = importlib.import_module(module)
    found: list[ModuleType] = []
    call_after_import(module, found.append)
    assert found == [there]
    assert after_import._finder not in sys.meta_path


def test_the_module_has_the_loader_that_it_would_have(module: str) -> None:
    """So its source can be shown, in a traceback for example."""
    call_after_import(module, lambda found: None)
    found = importlib.import_module(module)
    assert type(found.__loader__).__module__ == "_frozen_importlib_external"
    assert found.__spec__ is not None and found.__spec__.loader is found.__loader__
    assert inspect.getsource(found) == "value = 1\n"


def test_a_module_that_does_not_exist_is_an_import_error_as_ever(module: str) -> None:
    """The hook waits for nothing else."""
    call_after_import("no_such_module_at_all", lambda found: None)
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("no_such_module_at_all")
