"""What is wanted of the units, besides the command line that they start."""

from __future__ import annotations

from collections import namedtuple


class Wanted(namedtuple("Wanted", "name with_socket systemd_version user", defaults=("",))):
    """The options of ``srvctl unit``: the units' name, whether there is a .socket, and the version of systemd.

    `user` is the user that the service runs as; without one, systemd makes a dynamic user.
    """

    __slots__ = ()
