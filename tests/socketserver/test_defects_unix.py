"""Rows of defects.md about the file of a unix socket; the finer points are in test_unixpath.py."""

from __future__ import annotations

import os
import socket

import pytest

from tests.socketserver.running import connect, echo_datagram, make, mended, ours


@mended("C38")
@pytest.mark.parametrize("name", ["UnixStreamServer", "UnixDatagramServer"])
def test_a_unix_server_removes_its_file(impl, name, tmp_path):
    """C38: a server that is closed leaves no file behind."""
    server = make(impl, name, echo_datagram, tmp_path)
    assert os.path.exists(server.server_address)
    server.server_close()
    assert not os.path.exists(server.server_address)


@mended("C38")
@pytest.mark.parametrize("name", ["UnixStreamServer", "UnixDatagramServer"])
def test_a_file_that_a_dead_server_left_is_replaced(impl, name, tmp_path):
    """C38: after kill -9 the next start works."""
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX, getattr(impl, name).socket_type) as dead:
        dead.bind(path)
    server = make(impl, name, echo_datagram, tmp_path)
    server.server_close()


@pytest.mark.parametrize("name", ["UnixStreamServer", "UnixDatagramServer"])
def test_a_server_that_lives_keeps_its_file(name, tmp_path):
    """C38: a second server at the same path fails, and the first goes on."""
    server = make(ours, name, echo_datagram, tmp_path)
    try:
        with pytest.raises(OSError, match="a server is listening there"):
            make(ours, name, echo_datagram, tmp_path)
        with socket.socket(socket.AF_UNIX, server.socket_type) as client:
            client.connect(server.server_address)
    finally:
        server.server_close()


def test_a_stream_server_listens_as_soon_as_it_has_its_name(tmp_path):
    """C38: between server_bind() and server_activate() no other start takes the server for a dead one."""
    path = str(tmp_path / "s")
    first = ours.UnixStreamServer(path, echo_datagram, bind_and_activate=False)
    first.server_bind()
    try:
        with pytest.raises(OSError, match="a server is listening there"):
            make(ours, "UnixStreamServer", echo_datagram, tmp_path)
        first.server_activate()
        connect(first).close()
    finally:
        first.server_close()


def test_the_file_goes_before_the_socket_is_closed(tmp_path):
    """C38: a closed socket's inode number may be that of the next server's file already; so the file goes first."""
    there = []
    server = make(ours, "UnixStreamServer", echo_datagram, tmp_path)

    class Watched(socket.socket):
        def close(self):
            there.append(os.path.exists(server.server_address))
            super().close()

    server.socket = Watched(fileno=server.socket.detach())
    server.server_close()
    assert there[0] is False
