"""The sandbox of a service: systemd.exec(5) settings that deny everything but what the server and handler need."""

from __future__ import annotations

import os
import socket

from srvctl.errors import UsageError
from srvctl.net.address import InternetAddress, UnixAddress
from srvctl.unit.systemd_version import known

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from srvctl.config.settings import Settings
    from srvctl.loader.builtin import SandboxNeeds
    from srvctl.net.address import Address, Family
    from srvctl.unit.places import Places
    from srvctl.unit.wanted import Wanted

_HARDENING = (
    "NoNewPrivileges=yes",
    "ProtectSystem=strict",
    "PrivateDevices=yes",
    "DevicePolicy=closed",
    "ProtectClock=yes",
    "ProtectControlGroups=yes",
    "ProtectHostname=yes",
    "ProtectKernelLogs=yes",
    "ProtectKernelModules=yes",
    "ProtectKernelTunables=yes",
    "ProtectProc=invisible",
    "ProcSubset=pid",
    "RestrictNamespaces=yes",
    "RestrictRealtime=yes",
    "RestrictSUIDSGID=yes",
    "LockPersonality=yes",
    "MemoryDenyWriteExecute=yes",
    "KeyringMode=private",
    "SystemCallArchitectures=native",
    "SystemCallFilter=@system-service",
)


def sandbox(family: Family, address: Address, needs: SandboxNeeds, places: Places, wanted: Wanted) -> list[str]:
    """Return the settings for a service on `address`; `needs` is what its handler needs. Raises `UsageError`."""
    return [
        "PrivateTmp=yes",
        *places.settings(),
        *_user(wanted.user),
        *_capabilities(address, wanted.with_socket),
        f"RestrictAddressFamilies={_families([family, *needs.connects])}",
    ]


def writes_of(address: Address, needs: SandboxNeeds, with_socket: bool) -> list[str]:
    """Return the directories in which the service creates files."""
    writes = [os.path.abspath(directory) for directory in needs.writes]
    if isinstance(address, UnixAddress) and not address.is_abstract and not with_socket:
        writes.insert(0, os.path.dirname(os.path.abspath(address.name)))
    return writes


def hardening(settings: Settings, version: int) -> list[str]:
    """Return the fixed settings that systemd `version` knows.

    --nice and --rlimit need system calls of @resources: nice(2) and setrlimit(2).
    """
    needs_resources = bool(settings.rlimit or settings.nice)
    denied = "~@privileged" if needs_resources else "~@privileged @resources"
    return known([*_HARDENING, f"SystemCallFilter={denied}", "SystemCallErrorNumber=EPERM"], version)


def _user(name: str) -> list[str]:
    # RemoveIPC= would remove what the user has outside of the service as well.
    return [f"User={name}"] if name else ["DynamicUser=yes", "RemoveIPC=yes"]


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
