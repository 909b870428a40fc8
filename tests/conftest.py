"""Fixtures that every part of the tests uses."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import hypothesis
import pytest

from tests.launched import Launched

# No test is about how long things take on the machine that it runs on.
hypothesis.settings.register_profile("srvctl", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("srvctl")

# Whoever runs the tests in the background may have left these ignored, which every process that they start inherits.
for _number in (signal.SIGINT, signal.SIGQUIT):
    if signal.getsignal(_number) == signal.SIG_IGN:
        signal.signal(_number, signal.default_int_handler if _number == signal.SIGINT else signal.SIG_DFL)

HANDLERS = Path(__file__).parent / "data" / "handlers.py"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the long forms of promises out unless they are asked for by ``-m long``."""
    if "long" in (config.getoption("-m") or ""):
        return
    for item in items:
        if "long" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="the long form; run with -m long"))


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A directory to start srvctl in, with `myapp.py`: the handlers of tests/data/handlers.py."""
    tmp_path.chmod(0o755)
    (tmp_path / "myapp.py").write_text(HANDLERS.read_text())
    return tmp_path


@pytest.fixture
def launch(place: Path) -> Iterator[Callable[..., Launched]]:
    """Start ``srvctl WORDS --announce`` in `place`; each is stopped when the test ends."""
    with ExitStack() as launched:

        def start(*words: str, **options: object) -> Launched:
            options.setdefault("cwd", place)
            return launched.enter_context(Launched(*words, **options))  # type: ignore[arg-type]

        yield start
