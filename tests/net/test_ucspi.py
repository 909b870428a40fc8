"""The environment of a program: what is inherited, what is told of the conversation, and what never gets in."""

from __future__ import annotations

import os
import socket
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from srvctl.net import ucspi

text = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=40)
names = st.sampled_from(
    [
        "PATH",
        "HOME",
        "LC_ALL",
        "SECRET",
        "LISTEN_FDS",
        "NOTIFY_SOCKET",
        "WATCHDOG_X",
        "TCPREMOTEHOST",
        "SRVCTL_MAX_CONNECTIONS",
    ]
)


@given(environ=st.dictionaries(names, text), keeps_all=st.booleans())
def test_what_is_about_somebody_else_is_never_inherited(environ: dict[str, str], keeps_all: bool) -> None:
    """Whatever else is kept."""
    kept = ucspi.base_environment(environ, keeps_all, ())
    allowed = {"PATH", "HOME", "LC_ALL"} | ({"SECRET"} if keeps_all else set())
    assert kept == {name: value for name, value in environ.items() if name in allowed}


def test_an_assignment_adds_or_passes_on() -> None:
    """A variable that is not there is not passed on."""
    given_ = (("A", None), ("B", None), ("C", "c"), ("PATH", "/mine"))
    assert ucspi.base_environment({"A": "a", "PATH": "/x"}, False, given_) == {"A": "a", "C": "c", "PATH": "/mine"}


@given(st.binary(max_size=107) | st.binary(max_size=106).map(lambda name: b"\0" + name))
def test_a_client_s_path_is_plain_or_not_there(path: bytes) -> None:
    """Whatever bytes it is."""
    name = path if path[:1] == b"\0" else os.fsdecode(path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        known = ucspi.of_datagram(sock, "", name or None)
    remote = known.get("IPCREMOTEPATH", "")
    assert known.get("UNIXREMOTEPATH", "") == remote
    assert set(remote) <= set("/._-+:,@") | set(map(chr, [*range(48, 58), *range(65, 91), *range(97, 123)]))
    assert not remote or remote[0] in "/@"
    assert all("\0" not in value for value in known.values())


def test_ipv6_has_both_names_and_its_interface_apart() -> None:
    """What looks for TCP6REMOTEIP finds it, and so does what looks for TCPREMOTEIP."""
    known = ucspi.of_ip("TCP", ("fe80::1%lo", 7, 0, 1), ("fe80::2%lo", 9, 0, 1))
    assert known["PROTO"] == "TCP6"
    assert known["TCP6REMOTEIP"] == known["TCPREMOTEIP"] == known["REMOTE_ADDR"] == "fe80::2"
    assert known["TCP6LOCALPORT"] == known["TCPLOCALPORT"] == "7"
    assert known["TCP6INTERFACE"] == "lo"


def test_a_datagram_whose_sender_is_not_known_has_the_local_address_alone() -> None:
    """As with --datagram-wait, where there may be many."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        known = ucspi.of_datagram(sock, "", None)
        assert known == {"PROTO": "UDP", "UDPLOCALIP": "127.0.0.1", "UDPLOCALPORT": str(sock.getsockname()[1])}


def test_every_name_that_can_be_set_is_reserved() -> None:
    """So that an inherited one is never taken for the connection's, nor set by an option."""
    known: set[str] = set()
    for local, peer in ((("::1", 1), ("::1%lo", 2)), (("127.0.0.1", 1), ("127.0.0.1", 2))):
        for protocol in ("TCP", "UDP"):
            known |= set(ucspi.of_ip(protocol, local, peer))
    ours, theirs = socket.socketpair()
    with ours, theirs:
        known |= set(ucspi.of_connection(ours, socket.AF_UNIX, None, "/x"))
    known |= set(ucspi._of_vsock((1, 2), (3, 4)))
    assert all(map(ucspi.is_reserved, known))
    assert ucspi.is_reserved("LISTEN_ANYTHING") and not ucspi.is_reserved("PATH")


@pytest.mark.parametrize(
    ("family", "address", "is_known"),
    [
        (socket.AF_INET, ("127.0.0.1", 0), True),
        (socket.AF_INET, ("0.0.0.0", 0), False),
        (socket.AF_INET6, ("::1", 0), True),
        (socket.AF_INET6, ("::ffff:127.0.0.1", 0), True),
        (socket.AF_INET6, ("::", 0), False),
        (socket.AF_UNIX, "\0srvctl-test-environment", True),
        (socket.AF_UNIX, "", False),
    ],
)
def test_the_local_address_of_a_connection_is_the_listener_s_unless_that_has_all(
    family: int, address: Any, is_known: bool
) -> None:
    """What is told then is the same as the connection itself would tell."""
    with socket.socket(family) as listener:
        if address:
            listener.bind(address)
        local = ucspi.fixed_local_address(listener)
        assert (local is not None) == is_known
        if not is_known:
            return
        listener.listen()
        with socket.socket(family) as client:
            client.connect(listener.getsockname())
            connection, peer = listener.accept()
            with connection:
                known = ucspi.of_connection(connection, family, local, peer)
                assert known == ucspi.of_connection(connection, family, None, peer)
                assert known["PROTO"]
