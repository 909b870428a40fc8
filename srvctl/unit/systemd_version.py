"""Versions of systemd: the one that is installed, and the one that each newer setting of a unit came with.

The versions are those of systemd's NEWS. The manual has them too, as "Added in version". Every setting that is not in
the table is older than `OLDEST`.
"""

from __future__ import annotations

import re
import subprocess

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

# The first with SystemCallFilter=@system-service, ProtectHome=tmpfs (238) and commands without an absolute path.
OLDEST = 239

# An older systemd warns of a setting that it does not know, and ignores it.
_CAME_WITH = {
    "ProtectHostname": 242,
    "RestrictSUIDSGID": 242,
    "ProtectKernelLogs": 244,
    "ProtectClock": 245,
    "ProcSubset": 247,
    "ProtectProc": 247,
}
# The value of Type=. An older systemd reads an unknown value as none.
_NOTIFY_RELOAD_CAME_WITH = 253

# systemctl --version prints a constant text.
_PATIENCE_SECONDS = 10


def installed() -> int:
    """Return the version that systemctl(1) reports; `OLDEST` where there is none, since newer ones read its units too.

    Blocks while systemctl runs.
    """
    try:
        said = subprocess.run(
            ["systemctl", "--version"], capture_output=True, timeout=_PATIENCE_SECONDS, stdin=subprocess.DEVNULL
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return OLDEST
    found = re.match(rb"systemd (\d+)", said)
    return max(int(found[1]), OLDEST) if found else OLDEST


def known(lines: Iterable[str], version: int) -> list[str]:
    """Return the settings, of ``Name=value`` each, that systemd `version` knows."""
    return [line for line in lines if _CAME_WITH.get(line.partition("=")[0], OLDEST) <= version]


def reload_settings(version: int) -> list[str]:
    """Return the settings by which ``systemctl reload`` sends a HUP.

    With Type=notify-reload it waits for the end of the reload; an older systemd sends the signal by a command.
    """
    if version >= _NOTIFY_RELOAD_CAME_WITH:
        return ["Type=notify-reload"]
    return ["Type=notify", "ExecReload=kill -HUP $MAINPID"]


def parse_version(text: str) -> int:
    """Read a version of systemd."""
    if not (text.isascii() and text.isdecimal()) or int(text) < OLDEST:
        raise ValueError(f"expected the number of a version, {OLDEST} or newer")
    return int(text)
