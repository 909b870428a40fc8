"""The listening socket: resolved, made and bound as asked, or inherited; and given up in order."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from srvctl.config.settings import Settings
from srvctl.errors import AddressError, ExitStatus, LaunchError, NoPermission, UsageError
from srvctl.listener.listener import Listener
from srvctl.listener.open import open_listener
from srvctl.systemd import protocol as systemd

Open = Callable[..., Listener]


def has_ipv6() -> bool:
    """Tell whether there is an IPv6 loopback."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET6) as probe:
        probe.bind(("::1", 0))
        return True
    return False


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="no IPv6 here")
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.fixture
def listen() -> Iterator[Open]:
    """Open a listener; each is closed, and its file removed, when the test ends."""
    opened: list[Listener] = []

    def open_(family: str, address: str, **given: Any) -> Listener:
        opened.append(open_listener(Settings.resolve(family, address, "echo", "sync", **given)))
        return opened[-1]

    yield open_
    for each in opened:
        each.close()
        each.unlink()


def option(listener: Listener, level: int, name: int) -> int:
    """Return a socket option."""
    return listener.socket.getsockopt(level, name)


def can_connect(*sockaddr: Any) -> bool:
    """Tell whether somebody listens there."""
    domain = socket.AF_INET6 if ":" in sockaddr[0] else socket.AF_INET
    with socket.socket(domain) as client:
        return client.connect_ex(sockaddr) == 0


# --- tcp and udp


@needs_ipv6
def test_tcp_without_a_host_is_both_families_in_one_socket(listen: Open) -> None:
    """IPV6_V6ONLY is off, whatever the system's default."""
    listener = listen("tcp", ":0")
    port = listener.socket.getsockname()[1]
    assert listener.address == f"tcp://[::]:{port}"
    assert option(listener, socket.IPPROTO_IPV6, socket.IPV6_V6ONLY) == 0
    assert can_connect("127.0.0.1", port) and can_connect("::1", port)


@pytest.mark.parametrize(
    ("family", "address", "domain", "v6only"),
    [
        pytest.param("tcp", "[::]:0", socket.AF_INET6, 0, marks=needs_ipv6),
        pytest.param("tcp", "[::1]:0", socket.AF_INET6, 1, marks=needs_ipv6),
        pytest.param("tcp6", ":0", socket.AF_INET6, 1, marks=needs_ipv6),
        pytest.param("tcp6", "[::]:0", socket.AF_INET6, 1, marks=needs_ipv6),
        pytest.param("udp", ":0", socket.AF_INET6, 0, marks=needs_ipv6),
        pytest.param("udp6", ":0", socket.AF_INET6, 1, marks=needs_ipv6),
        ("tcp4", ":0", socket.AF_INET, None),
        ("udp4", ":0", socket.AF_INET, None),
        ("tcp", "0.0.0.0:0", socket.AF_INET, None),
    ],
)
def test_each_family_is_the_one_that_was_asked_for(listen, family, address, domain, v6only) -> None:  # type: ignore[no-untyped-def]
    """IPV6_V6ONLY is always said."""
    listener = listen(family, address)
    assert listener.socket.family == domain
    if v6only is not None:
        assert option(listener, socket.IPPROTO_IPV6, socket.IPV6_V6ONLY) == v6only


def test_without_ipv6_tcp_is_ipv4_alone(listen: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the kernel has none."""
    make = socket.socket

    def without(domain: int = -1, *rest: Any, **more: Any) -> socket.socket:
        if domain == socket.AF_INET6:
            raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")
        return make(domain, *rest, **more)

    monkeypatch.setattr(socket, "socket", without)
    assert listen("tcp", ":0").address.startswith("tcp://0.0.0.0:")
    with pytest.raises(AddressError, match="cannot bind tcp6 :0: address family not supported"):
        listen("tcp6", ":0")


def test_a_name_is_resolved_to_ipv4_first(listen: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """As Go's net.Listen; to one address."""
    both = [
        (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::1", 0, 0, 0)),
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0)),
    ]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *words: both)
    assert listen("tcp", "name.example:0").socket.family == socket.AF_INET


def test_a_name_that_is_not_known_is_told(listen: Open) -> None:
    """In the resolver's words."""
    with pytest.raises(AddressError, match=r"cannot resolve 'nohost\.invalid': "):
        listen("tcp", "nohost.invalid:1")


@pytest.mark.parametrize("host", ["a..b", "x" * 300, "\udcff", "192.0.2.1.5", "::g"])
def test_a_host_that_is_none_is_told(listen: Open, host: str) -> None:
    """Whatever the resolver's codec thinks of it."""
    with pytest.raises(LaunchError) as caught:
        listen("tcp", f"[{host}]:1")
    assert caught.value.status in (ExitStatus.USAGE, ExitStatus.UNAVAILABLE)


def test_a_service_is_a_port(listen: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the type that is served."""
    asked = []
    monkeypatch.setattr(socket, "getservbyname", lambda name, kind: asked.append((name, kind)) or 0)
    listen("tcp", "127.0.0.1:web")
    listen("udp", "127.0.0.1:web")
    assert asked == [("web", "tcp"), ("web", "udp")]


def test_a_service_that_is_not_known_is_a_usage_error(listen: Open) -> None:
    """With what was expected."""
    with pytest.raises(UsageError, match="'no-such-service' is not a port and not a known service"):
        listen("tcp", ":no-such-service")


def test_tcp_reuses_its_address_and_udp_never_does(listen: Open) -> None:
    """On UDP another process could take half of the datagrams."""
    assert option(listen("tcp", "127.0.0.1:0"), socket.SOL_SOCKET, socket.SO_REUSEADDR) == 1
    udp = listen("udp", "127.0.0.1:0")
    assert option(udp, socket.SOL_SOCKET, socket.SO_REUSEADDR) == 0
    assert option(udp, socket.SOL_SOCKET, socket.SO_REUSEPORT) == 0


@pytest.mark.parametrize(("family", "address"), [("tcp", "127.0.0.1:0"), ("udp", "127.0.0.1:0"), ("unix", "s")])
def test_no_descriptor_is_inherited_by_chance(listen: Open, monkeypatch, tmp_path, family: str, address: str) -> None:  # type: ignore[no-untyped-def]
    """Only the worker gets it, on purpose."""
    monkeypatch.chdir(tmp_path)
    assert not os.get_inheritable(listen(family, address).socket.fileno())


def test_the_backlog_is_the_kernels_maximum(listen: Open) -> None:
    """Unless another one was asked for; Linux accepts one more than it says, inet_csk_reqsk_queue_is_full()."""
    most = int(Path("/proc/sys/net/core/somaxconn").read_text())
    ours, short = listen("tcp4", "127.0.0.1:0"), listen("tcp4", "127.0.0.1:0", backlog=1)
    assert (backlog_of(ours), backlog_of(short)) == (most, 1)


def backlog_of(listener: Listener) -> int:
    """Return the length of the accept queue: tcpi_sacked of a listener, tcp_diag."""
    info = listener.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
    return int.from_bytes(info[28:32], sys.byteorder)


@pytest.mark.parametrize(
    "family", ["tcp4", "udp4", *(pytest.param(f, marks=needs_ipv6) for f in ("tcp", "udp", "tcp6", "udp6"))]
)
def test_who_holds_a_port_is_named(listen: Open, family: str) -> None:
    """With its process."""
    kind = socket.SOCK_DGRAM if "udp" in family else socket.SOCK_STREAM
    domain = socket.AF_INET if "4" in family else socket.AF_INET6
    script = (
        f"import socket; s = socket.socket({int(domain)}, {int(kind)}); s.bind(('', 0))\n"
        f"{'s.listen()' if kind == socket.SOCK_STREAM else ''}\n"
        "print(s.getsockname()[1], flush=True); import sys; sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None and other.stdin is not None
        port = int(other.stdout.readline())
        with pytest.raises(AddressError, match=rf"address already in use \(held by pid {other.pid}, \w+"):
            listen(family, f":{port}")
        other.stdin.close()


def test_a_port_below_1024_says_what_it_needs(listen: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """As an ordinary user."""

    class Refused(socket.socket):
        def bind(self, address: Any) -> None:
            raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(socket, "socket", Refused)
    with pytest.raises(NoPermission, match="permission denied; a port below 1024 needs CAP_NET_BIND_SERVICE"):
        listen("tcp", ":80")


# --- unix


def test_a_unix_socket_has_the_mode_that_was_asked_for(listen: Open, tmp_path: Path) -> None:
    """Or 0666 less the umask."""
    before = os.umask(0o027)
    try:
        for name, given, mode in [
            ("a", {"socket_mode": 0o600}, 0o600),
            ("b", {"socket_mode": 0o777}, 0o777),
            ("c", {}, 0o640),
        ]:
            listen("unix", str(tmp_path / name), **given)
            found = (tmp_path / name).stat().st_mode
            assert (stat.S_ISSOCK(found), stat.S_IMODE(found)) == (True, mode)
    finally:
        assert os.umask(before) == 0o027


@as_root
def test_a_unix_socket_has_the_owner_that_was_asked_for(listen: Open, tmp_path: Path) -> None:
    """By name or number, with or without a group."""
    for n, (owner, uid, gid) in enumerate(
        [("nobody", 65534, 0), ("65534:0", 65534, 0), ("root:nogroup", 0, 65534), (":nogroup", 0, 65534)]
    ):
        listen("unix-dgram", str(tmp_path / f"{n}"), socket_owner=owner)
        found = (tmp_path / f"{n}").stat()
        assert (found.st_uid, found.st_gid) == (uid, gid)


@pytest.mark.parametrize(
    ("owner", "why"), [("no-such-user", "there is no user 'no-such-user'"), ("root:nope", "there is no group 'nope'")]
)
def test_an_owner_that_is_not_known_is_a_usage_error(listen: Open, tmp_path: Path, owner: str, why: str) -> None:
    """And no file is made."""
    with pytest.raises(UsageError, match=why):
        listen("unix", str(tmp_path / "s"), socket_owner=owner)
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize("given", [{"socket_mode": 0o600}, {"socket_owner": "root"}])
def test_mode_and_owner_are_for_files_only(listen: Open, given: dict[str, Any]) -> None:
    """A TCP socket has none, nor has an abstract name."""
    with pytest.raises(UsageError, match="tcp :0 has no file"):
        listen("tcp", ":0", **given)
    with pytest.raises(UsageError, match="unix @srvctl-test has no file"):
        listen("unix", "@srvctl-test", **given)


def test_a_place_that_is_not_there_is_told(listen: Open, tmp_path: Path) -> None:
    """With the status of an address that cannot be had."""
    with pytest.raises(AddressError, match="no such file or directory"):
        listen("unix", str(tmp_path / "nowhere" / "s"))
    with pytest.raises(AddressError, match="it is a directory"):
        listen("unix", str(tmp_path))


def test_the_file_goes_when_it_is_told_to(listen: Open, tmp_path: Path) -> None:
    """`close` leaves it, `unlink` removes it, once."""
    listener = listen("unix", str(tmp_path / "s"))
    listener.close()
    assert (tmp_path / "s").exists()
    listener.unlink()
    listener.unlink()
    assert not (tmp_path / "s").exists()


def test_an_abstract_name_has_no_file(listen: Open) -> None:
    """It goes with its last descriptor."""
    name = f"@srvctl-test-{os.urandom(6).hex()}"
    listener = listen("unix-seqpacket", name)
    assert listener.address == f"unix-seqpacket://{name}"
    with pytest.raises(AddressError, match="address already in use"):
        listen("unix-seqpacket", name)


# --- inherited


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET])
def test_an_inherited_socket_is_taken_as_it_is(listen: Open, tmp_path: Path, kind: socket.SocketKind) -> None:
    """Family and type are asked of it; its file is never removed."""
    with socket.socket(socket.AF_UNIX, kind) as sock:
        sock.bind(str(tmp_path / "s"))
        if kind != socket.SOCK_DGRAM:
            sock.listen()
        passed = os.dup(sock.fileno())
        os.set_inheritable(passed, True)
        listener = listen("fd", str(passed))
        assert (listener.socket.family, listener.socket.type) == (socket.AF_UNIX, kind)
        assert (listener.owns_socket, listener.is_stream) == (False, kind != socket.SOCK_DGRAM)
        assert not os.get_inheritable(listener.socket.fileno())
        listener.block_new_peers()
        listener.close()
        listener.unlink()
        with socket.socket(socket.AF_UNIX, kind) as client:
            client.connect(str(tmp_path / "s"))


def test_a_socket_is_found_by_its_name(listen: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """In LISTEN_FDNAMES."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        monkeypatch.setattr(systemd, "listen_descriptors", lambda: {3: "other", os.dup(sock.fileno()): "web"})
        assert listen("fd", "web").socket.getsockname() == sock.getsockname()
        with pytest.raises(AddressError, match=r"no such name in LISTEN_FDNAMES \(other, web\)"):
            listen("fd", "nope")
        os.close(next(fd for fd, name in systemd.listen_descriptors().items() if name == "web"))


def test_without_names_a_name_is_told_that_there_are_none(listen: Open) -> None:
    """Nothing was passed to this process."""
    with pytest.raises(AddressError, match=r"cannot serve fd web: no such name in LISTEN_FDNAMES \(none was passed\)"):
        listen("fd", "web")


def test_what_cannot_be_served_is_left_open(listen: Open, tmp_path: Path) -> None:
    """It is not ours to close."""
    with contextlib.ExitStack() as stack:
        connected, _ = (stack.enter_context(end) for end in socket.socketpair())
        file = stack.enter_context((tmp_path / "file").open("w"))
        raw: list[tuple[int, str]] = [
            (connected.fileno(), "it is a SOCK_STREAM socket that does not listen"),
            (file.fileno(), "it is not a socket"),
        ]
        for fd, why in raw:
            with pytest.raises(AddressError, match=f"cannot serve fd {fd}: {why}"):
                listen("fd", str(fd))
            os.fstat(fd)


def test_a_descriptor_that_is_closed_is_told(listen: Open) -> None:
    """With its number."""
    fd = os.dup(0)
    os.close(fd)
    with pytest.raises(AddressError, match=f"cannot serve fd {fd}: it is not open"):
        listen("fd", str(fd))


# --- given up in order


@pytest.mark.parametrize("family", ["tcp", "unix"])
def test_a_sealed_listener_keeps_who_is_queued_and_lets_nobody_in(listen: Open, tmp_path: Path, family: str) -> None:
    """Between the last accept and the close nobody gets in, to be reset."""
    listener = listen(family, "127.0.0.1:0" if family == "tcp" else str(tmp_path / "s"))
    sockaddr = listener.socket.getsockname()
    with socket.socket(listener.socket.family) as queued, socket.socket(listener.socket.family) as late:
        queued.connect(sockaddr)
        listener.block_new_peers()
        late.setblocking(False)
        assert late.connect_ex(sockaddr) in (errno.EINPROGRESS, errno.ECONNREFUSED)
        listener.socket.setblocking(False)
        accepted, _ = listener.socket.accept()
        accepted.close()
        with pytest.raises(BlockingIOError if family == "tcp" else OSError):
            listener.socket.accept()
