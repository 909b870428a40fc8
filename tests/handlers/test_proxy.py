"""The handler `proxy`: real processes, between real clients and upstreams that the tests hold in their hands."""

from __future__ import annotations

import errno
import hashlib
import os
import select
import shutil
import socket
import struct
import subprocess
import sys
import threading

import pytest

from srvctl.errors import UsageError
from srvctl.handlers import proxy
from srvctl.handlers.proxy.relay import relay
from srvctl.handlers.proxy.upstream import Upstream, UpstreamError
from tests.launched import PATIENCE, ask, clean_environment, receive_all, receive_exactly

MODELS = ("--sync", "--threads", "--fork")
RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close(2) sends a reset, socket(7)
PATTERN = bytes(range(251)) * 4177  # 1 MiB and a little, of a length that is no power of two


class Listening:
    """An upstream in the test's hands."""

    def __init__(self, place, scheme="tcp"):
        kind = {"unix-seqpacket": socket.SOCK_SEQPACKET}.get(scheme, socket.SOCK_STREAM)
        self.socket = socket.socket(socket.AF_INET if scheme == "tcp" else socket.AF_UNIX, kind)
        self.socket.settimeout(PATIENCE)
        self.socket.bind(("127.0.0.1", 0) if scheme == "tcp" else str(place / "upstream"))
        self.socket.listen()
        name = self.socket.getsockname()
        self.address = f"tcp://127.0.0.1:{name[1]}" if scheme == "tcp" else f"{scheme}://{name}"

    def accept(self):
        sock, _ = self.socket.accept()
        sock.settimeout(PATIENCE)
        return sock


@pytest.fixture
def listening(opened, place):
    """An upstream that listens, on TCP unless told otherwise."""

    def make(scheme="tcp"):
        upstream = Listening(place, scheme)
        opened.callback(upstream.socket.close)
        return upstream

    return make


@pytest.fixture
def joined(launch, listening, opened):
    """A client and an upstream with a proxy between them, and the proxy."""

    def make(family="tcp", model="--threads", scheme="tcp", *options):
        upstream = listening(scheme)
        address = "127.0.0.1:0" if family == "tcp" else "front"
        server = launch(family, address, model, "--set", f"to={upstream.address}", *options, "proxy")
        client = opened.enter_context(server.connect())
        return client, opened.enter_context(upstream.accept()), server

    return make


# --- streams


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(
    ("family", "scheme"),
    [("tcp", "tcp"), ("tcp", "unix"), ("unix", "tcp"), ("unix", "unix"), ("unix-seqpacket", "unix-seqpacket")],
)
def test_what_is_said_is_heard_at_the_other_end(joined, model, family, scheme):
    """In both directions, in every model, between all kinds of sockets."""
    client, upstream, _ = joined(family, model, scheme)
    for message in (b"one", b"\0\xff" * 100, b"x" * 5000):
        client.sendall(message)
        assert receive_exactly(upstream, len(message)) == message
        upstream.sendall(message[::-1])
        assert receive_exactly(client, len(message)) == message[::-1]


@pytest.mark.parametrize("splice", ["yes", "no"])
@pytest.mark.parametrize("model", MODELS)
def test_each_direction_ends_by_itself(joined, model, splice):
    """A client that has sent its last byte still gets the answer, however long; and the log counts every byte."""
    client, upstream, server = joined("tcp", model, "tcp", "--set", f"splice={splice}")
    sender = threading.Thread(target=lambda: (client.sendall(PATTERN), client.shutdown(socket.SHUT_WR)))
    sender.start()
    assert receive_all(upstream) == PATTERN
    sender.join()
    sender = threading.Thread(target=lambda: (upstream.sendall(PATTERN * 2), upstream.close()))
    sender.start()
    assert receive_all(client) == PATTERN * 2
    sender.join()
    server.wait_for_log(f"received={len(PATTERN)} sent={2 * len(PATTERN)} how=done")


@pytest.mark.parametrize("scheme", ["tcp", "unix"])
def test_an_upstream_that_has_sent_its_last_byte_is_still_listened_by(joined, scheme):
    """Half-close from the other side: the client reads the end and goes on sending."""
    client, upstream, _ = joined("tcp", "--threads", scheme)
    upstream.sendall(b"all I have to say")
    upstream.shutdown(socket.SHUT_WR)
    assert receive_all(client) == b"all I have to say"
    client.sendall(b"but I have more")
    assert receive_exactly(upstream, 15) == b"but I have more"
    client.shutdown(socket.SHUT_WR)
    assert upstream.recv(1) == b""


def test_records_stay_the_records_they_were(joined):
    """On sequenced packets, the large ones too."""
    client, upstream, _ = joined("unix-seqpacket", "--threads", "unix-seqpacket")
    sent = [b"a\nb", b"c", b"d" * 100_000, b"e"]
    for record in sent:
        client.send(record)
    assert [upstream.recv(1 << 20) for _ in sent] == sent


@pytest.mark.parametrize("model", MODELS)
def test_nothing_is_stored_for_a_receiver_that_does_not_read(joined, model):
    """The sender is held by what the kernel and one pipe hold; then everything comes, in order."""
    client, upstream, _ = joined("unix", model, "unix")
    sent = hashlib.sha256()
    count = 0
    client.setblocking(False)
    while select.select([], [client], [], 1.0)[1]:
        written = client.send(PATTERN)
        sent.update(PATTERN[:written])
        count += written
        assert count < 8 * 1024 * 1024
    client.shutdown(socket.SHUT_WR)
    came = receive_all(upstream)
    assert (len(came), hashlib.sha256(came).digest()) == (count, sent.digest())


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("size", [0, 1000, 2_000_000])
def test_a_reset_of_the_upstream_is_one_for_the_client(joined, model, size):
    """An end of file would say that it has got everything; before splice(2) has begun and after."""
    client, upstream, server = joined("tcp", model)
    client.sendall(b"?")
    assert upstream.recv(1) == b"?"  # the upstream is not still being connected to
    sender = threading.Thread(target=lambda: upstream.sendall(bytes(size)))
    sender.start()
    assert len(receive_exactly(client, size)) == size
    sender.join()
    upstream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    upstream.close()
    with pytest.raises(ConnectionResetError):
        client.recv(1)
    server.wait_for_log("how=reset")


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("half_closed", [False, True])
def test_a_reset_of_the_client_is_one_for_the_upstream(joined, model, half_closed):
    """Also of one that has sent its last byte and waits for the answer."""
    client, upstream, server = joined("tcp", model)
    client.sendall(b"a question")
    assert receive_exactly(upstream, 10) == b"a question"
    if half_closed:
        client.shutdown(socket.SHUT_WR)
        assert upstream.recv(1) == b""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    client.close()
    server.wait_for_log("how=reset")
    with pytest.raises(ConnectionError):
        while True:  # a FIN may have been there before
            upstream.sendall(b"an answer")


def test_an_answer_that_came_before_the_whole_question_arrives(joined):
    """As of an HTTP server that says 413 and closes: the reset that its unread input makes destroys nothing of it."""
    client, upstream, server = joined("tcp", "--threads")
    client.setblocking(False)
    while select.select([], [client], [], 0.5)[1]:
        client.send(PATTERN)
    client.settimeout(PATIENCE)
    upstream.sendall(b"too large")
    upstream.shutdown(socket.SHUT_WR)
    assert receive_all(client) == b"too large"
    upstream.close()
    client.close()
    server.wait_for_log("ended")


def test_a_unix_upstream_that_is_gone_ends_it(joined):
    """Nobody takes what the client might still send, and the client need not say anything for that to be noticed."""
    client, upstream, server = joined("unix", "--threads", "unix")
    upstream.sendall(b"goodbye")
    upstream.close()
    assert receive_all(client) == b"goodbye"
    server.wait_for_log("how=done")


def test_what_a_client_sent_before_it_went_arrives(joined):
    """A client that closes at once, as `nc` does, has its input delivered."""
    client, upstream, _ = joined("unix", "--threads", "unix")
    client.sendall(b"fire" * 20_000)
    client.close()
    assert receive_all(upstream) == b"fire" * 20_000


@pytest.mark.parametrize("model", MODELS)
def test_a_stop_ends_the_input_of_a_quiet_connection_and_its_answer_still_comes(joined, model):
    """The upstream meets the end of file that the drain makes."""
    client, upstream, server = joined("tcp", model, "tcp", "--drain-idle-timeout", "0.1")
    assert ask(client, b"") == b""
    server.process.terminate()
    assert upstream.recv(1) == b""
    upstream.sendall(b"last words")
    upstream.close()
    assert receive_all(client) == b"last words"
    client.close()
    assert server.wait() == 0


@pytest.mark.parametrize("model", MODELS)
def test_a_cut_at_the_deadline_is_a_reset_for_the_upstream(joined, model):
    """It must not take for the whole what was cut in the middle."""
    client, upstream, server = joined("tcp", model, "tcp", "--max-duration", "0.3")
    client.sendall(b"the first half")
    assert receive_exactly(upstream, 14) == b"the first half"
    with pytest.raises(ConnectionResetError):
        upstream.recv(1)
    server.wait_for_log("how=max-duration")


@pytest.mark.parametrize("model", MODELS)
def test_an_upstream_that_refuses_is_one_line_and_the_end(launch, place, model):
    """The client's connection is closed, the log says why, and the next one is served when the upstream is back."""
    upstream = Listening(place)
    upstream.socket.close()
    server = launch("tcp", "127.0.0.1:0", model, "--set", f"to={upstream.address}", "proxy")
    with server.connect() as client:
        assert receive_all(client) == b""
    log = server.wait_for_log("ended")
    (line,) = [line for line in log.splitlines() if "handler failed" in line]
    assert f"cannot connect to {upstream.address}: Connection refused" in line and " error " in line
    with socket.create_server(("127.0.0.1", int(upstream.address.rpartition(":")[2]))) as back:
        back.settimeout(PATIENCE)
        with server.connect() as client:
            accepted, _ = back.accept()
            with accepted:
                accepted.sendall(b"back")
                assert receive_exactly(client, 4) == b"back"


def test_a_connection_that_nobody_accepts_is_given_up_in_time(launch, place, opened):
    """A unix upstream whose queue is full."""
    full = opened.enter_context(socket.socket(socket.AF_UNIX))
    full.bind(str(place / "full"))
    full.listen(0)
    for _ in range(2):
        queued = opened.enter_context(socket.socket(socket.AF_UNIX))
        queued.setblocking(False)
        queued.connect_ex(str(place / "full"))
    server = launch("tcp", "127.0.0.1:0", "--set", "to=unix:full", "--set", "connect_timeout=0.2", "proxy")
    with server.connect() as client:
        assert receive_all(client) == b""
    server.wait_for_log("cannot connect to unix:full: no connection within 0.2 seconds")


def test_records_and_a_stream_do_not_mix(launch, listening):
    """It is said, and nothing is passed on."""
    upstream = listening("unix")
    server = launch("unix-seqpacket", "front", "--set", f"to={upstream.address}", "proxy")
    with server.connect() as client:
        assert client.recv(1) == b""
    server.wait_for_log("the boundaries of records would be lost")


def test_without_room_for_a_pipe_it_goes_on_as_it_began(monkeypatch):
    """Splicing is a matter of speed only: no descriptor left, and a kernel that does not splice from such a socket."""

    def refuse(*arguments, **options):
        raise OSError(errno.EINVAL, "no")

    for name in ("pipe2", "splice"):
        with monkeypatch.context() as patched:
            patched.setattr(os, name, refuse)
            client, client_end = socket.socketpair()
            upstream, upstream_end = socket.socketpair()
            client_end.setblocking(False)
            upstream_end.setblocking(False)
            relaying = threading.Thread(target=relay, args=(client_end, upstream_end))
            sending = threading.Thread(target=lambda: (client.sendall(PATTERN), client.shutdown(socket.SHUT_WR)))  # noqa: B023
            relaying.start()
            sending.start()
            assert receive_all(upstream) == PATTERN
            upstream.close()
            relaying.join()
            sending.join()
            for sock in (client, client_end, upstream_end):
                sock.close()


@pytest.mark.parametrize("before", [0, 2_000_000])
def test_an_urgent_byte_keeps_its_place_in_the_stream(joined, before):
    """MSG_OOB loses its urgency, and nothing else; also where the kernel does not splice across the mark."""
    client, upstream, _ = joined()
    sender = threading.Thread(target=lambda: client.sendall(bytes(before)))
    sender.start()
    assert len(receive_exactly(upstream, before)) == before
    sender.join()
    client.sendall(b"be")
    client.send(b"!", socket.MSG_OOB)
    client.sendall(b"hind")
    assert receive_exactly(upstream, 7) == b"be!hind"


# --- long transfers, and other people's programs


def pour(sock, size, digest):
    """Send `size` bytes that differ from place to place, and the end."""
    left = size
    while left:
        piece = PATTERN[: min(left, len(PATTERN))]
        digest.update(piece)
        sock.sendall(piece)
        left -= len(piece)
    sock.shutdown(socket.SHUT_WR)


def echo_through(server, size):
    """Send `size` bytes there and back at the same time; return both digests."""
    sent, came = hashlib.sha256(), hashlib.sha256()
    with server.connect() as client:
        pouring = threading.Thread(target=pour, args=(client, size, sent))
        pouring.start()
        while data := client.recv(1 << 20):
            came.update(data)
        pouring.join()
    return sent.hexdigest(), came.hexdigest()


@pytest.mark.parametrize("model", MODELS)
def test_64_mib_go_there_and_back_byte_for_byte(launch, model):
    """Both directions at the same time."""
    upstream = launch("unix", "up", "--threads", "echo")
    server = launch("tcp", "127.0.0.1:0", model, "--set", f"to={upstream.address}", "proxy")
    sent, came = echo_through(server, 64 * 1024 * 1024)
    assert sent == came
    server.wait_for_log(f"received={64 * 1024 * 1024} sent={64 * 1024 * 1024} how=done")


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("splice", ["yes", "no"])
def test_1_gib_goes_there_and_back_byte_for_byte(launch, model, splice):
    """The long form."""
    upstream = launch("tcp", "127.0.0.1:0", "--threads", "echo")
    server = launch(
        "tcp", "127.0.0.1:0", model, "--set", f"to={upstream.address}", "--set", f"splice={splice}", "proxy"
    )
    sent, came = echo_through(server, 1 << 30)
    assert sent == came


def rsync_through(launch, opened, place, size):
    """Fetch and send a file of `size` random bytes with rsync and its daemon; return the digests of all copies."""
    for name in ("here", "there"):
        (place / name).mkdir()
    with (place / "there" / "file").open("wb") as file:
        for _ in range(size >> 20):
            file.write(os.urandom(1 << 20))
    config = place / "rsyncd.conf"
    config.write_text(f"[files]\npath = {place / 'there'}\nread only = no\nuse chroot = no\nuid = {os.getuid()}\n")
    # The daemon serves one connection on its standard input, as from inetd: srvctl's own way to serve a program is not
    # what is tested here, so a listener of the test hands it its connections.
    listener = opened.enter_context(socket.create_server(("127.0.0.1", 0)))
    daemons = []

    def serve():
        for _ in range(2):
            sock, _ = listener.accept()
            with sock:
                command = ["rsync", "--daemon", f"--config={config}"]
                daemons.append(subprocess.Popen(command, stdin=sock, stdout=sock, stderr=subprocess.DEVNULL))

    serving = threading.Thread(target=serve)
    serving.start()
    to = f"to=tcp://127.0.0.1:{listener.getsockname()[1]}"
    server = launch("tcp", "127.0.0.1:0", "--fork", "--set", to, "proxy")
    url = f"rsync://127.0.0.1:{server.sockaddr[1]}/files"
    for source, target in ((f"{url}/file", "here/file"), ("here/file", f"{url}/back")):
        subprocess.run(["rsync", "--whole-file", "--inplace", source, target], cwd=place, check=True, timeout=500)
    serving.join()
    for daemon in daemons:
        daemon.wait(PATIENCE)
    files = [place / "there" / "file", place / "here" / "file", place / "there" / "back"]
    return {hashlib.file_digest(path.open("rb"), "sha256").hexdigest() for path in files}


@pytest.mark.skipif(not shutil.which("rsync"), reason="rsync is not installed")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_rsync_fetches_and_sends_a_file_byte_for_byte(launch, opened, place):
    """64 MiB with its own client and its own daemon."""
    assert len(rsync_through(launch, opened, place, 64 << 20)) == 1


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.skipif(not shutil.which("rsync"), reason="rsync is not installed")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_rsync_fetches_and_sends_1_gib_byte_for_byte(launch, opened, place):
    """The long form."""
    assert len(rsync_through(launch, opened, place, 1 << 30)) == 1


@pytest.mark.skipif(not shutil.which("git"), reason="git is not installed")
def test_git_clones_through_it(launch, opened, place):
    """git's daemon on one side, its client on the other."""
    environment = clean_environment(
        GIT_CONFIG_GLOBAL=os.devnull, GIT_CONFIG_SYSTEM=os.devnull, GIT_AUTHOR_NAME="a", GIT_AUTHOR_EMAIL="a@b"
    )
    environment |= {"GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@b"}

    def git(*words):
        return subprocess.run(
            ["git", *words], cwd=place, env=environment, check=True, timeout=PATIENCE, capture_output=True, text=True
        ).stdout

    git("init", "--quiet", "origin")
    (place / "origin" / "blob").write_bytes(os.urandom(3 << 20))
    git("-C", "origin", "add", "blob")
    git("-C", "origin", "commit", "--quiet", "--message", "one")
    listener = opened.enter_context(socket.create_server(("127.0.0.1", 0)))
    daemons = []

    def serve():
        sock, _ = listener.accept()
        with sock:
            command = ["git", "daemon", "--inetd", "--export-all", f"--base-path={place}"]
            daemons.append(subprocess.Popen(command, env=environment, stdin=sock, stdout=sock))

    serving = threading.Thread(target=serve)
    serving.start()
    to = f"to=tcp://127.0.0.1:{listener.getsockname()[1]}"
    server = launch("tcp", "127.0.0.1:0", "--threads", "--set", to, "proxy")
    git("clone", "--quiet", f"git://127.0.0.1:{server.sockaddr[1]}/origin", "clone")
    serving.join()
    daemons[0].wait(PATIENCE)
    assert (place / "clone" / "blob").read_bytes() == (place / "origin" / "blob").read_bytes()


# --- datagrams


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(
    ("family", "scheme"), [("udp", "udp"), ("udp", "unix-dgram"), ("unix-dgram", "unix-dgram"), ("unix-dgram", "udp")]
)
def test_a_datagram_goes_there_and_its_answer_comes_back(launch, model, family, scheme):
    """Between all kinds of sockets, in every model, the empty one too."""
    upstream = launch(scheme, "up" if scheme == "unix-dgram" else "127.0.0.1:0", "myapp:Upper")
    front = "front" if family == "unix-dgram" else "127.0.0.1:0"
    server = launch(family, front, model, "--set", f"to={upstream.address}", "proxy")
    with server.connect() as client:
        for message in (b"one", b"x" * 8000):
            assert ask(client, message) == message.upper()


@pytest.fixture
def datagrams(launch, opened):
    """A UDP upstream in the test's hands, and a proxy to it."""

    def make(*options, model="--threads"):
        upstream = opened.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        upstream.settimeout(PATIENCE)
        upstream.bind(("127.0.0.1", 0))
        to = f"to=udp://127.0.0.1:{upstream.getsockname()[1]}"
        return upstream, launch("udp", "127.0.0.1:0", model, "--set", to, *options, "proxy")

    return make


def test_answers_cannot_be_mixed_up(datagrams):
    """Each question has a socket of its own; they are answered here in the reverse order."""
    upstream, server = datagrams()
    clients = [server.connect() for _ in range(5)]
    for number, client in enumerate(clients):
        client.send(b"%d" % number)
    for question, sender in reversed([upstream.recvfrom(100) for _ in clients]):
        upstream.sendto(b"answer to " + question, sender)
    assert [client.recv(100) for client in clients] == [b"answer to %d" % n for n in range(5)]
    for client in clients:
        client.close()


def test_a_stranger_cannot_answer(datagrams):
    """Only what comes from the upstream's own address is an answer."""
    upstream, server = datagrams()
    with server.connect() as client, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        client.send(b"who is it?")
        _, sender = upstream.recvfrom(100)
        stranger.sendto(b"me!", sender)
        upstream.sendto(b"it is me", sender)
        assert client.recv(100) == b"it is me"


def test_as_many_answers_as_there_are_come_back(datagrams):
    """Up to so many as asked for, each when it comes."""
    upstream, server = datagrams("--set", "answers=3", "--set", "timeout=1")
    with server.connect() as client:
        client.send(b"?")
        _, sender = upstream.recvfrom(100)
        for answer in (b"one", b"", b"three", b"four"):
            upstream.sendto(answer, sender)
        assert [client.recv(100) for _ in range(3)] == [b"one", b"", b"three"]
        client.send(b"again")
        _, sender = upstream.recvfrom(100)
        upstream.sendto(b"only one", sender)
        assert client.recv(100) == b"only one"
    assert server.stop() == 0
    assert "handler failed" not in server.log


def test_with_no_answers_it_is_one_way(datagrams):
    """Nothing is waited for, so one process and no thread passes on as many as come."""
    upstream, server = datagrams("--set", "answers=0", model="--sync")
    with server.connect() as client:
        for number in range(100):
            client.send(b"%d" % number)
            assert upstream.recv(100) == b"%d" % number


def test_an_upstream_that_is_silent_is_given_up_quietly(datagrams):
    """A lost datagram is nothing to complain of; it is counted, and the next one is passed on."""
    upstream, server = datagrams("--set", "timeout=0.1", "--verbose", model="--sync")
    with server.connect() as client:
        client.send(b"?")
        assert upstream.recv(100) == b"?"
        server.wait_for_log("has not answered")
        client.send(b"again")
        question, sender = upstream.recvfrom(100)
        upstream.sendto(question, sender)
        assert client.recv(100) == b"again"
    assert "handler failed" not in server.log


@pytest.mark.parametrize("model", MODELS)
def test_an_upstream_that_is_not_there_is_logged(datagrams, model):
    """The kernel says so, and the log does."""
    upstream, server = datagrams(model=model)
    address = upstream.getsockname()
    upstream.close()
    with server.connect() as client:
        client.send(b"?")
        server.wait_for_log(f"cannot send to udp://127.0.0.1:{address[1]}: Connection refused")


# --- options


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("tcp://127.0.0.1:80", "tcp"),
        ("tcp:127.0.0.1:80", "tcp"),
        ("tcp4://localhost:http", "tcp4"),
        ("tcp://[::1]:80", "tcp"),
        ("unix:///run/app.sock", "unix"),
        ("unix:app.sock", "unix"),
        ("unix:@abstract", "unix"),
        ("unix-seqpacket://app", "unix-seqpacket"),
        ("vsock://2:80", "vsock"),
        ("udp://[::1]:53", "udp"),
        ("unix-dgram:@log", "unix-dgram"),
    ],
)
def test_an_address_is_written_as_srvctl_writes_it(text, words):
    """Every family that can be connected to, as `--announce` prints it or shorter."""
    assert Upstream.parse(text).family.word == words


@pytest.mark.parametrize(
    "text",
    [
        *("", "127.0.0.1:80", "http://x:80", "fd://0", "udp://x:53", "unix-dgram:x"),
        *("tcp://", "tcp://x", "tcp://x:0", "tcp://x:70000", "tcp://::1:80"),
        *("unix:", "unix:@", "unix:" + "x" * 200, "vsock://:80"),
    ],
)
def test_what_a_stream_cannot_go_to_is_a_usage_error(text):
    """It names the value that was wrong."""
    handler = type("Handler", (proxy.Stream,), {"to": text})
    with pytest.raises(UsageError):
        handler.service_start(None)


@pytest.mark.parametrize(
    "options", [{"to": "tcp://x:1"}, {"to": "udp://x:1", "timeout": 0.0}, {"to": "udp://x:1", "timeout": float("nan")}]
)
def test_what_datagrams_cannot_do_is_a_usage_error(options):
    """A stream for datagrams, and no time at all."""
    with pytest.raises(UsageError):
        type("Handler", (proxy.Datagram,), options).service_start(None)


def test_a_name_that_does_not_resolve_is_said():
    """As the one kind of error that an upstream makes."""
    with pytest.raises(UpstreamError, match="cannot resolve tcp://nowhere"):
        Upstream.parse("tcp://nowhere.invalid:80").connect(1)


def test_a_second_address_of_a_name_is_tried(monkeypatch):
    """And the connection is to the one that accepts."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        found = [(socket.AF_INET, 0, 0, "", ("127.0.0.1", 1)), (socket.AF_INET, 0, 0, "", listener.getsockname())]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *arguments: found)
        with Upstream.parse("tcp://name:80").connect(PATIENCE) as sock:
            assert sock.getpeername() == listener.getsockname()


def test_the_worker_that_forks_has_no_more_in_it_than_it_needs():
    """What is imported before the fork is what each fork pays for."""
    code = "import sys, srvctl.handlers.proxy; print([m for m in ('threading', 'ssl', 'ctypes') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
