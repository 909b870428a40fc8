"""systemd units for a command line: a hardened .service, and the .socket that goes with it. Pure text, nothing is run.

systemd.service(5), systemd.exec(5), systemd.socket(5); quoting as systemd.syntax(7) and systemd.service(5), "COMMAND
LINES", want it.
"""

from __future__ import annotations

import os
import shutil
import socket
import sys

from srvctl.address import Family, InternetAddress, UnixAddress, VsockAddress, parse
from srvctl.errors import ExitStatus, UsageError
from srvctl.ready_made import Needs, needs_of
from srvctl.settings import DEFAULT_MAX, OPTIONS, Settings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from srvctl.address import Address

# Type=notify-reload came with 253. Before that, systemctl reload is a HUP that nobody waits for.
NOTIFY_RELOAD_VERSION = 253
WATCHDOG_SECONDS = 30
# What is left to do behind a drain that took all of its time.
STOP_MARGIN_SECONDS = 10

# systemd.unit(5): what the name of a unit may be made of.
_NAME_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789:-_.\\@")

# A restart mends none of these: the command line is wrong, it is forbidden, the handler does not load.
_UNMENDABLE = (ExitStatus.USAGE, ExitStatus.NOPERM, ExitStatus.CONFIG)

# Directories that systemd makes for a service, and gives to its user, systemd.exec(5); by what they are in.
_OWN_DIRECTORIES = {
    "/run/": "RuntimeDirectory",
    "/var/lib/": "StateDirectory",
    "/var/cache/": "CacheDirectory",
    "/var/log/": "LogsDirectory",
}
# What PrivateTmp=, which DynamicUser= implies, and ProtectHome= put out of sight.
_TEMPORARY = ("/tmp", "/var/tmp")
_HOMES = ("/home", "/root", "/run/user")

_HARDENING = """\
NoNewPrivileges=yes
ProtectSystem=strict
PrivateDevices=yes
DevicePolicy=closed
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
ProcSubset=pid
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
RemoveIPC=yes
KeyringMode=private
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
SystemCallErrorNumber=EPERM
"""


def units(settings: Settings, name: str, with_socket: bool, systemd_version: int) -> dict[str, str]:
    """Return the units for `settings`, by file name.

    A ready-made handler is asked what it needs. Raises `UsageError` for what no unit can have, and `LoadError`.
    """
    family = Family.named(settings.family)
    if family is Family.FD:
        raise UsageError("print", "a unit for fd", "name the family and address, and add --socket")
    address = parse(family, settings.address)
    if not name or not set(name) <= _NAME_CHARACTERS or name.isdecimal():
        raise UsageError("use", f"--name {name!r}", "expected letters, digits and any of :-_.\\@")
    is_stream = family.type is not socket.SOCK_DGRAM
    needs = Needs() if settings.program else needs_of(settings.handler, is_stream, settings.set)
    for text in (settings.address, settings.handler, *settings.program, os.getcwd(), *needs.writes, *needs.reads):
        if any(_is_unwritable(character) for character in text):
            raise UsageError("print", f"a unit with {text!r}", "a unit is UTF-8 without control characters")
    sandbox = _sandbox(settings, family, address, needs, with_socket)
    made = {f"{name}.service": _service(settings, family, sandbox, name, with_socket, systemd_version)}
    if with_socket:
        made[f"{name}.socket"] = _socket(settings, family, address, name)
    return made


def default_name(settings: Settings) -> str:
    """Return a name for the units: srvctl, the family, and the handler's or the program's own name."""
    if settings.program:
        file = os.path.basename(settings.program[0]).partition(".")[0]
        own = "".join(character for character in file if character in _NAME_CHARACTERS)
        return f"srvctl-{settings.family}-{own or 'program'}"
    own = settings.handler.replace(":", ".").rstrip(".").rpartition(".")[2].lower()
    return f"srvctl-{settings.family}-{own if own.isidentifier() and own.isascii() else 'handler'}"


def quoted(word: str) -> str:
    """Return `word` as one argument of ExecStart=."""
    escaped = "".join(_escape(character) for character in word).replace("$", "$$")  # environment variables
    return _in_quotes(word, escaped)


def _listed(word: str) -> str:
    """Return `word` as one of a list, where nothing is taken from the environment."""
    return _in_quotes(word, "".join(_escape(character) for character in word))


def _in_quotes(word: str, escaped: str) -> str:
    plain = word and not any(c in " \t\n\"'\\;" for c in word)
    return escaped if plain else f'"{escaped}"'


def _escape(character: str) -> str:
    if character in '"\\':
        return "\\" + character
    if character == "%":  # specifiers
        return "%%"
    if _is_unwritable(character):
        return f"\\x{os.fsencode(character)[0]:02x}"
    return character


def _is_unwritable(character: str) -> bool:
    """Tell whether it is a control character, or what stands for a byte that is not UTF-8."""
    return character < " " or character == "\x7f" or "\udc80" <= character <= "\udcff"


def _service(
    settings: Settings, family: Family, sandbox: list[str], name: str, with_socket: bool, systemd_version: int
) -> str:
    is_ip = family.domain == "ip"
    reloads = systemd_version >= NOTIFY_RELOAD_VERSION
    lines = [
        "[Unit]",
        f"Description=srvctl {_percent(settings.family)} {_percent(settings.address)} {_percent(settings.served_by)}",
        *(["After=network.target"] if is_ip else []),
        "",
        "[Service]",
        f"Type={'notify-reload' if reloads else 'notify'}",
        "NotifyAccess=main",
        f"ExecStart={' '.join(quoted(word) for word in _command(settings, name, with_socket))}",
        *([] if reloads else ["ExecReload=kill -HUP $MAINPID"]),
        f"WorkingDirectory={_percent(os.getcwd())}",
        "Restart=on-failure",
        "RestartPreventExitStatus=" + " ".join(str(int(status)) for status in _UNMENDABLE),
        f"SuccessExitStatus={int(ExitStatus.TEMPFAIL)}",
        f"WatchdogSec={WATCHDOG_SECONDS}",
        f"TimeoutStopSec={settings.graceful + STOP_MARGIN_SECONDS:.15g}",
        "KillMode=mixed",
        *([] if with_socket else ["FileDescriptorStoreMax=1"]),
        *sandbox,
        "[Install]",
        "WantedBy=multi-user.target",
    ]
    return "\n".join(lines) + "\n"


def _sandbox(settings: Settings, family: Family, address: Address, needs: Needs, with_socket: bool) -> list[str]:
    """Return what the service is kept from, but for what it cannot serve without."""
    writes, reads = ([os.path.abspath(directory) for directory in part] for part in (needs.writes, needs.reads))
    if isinstance(address, UnixAddress) and not address.is_abstract and not with_socket:
        writes.insert(0, os.path.dirname(os.path.abspath(address.name)))
    reads.insert(0, os.getcwd())
    is_at_home = any(_is_in(_HOMES, path) for path in (*writes, *reads, sys.prefix))
    return [
        "PrivateTmp=yes",
        *_places(writes, reads),
        "DynamicUser=yes",
        f"ProtectHome={'read-only' if is_at_home else 'yes'}",
        *_capabilities(address, with_socket),
        f"RestrictAddressFamilies={_families([family, *needs.connects])}",
        _hardening(settings),
    ]


def _hardening(settings: Settings) -> str:
    """Return the hardening that leaves a worker what it is asked to do: nice(2) and setrlimit(2) are in @resources."""
    if settings.rlimit or settings.nice:
        return _HARDENING.replace("~@privileged @resources", "~@privileged")
    return _HARDENING


def _command(settings: Settings, name: str, with_socket: bool) -> list[str]:
    program = shutil.which(sys.argv[0]) if os.path.basename(sys.argv[0]) == "srvctl" else None
    words = [os.path.abspath(program)] if program else [sys.executable, "-m", "srvctl"]
    words += ["fd", name] if with_socket else [settings.family, settings.address]
    if settings.model != ("fork" if settings.program else "sync"):
        words.append(f"--{settings.model}")
    most = settings.workers if settings.model == "sync" else DEFAULT_MAX[settings.model]
    for option in OPTIONS:
        value = getattr(settings, option.name)
        is_sockets = with_socket and option.group == "Socket"
        if value == option.default or is_sockets or option.name in ("announce", "fd_store"):
            continue
        if option.name == "max" and (value == most or settings.datagram_wait):
            continue
        if option.flag:
            words.append(option.long_flag)
        else:
            for one in value if option.multiple else [value]:
                words += [option.long_flag, option.text_of(one)]
    if not with_socket:
        words.append("--fd-store")
    return [*words, "--", *settings.program] if settings.program else [*words, settings.handler]


def _percent(text: str) -> str:
    return text.replace("%", "%%")


def _places(writes: list[str], reads: list[str]) -> Iterable[str]:
    """Return what lets the service's user, who has no name, make files in `writes`, and see what is in `reads`."""
    # PrivateDevices= has a /dev of its own, and ProtectSystem=strict leaves it writable, systemd.exec(5).
    lines = [_writable(directory) for directory in writes if not _is_in(("/dev",), directory)]
    if any(line.startswith("RuntimeDirectory=") for line in lines):
        lines.append("RuntimeDirectoryPreserve=restart")
    hidden = (directory for directory in reads if _is_in(_TEMPORARY, directory) and directory not in writes)
    return dict.fromkeys([*lines, *(f"BindReadOnlyPaths={_bound(directory)}" for directory in hidden)])


def _writable(directory: str) -> str:
    if _is_in(_TEMPORARY, directory):
        return f"BindPaths={_bound(directory)}"
    for place, setting in _OWN_DIRECTORIES.items():
        if directory.startswith(place) and not _is_in(_HOMES, directory) and ":" not in directory:
            return f"{setting}={_listed(directory.removeprefix(place))}"
    return f"ReadWritePaths={_listed(directory)}"


def _bound(path: str) -> str:
    """Return `path` as the source of a bind mount, and its destination; a colon would be between the two."""
    word = _listed(path)
    return f'"{word}"' if ":" in word and not word.startswith('"') else word


def _is_in(places: Iterable[str], path: str) -> bool:
    return any(f"{path}/".startswith(f"{place}/") for place in places)


def _capabilities(address: Address, with_socket: bool) -> list[str]:
    is_low = isinstance(address, InternetAddress) and _port_number(address.port) in range(1, 1024)
    if is_low and not with_socket:
        return ["AmbientCapabilities=CAP_NET_BIND_SERVICE", "CapabilityBoundingSet=CAP_NET_BIND_SERVICE"]
    return ["CapabilityBoundingSet="]


def _port_number(port: int | str) -> int:
    try:
        return port if isinstance(port, int) else socket.getservbyname(port)
    except OSError:
        raise UsageError("print", f"a unit for port {port!r}", "no such service") from None


def _check_is_number(host: str) -> None:
    try:
        socket.getaddrinfo(host, None, flags=socket.AI_NUMERICHOST)
    except OSError:
        raise UsageError(
            "print", f"a .socket for host {host!r}", "systemd resolves no names; expected an IP address"
        ) from None


def _families(families: Iterable[Family]) -> str:
    # AF_UNIX is how srvctl talks to its workers, and to systemd.
    of_ip = {4: ["AF_INET"], 6: ["AF_INET6"], 0: ["AF_INET", "AF_INET6"]}
    words = ["AF_UNIX"]
    for family in families:
        words += {"ip": of_ip[family.version], "vsock": ["AF_VSOCK"]}.get(family.domain, [])
    return " ".join(dict.fromkeys(words))


def _socket(settings: Settings, family: Family, address: Address, name: str) -> str:
    kind = {"STREAM": "Stream", "DGRAM": "Datagram", "SEQPACKET": "SequentialPacket"}
    assert family.type is not None
    lines = [
        "[Unit]",
        f"Description=Socket of srvctl {_percent(settings.family)} {_percent(settings.address)}",
        "",
        "[Socket]",
        f"Listen{kind[family.type.name.removeprefix('SOCK_')]}={_percent(_listen_address(family, address))}",
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
    port = _port_number(address.port)
    if address.host:
        _check_is_number(address.host)
        return f"[{address.host}]:{port}" if ":" in address.host else f"{address.host}:{port}"
    return {4: f"0.0.0.0:{port}", 6: f"[::]:{port}", 0: f"{port}"}[family.version]
