"""Length of a listener's queue, as the kernel tells it."""

from __future__ import annotations

import contextlib
import os
import socket

import pytest

from srvctl.listener import queue
from srvctl.listener.queue import waiting

FAMILIES = [
    (socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", 0)),
    (socket.AF_INET6, socket.SOCK_STREAM, ("::1", 0)),
    (socket.AF_UNIX, socket.SOCK_STREAM, b""),
    (socket.AF_UNIX, socket.SOCK_SEQPACKET, b""),
]


@pytest.mark.parametrize(("family", "kind", "address"), FAMILIES)
def test_connections_that_nobody_has_accepted_are_counted(family: int, kind: int, address: object) -> None:
    """Of TCP and unix sockets."""
    with contextlib.ExitStack() as opened:
        listener = opened.enter_context(socket.socket(family, kind))
        listener.bind(address)  # type: ignore[arg-type]  # of a unix socket the kernel chooses a name
        listener.listen(8)
        assert waiting(listener) == 0
        for count in range(1, 4):
            opened.enter_context(socket.socket(family, kind)).connect(listener.getsockname())
            assert waiting(listener) == count
        opened.enter_context(listener.accept()[0])
        assert waiting(listener) == 2


def test_where_the_kernel_does_not_tell_nothing_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of datagrams, of what is no socket of these, and where there is no sock_diag(7)."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
        assert waiting(datagrams) is None
    with socket.socket(socket.AF_UNIX) as listener:
        assert queue._unix_queue(os.stat("/").st_ino) is None

        def refuse(*arguments: object) -> socket.socket:
            raise PermissionError

        monkeypatch.setattr(queue.socket, "socket", refuse)
        assert waiting(listener) is None
    assert waiting(listener) is None
