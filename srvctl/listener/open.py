"""Opening the listener: the socket that the command line asks for, made by its family's module or inherited.

Names of hosts, services and users are resolved by that module, once, at the start.
"""

from __future__ import annotations

from srvctl.errors import UsageError, from_os_error
from srvctl.net.address import Descriptor, Family, InternetAddress, UnixAddress, VsockAddress, parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from srvctl.config.settings import Settings
    from srvctl.listener.listener import Listener


def open_listener(settings: Settings) -> Listener:
    """Make the socket that `settings` ask for, bound and listening, or take the inherited one.

    The caller owns it. May block for the resolver. Raises `LaunchError`.
    """
    family = Family.named(settings.family)
    address = parse(family, settings.address)
    text = f"{settings.family} {settings.address}"
    has_file = isinstance(address, UnixAddress) and not address.is_abstract
    if not has_file and (settings.socket_mode >= 0 or settings.socket_owner):
        raise UsageError(
            "use", "--socket-mode or --socket-owner", f"{text} has no file; expected the path of a unix socket"
        )
    try:
        return _opener(address)(family, address, settings)
    except OSError as error:
        verb = "serve" if isinstance(address, Descriptor) else "bind"
        raise from_os_error(verb, text, error) from error


def _opener(address: Any) -> Callable[[Family, Any, Settings], Listener]:
    # Imported when needed: a server has one family, and each module costs its start about a millisecond.
    if isinstance(address, InternetAddress):
        from srvctl.listener.inet import open_internet

        return open_internet
    if isinstance(address, UnixAddress):
        from srvctl.listener.unix import open_unix

        return open_unix
    if isinstance(address, VsockAddress):
        from srvctl.listener.vsock import open_vsock

        return open_vsock
    from srvctl.listener.inherited import open_inherited

    return open_inherited
