"""What the promises' tests use: a place with their own handlers beside those of the other tests."""

from __future__ import annotations

from pathlib import Path

import pytest

HANDLERS = Path(__file__).parent / "handlers.py"


@pytest.fixture
def place(place: Path) -> Path:
    """The directory to start srvctl in, with `promised.py` as well: the handlers of tests/promises/handlers.py."""
    (place / "promised.py").write_text(HANDLERS.read_text())
    return place
