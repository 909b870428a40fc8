"""Owner of a unix socket's file, as chown(1) writes it: USER, USER:GROUP or :GROUP."""

from __future__ import annotations

import grp
import pwd

from srvctl.errors import UsageError


def resolve_owner(text: str) -> tuple[int, int]:
    """Return user and group id of an owner; -1 for one that is not given. Raises `UsageError`."""
    if not text:
        return -1, -1
    user, _, group = text.partition(":")
    try:
        uid = -1 if not user else int(user) if user.isdecimal() else pwd.getpwnam(user).pw_uid
    except KeyError:
        raise UsageError("use", f"--socket-owner {text!r}", f"there is no user {user!r}") from None
    try:
        gid = -1 if not group else int(group) if group.isdecimal() else grp.getgrnam(group).gr_gid
    except KeyError:
        raise UsageError("use", f"--socket-owner {text!r}", f"there is no group {group!r}") from None
    return uid, gid
