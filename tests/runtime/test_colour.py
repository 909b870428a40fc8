"""Colour: what the environment and the terminal say."""

from __future__ import annotations

import pytest

from srvctl.runtime import colour


@pytest.mark.parametrize(
    ("is_terminal", "environ", "wanted"),
    [
        (True, {}, True),
        (False, {}, False),
        (True, {"TERM": "xterm"}, True),
        (True, {"TERM": "dumb"}, False),
        (True, {"NO_COLOR": "1"}, False),
        (True, {"NO_COLOR": ""}, True),
        (False, {"FORCE_COLOR": "1"}, True),
        (False, {"FORCE_COLOR": ""}, False),
        (True, {"TERM": "dumb", "FORCE_COLOR": "1"}, True),
        (True, {"NO_COLOR": "1", "FORCE_COLOR": "1"}, False),
    ],
)
def test_who_says_so_is_obeyed(is_terminal: bool, environ: dict[str, str], wanted: bool) -> None:
    """A person who wants none is stronger than one who forces it, and both are stronger than the terminal."""
    assert colour.is_wanted(is_terminal, environ) is wanted
