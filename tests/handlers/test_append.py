"""The handler `append`: real processes, and what is in the file afterwards."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import threading

import pytest

from srvctl.errors import LoadError, UsageError
from srvctl.handlers import append
from srvctl.handlers.shared import append_file
from tests.launched import COMMAND, PATIENCE, clean_environment, wait_until

MODELS = ("--sync", "--threads", "--fork")


def send(server, *pieces):
    """Send to a connection, half-close it, and wait until the server has closed it, when all is in the file."""
    with server.connect() as client:
        for piece in pieces:
            client.sendall(piece)
        client.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionResetError):
            assert client.recv(1) == b""


@pytest.fixture
def serve_sink(launch, place):
    """Start an append handler that writes to the file `out`; return it and the file."""

    def make(*options, family="tcp", model="--threads", file="out", **more):
        address = "127.0.0.1:0" if family in ("tcp", "udp") else "front"
        server = launch(family, address, model, "--set", f"file={file}", *options, "append", **more)
        return server, place / file

    return make


@pytest.mark.parametrize("sync", ["no", "record", "end"])
@pytest.mark.parametrize("model", MODELS)
def test_each_line_is_a_record_and_so_is_what_is_left(serve_sink, model, sync):
    """However it comes in pieces; a last line without an end gets one."""
    server, file = serve_sink("--set", f"sync={sync}", model=model)
    send(server, b"one\ntw", b"o\n\nfo", b"ur")
    send(server, b"five\n")
    send(server)
    assert file.read_bytes() == b"one\ntwo\n\nfour\nfive\n"


@pytest.mark.parametrize("family", ["udp", "unix-dgram"])
@pytest.mark.parametrize("model", MODELS)
def test_each_datagram_is_a_record(serve_sink, family, model):
    """One that has its end already does not get another."""
    server, file = serve_sink("--set", "sync=record", family=family, model=model)
    with server.connect() as client:
        for datagram in (b"one", b"two\n", b"th\nree"):
            client.send(datagram)
    expected = {b"one", b"two", b"th", b"ree"}
    wait_until(lambda: file.exists() and set(file.read_bytes().splitlines()) == expected, "datagrams", server)
    assert file.read_bytes().count(b"\n") == 4


def test_each_record_of_sequenced_packets_is_a_record(serve_sink):
    """As a datagram is."""
    server, file = serve_sink(family="unix-seqpacket")
    with server.connect() as client:
        for record in (b"one", b"two"):
            client.send(record)
        client.shutdown(socket.SHUT_WR)
        assert client.recv(1) == b""
    assert file.read_bytes() == b"one\ntwo\n"


@pytest.mark.parametrize(
    ("end", "sent", "written"),
    [
        (r"\0", b"a\nb\0c", b"a\nb\0c\0"),
        (r"\r\n", b"a\nb\r\nc", b"a\nb\r\nc\r\n"),
        (r"\x1e", b"a\x1eb\x1e", b"a\x1eb\x1e"),
        (r"\\n", b"a\\nb", b"a\\nb\\n"),
        ("--", b"a-b--c-", b"a-b--c---"),
        ("", b"as it\ncomes\0", b"as it\ncomes\0"),
    ],
)
def test_the_end_of_a_record_is_what_it_is_set_to(serve_sink, end, sent, written):
    """An empty one: what comes is appended as it is, byte for byte."""
    server, file = serve_sink("--set", f"end={end}")
    send(server, *(bytes([byte]) for byte in sent))
    assert file.read_bytes() == written


@pytest.mark.parametrize("model", MODELS[1:])
def test_records_of_many_connections_do_not_mix(serve_sink, model):
    """Longer than any pipe or page, from several at once, by several workers."""
    server, file = serve_sink("--workers", "2", model=model)
    senders = [
        threading.Thread(target=send, args=(server, b"".join(letter * 20_000 + b"\n" for _ in range(30))))
        for letter in (b"a", b"b", b"c", b"d")
    ]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()
    lines = file.read_bytes().splitlines()
    assert sorted(lines) == sorted([letter * 20_000 for letter in (b"a", b"b", b"c", b"d")] * 30)


def test_a_record_that_is_too_long_is_dropped_and_said_and_no_other_one(serve_sink):
    """Nothing is kept of it meanwhile, wherever its end comes."""
    server, file = serve_sink("--set", "longest=10")
    send(server, b"before\n", b"x" * 1_000_000, b"y\nbetween\n", b"z" * 11, b"\n", b"0123456789\n", b"w" * 70_000)
    server.wait_for_log("dropped 3 records of more than 10 bytes")
    assert file.read_bytes() == b"before\nbetween\n0123456789\n"


def test_a_datagram_that_is_too_long_is_dropped_and_said(serve_sink):
    """As a line is."""
    server, file = serve_sink("--set", "longest=10", family="udp")
    with server.connect() as client:
        client.send(b"x" * 11)
        server.wait_for_log("dropped a record of 11 bytes")
    assert not file.exists() or file.read_bytes() == b""


def test_what_a_reset_connection_had_not_ended_is_not_a_record(serve_sink):
    """A part of a line is not a line; what was whole stays."""
    server, file = serve_sink("--verbose")
    client = server.connect()
    client.sendall(b"whole\nhalf of a")
    wait_until(lambda: file.exists() and file.read_bytes(), "first line", server)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    client.close()
    server.wait_for_log("how=reset")
    assert file.read_bytes() == b"whole\n"


@pytest.mark.parametrize("model", MODELS)
def test_a_full_disk_fails_the_conversation_and_not_the_server(serve_sink, model, place):
    """The file has no part of a record in it; when there is room again, the next one is written."""
    size = place / "limit.sh"
    size.write_text('#!/bin/sh\nulimit -f 1\nexec "$@"\n')  # a file of 512 or 1024 bytes; past it SIGXFSZ, or EFBIG
    size.chmod(0o755)
    server, file = serve_sink(model=model, prefix=(str(size),), stderr=subprocess.DEVNULL)
    send(server, b"a" * 300 + b"\n")
    send(server, b"b" * 5000 + b"\n")
    assert file.read_bytes() == b"a" * 300 + b"\n"
    file.write_bytes(b"")
    send(server, b"again\n")
    assert file.read_bytes() == b"again\n"


def test_dev_full_is_an_error_of_the_handler(serve_sink):
    """ENOSPC is logged where the operator looks, not as the peer's doing."""
    server, _ = serve_sink(file="/dev/full")
    send(server, b"x\n")
    line = server.wait_for_log("handler failed")
    assert "cannot write to /dev/full: No space left on device" in line
    server.wait_for_log("how=failed")
    send(server, b"y\n")
    server.wait_for_log("how=failed", 2)


def test_the_file_is_nobody_elses_and_is_appended_to(serve_sink, place):
    """Made with the mode that was asked for; one that is there keeps what is in it."""
    server, file = serve_sink("--set", "mode=0o600")
    send(server, b"one\n")
    assert file.stat().st_mode & 0o777 == 0o600
    (place / "old").write_bytes(b"zero\n")
    server, old = serve_sink(file="old")
    send(server, b"one\n")
    assert old.read_bytes() == b"zero\none\n"
    other, made = serve_sink(file="made")
    send(other, b"one\n")
    assert made.stat().st_mode & 0o777 & ~0o640 == 0


@pytest.mark.parametrize("model", MODELS)
def test_a_reload_opens_the_file_anew(serve_sink, place, model):
    """So a log that was renamed is let go of."""
    server, file = serve_sink(model=model)
    send(server, b"old\n")
    file.rename(place / "out.1")
    server.send_signal(signal.SIGHUP)
    server.wait_for_log("reloaded")
    send(server, b"new\n")
    assert (file.read_bytes(), (place / "out.1").read_bytes()) == (b"new\n", b"old\n")


@pytest.mark.parametrize("model", MODELS)
def test_without_a_file_it_is_the_standard_output_of_srvctl(place, model):
    """A pipe, to which each record goes at once."""
    with (place / "log").open("wb") as log:
        process = subprocess.Popen(
            [*COMMAND, "unix", "front", model, "append"], cwd=place, stdout=subprocess.PIPE, stderr=log,
            env=clean_environment(), stdin=subprocess.DEVNULL,
        )  # fmt: skip
    try:
        wait_until(lambda: "listening" in (place / "log").read_text(), "socket")
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(place / "front"))
            client.sendall(b"first\nsecond")
            assert process.stdout.readline() == b"first\n"
            client.shutdown(socket.SHUT_WR)
            assert process.stdout.readline() == b"second\n"
    finally:
        process.terminate()
        assert process.wait(PATIENCE) == 0
        process.stdout.close()


def test_a_reader_that_has_gone_is_an_error_of_the_handler(place):
    """It is a broken pipe, and not the peer's."""
    with (place / "log").open("wb") as log:
        reading, writing = os.pipe()
        command = [*COMMAND, "unix", "front", "append"]
        process = subprocess.Popen(command, cwd=place, stdout=writing, stderr=log, env=clean_environment())
        os.close(writing)
        os.close(reading)
    try:
        wait_until(lambda: "listening" in (place / "log").read_text(), "socket")
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(place / "front"))
            client.sendall(b"first\n")
            client.shutdown(socket.SHUT_WR)
            assert client.recv(1) == b""
        wait_until(
            lambda: "cannot write to standard output: Broken pipe" in (place / "log").read_text(), "line in the log"
        )
    finally:
        process.terminate()
        assert process.wait(PATIENCE) == 0


@pytest.mark.skipif(not shutil.which("strace"), reason="strace is not installed")
@pytest.mark.parametrize(("sync", "count"), [("no", 0), ("end", 1), ("record", 3)])
def test_it_is_synced_as_often_as_asked_for(serve_sink, place, sync, count):
    """fdatasync(2), counted by strace."""
    trace = place / "trace"
    prefix = ("strace", "-f", "-qq", "-e", "trace=fdatasync", "-o", str(trace))
    server, file = serve_sink("--set", f"sync={sync}", prefix=prefix)
    with server.connect() as client:
        for number in range(3):
            client.sendall(b"line\n")
            wait_until(lambda: file.exists() and file.read_bytes().count(b"\n") == number + 1, "line", server)  # noqa: B023
        client.shutdown(socket.SHUT_WR)
        assert client.recv(1) == b""
    (traced,) = server.children()
    os.kill(traced, signal.SIGTERM)  # a signal for strace itself would leave it running
    assert server.wait() == 0
    assert trace.read_text().count("fdatasync(") == count


@pytest.mark.parametrize("options", [{"sync": "always"}, {"longest": 0}])
def test_an_option_that_makes_no_sense_is_a_usage_error(options):
    """It names what was wrong."""
    with pytest.raises(UsageError):
        type("Handler", (append.Stream,), options).service_start(None)


@pytest.mark.parametrize("name", ["", "missing/file", "pipe"])
def test_a_file_that_cannot_be_opened_is_an_error_that_names_it(tmp_path, name):
    """A directory, one in none, and a named pipe that nobody reads, which is not waited for."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(LoadError, match="cannot open"):
        append_file.Output(str(tmp_path / name) if name else str(tmp_path), 0o640)
