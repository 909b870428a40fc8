"""Errors on their way out: one line on standard error, the exit status, and a word for the service manager."""

from __future__ import annotations

import sys

from srvctl.cli import output
from srvctl.errors import LaunchError, UsageError
from srvctl.systemd import protocol as systemd

TYPE_CHECKING = False
if TYPE_CHECKING:
    import click


def report(error: LaunchError) -> int:
    """Print an error, its detail first, and return the exit status."""
    line = str(error).encode("unicode_escape").decode().replace("\\\\", "\\")
    if sys.stderr is not None:  # it is None where srvctl was started with descriptor 2 closed
        detail = error.detail.rstrip("\n") + "\n" if error.detail else ""
        try:
            sys.stderr.write(f"{detail}srvctl: error: {line}\n")
        except OSError:  # nobody reads it; the status still says it
            output.discard_unread()
    systemd.notify(f"STATUS={line}\nERRNO={int(error.status)}")
    return int(error.status)


def from_click(error: click.ClickException) -> UsageError:
    """Return an error of click's in the one form that errors have."""
    import click

    match error:
        case click.NoSuchOption():
            return _no_such_option(error.option_name)
        case click.BadOptionUsage():
            return UsageError("use", f"option {error.option_name!r}", error.message.rstrip("."))
    return UsageError("read", "the command line", error.format_message().rstrip("."))


def _no_such_option(flag: str) -> UsageError:
    """Return the error for an option where no family is before it."""
    from srvctl.cli.parser import no_such_option
    from srvctl.config.options import MODEL_OPTIONS, OPTIONS

    flags = [flag for option in (*MODEL_OPTIONS, *OPTIONS) for flag in option.flags]
    if flag in flags:
        return UsageError("use", f"option {flag!r}", f"it stands after the address: srvctl FAMILY ADDRESS {flag}")
    return no_such_option(flag, flags)
