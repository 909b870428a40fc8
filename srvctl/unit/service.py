"""systemd units for a command line: a sandboxed .service and its .socket, as text.

systemd.service(5), systemd.socket(5). The settings of the sandbox are in `srvctl.unit.sandbox`.
"""

from __future__ import annotations

import os
import shutil
import socket
import sys

from srvctl.config.options import OPTIONS
from srvctl.config.rules import DEFAULT_MAX
from srvctl.config.settings import Settings
from srvctl.errors import ExitStatus, UsageError
from srvctl.loader.builtin import SandboxNeeds, needs_of
from srvctl.net.address import Family, InternetAddress, UnixAddress, VsockAddress, parse
from srvctl.net.unix_owner import resolve_owner
from srvctl.runtime.directory import logical
from srvctl.unit.access import Account
from srvctl.unit.footprint import footprint, user_base
from srvctl.unit.places import Places, is_in
from srvctl.unit.sandbox import hardening, port_number, sandbox, writes_of
from srvctl.unit.syntax import is_unwritable, listed, percent, quoted
from srvctl.unit.systemd_version import reload_settings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from srvctl.net.address import Address
    from srvctl.unit.footprint import Footprint
    from srvctl.unit.wanted import Wanted

# The first line of each unit, by which `srvctl.unit.files` knows the files that it may replace.
MARK = '# Written by "srvctl unit", which may replace this file. Put changes into a drop-in: systemctl edit UNIT'
WATCHDOG_SECONDS = 30
# For what follows a drain that has taken all of --graceful-timeout.
STOP_MARGIN_SECONDS = 10

# Characters of a unit's name, systemd.unit(5).
_NAME_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789:-_.\\@")

# A restart cannot fix these: wrong command line, no permission, handler that does not load.
_FATAL_STATUSES = (ExitStatus.USAGE, ExitStatus.NOPERM, ExitStatus.CONFIG)


def units(settings: Settings, wanted: Wanted) -> dict[str, str]:
    """Return the text of each unit, by file name.

    Imports a ready-made handler, to ask it what it needs. Raises `UsageError` for what a unit cannot express and for
    files that the user of the service could not use, and `LoadError`.
    """
    family, address = _parsed(settings)
    _check_names(settings, wanted)
    command = _command(settings, wanted)
    is_stream = family.type is not socket.SOCK_DGRAM
    needs = SandboxNeeds() if settings.program else needs_of(settings.handler, is_stream, settings.set)
    writes, used = writes_of(address, needs, wanted.with_socket), footprint(settings, command[0], needs.reads)
    texts = (settings.address, settings.handler, *settings.program, logical(), *writes, *used.trees, *used.files)
    for text in texts:
        if any(is_unwritable(character) for character in text):
            raise UsageError("print", f"a unit with {text!r}", "a unit is UTF-8 without control characters")
    places = Places.sorted(writes, (*used.trees, *used.files))
    _check_access(Account.named(wanted.user), used, places)
    service = [
        *_unit_section(settings, family, wanted),
        *_service_section(settings, command, wanted),
        *sandbox(family, address, needs, places, wanted),
        *hardening(settings, wanted.systemd_version),
        *_install_section(wanted),
    ]
    files = {f"{wanted.name}.service": _text(service)}
    if wanted.with_socket:
        files[f"{wanted.name}.socket"] = _text(_socket(settings, family, address, wanted.name))
    return files


def _text(lines: list[str]) -> str:
    return "\n".join([MARK, *lines]) + "\n"


def _parsed(settings: Settings) -> tuple[Family, Address]:
    family = Family.named(settings.family)
    if family is Family.FD:
        raise UsageError("print", "a unit for fd", "name the family and address, and add --socket")
    return family, parse(family, settings.address)


def _check_names(settings: Settings, wanted: Wanted) -> None:
    name = wanted.name
    if not name or not set(name) <= _NAME_CHARACTERS or name.isdecimal():
        raise UsageError("use", f"--name {name!r}", "expected letters, digits and any of :-_.\\@")
    if settings.socket_owner and not wanted.with_socket:
        why = "the service is not root, and cannot give a file away; add --socket, and systemd does it"
        raise UsageError("use", f"--socket-owner {settings.socket_owner!r} in a unit", why)
    resolve_owner(settings.socket_owner)


def _check_access(account: Account, used: Footprint, places: Places) -> None:
    """Check that the user of the service can use the files; what systemd gives to that user is not looked at."""
    trees = tuple(tree for tree in used.trees if not is_in(places.own, tree))
    account.check_reads(used._replace(trees=trees), places.bound)
    account.check_writes([*places.writable, *places.bound_writable], places.bound)


def default_name(settings: Settings) -> str:
    """Return a name for the units: srvctl, the family, and the name of the handler or program."""
    if settings.program:
        file = os.path.basename(settings.program[0]).partition(".")[0]
        own = "".join(character for character in file if character in _NAME_CHARACTERS)
        return f"srvctl-{settings.family}-{own or 'program'}"
    own = settings.handler.replace(":", ".").rstrip(".").rpartition(".")[2].lower()
    return f"srvctl-{settings.family}-{own if own.isidentifier() and own.isascii() else 'handler'}"


def _unit_section(settings: Settings, family: Family, wanted: Wanted) -> list[str]:
    socket_unit = [f"{wanted.name}.socket"] if wanted.with_socket else []
    after = [*(["network.target"] if family.domain == "ip" else []), *socket_unit]
    return [
        "[Unit]",
        f"Description=srvctl {percent(settings.family)} {percent(settings.address)} {percent(settings.target_text)}",
        *(f"Requires={unit}" for unit in socket_unit),
        *([f"After={' '.join(after)}"] if after else []),
    ]


def _service_section(settings: Settings, command: list[str], wanted: Wanted) -> list[str]:
    return [
        "",
        "[Service]",
        *reload_settings(wanted.systemd_version),
        "NotifyAccess=main",
        f"ExecStart={' '.join(quoted(word) for word in command)}",
        f"WorkingDirectory={percent(logical())}",
        *_environment(),
        "Restart=on-failure",
        "RestartPreventExitStatus=" + " ".join(str(int(status)) for status in _FATAL_STATUSES),
        f"SuccessExitStatus={int(ExitStatus.TEMPFAIL)}",
        f"WatchdogSec={WATCHDOG_SECONDS}",
        f"TimeoutStopSec={settings.graceful_timeout + STOP_MARGIN_SECONDS:.15g}",
        "KillMode=mixed",
        *([] if wanted.with_socket else ["FileDescriptorStoreMax=1"]),
    ]


def _environment() -> list[str]:
    """Return the variables without which the service would not find what it finds here."""
    variables = []
    if logical() != os.path.realpath(logical()):  # `srvctl.runtime.directory` keeps the links; systemd sets no PWD
        variables.append(f"PWD={logical()}")
    if base := user_base():
        variables.append(f"PYTHONUSERBASE={base}")
    return [f"Environment={listed(variable)}" for variable in variables]


def _install_section(wanted: Wanted) -> list[str]:
    also = [f"Also={wanted.name}.socket"] if wanted.with_socket else []
    return ["", "[Install]", "WantedBy=multi-user.target", *also]


def _command(settings: Settings, wanted: Wanted) -> list[str]:
    with_socket = wanted.with_socket
    program = shutil.which(sys.argv[0]) if os.path.basename(sys.argv[0]) == "srvctl" else None
    words = [os.path.abspath(program)] if program else [sys.executable, "-m", "srvctl"]
    words += ["fd", wanted.name] if with_socket else [settings.family, settings.address]
    if settings.model != ("fork" if settings.program else "sync"):
        words.append(f"--{settings.model}")
    default_limit = settings.workers if settings.model == "sync" else DEFAULT_MAX[settings.model]
    for option in OPTIONS:
        value = getattr(settings, option.name)
        is_sockets = with_socket and option.group == "Socket"
        if value == option.default or is_sockets or option.name in ("announce", "fd_store"):
            continue
        if option.name == "max_connections" and (value == default_limit or settings.datagram_wait):
            continue
        if option.flag:
            words.append(option.long_flag)
        else:
            for item in value if option.multiple else [value]:
                words += [option.long_flag, option.text_of(item)]
    if not with_socket:
        words.append("--fd-store")
    return [*words, "--", *settings.program] if settings.program else [*words, settings.handler]


def _check_is_number(host: str) -> None:
    try:
        socket.getaddrinfo(host, None, flags=socket.AI_NUMERICHOST)
    except OSError:
        raise UsageError(
            "print", f"a .socket for host {host!r}", "systemd resolves no names; expected an IP address"
        ) from None


def _socket(settings: Settings, family: Family, address: Address, name: str) -> list[str]:
    kind = {"STREAM": "Stream", "DGRAM": "Datagram", "SEQPACKET": "SequentialPacket"}
    assert family.type is not None
    lines = [
        "[Unit]",
        f"Description=Socket of srvctl {percent(settings.family)} {percent(settings.address)}",
        "",
        "[Socket]",
        f"Listen{kind[family.type.name.removeprefix('SOCK_')]}={percent(_listen_address(family, address))}",
        f"FileDescriptorName={name}",
    ]
    if family.domain == "ip":
        lines.append(f"BindIPv6Only={'ipv6-only' if family.version == 6 else 'both'}")
    if settings.backlog != Settings.backlog.default:  # type: ignore[attr-defined]
        lines.append(f"Backlog={settings.backlog}")
    if settings.socket_mode >= 0:
        lines.append(f"SocketMode={settings.socket_mode:04o}")
    if settings.socket_owner:
        user, _, group = settings.socket_owner.partition(":")
        lines += [*([f"SocketUser={user}"] if user else []), *([f"SocketGroup={group}"] if group else [])]
    return [*lines, "", "[Install]", "WantedBy=sockets.target"]


def _listen_address(family: Family, address: Address) -> str:
    if isinstance(address, UnixAddress):
        name: str = address.name
        return name if address.is_abstract else os.path.abspath(name)
    if isinstance(address, VsockAddress):
        return f"vsock:{'' if address.cid == 0xFFFFFFFF else address.cid}:{address.port}"
    assert isinstance(address, InternetAddress)
    port = port_number(address.port)
    if address.host:
        _check_is_number(address.host)
        return f"[{address.host}]:{port}" if ":" in address.host else f"{address.host}:{port}"
    return {4: f"0.0.0.0:{port}", 6: f"[::]:{port}", 0: f"{port}"}[family.version]
