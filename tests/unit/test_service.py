"""systemd units: the same words, hardened, and quoted so that systemd reads what was meant."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import subprocess
import sys
import types
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from srvctl.cli import main
from srvctl.loader import builtin
from srvctl.net.address import Family
from srvctl.unit import footprint, systemd_version
from srvctl.unit.footprint import Footprint
from srvctl.unit.syntax import quoted
from tests.launched import PATIENCE

Print = Callable[..., str]

FAMILIES = {
    "tcp": ":9000",
    "tcp4": "127.0.0.1:9000",
    "tcp6": "[::1]:9000",
    "udp": ":9000",
    "udp4": ":9000",
    "udp6": ":9000",
    "unix": "/run/srvctl-test/socket",
    "unix-dgram": "@srvctl-test",
    "unix-seqpacket": "/run/srvctl-test/socket",
    "vsock": ":9000",
}
every_family = pytest.mark.parametrize("family", FAMILIES)

needs_systemd_analyze = pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not here")

ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "f": "\f", "v": "\v", "s": " "}


def split_as_systemd(line: str) -> list[str]:
    """Read the words of an ExecStart= line back: quotes only stand around a whole word."""
    words = []
    for found in re.finditer(r'"((?:[^"\\]|\\.)*)"(?: |$)|((?:[^ "\'\\]|\\.)+)(?: |$)', line):
        word = found[1] if found[1] is not None else found[2]
        assert found[2] != ";"
        raw = b""
        for piece in re.finditer(r"\\x([0-9a-f]{2})|\\(.)|([^\\])", word, re.DOTALL):
            code, escaped, plain = piece.groups()
            raw += bytes([int(code, 16)]) if code else (ESCAPES.get(escaped, escaped) if escaped else plain).encode()
        text = os.fsdecode(raw)
        assert not re.search(r"(?<![%])(%%)*%(?!%)", text), "a specifier"
        assert not re.search(r"(?<![$])(\$\$)*\$(?!\$)", text), "a variable"
        words.append(text.replace("%%", "%").replace("$$", "$"))
    assert sum(1 for _ in words) == len(re.findall(r'"(?:[^"\\]|\\.)*"|[^ ]+', line))
    return words


def values(unit: str, name: str) -> list[str]:
    """Return what is assigned to `name`, each time."""
    return re.findall(rf"^{name}=(.*)$", unit, re.MULTILINE)


def value(unit: str, name: str) -> str:
    """Return what is assigned to `name`, once."""
    (found,) = values(unit, name)
    return str(found)


def words_of(unit: str) -> list[str]:
    """Return what systemd would execute, without the program's own words."""
    words = split_as_systemd(value(unit, "ExecStart"))
    assert words[:3] == [sys.executable, "-m", "srvctl"]
    return words[3:]


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with systemd 252, where no sandbox hides the interpreter and srvctl."""
    for name in list(os.environ):
        if name.startswith("SRVCTL_"):
            monkeypatch.delenv(name)
    monkeypatch.setattr(sys, "argv", ["/usr/lib/srvctl/__main__.py"])
    monkeypatch.setattr(sys, "executable", "/usr/bin/env")
    monkeypatch.setattr(footprint, "interpreter", Footprint)
    monkeypatch.setattr(footprint, "_packages", lambda target: Footprint())
    monkeypatch.setattr(systemd_version, "installed", lambda: 252)
    monkeypatch.chdir("/usr")


@pytest.fixture
def printed(capsys: pytest.CaptureFixture[str]) -> Print:
    """Return what ``srvctl unit WORDS`` prints; fails when it does not end well."""

    def run(*words: str) -> str:
        assert main.run(["unit", *words]) == 0, capsys.readouterr().err
        said = capsys.readouterr()
        assert all(line.startswith("next: ") for line in said.err.splitlines())
        return said.out

    return run


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Print:
    """Return the one line that ``srvctl unit WORDS`` is refused with, as a mistake of the caller's."""

    def run(*words: str) -> str:
        assert main.run(["unit", *words]) == 2
        said = capsys.readouterr()
        assert said.out == ""
        (line,) = said.err.splitlines()
        return line

    return run


# --- the command


@every_family
def test_the_unit_starts_the_same_words(family: str, printed: Print) -> None:
    """With the descriptor store, since a restart of it would lose clients otherwise."""
    unit = printed(family, FAMILIES[family], "myapp:Name")
    assert words_of(unit) == [family, FAMILIES[family], "--fd-store", "myapp:Name"]
    assert value(unit, "FileDescriptorStoreMax") == "1"


def test_the_program_is_named_by_its_absolute_path(
    printed: Print, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """systemd has another PATH; the srvctl that prints the unit is the one that is started."""
    (tmp_path / "srvctl").touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["srvctl"])
    assert split_as_systemd(value(printed("tcp", ":9000"), "ExecStart"))[0] == str(tmp_path / "srvctl")


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--threads"],
        ["--fork", "--max-connections", "7"],
        ["--workers", "4"],
        ["--threads", "--max-connections", "100", "--workers", "3"],
        ["--set", "greeting=hello world", "--set", "times=3"],
        ["--max-duration", "1234567", "--graceful-timeout", "0.25"],
        ["--log-format", "json", "--verbose"],
    ],
    ids=" ".join,
)
def test_options_are_in_the_command_when_they_differ_from_the_default(options: list[str], printed: Print) -> None:
    """All of those and no others, with the values that were given."""
    words = words_of(printed("tcp", ":9000", *options, "myapp:Name"))
    assert (words[:2], words[-2:]) == (["tcp", ":9000"], ["--fd-store", "myapp:Name"])
    assert sorted(words[2:-2]) == sorted(options)


@pytest.mark.parametrize(
    "options",
    [
        ["--sync"],
        ["--threads", "--max-connections", "512"],
        ["--fork", "--max-connections", "40"],
        ["--workers", "1", "--graceful-timeout", "30s"],
    ],
    ids=" ".join,
)
def test_defaults_are_left_out_though_they_were_given(options: list[str], printed: Print) -> None:
    """A unit says what is special about it."""
    model = [word for word in options if word in ("--threads", "--fork")]
    assert words_of(printed("tcp", ":9000", *options)) == ["tcp", ":9000", *model, "--fd-store", "echo"]


def test_what_only_a_person_at_the_command_line_wants_is_left_out(printed: Print) -> None:
    """Nobody reads the announcement of a service."""
    assert "--announce" not in words_of(printed("tcp", ":9000", "--announce"))


# --- quoting

NASTY = [
    "",
    " ",
    "a b",
    "'",
    '"',
    "\\",
    "100%",
    "%n",
    "$HOME",
    "${HOME}",
    "$$",
    ";",
    "a;b",
    "é\t\n",
    "-x",
    "\\x41",
    "#",
]


@pytest.mark.parametrize("text", NASTY)
def test_a_word_comes_back_as_it_was(text: str, printed: Print) -> None:
    """Spaces, quotes, backslashes, specifiers and variables of a value are its own."""
    assert words_of(printed("tcp", ":9000", "--set", f"greeting={text}"))[2:4] == ["--set", f"greeting={text}"]


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")))
def test_any_word_comes_back_as_it_was(text: str) -> None:
    """Whatever an argument of a program can be."""
    assert split_as_systemd(f"{quoted('/bin/program')} {quoted(text)}") == ["/bin/program", text]


def test_a_byte_that_is_not_utf_8_comes_back_as_it_was() -> None:
    """A unit is UTF-8; systemd.syntax(7) has an escape for a byte."""
    assert quoted("a\udcff") == r"a\xff"
    assert split_as_systemd(quoted("a\udcff")) == ["a\udcff"]


@pytest.mark.parametrize(("place", "setting"), [("/srv", "ReadWritePaths"), ("/tmp", "BindPaths")])
@pytest.mark.parametrize("name", ["with space", "100%n", "$HOME", 'q"uote', "back\\slash"])
def test_the_path_of_a_unix_socket_is_quoted_wherever_it_stands(
    name: str, place: str, setting: str, printed: Print
) -> None:
    """In the command, in the description, in the directories and in the .socket."""
    path = Path(place) / name / "socket"
    unit = printed("unix", str(path))
    assert words_of(unit)[1] == str(path)
    assert value(unit, "Description") == f"srvctl unix {path} echo".replace("%", "%%")
    directory = value(unit, setting)
    assert split_as_systemd(directory.replace("$", "$$")) == [str(path.parent)]
    pair = printed("unix", str(path), "--socket")
    assert value(pair, "ListenStream") == str(path).replace("%", "%%")


@pytest.mark.parametrize("address", ["/run/a\nExecStartPre=/bin/false", "/run/\udcff"])
def test_an_address_that_no_unit_can_hold_is_refused(address: str, refused: Print) -> None:
    """A line break in it would be a line of the unit."""
    assert "a unit is UTF-8 without control characters" in refused("unix", address)


@pytest.mark.parametrize("name", ["a b", "a/b", "ü", "7"])
def test_a_name_that_no_unit_can_have_is_refused(name: str, refused: Print) -> None:
    """systemd.unit(5) says what they are made of; ``fd 7`` would be a descriptor."""
    assert f"cannot use --name '{name}'".encode("unicode_escape").decode() in refused("tcp", ":9000", "--name", name)


# --- the service


@pytest.mark.parametrize(("version", "type_"), [(252, "notify"), (253, "notify-reload"), (256, "notify-reload")])
def test_the_type_fits_the_version_of_systemd(version: int, type_: str, printed: Print) -> None:
    """notify-reload came with 253; before that a reload is a signal that is sent by a command."""
    unit = printed("tcp", ":9000", "--systemd-version", str(version))
    assert value(unit, "Type") == type_
    assert values(unit, "ExecReload") == (["kill -HUP $MAINPID"] if type_ == "notify" else [])


@pytest.mark.parametrize(
    ("version", "unknown"),
    [
        (
            239,
            {"ProtectHostname", "RestrictSUIDSGID", "ProtectKernelLogs", "ProtectClock", "ProtectProc", "ProcSubset"},
        ),
        (
            241,
            {"ProtectHostname", "RestrictSUIDSGID", "ProtectKernelLogs", "ProtectClock", "ProtectProc", "ProcSubset"},
        ),
        (242, {"ProtectKernelLogs", "ProtectClock", "ProtectProc", "ProcSubset"}),
        (244, {"ProtectClock", "ProtectProc", "ProcSubset"}),
        (245, {"ProtectProc", "ProcSubset"}),
        (247, set()),
    ],
)
def test_a_setting_is_left_out_for_a_systemd_that_does_not_know_it(
    version: int, unknown: set[str], printed: Print
) -> None:
    """Nothing else differs."""
    newest, older = (printed("tcp", ":9000", "--systemd-version", str(n)).splitlines() for n in (252, version))
    assert {line.partition("=")[0] for line in newest if line not in older} == unknown
    assert [line for line in newest if line in older] == older


def test_the_version_of_the_installed_systemd_counts(printed: Print, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unless another one is given."""
    monkeypatch.setattr(systemd_version, "installed", lambda: 256)
    assert value(printed("tcp", ":9000"), "Type") == "notify-reload"
    assert value(printed("tcp", ":9000", "--systemd-version", "252"), "Type") == "notify"


@pytest.mark.parametrize("version", ["238", "-1", "v252", "252.1", ""])
def test_a_version_that_no_unit_is_printed_for_is_refused(version: str, refused: Print) -> None:
    """systemd before 239 does not know what every unit has."""
    assert refused("tcp", ":9000", f"--systemd-version={version}").endswith(
        "expected the number of a version, 239 or newer"
    )


def test_a_restart_is_for_what_it_can_mend(printed: Print) -> None:
    """Not for a wrong command line, no permission, or a handler that does not load; a drain that cut is no failure."""
    unit = printed("tcp", ":9000")
    assert value(unit, "Restart") == "on-failure"
    assert value(unit, "RestartPreventExitStatus") == "2 77 78"
    assert value(unit, "SuccessExitStatus") == "75"
    assert value(unit, "WatchdogSec") == "30"


@pytest.mark.parametrize(("graceful", "stop"), [("30", "40"), ("2m", "130"), ("1000000", "1000010"), ("0.5", "10.5")])
def test_systemd_waits_longer_than_the_drain(graceful: str, stop: str, printed: Print) -> None:
    """Or the drain would be killed before its deadline."""
    assert value(printed("tcp", ":9000", "--graceful-timeout", graceful), "TimeoutStopSec") == stop


@pytest.mark.parametrize(
    ("family", "allowed"),
    [
        *[("tcp", "AF_UNIX AF_INET AF_INET6"), ("tcp4", "AF_UNIX AF_INET"), ("tcp6", "AF_UNIX AF_INET6")],
        *[("udp", "AF_UNIX AF_INET AF_INET6"), ("udp4", "AF_UNIX AF_INET"), ("udp6", "AF_UNIX AF_INET6")],
        *[("unix", "AF_UNIX"), ("unix-dgram", "AF_UNIX"), ("unix-seqpacket", "AF_UNIX")],
        ("vsock", "AF_UNIX AF_VSOCK"),
    ],
)
def test_sockets_of_other_families_cannot_be_made(family: str, allowed: str, printed: Print) -> None:
    """Exactly the family in use, and AF_UNIX, which srvctl talks to its workers by."""
    for more in ([], ["--socket"]):
        assert value(printed(family, FAMILIES[family], *more), "RestrictAddressFamilies") == allowed


@pytest.mark.parametrize(
    ("address", "is_low"), [(":1023", True), (":80", True), (":http", True), (":1024", False), (":0", False)]
)
def test_the_capability_is_for_low_ports_alone(address: str, is_low: bool, printed: Print) -> None:
    """CAP_NET_BIND_SERVICE below 1024; everybody else has none, and with a .socket systemd binds it."""
    low = "CAP_NET_BIND_SERVICE"
    unit = printed("tcp", address)
    assert values(unit, "AmbientCapabilities") == ([low] if is_low else [])
    assert value(unit, "CapabilityBoundingSet") == (low if is_low else "")
    with_socket = printed("tcp", address, "--socket")
    assert values(with_socket, "AmbientCapabilities") == []
    assert value(with_socket, "CapabilityBoundingSet") == ""


def test_it_is_hardened(printed: Print) -> None:
    """It runs as nobody in particular, in a file system that it cannot write to."""
    unit = printed("tcp", ":9000")
    for line in ("DynamicUser=yes", "NoNewPrivileges=yes", "ProtectSystem=strict", "PrivateTmp=yes"):
        assert line in unit.splitlines()


def test_a_unix_socket_in_run_has_its_directory_made(printed: Print) -> None:
    """And kept over a restart, with the file in it that the stored socket has."""
    unit = printed("unix", "/run/my app/socket")
    assert value(unit, "RuntimeDirectory") == '"my app"'
    assert value(unit, "RuntimeDirectoryPreserve") == "restart"
    assert values(printed("unix", "/run/app/socket", "--socket"), "RuntimeDirectory") == []
    assert values(printed("unix", "@app"), "RuntimeDirectory") == []


def test_a_service_that_starts_in_tmp_sees_that_of_it(printed: Print, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its working directory would not be there: DynamicUser=yes implies PrivateTmp=yes, whatever else is said."""
    monkeypatch.chdir("/tmp")
    unit = printed("tcp", ":9000")
    assert (value(unit, "PrivateTmp"), value(unit, "BindReadOnlyPaths")) == ("yes", "/tmp")


def test_the_service_knows_its_directory_by_the_name_that_was_typed(
    printed: Print, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """systemd enters a directory without setting PWD, and a reload follows the links in that name."""
    (tmp_path / "releases" / "1").mkdir(parents=True)
    (tmp_path / "current 100%").symlink_to("releases/1")
    monkeypatch.chdir(tmp_path / "current 100%")
    monkeypatch.setenv("PWD", str(tmp_path / "current 100%"))
    unit = printed("tcp", ":9000", "--user", pwd.getpwuid(os.geteuid()).pw_name)
    assert value(unit, "WorkingDirectory") == f"{tmp_path}/current 100%%"
    assert value(unit, "Environment") == f'"PWD={tmp_path}/current 100%%"'
    monkeypatch.chdir("/usr")
    assert values(printed("tcp", ":9000"), "Environment") == []


def test_a_unix_socket_in_tmp_is_in_everybody_s(printed: Print) -> None:
    """In a private directory no client would find it."""
    unit = printed("unix", "/tmp/socket")
    assert (value(unit, "PrivateTmp"), value(unit, "BindPaths")) == ("yes", "/tmp")
    assert values(printed("unix", "/tmp/socket", "--socket"), "BindPaths") == []  # systemd makes it


# --- what a ready-made handler needs

WRITABLE = [
    ("/srv/data/out", "ReadWritePaths=/srv/data"),
    ("/srv/a b/out", 'ReadWritePaths="/srv/a b"'),
    ("/var/log/app/out", "LogsDirectory=app"),
    ("/var/lib/app/sub/out", "StateDirectory=app/sub"),
    ("/var/cache/app/out", "CacheDirectory=app"),
    ("/run/app/out", "RuntimeDirectory=app"),
    ("/run/user/7/out", "BindPaths=/run/user/7"),
    ("/var/log/a:b/out", "ReadWritePaths=/var/log/a:b"),
    ("/tmp/app/out", "BindPaths=/tmp/app"),
    ("/tmp/a:b/out", 'BindPaths="/tmp/a:b"'),
    ("/tmpfs/out", "ReadWritePaths=/tmpfs"),
]
DIRECTORIES = re.compile(
    r"^(?:ReadWrite|Bind|BindReadOnly|Runtime|State|Cache|Logs)(?:Paths|Directory)=.*$", re.MULTILINE
)


@pytest.mark.parametrize(("path", "line"), WRITABLE)
@pytest.mark.parametrize(("handler", "attribute"), [("append", "file"), ("syslog", "file"), ("static", "access_log")])
def test_the_directory_of_a_file_that_is_appended_to_is_writable(
    handler: str, attribute: str, path: str, line: str, printed: Print
) -> None:
    """And no other one; where systemd has a place for such files, it makes the directory for the service's user."""
    unit = printed("tcp", ":9000", "--set", f"{attribute}={path}", handler)
    assert DIRECTORIES.findall(unit) == [line]


def test_what_datagrams_are_appended_to_is_writable_too(printed: Print) -> None:
    """The class for the type of the socket is asked; what two things need stands there once."""
    unit = printed("unix-dgram", "/run/app/socket", "--set", "file=/run/app/out", "append")
    assert DIRECTORIES.findall(unit) == ["RuntimeDirectory=app"]
    assert value(unit, "RuntimeDirectoryPreserve") == "restart"


@pytest.mark.parametrize("file", [[], ["--set", "file=-"], ["--set", "file=/dev/null"]])
def test_standard_output_and_devices_need_no_directory(file: list[str], printed: Print) -> None:
    """systemd opens the one, and the others are there."""
    assert DIRECTORIES.findall(printed("tcp", ":9000", *file, "append")) == []


@pytest.mark.parametrize(
    ("family", "to", "allowed"),
    [
        ("unix", "tcp://127.0.0.1:80", "AF_UNIX AF_INET AF_INET6"),
        ("unix", "tcp4://127.0.0.1:80", "AF_UNIX AF_INET"),
        ("unix", "tcp6://[::1]:80", "AF_UNIX AF_INET6"),
        ("unix", "tcp4://name:80", "AF_UNIX AF_INET AF_INET6"),  # whose servers may have addresses of the other kind
        ("unix", "tcp4://:80", "AF_UNIX AF_INET"),
        ("unix", "vsock://2:80", "AF_UNIX AF_VSOCK"),
        ("unix", "unix:@name", "AF_UNIX"),
        ("tcp4", "tcp6://[::1]:80", "AF_UNIX AF_INET AF_INET6"),
        ("tcp6", "vsock://2:80", "AF_UNIX AF_INET6 AF_VSOCK"),
        ("udp4", "unix-dgram:/run/x", "AF_UNIX AF_INET"),
        ("unix-dgram", "udp6://[::1]:53", "AF_UNIX AF_INET6"),
    ],
)
def test_a_proxy_may_make_sockets_of_its_upstream_s_family(family: str, to: str, allowed: str, printed: Print) -> None:
    """Beside those of its own."""
    unit = printed(family, FAMILIES[family], "--set", f"to={to}", "proxy")
    assert value(unit, "RestrictAddressFamilies") == allowed


@pytest.mark.parametrize(
    "words",
    [
        ["tcp", ":9000", "--set", "directory={}/site", "static"],
        ["udp", ":9000", "--set", "file={}/site/quotes", "qotd"],
        ["tcp", ":9000", "--set", "to=unix:{}/site/socket", "proxy"],
    ],
    ids=lambda words: words[-1],
)
def test_what_is_only_read_is_not_put_out_of_sight(words: list[str], printed: Print) -> None:
    """Where ProtectHome= and PrivateTmp= would; elsewhere nothing is to be done for it."""

    def found(place: str) -> tuple[str, list[str]]:
        unit = printed(*(word.format(place) for word in words))
        return value(unit, "ProtectHome"), DIRECTORIES.findall(unit)

    elsewhere, nothing = found("/srv")
    assert nothing == []
    assert found("/home/me") == ("tmpfs", ["BindReadOnlyPaths=/home/me/site"])
    assert found("/root") == ("tmpfs", ["BindReadOnlyPaths=/root/site"])
    assert found("/homes/me") == (elsewhere, [])
    assert found("/var/tmp") == (elsewhere, ["BindReadOnlyPaths=/var/tmp/site"])


def test_a_directory_that_is_written_to_is_not_bound_a_second_time_to_be_read(printed: Print) -> None:
    """The second would be read-only."""
    words = ["--set", "directory=/tmp/site", "--set", "access_log=/tmp/site/log", "static"]
    assert DIRECTORIES.findall(printed("tcp", ":9000", *words)) == ["BindPaths=/tmp/site"]


def test_the_file_of_a_home_is_writable_there(printed: Print) -> None:
    """In an empty file system, where nothing else of the home is."""
    unit = printed("tcp", ":9000", "--set", "file=/home/me/out", "append")
    assert (value(unit, "ProtectHome"), value(unit, "BindPaths")) == ("tmpfs", "/home/me")


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["tcp", ":9000", "proxy"], "cannot set to='': expected FAMILY://ADDRESS, "),
        (["tcp", ":9000", "--set", "to=tcp://::1:80", "proxy"], "cannot set to='tcp://::1:80': an IPv6 address is "),
        (
            ["tcp", ":9000", "--set", "fiel=/srv/out", "append"],
            "cannot set 'fiel' of handler 'append': no such attribute; ",
        ),
        (
            ["tcp", ":9000", "--set", "file=/srv/a\nb/out", "append"],
            "cannot print a unit with '/srv/a\\nb': a unit is ",
        ),
    ],
)
def test_what_a_handler_cannot_be_set_to_has_no_unit(words: list[str], why: str, refused: Print) -> None:
    """The one line that a start would end with, before anybody installs it."""
    assert f"srvctl: error: {why}" in refused(*words)


def test_one_unit_has_nothing_of_another(printed: Print) -> None:
    """What is set for one is not set for the next that the same process prints."""
    first = printed("tcp", ":9000", "--set", "file=/srv/one/out", "append")
    assert value(first, "ReadWritePaths") == "/srv/one"
    assert DIRECTORIES.findall(printed("tcp", ":9000", "append")) == []


def test_a_handler_of_another_package_says_what_it_needs(printed: Print, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the same class method; one that is the user's own is not imported."""

    class Stream:
        file: str = ""

        def __init__(self, *arguments: object) -> None: ...

        @classmethod
        def needs(cls) -> builtin.SandboxNeeds:
            return builtin.SandboxNeeds(writes=(cls.file,), connects=(Family.VSOCK,))

    class Datagram:
        def __init__(self, *arguments: object) -> None: ...

        def needs(self) -> None:
            raise AssertionError("nobody has made an object of it")

    module = types.ModuleType("theirs")
    module.__dict__.update(Stream=Stream, Datagram=Datagram)
    monkeypatch.setitem(sys.modules, "theirs", module)
    monkeypatch.setattr(builtin, "installed", lambda: [EntryPoint("theirs", "theirs", builtin.GROUP)])
    unit = printed("unix", "@x", "--set", "file=/srv/theirs", "theirs")
    assert (value(unit, "ReadWritePaths"), value(unit, "RestrictAddressFamilies")) == (
        "/srv/theirs",
        "AF_UNIX AF_VSOCK",
    )
    assert DIRECTORIES.findall(printed("unix-dgram", "@x", "theirs")) == []
    assert DIRECTORIES.findall(printed("unix", "@x", "--set", "file=/srv/theirs", "theirs:Stream")) == []


def test_a_name_that_is_no_service_has_no_unit(refused: Print) -> None:
    """A port by name has to be one."""
    assert refused("tcp", ":nosuchservice").endswith("no such service in services(5)")


def test_a_descriptor_has_no_unit(refused: Print) -> None:
    """What it would be is not in the words; status 2."""
    assert refused("fd", "3") == (
        "srvctl: error: cannot print a unit for fd: name the family and address, and add --socket"
    )


# --- the socket

LISTEN = {
    "tcp": ("Stream", "9000"),
    "tcp4": ("Stream", "127.0.0.1:9000"),
    "tcp6": ("Stream", "[::1]:9000"),
    "udp": ("Datagram", "9000"),
    "udp4": ("Datagram", "0.0.0.0:9000"),
    "udp6": ("Datagram", "[::]:9000"),
    "unix": ("Stream", "/run/srvctl-test/socket"),
    "unix-dgram": ("Datagram", "@srvctl-test"),
    "unix-seqpacket": ("SequentialPacket", "/run/srvctl-test/socket"),
    "vsock": ("Stream", "vsock::9000"),
}


@every_family
def test_the_socket_is_what_the_service_takes_by_name(family: str, printed: Print) -> None:
    """The .socket listens where the words say, and the .service takes its descriptor."""
    pair = printed(family, FAMILIES[family], "--socket", "--name", "web", "myapp:Name")
    kind, where = LISTEN[family]
    assert value(pair, f"Listen{kind}") == where
    assert value(pair, "FileDescriptorName") == "web"
    assert words_of(pair) == ["fd", "web", "myapp:Name"]
    assert values(pair, "FileDescriptorStoreMax") == []
    assert re.findall(r"^# (web.*)$", pair, re.MULTILINE) == ["web.service", "web.socket"]
    assert values(pair, "BindIPv6Only") == (
        [] if kind == "SequentialPacket" or not family.startswith(("tcp", "udp")) else [value(pair, "BindIPv6Only")]
    )


@pytest.mark.parametrize(("family", "only"), [("tcp", "both"), ("tcp6", "ipv6-only"), ("udp6", "ipv6-only")])
def test_ipv4_comes_in_where_the_family_says_so(family: str, only: str, printed: Print) -> None:
    """The system's default would decide otherwise."""
    assert value(printed(family, ":9000", "--socket"), "BindIPv6Only") == only


def test_what_the_socket_is_to_be_like_stands_in_the_socket(printed: Print) -> None:
    """And not in the command of the service, which does not make it."""
    options = ["--backlog", "7", "--socket-mode", "0660", "--socket-owner", "daemon:daemon"]
    pair = printed("unix", "/run/x/socket", "--socket", *options)
    assert words_of(pair)[2:] == ["echo"]
    assert (value(pair, "Backlog"), value(pair, "SocketMode")) == ("7", "0660")
    assert (value(pair, "SocketUser"), value(pair, "SocketGroup")) == ("daemon", "daemon")
    alone = words_of(printed("unix", "/run/x/socket", *options[:4]))
    assert alone[2:-2] == options[:4]


@pytest.mark.parametrize(
    ("owner", "user", "group"), [("daemon", ["daemon"], []), (":daemon", [], ["daemon"]), ("1:2", ["1"], ["2"])]
)
def test_the_owner_of_the_socket_may_be_one_word(owner: str, user: list[str], group: list[str], printed: Print) -> None:
    """systemd takes the other from the user, or from itself."""
    pair = printed("unix", "/run/x/socket", "--socket", "--socket-owner", owner)
    assert (values(pair, "SocketUser"), values(pair, "SocketGroup")) == (user, group)


def test_a_service_without_a_socket_unit_gives_no_file_away(refused: Print) -> None:
    """Only root can, and the start would end with status 77."""
    assert refused("unix", "/run/x/socket", "--socket-owner", "daemon").endswith(
        "the service is not root, and cannot give a file away; add --socket, and systemd does it"
    )


@pytest.mark.parametrize(
    ("owner", "missing"), [("nobody-here", "user 'nobody-here'"), ("daemon:none-here", "group 'none-here'")]
)
def test_an_owner_that_does_not_exist_is_refused(owner: str, missing: str, refused: Print) -> None:
    """systemd would not start the socket."""
    assert refused("unix", "/run/x/socket", "--socket", "--socket-owner", owner).endswith(f"there is no {missing}")


def test_the_service_does_not_start_without_its_socket(printed: Print) -> None:
    """Started alone, it starts the socket first; enabled, it enables the socket."""
    pair = printed("tcp", ":9000", "--socket", "--name", "web")
    assert (value(pair, "Requires"), value(pair, "After")) == ("web.socket", "network.target web.socket")
    assert value(pair, "Also") == "web.socket"
    assert value(printed("unix", "@web", "--socket", "--name", "web"), "After") == "web.socket"
    alone = printed("tcp", ":9000")
    assert (values(alone, "Requires"), value(alone, "After"), values(alone, "Also")) == ([], "network.target", [])


def test_a_host_that_systemd_cannot_resolve_is_refused(refused: Print) -> None:
    """systemd.socket(5) takes addresses, no names."""
    assert refused("tcp", "localhost:9000", "--socket").endswith("expected an IP address")


# --- files


def test_units_are_written_to_a_directory(printed: Print, tmp_path: Path) -> None:
    """Under their names, and their paths are printed."""
    said = printed("tcp", ":9000", "--threads", "--socket", "--write", str(tmp_path), "path/to/file.py:Name")
    names = ["srvctl-tcp-name.service", "srvctl-tcp-name.socket"]
    assert said.splitlines() == [str(tmp_path / name) for name in names]
    assert "\n".join(f"# {name}\n{(tmp_path / name).read_text()}".rstrip("\n") for name in names) + "\n" == printed(
        "tcp", ":9000", "--threads", "--socket", "path/to/file.py:Name"
    )


def test_a_unit_that_cannot_be_written_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    """One line, no traceback."""
    assert main.run(["unit", "tcp", ":9000", "--write", "/proc"]) != 0
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("srvctl: error: cannot write /proc/srvctl-tcp-echo.service: ")


# --- what systemd says of them


def analyze(*words: str) -> str:
    """Return what systemd-analyze says; fails when it does not end well."""
    done = subprocess.run(["systemd-analyze", *words], capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@needs_systemd_analyze
@pytest.mark.parametrize(
    "more",
    [[], ["--socket"], ["--user", "daemon"], ["--systemd-version", "239"]],
    ids=["service", "service and socket", "service of a user", "service for an old systemd"],
)
def test_systemd_accepts_what_is_printed(more: list[str], printed: Print, tmp_path: Path) -> None:
    """Without a word, for every family."""
    words = ["--threads", "--set", "greeting=50% of 'a b' for \"$USER\" \\"]
    files: list[str] = []
    for family, address in FAMILIES.items():
        name = f"srvctl-test-{family}"
        files += printed(family, address, *more, *words, "--name", name, "--write", str(tmp_path)).splitlines()
    assert analyze("verify", *files) == ""


@needs_systemd_analyze
def test_systemd_accepts_what_a_handler_needs(printed: Print, tmp_path: Path) -> None:
    """Every kind of line that a handler adds, without a word."""
    words = [["--set", f"file={path}", "append"] for path, _ in WRITABLE]
    words += [["--set", "directory=/tmp/a:b c", "static"], ["--set", "to=vsock://2:80", "proxy"]]
    files: list[str] = []
    for number, more in enumerate(words):
        options = ["--systemd-version", "252", "--name", f"srvctl-test-{number}", "--write", str(tmp_path)]
        files += printed("tcp", ":9000", *options, *more).splitlines()
    assert analyze("verify", *files) == ""


@needs_systemd_analyze
@pytest.mark.parametrize("family", ["tcp", "unix", "vsock"])
def test_systemd_finds_little_exposed(family: str, printed: Print, tmp_path: Path) -> None:
    """At most 3.0 of 10 for a port above 1024."""
    (file,) = printed(family, FAMILIES[family], "--systemd-version", "252", "--write", str(tmp_path)).splitlines()
    said = analyze("security", "--offline=true", "--no-pager", file)
    found = re.search(r"Overall exposure level for .*: (\d+\.\d+)", said)
    assert found, said
    assert float(found[1]) <= 3.0


def test_a_program_stands_behind_dashes(printed: Print) -> None:
    """Each of its words quoted for systemd, and the unit named after it."""
    words = ["--umask", "027", "--env", "A=b c", "--rlimit", "nofile=64", "--", "./my run.sh", "$HOME", "100%", "-x"]
    unit = printed("tcp", ":9000", *words)
    command = split_as_systemd(*values(unit, "ExecStart"))
    assert command[command.index("--") + 1 :] == ["./my run.sh", "$HOME", "100%", "-x"]
    assert command[command.index("--rlimit") + 1] == "NOFILE=64:64" or "NOFILE=64" in command
    assert "--fork" not in command
    assert "~@privileged @resources" not in unit, "setting limits would be forbidden"


def test_a_datagram_program_that_waits_is_the_only_one(printed: Print) -> None:
    """Without a --max-connections that nobody asked for."""
    command = split_as_systemd(*values(printed("udp", ":9000", "--datagram-wait", "--", "/bin/cat"), "ExecStart"))
    assert "--max-connections" not in command and command[-3:] == ["--fd-store", "--", "/bin/cat"]
