"""The handler `static`: real processes, real requests, and everything that a client might try to get out with."""

from __future__ import annotations

import email.utils
import gzip
import hashlib
import http.client
import os
import re
import shutil
import socket
import subprocess
import threading
import urllib.parse

import pytest

from srvctl.errors import LoadError, UsageError
from srvctl.handlers import static
from srvctl.handlers.static.conditions import (
    FailedPrecondition,
    NotModified,
    Unsatisfiable,
    check_conditions,
    wanted_range,
)
from srvctl.handlers.static.content_type import content_type
from tests.launched import PATIENCE, clean_environment, receive_all, receive_exactly, run, wait_until

MODELS = ("--sync", "--threads", "--fork")
LARGE = os.urandom(1 << 20) * 3 + b"end"


@pytest.fixture
def site(place):
    """A directory with files to serve, and others beside it that must not be."""
    root = place / "site"
    (root / "sub").mkdir(parents=True)
    (root / "empty").mkdir()
    (root / "page.html").write_text("<p>page</p>")
    (root / "digits").write_text("0123456789")
    (root / "large.bin").write_bytes(LARGE)
    (root / "none").write_bytes(b"")
    (root / "data.tar.gz").write_bytes(gzip.compress(b"tar", mtime=0))
    (root / "a b&c<d>.txt").write_text("odd")
    (root / "sub" / "index.html").write_text("the index")
    (place / "secret").write_text("secret")
    (root / ".env").write_text("secret")
    (root / ".git").mkdir()
    (root / ".git" / "config").write_text("secret")
    (root / "sub" / ".hidden").write_text("secret")
    (root / ".well-known").mkdir()
    (root / ".well-known" / "token").write_text("token")
    (root / "out").symlink_to(place)
    (root / "out.txt").symlink_to(place / "secret")
    (root / "up").symlink_to("..")
    (root / "dotted").symlink_to(".env")
    (root / "loop").symlink_to("loop")
    (root / "inside").symlink_to("sub")
    os.mkfifo(root / "pipe")
    (place / "site-2").mkdir()
    (place / "site-2" / "page.html").write_text("secret")
    (root / "next").symlink_to(place / "site-2")
    return root


@pytest.fixture
def serve_site(launch, site):
    """Serve the directory."""

    def make(*options, model="--threads", family="tcp", **more):
        address = "127.0.0.1:0" if family == "tcp" else "front"
        return launch(family, address, model, "--set", f"directory={site}", *options, "static", **more)

    return make


def get(server, path, method="GET", **headers):
    """Make one request of `http.client`; return status, headers and body."""
    client = http.client.HTTPConnection(*server.sockaddr, timeout=PATIENCE)
    client.putrequest(method, path, skip_accept_encoding=True)
    for name, value in headers.items():
        client.putheader(name.replace("_", "-"), value)
    client.endheaders()
    answer = client.getresponse()
    body = answer.read()
    client.close()
    return answer.status, answer.headers, body


def raw(server, request):
    """Send bytes, the end, and return all that comes back."""
    with server.connect() as client:
        client.sendall(request)
        client.shutdown(socket.SHUT_WR)
        return receive_all(client)


@pytest.mark.parametrize("model", MODELS)
def test_files_are_served_as_they_are(serve_site, model):
    """Of every size, with their length and type, in every model."""
    server = serve_site(model=model)
    for path, type_, body in (
        ("/page.html", "text/html", b"<p>page</p>"),
        ("/large.bin", "application/octet-stream", LARGE),
        ("/none", "application/octet-stream", b""),
        ("/data.tar.gz", "application/gzip", gzip.compress(b"tar", mtime=0)),
        ("/a%20b%26c%3Cd%3E.txt?query#fragment", "text/plain", b"odd"),
        ("/sub/", "text/html", b"the index"),
        ("/inside/index.html", "text/html", b"the index"),
        ("//sub//./index.html", "text/html", b"the index"),
    ):
        status, headers, came = get(server, path)
        assert (status, headers["Content-Type"], headers["Content-Length"]) == (200, type_, str(len(body))), path
        assert came[-100:] == body[-100:] and len(came) == len(body), path
        assert "Content-Encoding" not in headers and "Python" not in str(headers)


def test_it_serves_on_a_unix_socket(serve_site):
    """As for a proxy in front of it."""
    server = serve_site(family="unix")
    assert raw(server, b"GET /digits HTTP/1.1\r\nHost: x\r\n\r\n").endswith(b"\r\n\r\n0123456789")


HOSTILE = [
    *("/../secret", "/../../../../../../etc/passwd", "/sub/../../secret", "/%2e%2e/secret", "/..%2fsecret"),
    *("/..%2Fsecret", "/%2e%2e%2fsecret", "/sub/%2e%2e/%2e%2e/secret", "/..\\secret", "/..%5csecret"),
    *("/%c0%ae%c0%ae/secret", "/..;/secret", "//etc/passwd", "/%2fetc/passwd", "/site/../secret", "/./../secret"),
    *("http://x/../secret", "/%252e%252e/secret", "/.env", "/%2eenv", "/.git/config", "/.git/", "/.git"),
    *("/sub/.hidden", "/./.env", "/sub/../.env", "/.well-known/token", "/out/secret", "/out.txt", "/up/secret"),
    *("/up/", "/out/", "/next/page.html", "/dotted", "/loop", "/inside/.hidden", "/pipe", "/page.html/"),
    *("/page.html/x", "/missing", "/%00", "/page.html%00.txt", "/" + "x" * 5000, "/%", "/%zz", "/%ff%fe", "/\xff"),
    *("/none/", "/page.html%20", "/~root", "/*"),
]


@pytest.mark.parametrize("model", MODELS)
def test_there_is_no_way_out_and_nothing_behind_a_dot(serve_site, model):
    """Every path that is not one of a file in the directory is not there, whatever it is made of."""
    server = serve_site(model=model)
    for path in HOSTILE:
        answer = raw(server, b"GET " + path.encode("latin-1") + b" HTTP/1.1\r\nHost: x\r\n\r\n")
        assert answer.startswith((b"HTTP/1.1 404 ", b"HTTP/1.1 400 ")), path
        assert b"secret" not in answer, path
    assert "handler failed" not in server.log


def test_a_link_that_is_put_in_the_place_of_a_file_is_not_followed_out(serve_site, site, place):
    """However fast: the file that was opened is the one that counts."""
    server = serve_site()
    stop = threading.Event()

    def swap():
        while not stop.is_set():
            for target in (place / "secret", site / "digits"):
                (site / "new").symlink_to(target)
                (site / "new").replace(site / "swapped")

    swapping = threading.Thread(target=swap)
    swapping.start()
    try:
        bodies = {get(server, "/swapped")[2] for _ in range(300)}
    finally:
        stop.set()
        swapping.join()
    assert b"secret" not in b"".join(bodies)


def test_well_known_is_let_in_when_asked_for(serve_site):
    """It alone, and nothing with a dot in it."""
    server = serve_site("--set", "well_known=yes")
    assert get(server, "/.well-known/token")[2] == b"token"
    assert get(server, "/.env")[0] == get(server, "/sub/.well-known")[0] == get(server, "/.well-known/.x")[0] == 404


def test_a_listing_has_what_can_be_had_and_no_more(serve_site):
    """No dot files and no links out; names are escaped, twice where they must be."""
    status, headers, body = get(serve_site(), "/")
    assert (status, headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    links = re.findall(r'<a href="(.*?)">(.*?)</a>', body.decode())
    assert ("./a%20b%26c%3Cd%3E.txt", "a b&amp;c&lt;d&gt;.txt") in links
    assert {link for link, _ in links} == {
        *("./sub/", "./inside/", "./empty/", "./page.html", "./digits", "./large.bin", "./none", "./data.tar.gz"),
        *("./a%20b%26c%3Cd%3E.txt", "./pipe"),
    }


def test_without_listings_a_directory_without_an_index_is_not_there(serve_site):
    """And one with an index is; the index has the name that was asked for."""
    server = serve_site("--set", "listing=no", "--set", "index=page.html")
    assert get(server, "/")[2] == b"<p>page</p>"
    assert get(server, "/sub/")[0] == get(server, "/empty/")[0] == 404


def test_a_directory_without_a_slash_is_pointed_to(serve_site):
    """Within this host: what begins with two slashes would be another one."""
    server = serve_site()
    for path, location in (("/sub", "/sub/"), ("/sub?a=b", "/sub/?a=b"), ("//sub", "/sub/"), ("/%2Fsub", "/sub/")):
        status, headers, _ = get(server, path)
        assert (status, headers["Location"]) == (301, location)
    assert (
        b"evil.example"
        not in raw(server, b"GET //evil.example/..%2fsub HTTP/1.1\r\nHost: x\r\n\r\n").split(b"\r\n\r\n")[0]
    )


# --- HTTP


@pytest.mark.parametrize("model", MODELS)
def test_a_connection_serves_many_requests(serve_site, model):
    """Also errors, and requests that came before the answer to the first."""
    server = serve_site(model=model)
    request = b"GET /digits HTTP/1.1\r\nHost: x\r\n\r\nGET /missing HTTP/1.1\r\nHost: x\r\n\r\n"
    answers = raw(server, request * 20)
    assert answers.count(b"HTTP/1.1 200 OK") == answers.count(b"HTTP/1.1 404 Not Found") == 20
    server.wait_for_log(f"sent={len(answers)} how=done")


def test_head_has_no_body(serve_site):
    """And the headers of GET; for a listing and an error too."""
    server = serve_site()
    for path in ("/large.bin", "/", "/missing", "/sub"):
        _, wanted, _ = get(server, path)
        status, headers, body = get(server, path, "HEAD")
        assert body == b"" and headers["Content-Length"] == wanted["Content-Length"]
        assert raw(server, f"HEAD {path} HTTP/1.0\r\n\r\n".encode()).endswith(b"\r\n\r\n"), status


@pytest.mark.parametrize(("method", "status"), [("POST", 405), ("PUT", 405), ("DELETE", 405), ("BREW", 501)])
def test_other_methods_are_refused(serve_site, method, status):
    """And the connection is closed, so that a body is not taken for a request."""
    server = serve_site()
    body = b"GET /digits HTTP/1.1\r\nHost: x\r\n\r\n"
    head = f"{method} /digits HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    answer = raw(server, head + body)
    assert answer.startswith(f"HTTP/1.1 {status} ".encode()) and answer.count(b"HTTP/1.1 ") == 1
    assert b"Connection: close" in answer and b"Python" not in answer
    assert (status == 501) or b"Allow: GET, HEAD" in answer


@pytest.mark.parametrize("header", [b"Content-Length: 35", b"Transfer-Encoding: chunked", b"Content-Length: x"])
def test_a_body_of_a_get_is_not_taken_for_a_request(serve_site, header):
    """One answer, and the end."""
    request = b"GET /digits HTTP/1.1\r\nHost: x\r\n" + header + b"\r\n\r\nGET /none HTTP/1.1\r\nHost: x\r\n\r\n"
    assert raw(serve_site(), request).count(b"HTTP/1.1 ") == 1


@pytest.mark.parametrize(
    "request_",
    [b"GET /digits HTTP/1.1\r\n\r\n", b"GET\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\r\n\r\n", b"GET / HTTP/9\r\n\r\n"],
)
def test_what_is_no_request_is_a_bad_one(serve_site, request_):
    """HTTP/1.1 without a host is one."""
    answer = raw(serve_site(), request_)
    assert b"40" in answer.partition(b"\r\n")[0] + answer[:400] and b"0123456789" not in answer


def test_old_clients_are_served(serve_site):
    """HTTP/1.0, one request a connection; HTTP/0.9 is no request any more (RFC 9112, A)."""
    server = serve_site()
    assert raw(server, b"GET /digits\r\n\r\n").startswith(b"HTTP/1.1 400 ")
    answer = raw(server, b"GET /digits HTTP/1.0\r\n\r\nGET /digits HTTP/1.0\r\n\r\n")
    assert answer.count(b"0123456789") == 1 and b"Connection: close" in answer


@pytest.mark.parametrize(
    ("wanted", "status", "body"),
    [
        *(("bytes=0-3", 206, b"0123"), ("bytes=4-", 206, b"456789"), ("bytes=-3", 206, b"789")),
        ("bytes=9-9", 206, b"9"),
        *(("bytes=0-", 206, b"0123456789"), ("bytes=5-99999", 206, b"56789"), ("bytes=-99", 206, b"0123456789")),
        *(("bytes=10-", 416, None), ("bytes=99-100", 416, None), ("bytes=-0", 416, None)),
        *(("bytes=0-1,3-4", 200, b"0123456789"), ("bytes=4-2", 200, b"0123456789"), ("bytes=-", 200, b"0123456789")),
        *(("bytes=a-b", 200, b"0123456789"), ("lines=1-2", 200, b"0123456789"), ("bytes=1", 200, b"0123456789")),
        ("bytes=" + "9" * 400 + "-", 200, b"0123456789"),
    ],
)  # fmt: skip
def test_a_part_is_served(serve_site, wanted, status, body):
    """One range; more than one, and what is none, is the whole file."""
    answered, headers, came = get(serve_site(), "/digits", Range=wanted)
    assert answered == status
    if status == 416:
        assert headers["Content-Range"] == "bytes */10"
        return
    assert came == body
    if status == 206:
        first = b"0123456789".index(body)
        assert headers["Content-Range"] == f"bytes {first}-{first + len(body) - 1}/10"


def test_no_range_of_an_empty_file_is_satisfiable():
    """Whatever it asks for."""
    for text in ("bytes=0-", "bytes=-5", "bytes=0-0"):
        with pytest.raises(Unsatisfiable):
            wanted_range({"range": text}, "e", "m", 0)


def test_a_part_of_a_file_that_has_changed_is_the_whole(serve_site):
    """If-Range, by tag and by date."""
    server = serve_site()
    _, headers, _ = get(server, "/digits")
    for same in (headers["ETag"], headers["Last-Modified"]):
        assert get(server, "/digits", Range="bytes=0-0", If_Range=same)[2] == b"0"
    for other in ('"other"', "Sun, 06 Nov 1994 08:49:37 GMT"):
        assert get(server, "/digits", Range="bytes=0-0", If_Range=other)[2] == b"0123456789"


def test_what_the_client_has_already_is_not_sent_again(serve_site, site):
    """By tag and by date; the tag decides where there is one."""
    server = serve_site()
    _, headers, _ = get(server, "/digits")
    tag, date = headers["ETag"], headers["Last-Modified"]
    earlier = email.utils.formatdate(0, usegmt=True)
    for conditions in ({"If_None_Match": tag}, {"If_None_Match": f'"x", W/{tag}'}, {"If_Modified_Since": date}):
        status, headers, body = get(server, "/digits", **conditions)
        assert (status, body) == (304, b"") and "Content-Length" not in headers
    for conditions in (
        {"If_None_Match": '"x"', "If_Modified_Since": date},
        {"If_Modified_Since": earlier},
        {"If_Modified_Since": "yesterday"},
    ):
        assert get(server, "/digits", **conditions)[0] == 200
    (site / "digits").write_text("changed")
    assert get(server, "/digits", If_None_Match=tag)[2] == b"changed"


@pytest.mark.skipif(not shutil.which("curl"), reason="curl is not installed")
def test_curl_resumes_a_download(serve_site, place):
    """Where it was left."""
    server = serve_site()
    (place / "download").write_bytes(LARGE[:1_000_000])
    url = f"http://127.0.0.1:{server.sockaddr[1]}/large.bin"
    subprocess.run(["curl", "-sf", "-C", "-", "-o", "download", url], cwd=place, check=True, timeout=PATIENCE)
    assert hashlib.sha256((place / "download").read_bytes()).digest() == hashlib.sha256(LARGE).digest()


# --- living with clients


@pytest.mark.parametrize("sent", [b"", b"GET /di", b"GET /digits HTTP/1.1\r\nHost: x\r\nX-Slow: "])
def test_a_client_that_does_not_ask_in_time_is_left(serve_site, sent):
    """Also one that goes on sending, byte by byte: the whole head has so many seconds."""
    server = serve_site("--set", "timeout=0.5")
    with server.connect() as client:
        client.sendall(sent)
        client.settimeout(0.05)
        ended = False
        while not ended:
            try:
                ended = client.recv(100) == b""
                if sent and not ended:
                    raise AssertionError("it answered")
            except TimeoutError:
                if sent:
                    client.send(b"x")
            except ConnectionError:
                ended = True


def test_a_head_without_end_is_not_read_for_ever(serve_site):
    """Nor kept in memory."""
    server = serve_site("--verbose")
    with server.connect() as client, pytest.raises(ConnectionError):
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n")
        while True:
            client.sendall(b"X: " + b"x" * 30_000 + b"\r\n")
    ended = server.wait_for_log(" ended ")
    assert int(re.search(r"received=(\d+)", ended)[1]) < 4 * 65536


def test_a_client_that_does_not_read_is_left(serve_site, site):
    """Nothing of a long file has gone for so many seconds."""
    with (site / "huge").open("wb") as file:
        file.truncate(1 << 30)
    server = serve_site("--set", "timeout=0.3", "--verbose")
    with server.connect() as client:
        client.sendall(b"GET /huge HTTP/1.1\r\nHost: x\r\n\r\n")
        server.wait_for_log("ended")


def test_a_file_that_becomes_shorter_ends_the_connection(serve_site, site):
    """What came is less than was promised, so the client knows."""
    with (site / "shrinking").open("wb") as file:
        file.truncate(1 << 28)
    server = serve_site()
    with server.connect() as client:
        client.sendall(b"GET /shrinking HTTP/1.1\r\nHost: x\r\n\r\n")
        assert receive_exactly(client, 10_000)
        os.truncate(site / "shrinking", 1000)
        count = 10_000
        while data := client.recv(1 << 20):
            count += len(data)
        assert count < 1 << 28
    assert get(server, "/digits")[0] == 200


@pytest.mark.parametrize("model", MODELS)
def test_a_stop_lets_a_download_finish_and_takes_no_more_requests(serve_site, model):
    """A connection that waits for a request is half-closed."""
    server = serve_site("--drain-idle-timeout", "0.1", model=model)
    with server.connect() as client:
        client.sendall(b"GET /large.bin HTTP/1.1\r\nHost: x\r\n\r\n")
        came = receive_exactly(client, 1000)
        server.process.terminate()
        came += receive_all(client)
        assert came.endswith(LARGE[-1000:])
    assert server.wait() == 0


@pytest.mark.parametrize("model", MODELS)
def test_requests_are_noted_on_one_line_each(serve_site, place, model):
    """In the Common Log Format, whatever a client puts into its request."""
    server = serve_site("--set", f"access_log={place / 'access'}", model=model)
    get(server, "/digits")
    get(server, "/missing")
    get(server, "/digits", Range="bytes=0-1")
    raw(server, b'GET /"\x1b[31m\x7f\\ HTTP/1.1\r\nHost: x\r\n\r\n')
    raw(server, b"nonsense\r\n\r\n")
    raw(server, b"POST / HTTP/1.1\r\nHost: x\r\n\r\n")
    access = place / "access"
    wait_until(lambda: access.read_text().count("\n") == 6, "six lines", server)
    shape = re.compile(r'127\.0\.0\.1 - - \[\d\d/\w{3}/\d{4}:\d\d:\d\d:\d\d \+0000\] "(.*)" (\d{3}) (\d+)')
    # In no order: each is written behind its answer, when the next one may be under way.
    assert {shape.fullmatch(line).groups() for line in access.read_text().splitlines()} == {
        ("GET /digits HTTP/1.1", "200", "10"),
        ("GET /missing HTTP/1.1", "404", "14"),
        ("GET /digits HTTP/1.1", "206", "2"),
        (r"GET /\"\x1b[31m\x7f\\ HTTP/1.1", "400", "16"),
        ("nonsense", "400", "16"),
        ("POST / HTTP/1.1", "405", "23"),
    }


@pytest.mark.skipif(not shutil.which("ab"), reason="ab is not installed")
@pytest.mark.parametrize("model", MODELS[1:])
def test_ab_gets_every_answer(serve_site, model):
    """Many at once; ab would keep a connection in the way of HTTP/1.0, which static closes, so it does not ask."""
    server = serve_site(model=model)
    url = f"http://127.0.0.1:{server.sockaddr[1]}/digits"
    done = subprocess.run(
        ["ab", "-q", "-n", "400", "-c", "8", url], capture_output=True, text=True, timeout=PATIENCE, check=True
    )
    assert re.search(r"Failed requests: +0\n", done.stdout) and re.search(r"Complete requests: +400\n", done.stdout)


@pytest.mark.parametrize(("options", "error"), [({"directory": "missing"}, LoadError), ({"timeout": 0.0}, UsageError)])
def test_an_option_that_makes_no_sense_is_an_error(options, error):
    """It names what was wrong."""
    with pytest.raises(error):
        type("Handler", (static.Stream,), options).service_start(None)


THEN = 784111777  # the date of the examples in RFC 9110


@pytest.mark.parametrize(
    ("fields", "outcome"),
    [
        ({}, None),
        ({"if-match": '"other"'}, FailedPrecondition),
        ({"if-match": '"other", "tag"'}, None),
        ({"if-match": 'W/"tag"'}, FailedPrecondition),  # a strong comparison
        ({"if-match": "*"}, None),
        ({"if-match": '"tag"', "if-unmodified-since": "Sat, 01 Jan 1994 00:00:00 GMT"}, None),
        ({"if-unmodified-since": "Sat, 01 Jan 1994 00:00:00 GMT"}, FailedPrecondition),
        ({"if-unmodified-since": "Sun, 06 Nov 1994 08:49:37 GMT"}, None),
        ({"if-none-match": 'W/"tag"'}, NotModified),
        ({"if-none-match": "*"}, NotModified),
        ({"if-none-match": '"other"', "if-modified-since": "Sun, 06 Nov 1994 08:49:37 GMT"}, None),
        ({"if-modified-since": "Sun, 06 Nov 1994 08:49:37 GMT"}, NotModified),
        ({"if-modified-since": "Sunday, 06-Nov-94 08:49:37 GMT"}, NotModified),
        ({"if-modified-since": "Sun Nov  6 08:49:37 1994"}, NotModified),
        ({"if-modified-since": "Sun, 06 Nov 1994 08:49:36 GMT"}, None),
        ({"if-modified-since": "yesterday"}, None),
    ],
)
def test_conditions_are_judged_in_the_order_of_the_rfc(fields, outcome):
    """RFC 9110, 13.2.2; the three forms of a date are of one time."""
    if outcome is None:
        check_conditions(fields, '"tag"', THEN)
        return
    with pytest.raises(outcome):
        check_conditions(fields, '"tag"', THEN)


@pytest.mark.parametrize(
    ("name", "type_"),
    [
        ("page.html", "text/html"),
        ("data.tar.gz", "application/gzip"),
        ("x.tgz", "application/gzip"),
        ("x.txz", "application/x-xz"),
        ("p.svgz", "application/gzip"),
        ("page.html.br", "application/octet-stream"),
        ("unknown.xyzzy", "application/octet-stream"),
    ],
)
def test_a_compressed_file_is_what_it_is(name, type_):
    """Without Content-Encoding, a client would take the plain type for what it gets."""
    assert content_type(name) == type_


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /digits HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 35\r\n\r\n", 400),
        (b"GET /digits HTTP/1.1\r\nHost: x\r\nContent-Length : 35\r\n\r\n", 400),
        (b"GET /digits HTTP/1.1\r\nHost: x\r\nno colon at all\r\n\r\n", 400),
        (b"GET /digits HTTP/9.9\r\nHost: x\r\n\r\n", 505),
        (b"GET /digits http/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\nHost: x\r\nCookie: " + b"a" * 70_000 + b"\r\n\r\n", 431),
        (b"GET /digits HTTP/1.1\r\nHost: x\r\nConnection: TE, close\r\n\r\n", 200),
        (b"GET /digits HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, close\r\n\r\n", 200),
    ],
    ids=range(9),
)
def test_what_is_not_strictly_a_request_is_answered_once(serve_site, request_, status):
    """With a status line; and nothing behind it is taken for the next request."""
    hidden = b"GET /none HTTP/1.1\r\nHost: x\r\n\r\n"
    answer = raw(serve_site(), request_ + hidden)
    assert answer.startswith(f"HTTP/1.1 {status} ".encode())
    assert answer.count(b"HTTP/1.1 ") == 1


@pytest.mark.parametrize("name", ["\u00e9.txt", "\u00e0.txt", "\u00c5.txt", "\u0440.txt", "\u0445.txt"])
def test_a_name_above_ascii_may_be_asked_for_as_it_is(serve_site, site, name):
    """Or encoded; byte by byte as well."""
    (site / name).write_text("here")
    server = serve_site()
    request = f"GET /{name} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    assert raw(server, request).endswith(b"\r\n\r\nhere")
    assert get(server, "/" + urllib.parse.quote(name))[2] == b"here"
    with server.connect() as client:
        for n in range(len(request)):
            client.sendall(request[n : n + 1])
        client.shutdown(socket.SHUT_WR)
        assert receive_all(client).endswith(b"\r\n\r\nhere")


def test_without_h11_it_says_what_to_install(place):
    """In one line."""
    (place / "h11.py").write_text("raise ModuleNotFoundError(\"No module named 'h11'\", name='h11')\n")
    ended = run("check", "tcp4", "127.0.0.1:0", "static", cwd=place, env=clean_environment(PYTHONPATH=str(place)))
    assert ended.returncode == 78
    assert ended.stderr.splitlines() == [
        "srvctl: error: cannot load handler 'static': it needs the package h11; install srvctl[http], or h11 beside it"
    ]
