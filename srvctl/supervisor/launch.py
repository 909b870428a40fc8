"""Launch of a server: from settings to a supervisor that runs, and the announcement that it is ready."""

from __future__ import annotations

import contextlib
import os
import socket
import sys

from srvctl.config.settings import Settings
from srvctl.errors import AddressInUse, ExitStatus, from_os_error
from srvctl.listener.listener import Listener
from srvctl.listener.open import open_listener
from srvctl.loader import builtin
from srvctl.net.address import Family
from srvctl.runtime import colour, directory, log
from srvctl.supervisor import upgrade
from srvctl.supervisor.signals import Signals
from srvctl.supervisor.supervisor import Supervisor
from srvctl.systemd import protocol as systemd
from srvctl.worker.protocol import WorkerSetup

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from srvctl.supervisor.worker_process import WorkerProcess


def launch(
    settings: Settings,
    prestarted: WorkerProcess | None = None,
    show_banner: Callable[[str, str, str, Settings], None] | None = None,
) -> ExitStatus:
    """Serve as `settings` ask until a signal says stop; return the exit status. Blocks; raises `LaunchError`.

    Takes over the signals and the log of the process, and closes standard output when it has announced. `prestarted` is
    a worker that waits to be configured; it stays the caller's until then. `show_banner` shows a person at a terminal
    what is served: the address, the handler or program, its file, and the settings.
    """
    if upgrade.is_preflight():
        _try_to_adopt(settings)
        return ExitStatus.OK  # the command line is read, everything is imported, and the state can be read
    connection = _inherited_connection(settings)  # first of all: standard error may be the client
    style, threshold = _log_style(settings)
    sink = log.configure(style, threshold)
    target, is_ready_made = _resolved(settings)
    if connection is not None:
        from srvctl.worker import inetd

        return inetd.serve_one(settings, connection, target, is_ready_made)
    state = upgrade.inherited_state()
    with _listening(settings, state) as (signals, listener):
        setup = _worker_setup(settings, listener, target, is_ready_made, style, threshold)

        def on_ready(info: dict[str, Any]) -> None:
            _announce(settings, listener, info, show_banner if style in ("terminal", "plain") else None)
            _warn(listener)

        supervisor = Supervisor(settings, listener, signals, setup, on_ready)
        sink.attach(supervisor.loop)
        return supervisor.run(state["workers"] if state else None, prestarted)


def _warn(listener: Listener) -> None:
    """Log what an administrator may not have meant."""
    served = listener.socket.fileno()
    if unused := [f"{fd} ({name})" for fd, name in systemd.listen_descriptors().items() if fd != served]:
        log.descriptors_unused(", ".join(unused))
    if os.geteuid() == 0:
        log.running_as_root()


def _try_to_adopt(settings: Settings) -> None:
    """Take over what the running server would hand over, and leave it as it is. Raises whatever that raises.

    An older server hands nothing over to a preflight.
    """
    if (state := upgrade.inherited_state()) is None:
        return
    style, threshold = _log_style(settings)
    target, is_ready_made = _resolved(settings)
    listener = Listener.adopt(state["listener"])
    setup = _worker_setup(settings, listener, target, is_ready_made, style, threshold)
    supervisor = Supervisor(settings, listener, Signals(), setup, lambda info: None)
    with supervisor.loop:
        supervisor.service.adopt(state["workers"])


def _inherited_connection(settings: Settings) -> socket.socket | None:
    """Return the connection that ``fd N`` is, as from inetd, or None."""
    if settings.family != Family.FD.word or not settings.address.isdecimal():
        return None
    from srvctl.worker import inetd  # with a server's parts, which a supervisor has no use for

    connection = inetd.connected_socket(int(settings.address))
    return connection and inetd.free_standard_descriptors(connection)


def check(settings: Settings, find_running: Callable[[], int] | None = None) -> dict[str, str]:
    """Do all that `launch` does before it serves, and undo it; return a description. Raises `LaunchError`.

    `find_running` returns the process id of a server with the same settings, or 0; that it has the address is no error.
    """
    log.configure("text", log.ERROR)
    settings = settings.replace(fd_store=False)  # nothing of a check stays with the service manager
    try:
        return _check(settings)
    except AddressInUse:
        if not find_running or not (pid := find_running()):
            raise
    with _stand_in(settings) as address:
        used = f"{settings.family} {settings.address}, in use by srvctl pid {pid}, as this command line would"
        stand_in = Settings.from_wire(settings.to_wire() | {"address": address})
        return _check(stand_in) | {"address": used}


def _check(settings: Settings) -> dict[str, str]:
    target, is_ready_made = _resolved(settings)
    with _listening(settings) as (signals, listener):
        setup = _worker_setup(settings, listener, target, is_ready_made, "text", log.ERROR)
        info: dict[str, Any] = {}
        supervisor = Supervisor(settings, listener, signals, setup, info.update)
        supervisor.check()
    return {
        "address": listener.address,
        "server": info["name"],
        "parts": " -> ".join(info["parts"]),
        "program" if settings.program else "handler": f"{settings.target_text} ({info['file']})",
    }


@contextlib.contextmanager
def _stand_in(settings: Settings) -> Iterator[str]:
    """Provide an address of the same family that nobody has."""
    if settings.family.startswith("unix"):
        import tempfile

        with tempfile.TemporaryDirectory(prefix="srvctl-check-") as directory:
            yield os.path.join(directory, "socket")
    else:
        yield ":0"


def _resolved(settings: Settings) -> tuple[str, bool]:
    """Return what a worker imports, and whether it is a ready-made handler; a program is found by the worker."""
    return ("", False) if settings.program else builtin.lookup(settings.handler)


@contextlib.contextmanager
def _listening(settings: Settings, state: dict[str, Any] | None = None) -> Iterator[tuple[Signals, Listener]]:
    """Install the signals' handlers and open the listener, or adopt it; undo both at the end. Raises `LaunchError`."""
    try:
        with contextlib.ExitStack() as undo:
            signals = Signals(bool(state and state.get("ignores_hangup")))
            # Before the socket is bound: after that a signal has something to clean up.
            signals.install()
            undo.callback(signals.restore)
            upgrade.unblock_signals()
            listener = Listener.adopt(state["listener"]) if state else open_listener(settings)
            if not settings.fd_store:  # the socket stays with the service manager, and so does its file
                undo.callback(listener.unlink)
            undo.callback(listener.close)
            yield signals, listener
    except OSError as error:  # no descriptor for the loop, say
        raise from_os_error("run", "the server", error) from error


def _worker_setup(
    settings: Settings, listener: Listener, target: str, is_ready_made: bool, style: str, threshold: int
) -> WorkerSetup:
    """Return the setup of all workers; each has an index and a count besides."""
    return WorkerSetup(
        settings=settings.to_wire(),
        directory=directory.logical(),
        target=target,
        is_ready_made=is_ready_made,
        owns_socket=listener.owns_socket,
        address=listener.address,
        log_style=style,
        log_threshold=threshold,
        announces=settings.announce,
    )


def _log_style(settings: Settings) -> tuple[str, int]:
    threshold = log.DEBUG if settings.verbose else log.WARNING if settings.quiet else log.INFO
    if settings.log_format == "json":
        return "json", threshold
    if systemd.is_journal(2):
        return "journal", threshold
    has_terminal = log.to_terminal()
    if colour.is_wanted(has_terminal, os.environ):
        return "terminal", threshold
    return "plain" if has_terminal else "text", threshold


def _announce(
    settings: Settings,
    listener: Listener,
    info: dict[str, Any],
    show_banner: Callable[[str, str, str, Settings], None] | None,
) -> None:
    """Report that the server is ready: to a person, or the log, and to a script that reads standard output."""
    if show_banner and not settings.quiet:
        show_banner(listener.address, settings.target_text, info["file"], settings)
    else:
        log.listening(listener.address, info["name"], settings.target_text, settings.model, settings.max_connections)
    if settings.announce and sys.stdout is not None:
        with contextlib.suppress(OSError, ValueError):  # nobody reads it
            sys.stdout.write(listener.address + "\n")
            sys.stdout.flush()
        # The reader sees the end of the file. Descriptor 1 stays open: it must not become another file's.
        null = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
        os.dup2(null, 1)
        os.close(null)
