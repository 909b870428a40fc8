"""P28: what a program is given: an environment that no client can write, three descriptors, the system's signals."""

from __future__ import annotations

import os
import re
import socket
from pathlib import Path

import pytest

from tests.launched import PATIENCE, clean_environment, receive_all
from tests.promises.faults import lines_with

# Prints its environment, its descriptors and its status, with marks between them, and what came to the end.
SHOW = """#!/bin/sh
# The shell's own variables are not looked at: this is what it was given.
tr '\\0' '\\n' < /proc/$$/environ; echo ---
ls -l /proc/$$/fd; echo ---
while read -r line; do echo "$line"; done < /proc/$$/status; echo ---
cat > /dev/null
"""

PAYLOADS = {
    "shellshock": b"() { :; }; echo pwned",
    "shellshock, closed": b"/tmp/() { :;};touch pwned",
    "newline": b"x\nLD_PRELOAD=/tmp/evil.so",
    "carriage return": b"x\r\nPATH=/tmp",
    "null": b"x\0LD_PRELOAD=/tmp/evil.so\0",
    "substitution": b"$(touch pwned)`touch pwned`",
    "quotes": b"';touch pwned;\"",
    "not UTF-8": b"\xff\xfe\x80",
    "escape": b"\x1b]0;pwned\x07",
    "space": b"a b",
    "option": b"-rf",
    "assignment": b"A=B",
}

ALLOWED = {"PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "TZ", "TMPDIR"}
TCP = {
    *("PROTO", "TCPLOCALIP", "TCPLOCALPORT", "TCPREMOTEIP", "TCPREMOTEPORT"),
    *("REMOTE_ADDR", "REMOTE_PORT", "SRVCTL_CONNECTION_ID"),
}
UNIX = {
    *("PROTO", "SRVCTL_CONNECTION_ID"),
    *(proto + name for proto in ("IPC", "UNIX") for name in ("LOCALPATH", "REMOTEEUID", "REMOTEEGID", "REMOTEPID")),
}


@pytest.fixture
def show(place: Path) -> str:
    """The program."""
    (place / "show").write_text(SHOW)
    (place / "show").chmod(0o755)
    return "./show"


class Shown:
    """What `show` said of itself."""

    def __init__(self, said: bytes) -> None:
        environment, descriptors, status, _ = said.decode("utf-8", "surrogateescape").split("---\n")
        self.environment = dict(line.split("=", 1) for line in environment.splitlines())
        self.descriptors = dict(re.findall(r" (\d+) -> (\S+)", descriptors))
        self.status = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)

    @property
    def names(self) -> set[str]:
        """Its variables, but for the locale's."""
        return {name for name in self.environment if not name.startswith("LC_")}


def shown(client: socket.socket, payload: bytes = b"") -> Shown:
    """Send `payload`, and return what the program said."""
    client.sendall(payload)
    client.shutdown(socket.SHUT_WR)
    return Shown(receive_all(client))


@pytest.mark.parametrize("payload", PAYLOADS.values(), ids=PAYLOADS)
@pytest.mark.parametrize("where", ["what it sends", "its path", "its abstract name"])
def test_nothing_that_a_client_chooses_is_in_the_environment(launch, place, show, where, payload):
    """P28: a Shellshock payload, newlines and nulls, in each place that a client can write to."""
    server = launch("unix", str(place / "s"), "--", show)
    names = {"what it sends": "", "its path": payload.partition(b"\0")[0], "its abstract name": b"\0" + payload}
    home = os.open(".", os.O_RDONLY)
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(PATIENCE)
        try:
            os.chdir(place)  # a path without a slash is from here
            if where == "its path" and b"/" in payload:
                name = names[where].lstrip(b"/")
                os.makedirs(os.path.dirname(name) or b".", exist_ok=True)
                client.bind(name)
            elif names[where]:
                client.bind(names[where])
        finally:
            os.fchdir(home)
            os.close(home)
        client.connect(server.sockaddr)
        found = shown(client, payload)
    plain = {"option": {"IPCREMOTEPATH", "UNIXREMOTEPATH"}}.get(
        next(name for name, value in PAYLOADS.items() if value == payload), set()
    )
    is_plain_name = where == "its abstract name"
    assert found.names <= ALLOWED | UNIX | (plain if is_plain_name else set())
    if is_plain_name and plain:
        assert found.environment["IPCREMOTEPATH"] == "@-rf"
    assert not any("pwned" in value or "evil" in value for value in found.environment.values())
    assert found.environment["IPCREMOTEPID"] == str(os.getpid())
    assert found.environment["IPCREMOTEEUID"] == str(os.geteuid())
    assert not list(place.glob("pwned"))


def test_a_plain_path_of_a_client_is_told(launch, place, show):
    """P28: what is nothing but a path passes."""
    server = launch("unix", str(place / "s"), "--", show)
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(PATIENCE)
        client.bind(str(place / "client.1"))
        client.connect(server.sockaddr)
        assert shown(client).environment["IPCREMOTEPATH"] == str(place / "client.1")


def test_the_environment_is_an_allow_list_and_what_is_known_of_the_connection(launch, show):
    """P28: with every value what the kernel says."""
    given = clean_environment(SECRET="1", LD_LIBRARY_PATH="/x", TCPREMOTEHOST="evil", TCPREMOTEINFO="evil", LC_TIME="C")
    server = launch("tcp4", "127.0.0.1:0", "--", show, env=given)
    with server.connect() as client:
        own, peer = client.getsockname(), client.getpeername()
        found = shown(client)
    assert found.names <= ALLOWED | TCP and found.names >= TCP
    environment = found.environment
    assert environment["LC_TIME"] == "C"
    assert environment["PROTO"] == "TCP"
    assert (environment["TCPLOCALIP"], environment["TCPLOCALPORT"]) == (peer[0], str(peer[1]))
    assert (environment["TCPREMOTEIP"], environment["TCPREMOTEPORT"]) == (own[0], str(own[1]))
    assert (environment["REMOTE_ADDR"], environment["REMOTE_PORT"]) == (own[0], str(own[1]))
    server.wait_for_log(" ended ")
    (line,) = lines_with(server.log, " ended ")
    assert f"id={environment['SRVCTL_CONNECTION_ID']}" in line.split()


PRIVATE = dict.fromkeys(
    ("LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "LISTEN_ELSE", "WATCHDOG_PID", "WATCHDOG_ELSE"), "1"
)
PRIVATE |= {
    "NOTIFY_SOCKET": "/nowhere",
    "WATCHDOG_USEC": "9999999999",
    "JOURNAL_STREAM": "8:1",
    "SRVCTL_GRACEFUL_TIMEOUT": "20",
}
PRIVATE |= {"TCPREMOTEHOST": "evil", "TCP6REMOTEINFO": "evil", "UNIXREMOTEPATH": "evil"}


def test_keep_env_keeps_all_but_what_is_about_somebody_else(launch, show):
    """P28: no variable of systemd's, of srvctl's own options, or of another connection."""
    given = clean_environment(SECRET="1", OTHER="a b", **PRIVATE)
    server = launch("tcp4", "127.0.0.1:0", "--keep-env", "--env", "MORE=x y", "--env", "NONE", "--", show, env=given)
    with server.connect() as client:
        found = shown(client)
    assert found.environment["SECRET"] == "1" and found.environment["MORE"] == "x y"
    assert "NONE" not in found.environment
    assert not set(PRIVATE) & found.names


def test_env_passes_on_what_it_names(launch, show):
    """P28: and sets what it is given a value for, also an empty one."""
    given = clean_environment(SECRET="1", PASSED="with = and  spaces")
    options = ("--env", "PASSED", "--env", "EMPTY=", "--env", "PATH=/bin:/usr/bin", "--env", "ABSENT")
    server = launch("tcp4", "127.0.0.1:0", *options, "--", show, env=given)
    with server.connect() as client:
        found = shown(client)
    assert found.names <= ALLOWED | TCP | {"PASSED", "EMPTY"}
    assert (found.environment["PASSED"], found.environment["EMPTY"]) == ("with = and  spaces", "")
    assert found.environment["PATH"] == "/bin:/usr/bin"


def test_a_client_over_ipv4_of_a_socket_for_both_is_tcp(launch, show):
    """P28: PROTO tells the family of the addresses; with IPv6 both sets of names are there."""
    server = launch("tcp", ":0", "--", show)
    port = server.sockaddr[1]
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as client:
        found = shown(client).environment
    assert (found["PROTO"], found["TCPREMOTEIP"], found["TCPLOCALIP"]) == ("TCP", "127.0.0.1", "127.0.0.1")
    assert not any(name.startswith("TCP6") for name in found)
    if not server.address.startswith("tcp://[::]"):
        pytest.skip("there is no IPv6 here")
    with socket.create_connection(("::1", port), PATIENCE) as client:
        found = shown(client).environment
    assert (found["PROTO"], found["TCP6REMOTEIP"], found["TCPREMOTEIP"]) == ("TCP6", "::1", "::1")
    assert found["TCP6REMOTEPORT"] == found["TCPREMOTEPORT"] == found["REMOTE_PORT"]


@pytest.mark.parametrize("stderr", ["log", "inherit", "null", "socket"])
def test_a_program_has_three_descriptors_and_the_signals_of_the_system(launch, place, show, stderr):
    """P28: whatever srvctl and whoever started it have open; no signal is blocked or ignored; a group of its own."""
    leaked = os.open(os.devnull, os.O_RDONLY)
    try:
        words = ("tcp4", "127.0.0.1:0", "--program-stderr", stderr, "--", show)
        server = launch(*words, prefix=("env", "--block-signal=USR1", "--ignore-signal=HUP"), pass_fds=(leaked,))
    finally:
        os.close(leaked)
    with server.connect() as other, server.connect() as client:
        found = shown(client)
        # dash opens its script as descriptor 10, or the like, by itself.
        held = {number: where for number, where in found.descriptors.items() if where != str(place / "show")}
        assert set(held) <= {"0", "1", "2", "3"}
        assert held["0"] == held["1"] and held["0"].startswith("socket:")
        assert held["2"].startswith({"log": "pipe:", "null": "/dev/null", "socket": "socket:"}.get(stderr, ""))
        other.close()
    # 32 and 33 are glibc's own, which its posix_spawn sets like this for every program, and its programs set anew.
    assert int(found.status["SigIgn"], 16) & ~(3 << 31) == 0
    assert int(found.status["SigBlk"], 16) == 0
    assert int(found.status["SigPnd"], 16) == 0
    assert found.status["NSpgid"].split()[-1] == found.status["NSpid"].split()[-1]


@pytest.mark.parametrize("family", ["udp4", "unix-dgram"])
def test_the_sender_of_a_datagram_is_told(launch, place, family):
    """P28: UDP's names, or the path that it is bound to."""
    (place / "show").write_text("#!/bin/sh\ntr '\\0' '\\n' < /proc/$$/environ\n")
    (place / "show").chmod(0o755)
    address = str(place / "s") if family == "unix-dgram" else "127.0.0.1:0"
    # An environment is a longer answer than the guard lets pass.
    server = launch(family, address, *(["--datagram-guard", "off"] if family == "udp4" else []), "--", "./show")
    with server.connect() as client:
        client.send(b"() { :; }; echo pwned")
        found = dict(line.split("=", 1) for line in client.recv(65536).decode().splitlines())
        if family == "udp4":
            assert found["PROTO"] == "UDP"
            assert (found["UDPREMOTEIP"], found["UDPREMOTEPORT"]) == ("127.0.0.1", str(client.getsockname()[1]))
            assert found["UDPLOCALPORT"] == str(server.sockaddr[1])
        else:
            assert found["IPCREMOTEPATH"] == "@" + client.getsockname()[1:].decode()
    assert not any("pwned" in value for value in found.values())
