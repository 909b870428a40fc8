"""The version of systemd that a unit is for: the installed one, as systemctl reports it."""

from __future__ import annotations

from pathlib import Path

import pytest

from srvctl.unit import systemd_version


@pytest.mark.parametrize(
    ("said", "version"),
    [
        ("systemd 252 (252.38-1~deb12u1)\n+PAM +AUDIT", 252),
        ("systemd 257.5-2.fc42\n", 257),
        ("systemd 219\n", 239),
        ("who is systemd?\n", 239),
        (None, 239),
    ],
)
def test_systemctl_is_asked_for_its_version(
    said: str | None, version: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without systemctl, the unit is for the oldest systemd: a newer one reads it as well."""
    if said is not None:
        (tmp_path / "systemctl").write_text(f"#!/bin/sh\nprintf '%s' '{said}'\n")
        (tmp_path / "systemctl").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert systemd_version.installed() == version
