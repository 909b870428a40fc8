"""Rules between options: which of them go together. Serving, ``srvctl check`` and ``srvctl unit`` all ask here.

An option that could have no effect is an error, and the error says what to use instead. What only the descriptor of an
inherited socket can tell is checked where the socket is opened.
"""

from __future__ import annotations

import socket

from srvctl.config.options import OPTIONS
from srvctl.errors import UsageError
from srvctl.net.address import Family

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

# Requests at a time unless --max-connections says otherwise. 40 is the original's; 512 threads take about 40 MiB when
# all of them serve. A server without concurrency serves one.
DEFAULT_MAX = {"sync": 1, "threads": 512, "fork": 40}

_NO_CONNECTION = "a datagram has no connection"


def check(family: str, address: str, model: str, is_program: bool, given: Mapping[str, Any]) -> None:
    """Refuse options that exclude each other or cannot have an effect. Raises `UsageError`.

    `given` are the options that were given, by name.
    """
    if given.get("verbose") and given.get("quiet"):
        raise UsageError("use", "--verbose and --quiet", "they exclude each other")
    if "max_requests_jitter" in given and "max_requests" not in given:
        raise UsageError("use", "--max-requests-jitter", "it is added to --max-requests, which is off")
    _check_socket(Family.named(family), address, given)
    if is_program:
        _check_program(Family.named(family), given)
    else:
        _check_handler(Family.named(family), model, given)
    _check_limit(model, given)


def with_defaults(model: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that were given, with the defaults that depend on others."""
    if given.get("datagram_wait"):
        return {**given, "max_connections": 1}
    default = given.get("workers", 1) if model == "sync" else DEFAULT_MAX[model]
    return {**given, "max_connections": given.get("max_connections") or default}


def _check_socket(family: Family, address: str, given: Mapping[str, Any]) -> None:
    """Refuse options of the listening socket that its family has no use for."""
    if ("socket_mode" in given or "socket_owner" in given) and (family.domain != "unix" or address.startswith("@")):
        why = f"{family.word} {address} has no file; they are for a unix socket with a path"
        raise UsageError("use", "--socket-mode or --socket-owner", why)
    if family is Family.FD:
        for name in {"backlog", "fd_store"} & given.keys():
            why = "fd is a socket that is open already; set it where the socket is made"
            raise UsageError("use", _flag(name), why)
    if "datagram_guard" in given and family is not Family.FD and not family.word.startswith("udp"):
        raise UsageError("use", "--datagram-guard", f"senders of {family.word} cannot be forged; it is for udp")
    if family.type is socket.SOCK_DGRAM and "backlog" in given:
        raise UsageError("use", "--backlog", f"{family.word} has no queue of connections; leave it out")
    if family.type is socket.SOCK_DGRAM and "drain_idle_timeout" in given:
        why = f"{_NO_CONNECTION} to half-close; --graceful-timeout is the time that a stop takes"
        raise UsageError("use", "--drain-idle-timeout", why)


def _check_handler(family: Family, model: str, given: Mapping[str, Any]) -> None:
    """Refuse options that have no effect on a handler."""
    if stray := next((option for option in OPTIONS if option.group == "Program" and option.name in given), None):
        why = "it is for a program, and there is none; write -- PROGRAM in the place of a handler"
        raise UsageError("use", stray.long_flag, why)
    if model == "sync" and given.get("at_limit") == "refuse":
        why = "without --threads or --fork, the next client waits in the kernel's queue; add one of them"
        raise UsageError("use", "--at-limit refuse", why)
    if family.type is socket.SOCK_DGRAM and model != "fork":
        for name in ("idle_timeout", "max_duration"):
            if given.get(name):
                why = f"{_NO_CONNECTION} to close; with --fork, the process that serves it is ended"
                raise UsageError("use", _flag(name), why)


def _check_program(family: Family, given: Mapping[str, Any]) -> None:
    """Refuse options that have no effect on a program, or not on this kind."""
    is_datagram = family.type is socket.SOCK_DGRAM
    if given.get("set"):
        raise UsageError("use", "--set", "it is for a handler; give a program arguments, or variables with --env")
    if given.get("mixin"):
        raise UsageError("use", "--mixin", "it is for a handler, and a program is started without its hooks")
    if given.get("datagram_wait"):
        if not is_datagram and family is not Family.FD:
            raise UsageError("use", "--datagram-wait", f"{family.word} is for connections; expected udp or unix-dgram")
        if given.get("workers", 1) > 1 or given.get("max_connections", 1) > 1:
            why = "one program has the socket; expected one worker, and --max-connections 1"
            raise UsageError("use", "--datagram-wait", why)
    elif given.get("program_stderr") == "socket" and is_datagram:
        why = "a program that gets one datagram has no socket; expected log, inherit or null"
        raise UsageError("use", "--program-stderr socket", why)


def _check_limit(model: str, given: Mapping[str, Any]) -> None:
    """Refuse a limit that the model cannot have, or that does not leave one request to each worker."""
    workers, limit = given.get("workers", 1), with_defaults(model, given)["max_connections"]
    if model == "sync" and limit != workers and not given.get("datagram_wait"):
        why = "without --threads or --fork, one request is served at a time by each worker; add one of them"
        raise UsageError("use", f"--max-connections {limit}", why)
    if limit < workers:
        what = f"--max-connections {limit} out to {workers} workers"
        raise UsageError("share", what, "expected at least one for each")


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")
