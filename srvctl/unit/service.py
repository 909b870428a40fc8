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
from srvctl.runtime.directory import logical
from srvctl.unit.sandbox import port_number, sandbox
from srvctl.unit.syntax import is_unwritable, percent, quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from srvctl.net.address import Address

# Type=notify-reload needs systemd 253. Before that, systemctl reload sends a HUP and does not wait for the reload.
NOTIFY_RELOAD_VERSION = 253
WATCHDOG_SECONDS = 30
# For what follows a drain that has taken all of --graceful-timeout.
STOP_MARGIN_SECONDS = 10

# Characters of a unit's name, systemd.unit(5).
_NAME_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789:-_.\\@")

# A restart cannot fix these: wrong command line, no permission, handler that does not load.
_FATAL_STATUSES = (ExitStatus.USAGE, ExitStatus.NOPERM, ExitStatus.CONFIG)


def units(settings: Settings, name: str, with_socket: bool, systemd_version: int) -> dict[str, str]:
    """Return the text of each unit, by file name.

    Imports a ready-made handler, to ask it what it needs. Raises `UsageError` for what a unit cannot express, and
    `LoadError`.
    """
    family = Family.named(settings.family)
    if family is Family.FD:
        raise UsageError("print", "a unit for fd", "name the family and address, and add --socket")
    address = parse(family, settings.address)
    if not name or not set(name) <= _NAME_CHARACTERS or name.isdecimal():
        raise UsageError("use", f"--name {name!r}", "expected letters, digits and any of :-_.\\@")
    is_stream = family.type is not socket.SOCK_DGRAM
    needs = SandboxNeeds() if settings.program else needs_of(settings.handler, is_stream, settings.set)
    for text in (settings.address, settings.handler, *settings.program, logical(), *needs.writes, *needs.reads):
        if any(is_unwritable(character) for character in text):
            raise UsageError("print", f"a unit with {text!r}", "a unit is UTF-8 without control characters")
    sandbox_lines = sandbox(settings, family, address, needs, with_socket)
    files = {f"{name}.service": _service(settings, family, sandbox_lines, name, with_socket, systemd_version)}
    if with_socket:
        files[f"{name}.socket"] = _socket(settings, family, address, name)
    return files


def default_name(settings: Settings) -> str:
    """Return a name for the units: srvctl, the family, and the name of the handler or program."""
    if settings.program:
        file = os.path.basename(settings.program[0]).partition(".")[0]
        own = "".join(character for character in file if character in _NAME_CHARACTERS)
        return f"srvctl-{settings.family}-{own or 'program'}"
    own = settings.handler.replace(":", ".").rstrip(".").rpartition(".")[2].lower()
    return f"srvctl-{settings.family}-{own if own.isidentifier() and own.isascii() else 'handler'}"


def _service(
    settings: Settings, family: Family, sandbox_lines: list[str], name: str, with_socket: bool, systemd_version: int
) -> str:
    is_ip = family.domain == "ip"
    reloads = systemd_version >= NOTIFY_RELOAD_VERSION
    lines = [
        "[Unit]",
        f"Description=srvctl {percent(settings.family)} {percent(settings.address)} {percent(settings.target_text)}",
        *(["After=network.target"] if is_ip else []),
        "",
        "[Service]",
        f"Type={'notify-reload' if reloads else 'notify'}",
        "NotifyAccess=main",
        f"ExecStart={' '.join(quoted(word) for word in _command(settings, name, with_socket))}",
        *([] if reloads else ["ExecReload=kill -HUP $MAINPID"]),
        f"WorkingDirectory={percent(logical())}",
        "Restart=on-failure",
        "RestartPreventExitStatus=" + " ".join(str(int(status)) for status in _FATAL_STATUSES),
        f"SuccessExitStatus={int(ExitStatus.TEMPFAIL)}",
        f"WatchdogSec={WATCHDOG_SECONDS}",
        f"TimeoutStopSec={settings.graceful_timeout + STOP_MARGIN_SECONDS:.15g}",
        "KillMode=mixed",
        *([] if with_socket else ["FileDescriptorStoreMax=1"]),
        *sandbox_lines,
        "[Install]",
        "WantedBy=multi-user.target",
    ]
    return "\n".join(lines) + "\n"


def _command(settings: Settings, name: str, with_socket: bool) -> list[str]:
    program = shutil.which(sys.argv[0]) if os.path.basename(sys.argv[0]) == "srvctl" else None
    words = [os.path.abspath(program)] if program else [sys.executable, "-m", "srvctl"]
    words += ["fd", name] if with_socket else [settings.family, settings.address]
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


def _socket(settings: Settings, family: Family, address: Address, name: str) -> str:
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
        lines += [f"SocketUser={user}", *([f"SocketGroup={group}"] if group else [])]
    return "\n".join([*lines, "", "[Install]", "WantedBy=sockets.target"]) + "\n"


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
