"""The handler `syslog`: the parser by itself, and real processes with real senders."""

from __future__ import annotations

import calendar
import contextlib
import json
import os
import shutil
import socket
import subprocess
import threading
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from srvctl.errors import UsageError
from srvctl.handlers import syslog
from srvctl.handlers.syslog.frames import FrameReader
from srvctl.handlers.syslog.message import FACILITIES, SEVERITIES, as_json, as_text, parse
from tests.launched import PATIENCE, wait_until

MODELS = ("--sync", "--threads", "--fork")
NOW = float(calendar.timegm((2026, 11, 22, 12, 0, 0)))
NOW_TEXT = "2026-11-22T12:00:00.000000Z"


@pytest.fixture(autouse=True)
def utc(monkeypatch):
    """The local time of RFC 3164 is UTC here."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


# --- messages

# Those with a section are examples of the RFCs.
MESSAGES = [
    # RFC 5424, 6.5
    (
        b"<34>1 2003-10-11T22:14:15.003Z mymachine.example.com su - ID47 - \xef\xbb\xbf'su root' failed on /dev/pts/8",
        "2003-10-11T22:14:15.003Z mymachine.example.com auth.crit su - ID47 - 'su root' failed on /dev/pts/8",
    ),
    (
        b"<165>1 2003-08-24T05:14:15.000003-07:00 192.0.2.1 myproc 8710 - - %% It's time to make the do-nuts.",
        "2003-08-24T05:14:15.000003-07:00 192.0.2.1 local4.notice myproc 8710 - - %% It's time to make the do-nuts.",
    ),
    (
        b'<165>1 2003-10-11T22:14:15.003Z m.example.com evntslog - ID47 [exampleSDID@32473 iut="3" eventSource="App '
        b'lication" eventID="1011"][examplePriority@32473 class="high"]',
        'x m.example.com local4.notice evntslog - ID47 [exampleSDID@32473 iut="3" eventSource="App lication" '
        'eventID="1011"][examplePriority@32473 class="high"]',
    ),
    (b"<0>1 - - - - - -", f"{NOW_TEXT} - kern.emerg - - - -"),
    (b'<14>1 - h a - - [x y="a\\"b\\]c"] t', f'{NOW_TEXT} h user.info a - - [x y="a\\\\"b\\\\]c"] t'),
    # malformed: what cannot be understood is text, and the priority stays
    (b'<14>1 - h a - - [x y="open t', f'{NOW_TEXT} - user.info - - - - 1 - h a - - [x y="open t'),
    (b"<14>1 2003-13-11T22:14:15Z h a - - - t", f"{NOW_TEXT} - user.info - - - - 1 2003-13-11T22:14:15Z h a - - - t"),
    (b"<14>2 - h a - - - t", f"{NOW_TEXT} - user.info - - - - 2 - h a - - - t"),
    # RFC 3164, 5.4
    (
        b"<34>Oct 11 22:14:15 mymachine su: 'su root' failed for lonvick on /dev/pts/8",
        "2026-10-11T22:14:15Z mymachine auth.crit su - - - 'su root' failed for lonvick on /dev/pts/8",
    ),
    (b"Use the BFG!", f"{NOW_TEXT} - user.notice - - - - Use the BFG!"),
    (b"<13>Feb  5 17:32:18 10.0.0.99 Use the BFG!", "2026-02-05T17:32:18Z 10.0.0.99 user.notice - - - - Use the BFG!"),
    (
        b"<165>Aug 24 05:34:00 CST 1987 mymachine myproc[10]: %% It's time",
        "2026-08-24T05:34:00Z CST local4.notice - - - - 1987 mymachine myproc[10]: %% It's time",
    ),
    (
        b"<0>1990 Oct 22 10:52:01 TZ-6 scapegoat.dmz.example.org 10.1.2.3 sched[0]: That's All Folks!",
        f"{NOW_TEXT} - kern.emerg - - - - "
        "1990 Oct 22 10:52:01 TZ-6 scapegoat.dmz.example.org 10.1.2.3 sched[0]: That's All Folks!",
    ),
    # what senders write beside it
    (b"<30>Nov 22 11:59:59 systemd[1]: Started.", "2026-11-22T11:59:59Z - daemon.info systemd 1 - - Started."),
    (b"<30>2026-11-22T11:59:59.5+01:00 h cron[7]: x", "2026-11-22T11:59:59.5+01:00 h cron 7 - - x"),
    (b"<14>app: text", f"{NOW_TEXT} - user.info app - - - text"),
    (b"<14>see http://x/y: it works", f"{NOW_TEXT} - user.info - - - - see http://x/y: it works"),
    (b"<14>Nov 22 11:00:00 fe80::1 app: text", "2026-11-22T11:00:00Z fe80::1 user.info app - - - text"),
    (b"<14>Nov 22 11:00:00 last message repeated", "2026-11-22T11:00:00Z last user.info - - - - message repeated"),
    (b"<14>Nov 22 11:00:00", "2026-11-22T11:00:00Z - user.info - - - -"),
    # times: of the latest year that is not far ahead, and none that there is not
    (b"<14>Nov 23 12:00:00 h a: x", "2026-11-23T12:00:00Z h user.info a - - - x"),
    (b"<14>Dec 31 23:59:59 h a: x", "2025-12-31T23:59:59Z h user.info a - - - x"),
    (b"<14>Feb 30 00:00:00 h a: x", f"{NOW_TEXT} - user.info - - - - Feb 30 00:00:00 h a: x"),
    (b"<14>Oct 11 25:00:00 h a: x", f"{NOW_TEXT} - user.info - - - - Oct 11 25:00:00 h a: x"),
    # priorities that are none: RFC 3164, 4.3.3
    *((raw, f"{NOW_TEXT} - user.notice - - - - {raw.decode()}") for raw in (b"<192>x", b"<00>x", b"<-1>x", b"<>x")),
    *((raw, f"{NOW_TEXT} - user.notice - - - - {raw.decode()}") for raw in (b"<1 x", b"<999>x", b"<1x>x", b"<1234>x")),
    # one line, whatever is in it
    (b"<14>a: one\ntwo\r\x1b[31m\0\x7f", f"{NOW_TEXT} - user.info a - - - one\\ntwo\\r\\x1b[31m\\x00\\x7f"),
    ("<14>a: \u0085\u2028\u202e\u00e9".encode(), f"{NOW_TEXT} - user.info a - - - \\x85\\u2028\\u202e\u00e9"),
    (b"<14>a: \xff\\n", f"{NOW_TEXT} - user.info a - - - \\xff\\\\n"),
]


@pytest.mark.parametrize(("raw", "line"), MESSAGES, ids=lambda value: repr(value)[:40] if type(value) is bytes else "")
def test_a_message_is_read_as_the_rfcs_say(raw, line):
    """Or as most senders mean it."""
    said = as_text(parse(raw, NOW))
    wanted = line.replace("x m.example", "2003-10-11T22:14:15.003Z m.example", 1) if line.startswith("x ") else line
    if line.startswith("2026-11-22T11:59:59.5+01:00"):
        wanted = line.replace(" h cron", " h daemon.info cron")
    assert said == wanted


def test_a_local_message_names_no_host():
    """What glibc's syslog(3) sends to /dev/log; the first word is the program, whatever it looks like."""
    message = parse(b"<13>Nov 22 11:00:00 my prog: text", NOW, is_local=True)
    assert (message.host, message.app, message.text) == ("", "", "my prog: text")
    message = parse(b"<13>Nov 22 11:00:00 prog[3]: text", NOW, is_local=True)
    assert (message.host, message.app, message.procid, message.text) == ("", "prog", "3", "text")


@pytest.mark.parametrize(
    ("rest", "app", "procid", "text"),
    [
        ("prog: text", "prog", "", "text"),
        ("prog[77]:text", "prog", "77", "text"),
        ("prog:", "prog", "", ""),
        ('{"key":"value"}', "", "", '{"key":"value"}'),
        ("http://example.com/ is down", "", "", "http://example.com/ is down"),
        ("aa:bb:cc:dd:ee:ff associated", "", "", "aa:bb:cc:dd:ee:ff associated"),
        ("12:30 done", "", "", "12:30 done"),
        ("[77]: text", "", "", "[77]: text"),
    ],
)
def test_the_text_after_a_host_is_whole(rest, app, procid, text):
    """Its first word is a tag when it looks like one, RFC 3164, 4.1.3; a colon inside a word is part of it."""
    message = parse(f"<13>Apr  6 16:29:45 host {rest}".encode(), NOW)
    assert (message.host, message.app, message.procid, message.text) == ("host", app, procid, text)


@pytest.mark.parametrize("priority", range(192))
def test_a_priority_is_a_facility_and_a_severity(priority):
    """Eight severities each."""
    message = parse(b"<%d>1 - - - - - - x" % priority, NOW)
    assert FACILITIES.index(message.facility) * 8 + SEVERITIES.index(message.severity) == priority


def test_the_year_is_the_one_in_which_there_was_such_a_day():
    """A leap day is of the last leap year, and a message of the new year's first second may come a little early."""
    assert parse(b"<14>Feb 29 00:00:00 h a: x", NOW).time == "2024-02-29T00:00:00Z"
    eve = float(calendar.timegm((2026, 12, 31, 23, 59, 59)))
    assert parse(b"<14>Jan  1 00:00:00 h a: x", eve).time == "2027-01-01T00:00:00Z"
    assert parse(b"<14>Dec 31 23:59:59 h a: x", eve + 2).time == "2026-12-31T23:59:59Z"


text_of_a_message = st.one_of(
    st.binary(max_size=200),
    st.sampled_from([raw for raw, _ in MESSAGES]),
    st.builds(lambda n, rest: b"<%d>1 " % n + rest, st.integers(-1, 1000), st.binary(max_size=80)),
    st.builds(lambda rest: b"<13>Oct 11 22:14:15 " + rest, st.binary(max_size=80)),
    st.builds(lambda sd, rest: b"<13>1 - - - - - [" + sd + b"] " + rest, st.binary(max_size=80), st.binary()),
)


@given(text_of_a_message, st.booleans())
@example(b"<13>1 - - - - - [" + b"\\" * 5000, False)
@example(b'<13>1 - - - - - [a b="' + b'\\"' * 4000, False)
@example(b"<13>1 - - - - - " + b"[a]" * 3000 + b"x", False)
def test_whatever_comes_is_one_printable_line(raw, is_local):
    """In either format, and the fields are where they belong."""
    message = parse(raw, NOW, is_local)
    line = as_text(message)
    assert line.isprintable() and len(line.splitlines()) == 1
    when, _host, kind, *_ = line.split(" ")
    assert when.startswith("20") or when[:4].isdecimal()
    facility, _, severity = kind.partition(".")
    assert facility in FACILITIES and severity in SEVERITIES
    as_line = as_json(message)
    assert as_line.isascii() and as_line.isprintable()
    assert json.loads(as_line)["facility"] == facility


# --- frames


def frames(*pieces, longest=100):
    """Return the messages of a stream that comes in these pieces."""
    reader = FrameReader(None, longest)
    found = [message for piece in pieces for message in reader.feed(piece)]
    return found + reader.end()


def test_both_framings_may_follow_each_other():
    """RFC 6587: the length and a space in front, or a line feed or null byte behind; seen message by message."""
    stream = b"<1>one\n5 <2>xy<3>two\r\n6 <4>a\nb\0<5>three\0\n\n<6>four"
    wanted = [b"<1>one", b"<2>xy", b"<3>two", b"<4>a\nb", b"<5>three", b"<6>four"]
    assert frames(stream) == wanted
    assert frames(*(bytes([byte]) for byte in stream)) == wanted


def test_a_line_that_begins_with_a_number_is_a_line():
    """Unless what looks like a length is followed by a priority."""
    assert frames(b"12 monkeys\n<1>x\n12345678 <1>y\n0 <1>z\n7\n7") == [
        *(b"12 monkeys", b"<1>x", b"12345678 <1>y", b"0 <1>z", b"7", b"7")
    ]


def test_what_is_too_long_is_cut_off_and_harms_no_other():
    """In both framings, and nothing of the rest is kept."""
    assert frames(b"<1>" + b"x" * 1000, b"x" * 1000, b"y\n<2>next\n", longest=10) == [b"<1>xxxxxxx...", b"<2>next"]
    assert frames(b"<1>" + b"x" * 1000 + b"\n<2>next\n", longest=10) == [b"<1>xxxxxxx...", b"<2>next"]
    assert frames(b"1003 <1>" + b"x" * 500, b"x" * 500, b"8 <2>next\n", longest=10) == [b"<1>xxxxxxx...", b"<2>next"]
    reader = FrameReader(None, 10)
    for _ in range(100):
        reader.feed(b"x" * 65536)
        assert len(reader._rest) <= 10


def test_what_is_left_at_the_end_is_a_message():
    """A line without its end, and as much as came of one with a length."""
    assert frames(b"<1>cut o") == [b"<1>cut o"]
    assert frames(b"50 <1>cut o") == [b"<1>cut o"]
    assert frames(b"\n\0\r\n") == []


plain = st.binary(max_size=50).map(lambda raw: b"<13>" + raw.replace(b"\n", b"").replace(b"\0", b"").rstrip(b"\r"))


@given(st.lists(st.tuples(plain, st.booleans())), st.lists(st.integers(1, 20), min_size=1))
def test_the_frames_do_not_depend_on_how_they_come(messages, sizes):
    """Any split of the stream gives the same messages."""
    stream = b"".join(b"%d " % len(m) + m if counted else m + b"\n" for m, counted in messages)
    pieces, at = [], 0
    while at < len(stream):
        size = sizes[len(pieces) % len(sizes)]
        pieces.append(stream[at : at + size])
        at += size
    assert frames(*pieces) == [message.rstrip(b"\r") for message, _ in messages]


@given(st.lists(st.binary(max_size=60)), st.integers(1, 30))
def test_no_stream_makes_it_keep_much_or_fail(pieces, longest):
    """Whatever it is."""
    reader = FrameReader(None, longest)
    for piece in pieces:
        for message in reader.feed(piece):
            assert 0 < len(message) <= longest + 3
        assert len(reader._rest) <= longest + 16
    reader.end()


# --- served


@pytest.fixture
def serve_syslog(launch, place):
    """Start a syslog that writes to `out`; return it, and what waits for so many lines there."""

    def make(family, *options, model="--threads"):
        address = "127.0.0.1:0" if family in ("tcp", "udp") else "front"
        server = launch(family, address, model, "--set", "file=out", *options, "syslog")

        def lines(count):
            file = place / "out"
            wait_until(lambda: file.exists() and file.read_bytes().count(b"\n") >= count, f"{count} lines", server)
            return file.read_text().splitlines()

        return server, lines

    return make


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("family", ["udp", "unix-dgram", "tcp", "unix"])
def test_messages_become_lines(serve_syslog, family, model):
    """From each kind of socket, in every model; a message that names no host gets its sender's."""
    server, lines = serve_syslog(family, model=model)
    with server.connect() as client:
        client.sendall(b"<34>1 2003-10-11T22:14:15.003Z host su - ID47 - text\n")
        first = lines(1)
        client.sendall(b"<13>app[7]: more\n")
        second = lines(2)[1]
    assert first == ["2003-10-11T22:14:15.003Z host auth.crit su - ID47 - text"]
    sender = "127.0.0.1" if family in ("udp", "tcp") else socket.gethostname()
    assert second.split(" ", 1)[1] == f"{sender} user.notice app 7 - - more"


@pytest.mark.skipif(not shutil.which("logger"), reason="logger is not installed")
@pytest.mark.parametrize("shape", ["--rfc3164", "--rfc5424", "--octet-count"])
@pytest.mark.parametrize("family", ["udp", "tcp"])
def test_logger_is_understood(serve_syslog, family, shape):
    """util-linux's, in each of its forms."""
    if shape == "--octet-count" and family == "udp":
        pytest.skip("a datagram needs no count")
    server, lines = serve_syslog(family)
    words = ["logger", "--server", "127.0.0.1", "--port", str(server.sockaddr[1]), f"--{family}", shape]
    subprocess.run([*words, "--priority", "local3.warning", "--tag", "prog", "it works"], check=True, timeout=PATIENCE)
    (line,) = lines(1)
    assert " local3.warning prog " in line and line.endswith(" it works")


@pytest.mark.skipif(not shutil.which("logger"), reason="logger is not installed")
@pytest.mark.parametrize("family", ["unix-dgram", "unix"])
def test_it_serves_as_the_socket_of_a_machine(serve_syslog, place, family):
    """What /dev/log is, to programs that write to it without a host."""
    _, lines = serve_syslog(family)
    kind = "" if family == "unix" else "--udp"
    words = ["logger", "--socket", "front", "--socket-errors=on", "--tag", "prog", "--id=77", *([kind] if kind else [])]
    subprocess.run([*words, "it works"], check=True, timeout=PATIENCE, cwd=place)
    (line,) = lines(1)
    assert line.split(" ")[1:5] == [socket.gethostname(), "user.notice", "prog", "77"]
    assert line.endswith(" it works")


@pytest.mark.parametrize("model", MODELS[1:])
def test_lines_of_many_senders_do_not_mix(serve_syslog, model):
    """Several connections at once, several workers."""
    server, lines = serve_syslog("tcp", "--workers", "2", model=model)

    def send(letter):
        with server.connect() as client:
            client.sendall(
                b"".join(b"<14>1 - h %c - - - " % letter + bytes([letter]) * 6000 + b"\n" for _ in range(40))
            )
            client.shutdown(socket.SHUT_WR)
            client.recv(1)

    senders = [threading.Thread(target=send, args=(letter,)) for letter in b"abcd"]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()
    texts = [line.rpartition(" ")[2] for line in lines(160)]
    assert sorted(texts) == sorted([letter * 6000 for letter in "abcd"] * 40)


def test_a_bad_message_harms_no_other_one(serve_syslog):
    """Bytes of any kind between two good ones, in datagrams and in a stream."""
    hostile = [b"\xff" * 50, b"<999999>", b"<13>1 - - - - - [", b"", b"\0", b"<13>1 " + b"[" * 5000, os.urandom(3000)]
    server, lines = serve_syslog("udp", model="--sync")
    with server.connect() as client:
        for datagram in hostile:
            client.send(datagram)
            client.send(b"<14>good: one")
    wait_until(lambda: sum("good - - - one" in line for line in lines(1)) == len(hostile), "good lines", server)
    assert "handler failed" not in server.log


def test_a_long_message_is_cut_off(serve_syslog):
    """Where the option says."""
    server, lines = serve_syslog("udp", "--set", "longest=20")
    with server.connect() as client:
        client.send(b"<14>a: " + b"x" * 1000)
        assert lines(1)[0].endswith(" a - - - " + "x" * 13 + "...")


def test_json_has_a_member_for_each_field(serve_syslog):
    """Those that a message does not have are left out."""
    server, lines = serve_syslog("udp", "--set", "format=json")
    with server.connect() as client:
        client.send(b'<34>1 2003-10-11T22:14:15Z h su - - [a b="c"] tab\there \xff')
        (line,) = lines(1)
    assert json.loads(line) == {
        "facility": "auth",
        "severity": "crit",
        "time": "2003-10-11T22:14:15Z",
        "host": "h",
        "app": "su",
        "data": '[a b="c"]',
        "text": "tab\there \\xff",
    }


def test_a_full_disk_is_an_error_of_the_handler(launch):
    """And the server goes on."""
    server = launch("udp", "127.0.0.1:0", "--set", "file=/dev/full", "syslog")
    with server.connect() as client:
        client.send(b"<13>x")
        server.wait_for_log("cannot write to /dev/full: No space left on device")
        client.send(b"<13>x")
        server.wait_for_log("cannot write to /dev/full", 2)


@pytest.mark.parametrize("options", [{"format": "xml"}, {"sync": "always"}, {"longest": -1}])
def test_an_option_that_makes_no_sense_is_a_usage_error(options):
    """It names what was wrong."""
    with pytest.raises(UsageError), contextlib.ExitStack():
        type("Handler", (syslog.Datagram,), options).service_start(None)
