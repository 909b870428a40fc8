"""The bench: what its clients take for an error, how it counts, and a small run of it."""

from __future__ import annotations

import math
import os
import shutil
import socket
import statistics
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

import srvctl
from tests.bench import (
    calls,
    checks,
    clients,
    cores,
    document,
    everything,
    idle,
    instructions,
    interval,
    needs,
    report,
    versions,
)
from tests.bench.__main__ import main
from tests.bench.clients import WrongError
from tests.bench.figures import Figures
from tests.bench.life import LIVES, web
from tests.bench.scenarios import SCENARIOS, Scenario, quick
from tests.bench.servers import ROOT, Server
from tests.bench.targets import TARGETS, Target

REDIS = '"test","rps","avg_latency_ms"\n"PING_INLINE","24570.02","1.380"\n'
DNSPERF = """
  Queries sent:         2000
  Queries completed:    {completed} (100.00%)
  Queries lost:         {lost} (0.00%)
  Response codes:       {codes}
  Queries per second:   40226.070516
"""
AB = "Failed requests:        {failed}\nRequests per second:    1151.20 [#/sec] (mean)\n"
GOOD = {"completed": "2000", "lost": "0", "codes": "NOERROR 2000 (100.00%)"}


def figures(**rounds: list[float]) -> Figures:
    found = Figures()
    for server, values in rounds.items():
        for value in values:
            found.add("race", server, value)
    return found


def test_redis_benchmark_is_read():
    """The rate is taken from the row of the test that was asked for."""
    assert clients.parse_redis(REDIS) == 24570.02


@pytest.mark.parametrize("output", ["", "Error from server: ERR no", REDIS.replace("PING_INLINE", "SET")])
def test_redis_benchmark_without_a_figure_is_wrong(output):
    """An error that it reports, or no figure, is no rate."""
    with pytest.raises(WrongError):
        clients.parse_redis(output)


def test_dnsperf_is_read():
    """The rate is taken when every query was answered."""
    assert clients.parse_dnsperf(DNSPERF.format(**GOOD)) == 40226.070516


@pytest.mark.parametrize("bad", [{"lost": "1"}, {"completed": "1999"}, {"codes": "NOERROR 9 (0.45%), FORMERR 1991"}])
def test_dnsperf_that_misses_an_answer_is_wrong(bad):
    """A lost query, or another code than NOERROR, fails the row."""
    with pytest.raises(WrongError):
        clients.parse_dnsperf(DNSPERF.format(**GOOD | bad))


def test_ab_is_read_and_a_failed_request_is_wrong():
    """ab goes on after a failed request; the bench does not."""
    assert clients.parse_ab(AB.format(failed=0)) == 1151.2
    with pytest.raises(WrongError):
        clients.parse_ab(AB.format(failed=3))
    with pytest.raises(WrongError):
        clients.parse_ab("Non-2xx responses:      1\n" + AB.format(failed=0))


def test_wrk_is_read_and_a_socket_error_is_wrong():
    """wrk counts errors of sockets beside its rate; one is enough."""
    assert clients.parse_wrk("Requests/sec:   3021.55\n") == 3021.55
    with pytest.raises(WrongError):
        clients.parse_wrk("Socket errors: connect 0, read 1, write 0, timeout 0\nRequests/sec:   3021.55\n")


def test_load_that_counts_a_wrong_answer_is_wrong():
    """The bench's own client says how many answers were wrong or are missing."""
    assert clients.parse_load("answered=9 wrong=0 missing=0 rate=4.5")["rate"] == 4.5
    for found in ("answered=9 wrong=1 missing=0", "answered=9 wrong=0 missing=1", "answered=0 wrong=0 missing=0", ""):
        with pytest.raises(WrongError):
            clients.parse_load(found)


def test_a_ratio_is_the_mean_of_the_rounds_ratios():
    """A slow spell that hits both sides of a round leaves the ratio alone; twice and half cancel each other out."""
    found = figures(ours=[20.0, 2.0, 10.0], theirs=[10.0, 4.0, 10.0], slow=[1.0, 0.2, 1.0])
    assert found.ratio("race", "ours", "theirs").middle == pytest.approx(1)
    assert found.ratio("race", "ours", "slow").middle == pytest.approx(2000 ** (1 / 3))
    assert found.ratio("race", "ours", "slow").rounds == 3
    assert found.ratio("race", "ours", "nobody") is None
    assert found.median("race", "ours") == 10.0


def test_an_interval_is_students_on_the_logarithms():
    """Logarithms 0, 1 and 2: mean 1, deviation 1, and t is 4.303 with two degrees of freedom."""
    found = interval.of_ratios([1.0, math.e, math.e**2])
    margin = 4.303 / math.sqrt(3)
    assert math.log(found.middle) == pytest.approx(1)
    assert math.log(found.low) == pytest.approx(1 - margin)
    assert math.log(found.high) == pytest.approx(1 + margin)


@pytest.mark.parametrize(("count", "t"), [(2, 12.706), (10, 2.262), (15, 2.145), (31, 2.042), (200, 2.042)])
def test_an_interval_takes_the_t_of_its_rounds(count, t):
    """One degree of freedom less than rounds; above 30 that of 30, which is a little wide."""
    ratios = [2.0, 1.0] * (count // 2) + [math.sqrt(2)] * (count % 2)
    found = interval.of_ratios(ratios)
    deviation = statistics.stdev(map(math.log2, ratios))
    assert math.log2(found.high / found.middle) == pytest.approx(t * deviation / math.sqrt(count))
    assert found.middle == pytest.approx(math.sqrt(2))


def test_one_round_has_no_interval_and_equal_rounds_a_narrow_one():
    """Nothing is known about the next round after one; and the table shows no interval for it."""
    one = interval.of_ratios([2.0])
    assert (one.middle, one.low, one.high, one.rounds) == (2.0, 0.0, math.inf, 1)
    assert report.ratio(one) == ("2.00", "")
    same = interval.of_ratios([2.0, 2.0, 2.0])
    assert (same.low, same.high) == (same.middle, same.middle) == (pytest.approx(2), pytest.approx(2))


def test_the_table_has_ratio_interval_rounds_and_medians():
    """To the peer and to the limit; a row beside itself has no interval."""
    race = Scenario("race", "race", "Race", "tcp4", clients.ab, checks.file, (), limit="limit")
    race = replace(race, servers=(Server("ours", "", "theirs"), Server("theirs", "", "theirs"), Server("limit", "")))
    found = figures(ours=[200.0, 100.0, 150.0], theirs=[100.0, 50.0, 50.0], limit=[400.0, 200.0, 300.0])
    rows = [line.split("  ") for line in report.rates([race], found, False).splitlines() if line]
    rows = [[cell.strip() for cell in row if cell.strip()] for row in rows]
    assert rows[0] == ["median", "x peer", "95 %", "x limit", "95 %", "rounds"]
    assert rows[2:] == [
        ["Race (requests/s)"],
        ["ours", "150", "2.29", "1.28 to 4.10", "0.50", "3"],
        ["theirs", "50.0", "1.00", "0.22", "0.12 to 0.39", "3"],
        ["limit", "300", "1.00", "3"],
    ]


@pytest.mark.parametrize(("available", "server", "client"), [({0, 1}, 0, 1), ({4, 5, 6, 7}, 4, 7), ({2, 9}, 2, 9)])
def test_server_and_client_have_a_core_each(available, server, client):
    """Of those that the bench may use: the lowest and the highest, which are no siblings where there are more."""
    divided = cores.divide(available)
    assert (divided.server, divided.client, divided.available) == ({server}, {client}, available)
    assert divided.described == f"server pinned to core {server}, client to core {client}"


def test_a_single_core_is_shared_and_that_is_said():
    """The table says so: its figures are worse than those of a pinned run."""
    divided = cores.divide({3})
    assert divided.are_shared
    assert divided.described == "not pinned: server and client share the one core"


def test_what_is_started_on_cores_stays_there_and_the_starter_does_not():
    """A child inherits the affinity, and the bench returns to its own."""
    before = os.sched_getaffinity(0)
    show = [sys.executable, "-c", "import os; print(*os.sched_getaffinity(0))"]
    with cores.pinned_to({max(before)}):
        shown = subprocess.run(show, capture_output=True, text=True, check=True).stdout
    assert shown.split() == [str(max(before))]
    assert os.sched_getaffinity(0) == before


def test_a_target_is_met_at_its_bound():
    """At least and at most include the bound; what was not measured is neither met nor missed."""
    found = figures(ours=[20.0], theirs=[10.0])
    for bound, at_most, verdict in (
        (2, False, "met"),
        (2.1, False, "NOT MET"),
        (2, True, "met"),
        (1.9, True, "NOT MET"),
    ):
        target = Target("speed", "race", "ours", bound, "theirs", at_most)
        assert target.verdict(target.measured(found)) == verdict
    assert Target("speed", "race", "nobody", 1).measured(found) is None


def test_a_target_inside_the_interval_is_in_doubt():
    """Another run may say the opposite; a figure that is no ratio has no interval."""
    found = figures(ours=[20.0, 22.0, 24.0], theirs=[10.0, 10.0, 10.0])
    for bound, verdict in ((1.5, "met"), (2.1, "met, in doubt"), (2.3, "NOT MET, in doubt"), (4, "NOT MET")):
        target = Target("speed", "race", "ours", bound, "theirs")
        assert target.verdict(target.measured(found)) == verdict
    alone = Target("speed", "race", "ours", 22)
    assert alone.verdict(alone.measured(found)) == "met"


def test_the_document_says_where_when_and_how(monkeypatch):
    """Machine, versions, what was left out, and the commands; nothing of what was not measured."""
    monkeypatch.setattr(versions, "described", lambda names: f"srvctl 1, {len(names)} others")
    found = Figures(machine="a machine, pinned", left_out=["udp: dnsperf is not installed"])
    plan = everything.Plan((), frozenset(), 3, 3, 0.5)
    text = document.compose(plan, found, 720, markdown=True)
    assert text.startswith("# Results of the bench\n")
    for part in (
        "in 12 minutes:",
        "- a machine, pinned\n- srvctl 1, 0 others\n",
        "- left out: udp",
        "--write",
        "handler",
    ):
        assert part in text
    assert "Median of" not in text
    assert "Where to be" not in text


def test_versions_are_of_what_is_installed(monkeypatch):
    """srvctl's own first; what is not installed is left out, it has its own line."""
    monkeypatch.setattr(needs, "missing", lambda names: [name for name in names if name == "uvloop"])
    monkeypatch.setattr(versions, "_said", lambda *words: "2.10.0-2" if words[0] == "dpkg-query" else "abc")
    said = versions.described(["uvloop", "dnsperf"])
    assert said == f"srvctl {srvctl.__version__} (commit abc), dnsperf 2.10.0-2"


@pytest.mark.parametrize("word", ["--only=fork", "--quick"])
def test_a_part_of_the_bench_is_not_written(word, capsys):
    """The file has the whole bench, of one run."""
    with pytest.raises(SystemExit):
        main(["--write", word])
    assert "whole bench" in capsys.readouterr().err


def test_every_target_of_a_scenario_names_rows_that_exist():
    """A row that is renamed would silently leave its target out."""
    known = {(scenario.name, server.name) for scenario in SCENARIOS for server in scenario.servers}
    driven = {scenario for scenario, _ in known}
    named = {(t.scenario, server) for t in TARGETS if t.scenario in driven for server in (t.server, t.other)}
    assert named <= known
    assert {(s.name, server.name) for s in quick(SCENARIOS) for server in s.servers} >= named


def test_a_scenario_names_each_server_once_and_a_peer_that_exists():
    """Figures are kept by name, and a ratio is to a row of the same table."""
    for scenario in SCENARIOS:
        names = [server.name for server in scenario.servers]
        assert len(set(names)) == len(names)
        assert {server.peer for server in scenario.servers} <= {*names, ""}
        assert scenario.limit in {*names, ""}


@pytest.mark.parametrize(
    ("value", "text"), [(None, ""), (0.0, "0"), (0.0123, "0.012"), (0.5, "0.50"), (12.34, "12.3"), (22_276.4, "22,276")]
)
def test_a_figure_has_the_digits_that_mean_something(value, text):
    """Neither noise behind the point, nor a ratio that is shown as nothing."""
    assert report.number(value) == text


def test_a_table_is_aligned_for_a_terminal_and_plain_in_markdown():
    """The same rows, both ways; a row of one cell is a title."""
    rows = [("race",), ("ours", "1,000"), ("theirs", "7")]
    assert report.table(("", "median"), rows, False).splitlines()[-1] == "theirs       7"
    assert report.table(("", "median"), rows, True).splitlines()[1:3] == ["| ------ | -----: |", "| **race** | |"]


def test_system_calls_are_counted_between_two_times():
    """What attaching and detaching shows is not the server's."""
    trace = "7 1.0 epoll_wait(3\n7 2.5 read(4)\n8 2.6 write(4)\n7 9.9 epoll_wait(3 <detached ...>\n"
    assert idle.count_calls(trace, 2.0, 10.0) == 2


def test_what_is_missing_is_said_with_where_to_get_it(monkeypatch):
    """A tool by its Debian package, a module by its name on PyPI."""
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert needs.missing(["dnsperf", "json"]) == ["dnsperf"]  # json is a module that is always there
    assert needs.in_words(["dnsperf", "gevent"]) == (
        "dnsperf is not installed (apt install dnsperf), gevent is not installed (pip install gevent)"
    )


def test_list_names_what_only_selects(capsys):
    """Every scenario and every other measurement has its line."""
    assert main(["--list"]) == 0
    listed = {line.split()[1] for line in capsys.readouterr().out.splitlines()}
    assert listed >= {scenario.name for scenario in SCENARIOS} | {"life", "idle", "memory", "checked", "growth"}


def test_an_unknown_scenario_is_a_usage_error(capsys):
    """A misspelt name would otherwise measure nothing, successfully."""
    with pytest.raises(SystemExit):
        main(["--only", "quick-alive"])
    assert "unknown: quick-alive" in capsys.readouterr().err


@pytest.mark.skipif(shutil.which("cc") is None, reason="no compiler")
def test_a_small_run_prints_the_tables():
    """One round of one scenario, with real servers and the checking client."""
    words = ["--quick", "--rounds", "1", "--seconds", "0.02", "--only", "unix-dgram"]
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench", *words], cwd=Path(ROOT), capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "srvctl --sync" in done.stdout, done.stdout
    assert "at least 1.1 x stdlib sync" in done.stdout, done.stdout


@pytest.mark.parametrize("row", ["tcp --threads", "tcp --fork", "udp --sync"])
def test_the_calls_of_a_conversation_are_counted(row):
    """In the worker, its threads and its children: the handler once, and the functions add up.

    How often the loop turns depends on what else the machine does, so no two totals are alike.
    """
    found = calls.measure(sys.executable, row, 20)
    assert (found["echo.py:handle"], found["closing.py:end"]) == (1, 1)
    functions = sum(count for name, count in found.items() if ":" in name)
    assert functions == pytest.approx(found["calls"], abs=0.2)
    assert found["files"] > 5


PROFILE = "# callgrind format\npid: 7\ncmd:  python -P\nevents: Ir\n\nfn=(1)\n3 90\n\nsummary: {0}\ntotals: {0}\n"


def test_the_instructions_of_a_conversation_are_what_more_of_them_add():
    """Of every process: a child of its own adds its whole count, the start of the worker falls out."""
    worker, later = PROFILE.format(5_000), PROFILE.format(5_400)
    children = [PROFILE.format(100)] * 4
    assert instructions.each([worker], [later], 4) == 100
    assert instructions.each([worker, *children[:1]], [later, *children], 4) == 175


@pytest.mark.parametrize("fewer", [[], [PROFILE.partition("totals")[0]]])
def test_instructions_without_a_total_are_no_figure(fewer):
    """A worker that was killed writes no file, or a part of one."""
    with pytest.raises(ValueError, match="callgrind wrote"):
        instructions.each(fewer, [PROFILE.format(1)], 1)


def test_the_instructions_of_a_row_are_compared_by_a_ratio():
    """Below one: the other checkout takes more."""
    assert instructions.line("tcp --sync", 90_000, None) == "tcp --sync           90,000 instructions"
    assert instructions.line("tcp --sync", 90_000, 120_000).endswith("; before      120,000, ratio 0.750")


def test_a_start_ends_with_one_answer():
    """Further answers may wait 40 ms for an acknowledgement, which is no part of a start."""
    client, server = socket.socketpair()

    class Serving:
        def connect(self):
            return client

    with server:
        server.sendall(b"+PONG\r\n")
        checks.first_pong(Serving())
        assert server.recv(100) == b"PING\r\n"
        assert server.recv(100) == b""


def test_every_life_is_checked_by_its_first_answer():
    """None of them with the long check of the rates."""
    assert {life.check for life in LIVES} == {checks.first_pong, web}


@pytest.mark.parametrize(("pace", "count"), [(0.5, clients.PROBE), (3e4, 15_000), (1e12, 10**6), (float("inf"), 10**6)])
def test_a_measurement_is_filled_at_the_pace_of_the_probe(pace: float, count: int) -> None:
    """However little time that took."""
    assert clients._filling(SimpleNamespace(pace=pace), 0.5, 10**6) == count  # type: ignore[arg-type]
