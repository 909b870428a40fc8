"""The sandbox of a service: systemd.exec(5) settings that deny everything but what the server and handler need."""

from __future__ import annotations

import os
import socket
import sys

from srvctl.errors import UsageError
from srvctl.net.address import InternetAddress, UnixAddress
from srvctl.runtime.directory import logical
from srvctl.unit.syntax import listed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from srvctl.config.settings import Settings
    from srvctl.loader.builtin import SandboxNeeds
    from srvctl.net.address import Address, Family

# Settings by which systemd creates a directory for the service and gives it to the service's user, by parent directory.
_OWN_DIRECTORIES = {
    "/run/": "RuntimeDirectory",
    "/var/lib/": "StateDirectory",
    "/var/cache/": "CacheDirectory",
    "/var/log/": "LogsDirectory",
}
# Hidden by PrivateTmp=, which DynamicUser= implies, and by ProtectHome=.
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


def sandbox(settings: Settings, family: Family, address: Address, needs: SandboxNeeds, with_socket: bool) -> list[str]:
    """Return the settings for a service on `address`; `needs` is what its handler needs. Raises `UsageError`."""
    writes, reads = ([os.path.abspath(directory) for directory in part] for part in (needs.writes, needs.reads))
    if isinstance(address, UnixAddress) and not address.is_abstract and not with_socket:
        writes.insert(0, os.path.dirname(os.path.abspath(address.name)))
    reads.insert(0, logical())
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
    """Return the fixed settings; --nice and --rlimit need system calls of @resources: nice(2) and setrlimit(2)."""
    if settings.rlimit or settings.nice:
        return _HARDENING.replace("~@privileged @resources", "~@privileged")
    return _HARDENING


def _places(writes: list[str], reads: list[str]) -> Iterable[str]:
    """Return settings that let the dynamic user create files in `writes` and read files in `reads`."""
    # PrivateDevices= creates a new /dev, which ProtectSystem=strict leaves writable: systemd.exec(5).
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
            return f"{setting}={listed(directory.removeprefix(place))}"
    return f"ReadWritePaths={listed(directory)}"


def _bound(path: str) -> str:
    """Return `path` as source and destination of a bind mount; a colon must be quoted, it separates the two."""
    word = listed(path)
    return f'"{word}"' if ":" in word and not word.startswith('"') else word


def _is_in(places: Iterable[str], path: str) -> bool:
    return any(f"{path}/".startswith(f"{place}/") for place in places)


def _capabilities(address: Address, with_socket: bool) -> list[str]:
    is_low = isinstance(address, InternetAddress) and port_number(address.port) in range(1, 1024)
    if is_low and not with_socket:
        return ["AmbientCapabilities=CAP_NET_BIND_SERVICE", "CapabilityBoundingSet=CAP_NET_BIND_SERVICE"]
    return ["CapabilityBoundingSet="]


def port_number(port: int | str) -> int:
    """Return the number of a port or of a service name. Raises `UsageError`."""
    try:
        return port if isinstance(port, int) else socket.getservbyname(port)
    except OSError:
        raise UsageError("print", f"a unit for port {port!r}", "no such service in services(5)") from None


def _families(families: Iterable[Family]) -> str:
    # srvctl talks to its workers and to systemd over AF_UNIX.
    of_ip = {4: ["AF_INET"], 6: ["AF_INET6"], 0: ["AF_INET", "AF_INET6"]}
    words = ["AF_UNIX"]
    for family in families:
        words += {"ip": of_ip[family.version], "vsock": ["AF_VSOCK"]}.get(family.domain, [])
    return " ".join(dict.fromkeys(words))
