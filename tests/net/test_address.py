"""Addresses as text and as values."""

from __future__ import annotations

import contextlib
import socket
import string
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from srvctl.errors import UsageError
from srvctl.net.address import (
    VMADDR_CID_ANY,
    Descriptor,
    Family,
    InternetAddress,
    UnixAddress,
    UnixPeer,
    VsockAddress,
    format_bound,
    format_sockaddr,
    mapped,
    parse,
    unmapped,
)

families = st.sampled_from(Family)
ports = st.integers(0, 65535)
names = st.text(string.ascii_letters + string.digits + "-._", min_size=1, max_size=60)


@pytest.mark.parametrize("family", Family, ids=lambda family: family.word)
def test_a_family_is_found_by_its_word(family: Family) -> None:
    """The first word of the command line."""
    assert Family.named(family.word) is family


def test_a_word_that_is_no_family_is_told_those_that_are() -> None:
    """And which word it was."""
    with pytest.raises(UsageError, match=r"'sctp': no such family; expected tcp, tcp4.*unix-seqpacket, vsock, fd"):
        Family.named("sctp")


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        (":9000", "", 9000),
        ("9000", "", 9000),
        (":0", "", 0),
        (":65535", "", 65535),
        ("127.0.0.1:9000", "127.0.0.1", 9000),
        ("[::1]:9000", "::1", 9000),
        ("[fe80::1%eth0]:9", "fe80::1%eth0", 9),
        ("[::ffff:192.0.2.1]:9", "::ffff:192.0.2.1", 9),
        ("host.example:9000", "host.example", 9000),
        (":http", "", "http"),
        ("localhost:echo", "localhost", "echo"),
    ],
)
def test_an_internet_address_is_a_host_and_a_port(text: str, host: str, port: int | str) -> None:
    """As Go's net.Listen takes them, and a port alone."""
    assert parse(Family.TCP, text) == InternetAddress(host, port)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "it is empty"),
        (":", "the port is missing"),
        ("host:", "the port is missing"),
        ("host", "expected HOST:PORT or :PORT"),
        ("::1:9000", "an IPv6 address is written in brackets"),
        ("[::1]", r"expected \[HOST\]:PORT"),
        ("[::1]9000", r"expected \[HOST\]:PORT"),
        ("[]:9", r"expected \[HOST\]:PORT"),
        ("[::1:9000", r"expected \[HOST\]:PORT"),
        (":65536", "port 65536 is not between 0 and 65535"),
        (":99999", "port 99999 is not between 0 and 65535"),
        (":-1", "port -1 is not between 0 and 65535"),
        ("99999", "port 99999 is not between 0 and 65535"),
        ("a\0b:9", "it has a null byte in it"),
    ],
)
def test_what_is_no_internet_address_is_refused_with_the_reason(text: str, why: str) -> None:
    """And with the text that was given."""
    with pytest.raises(UsageError, match=why) as caught:
        parse(Family.UDP6, text)
    assert repr(text) in str(caught.value)


@given(host=names, port=ports)
def test_a_host_and_a_port_survive_the_text(host: str, port: int) -> None:
    """Whatever they are."""
    assert parse(Family.TCP, f"{host}:{port}") == InternetAddress(host, port)


@given(address=st.ip_addresses(v=6), port=ports)
def test_an_ipv6_address_survives_the_text(address: object, port: int) -> None:
    """As `format_sockaddr` writes it."""
    assert parse(Family.TCP6, format_sockaddr((str(address), port, 0, 0))) == InternetAddress(str(address), port)


@given(name=names)
def test_a_unix_name_survives_the_text(name: str) -> None:
    """A path, and a name in the abstract namespace."""
    path, abstract = parse(Family.UNIX, f"/tmp/{name}"), parse(Family.UNIX_DGRAM, f"@{name}")
    assert (path, abstract) == (UnixAddress(f"/tmp/{name}"), UnixAddress(f"@{name}"))
    assert (path.is_abstract, abstract.is_abstract) == (False, True)
    assert format_sockaddr(path.sockaddr) == f"/tmp/{name}"
    assert format_sockaddr(abstract.sockaddr) == f"@{name}"
    assert abstract.sockaddr == "\0" + name


@given(family=families, text=st.text(max_size=200))
def test_any_text_is_an_address_or_a_usage_error(family: Family, text: str) -> None:
    """Nothing else comes out of `parse`; a surrogate is how a byte of the command line reads that is not UTF-8."""
    for given_text in (text, text.encode("utf-8", "surrogatepass").decode("utf-8", "surrogateescape")):
        try:
            address = parse(family, given_text)
        except UsageError as error:
            assert str(error).startswith(f"cannot parse {family.word} address ")
        else:
            assert isinstance(address, InternetAddress | UnixAddress | VsockAddress | Descriptor)


@given(family=families, text=st.text("0123456789:[]+-@²٣", max_size=30))
def test_any_digits_are_an_address_or_a_usage_error(family: Family, text: str) -> None:
    """Those of other scripts, and too many of them, included."""
    with contextlib.suppress(UsageError):
        parse(family, text)


@pytest.mark.parametrize(("text", "limit"), [("/" + "x" * 107, 107), ("@" + "x" * 108, 108), ("é" * 54, 107)])
def test_a_unix_name_that_is_too_long_is_refused_with_the_limit(text: str, limit: int) -> None:
    """In bytes, as the kernel counts."""
    with pytest.raises(UsageError, match=f"the limit is {limit}"):
        parse(Family.UNIX, text)


@pytest.mark.parametrize("text", ["/" + "x" * 106, "@" + "x" * 107])
def test_a_unix_name_that_is_just_short_enough_can_be_bound(text: str, tmp_path: Path) -> None:
    """The limit is the kernel's."""
    address = parse(Family.UNIX, text)
    with socket.socket(socket.AF_UNIX) as sock:
        if address.is_abstract:
            sock.bind(address.sockaddr)
        else:
            sock.bind((str(tmp_path) + "/" + "x" * 107)[:107])


def test_an_abstract_name_needs_one_letter() -> None:
    """An empty one would have the kernel choose, unix(7) autobind."""
    with pytest.raises(UsageError, match="expected @NAME or a path"):
        parse(Family.UNIX, "@")


def test_a_vsock_address_is_a_context_and_a_port() -> None:
    """Of any context when none is said."""
    assert parse(Family.VSOCK, "3:9000") == VsockAddress(3, 9000)
    assert parse(Family.VSOCK, ":9000") == VsockAddress(VMADDR_CID_ANY, 9000)


@pytest.mark.parametrize("text", ["9000", "x:9", "3:", "3:x", "4294967296:1", "1:4294967296"])
def test_what_is_no_vsock_address_is_refused(text: str) -> None:
    """A number of 32 bits on each side."""
    with pytest.raises(UsageError, match="cannot parse vsock address"):
        parse(Family.VSOCK, text)


def test_a_descriptor_is_a_number_or_a_name() -> None:
    """The name is looked up in LISTEN_FDNAMES."""
    assert parse(Family.FD, "3") == Descriptor(3, "")
    assert parse(Family.FD, "web") == Descriptor(-1, "web")
    with pytest.raises(UsageError, match="descriptor -1 is not between"):
        parse(Family.FD, "-1")


@given(address=st.ip_addresses(v=4), port=ports)
def test_an_ipv4_peer_of_a_dual_socket_reads_as_ipv4(address: object, port: int) -> None:
    """And can be sent to as what the kernel knows it by."""
    kernel = (f"::ffff:{address}", port, 0, 0)
    assert unmapped(kernel) == (str(address), port)
    assert mapped(unmapped(kernel)) == kernel


@pytest.mark.parametrize("sockaddr", [("::1", 9, 0, 0), ("::ffff:1", 9, 0, 0), "/tmp/s", "", None, b"\0a", (3, 9)])
def test_any_other_peer_stays_as_it_is(sockaddr: object) -> None:
    """On the way in, and out."""
    assert unmapped(sockaddr) == sockaddr
    assert mapped(sockaddr) == sockaddr


@pytest.mark.parametrize("nobody", [None, "", b""])
def test_a_peer_without_a_name_is_a_dash(nobody: object) -> None:
    """A unix client need not bind."""
    assert format_sockaddr(nobody) == "-"


def test_names_of_bytes_are_text_too() -> None:
    """The socket module gives an abstract name as bytes."""
    assert format_sockaddr(b"\0name") == "@name"


def test_what_is_announced_is_where_it_is_bound(tmp_path: Path) -> None:
    """With the port that the kernel chose."""
    with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
        tcp.bind(("127.0.0.1", 0))
        udp.bind(("127.0.0.1", 0))
        assert format_bound(tcp) == f"tcp://127.0.0.1:{tcp.getsockname()[1]}"
        assert format_bound(udp) == f"udp://127.0.0.1:{udp.getsockname()[1]}"
    for kind, scheme in [
        (socket.SOCK_STREAM, "unix"),
        (socket.SOCK_DGRAM, "unix-dgram"),
        (socket.SOCK_SEQPACKET, "unix-seqpacket"),
    ]:
        with socket.socket(socket.AF_UNIX, kind) as sock:
            sock.bind(str(tmp_path / scheme))
            assert format_bound(sock) == f"{scheme}://{tmp_path}/{scheme}"


@pytest.mark.parametrize("name", ["", "/tmp/client"])
def test_a_unix_peer_is_its_name_and_can_be_indexed_as_a_pair(name: str) -> None:
    """Handlers that were written for IP ask for host and port."""
    peer = UnixPeer(name)
    assert peer == name and f"{peer}" == name and bool(peer) is bool(name)
    host, port = peer
    assert (host, port) == (peer[0], peer[1]) == peer[:2] == (name, 0)
    assert format_sockaddr(peer) == (name or "-")
