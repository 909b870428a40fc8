"""The clients that drive a server: each run of one is a rate, or an error. A wrong answer is never a rate.

redis-benchmark, dnsperf, ab and wrk are other people's; `load` is the bench's own, for what none of them does.
"""

from __future__ import annotations

import csv
import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .servers import INET, Running

# Beyond what a run should take: a client that hangs, or that retries for ever, is an error.
PATIENCE = 30.0
# With a connection per request each leaves a port in TIME_WAIT, and there are some 50,000 of them.
MOST_CONNECTIONS = 20_000
MOST_REQUESTS = 1_000_000
# So many show about how fast a server is, and warm it up; and fewer would be no measurement.
PROBE = 100
# In the file that dnsperf runs through.
NAMES = 1000


class WrongError(Exception):
    """A client got a wrong answer, or not every answer: the row fails, however fast the server was."""


@dataclass(frozen=True)
class Aim:
    """What a client is to do: for how long, on how many connections, and where its files are."""

    seconds: float
    connections: int
    place: Path


Client = Callable[[Running, Aim], float]


def run(*words: str, timeout: float) -> str:
    """Run a client to its end and return what it wrote; raises `WrongError` when it fails or does not end."""
    try:
        done = subprocess.run(
            words, capture_output=True, text=True, timeout=timeout, errors="replace", stdin=subprocess.DEVNULL
        )
    except subprocess.TimeoutExpired as error:
        raise WrongError(f"{words[0]} did not end within {timeout:.0f} s") from error
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise WrongError(f"{words[0]}: {said[-1] if said else f'exit status {done.returncode}'}")
    return done.stdout + done.stderr


# redis-benchmark


def parse_redis(output: str) -> float:
    """Return requests per second of ``redis-benchmark --csv``."""
    if "Error" in output:
        raise WrongError(next(line for line in output.splitlines() if "Error" in line))
    for row in csv.reader(output.splitlines()):
        if row and row[0] == "PING_INLINE":
            return float(row[1])
    raise WrongError("redis-benchmark gave no figure")


def _redis(running: Running, aim: Aim, keep: bool, requests: int) -> float:
    host, _, port = running.address.rpartition(":")
    where = ["-h", host, "-p", port] if running.family in INET else ["-s", running.address]
    words = ["redis-benchmark", *where, "-t", "ping_inline", "--csv", "-c", str(aim.connections), "-n", str(requests)]
    return parse_redis(run(*words, "-k", "1" if keep else "0", timeout=PATIENCE))


def _redis_for_a_while(running: Running, aim: Aim, keep: bool) -> float:
    """redis-benchmark counts requests, not seconds: a probe says how many fill the time, and warms the server up."""
    most = MOST_REQUESTS if keep else MOST_CONNECTIONS
    if not running.pace:
        running.pace = _redis(running, aim, keep, PROBE)
        running.pace = _redis(running, aim, keep, _filling(running, aim.seconds / 2, most))
    return _redis(running, aim, keep, _filling(running, aim.seconds, most))


def _filling(running: Running, seconds: float, most: int) -> int:
    """Return how many requests fill the time, at the pace that the probe saw: infinite, if it took no time at all."""
    return max(PROBE, int(min(running.pace * seconds, most)))


def redis_kept(running: Running, aim: Aim) -> float:
    """Requests per second on connections that are kept."""
    return _redis_for_a_while(running, aim, keep=True)


def redis_each(running: Running, aim: Aim) -> float:
    """Requests per second with a connection for each."""
    return _redis_for_a_while(running, aim, keep=False)


# dnsperf


def parse_dnsperf(output: str) -> float:
    """Return queries per second, if every query was answered without an error."""
    found = dict(re.findall(r"^\s*(Queries [a-z ]+):\s+([\d.]+)", output, re.MULTILINE))
    codes = re.search(r"Response codes:\s+(.*)", output)
    if found.get("Queries lost", "0") != "0" or found.get("Queries sent") != found.get("Queries completed"):
        raise WrongError(f"dnsperf: {found.get('Queries lost')} of {found.get('Queries sent')} queries lost")
    if codes is None or not re.fullmatch(r"NOERROR \d+ \(100\.00%\)\s*", codes[1]):
        raise WrongError(f"dnsperf: response codes {codes[1] if codes else 'missing'}")
    if "unexpected" in output.lower():
        raise WrongError("dnsperf: an unexpected answer")
    return float(found["Queries per second"])


def dnsperf(running: Running, aim: Aim) -> float:
    """Queries per second, dnsperf's 100 outstanding."""
    names = aim.place / "names.txt"
    if not names.exists():
        names.write_text("".join(f"host{n}.example A\n" for n in range(NAMES)))
    host, _, port = running.address.rpartition(":")
    words = ["dnsperf", "-s", host, "-p", port, "-d", str(names), "-t", "2"]
    # It knows whole seconds; for less, it is told how often to run through its names.
    if aim.seconds >= 1:
        words += ["-l", f"{aim.seconds:.0f}"]
    else:
        if not running.pace:
            running.pace = parse_dnsperf(run(*words, "-n", "1", timeout=PATIENCE))
        words += ["-n", str(max(1, int(running.pace * aim.seconds / NAMES)))]
    return parse_dnsperf(run(*words, timeout=PATIENCE))


# ab and wrk


def parse_ab(output: str) -> float:
    """Return requests per second, if no request failed."""
    found = dict(re.findall(r"^([A-Za-z0-9 -]+):\s+([\d.]+)", output, re.MULTILINE))
    wrong = {name: found[name] for name in ("Failed requests", "Non-2xx responses") if found.get(name, "0") != "0"}
    if wrong or "Requests per second" not in found:
        raise WrongError(f"ab: {wrong or 'no figure'}")
    return float(found["Requests per second"])


def ab(running: Running, aim: Aim) -> float:
    """Requests per second of ab, a new connection each."""
    words = ["ab", "-q", "-c", str(aim.connections), "-s", "5"]
    url = f"http://{running.address}/file.txt"
    if not running.pace:
        running.pace = parse_ab(run(*words, "-n", str(PROBE), url, timeout=PATIENCE))
    requests = _filling(running, aim.seconds, MOST_CONNECTIONS)
    return parse_ab(run(*words, "-n", str(requests), url, timeout=PATIENCE))


def parse_wrk(output: str) -> float:
    """Return requests per second, if there was no error."""
    if trouble := re.search(r"Socket errors:.*|Non-2xx.*", output):
        raise WrongError(f"wrk: {trouble[0]}")
    if (rate := re.search(r"Requests/sec:\s+([\d.]+)", output)) and float(rate[1]) > 0:
        return float(rate[1])
    raise WrongError("wrk gave no figure")


def wrk(running: Running, aim: Aim) -> float:
    """Requests per second of wrk, which knows whole seconds only."""
    words = ["wrk", "-t", "1", "-c", str(aim.connections), "-d", f"{max(1, round(aim.seconds))}s"]
    return parse_wrk(run(*words, f"http://{running.address}/file.txt", timeout=PATIENCE))


# The bench's own


def parse_load(output: str) -> dict[str, float]:
    """Return what `load` found; raises `WrongError` when an answer was wrong or is missing."""
    found = {name: float(value) for name, value in re.findall(r"(\w+)=([\d.]+)", output)}
    if not found.get("answered") or found["wrong"] or found["missing"]:
        raise WrongError(f"load: {output.strip()}")
    return found


def load(running: Running, aim: Aim, how: str, number: int, size: int = 64) -> dict[str, float]:
    """Run `load` and return what it found: see c/load.c."""
    words = [str(aim.place / "load"), how, running.address, str(number), str(size), str(aim.seconds)]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE)
    except subprocess.TimeoutExpired as error:
        raise WrongError("load did not end") from error
    return parse_load(done.stdout or done.stderr)


def datagrams(running: Running, aim: Aim) -> float:
    """Datagrams answered per second, each checked."""
    return load(running, aim, "datagrams", aim.connections)["rate"]


def paced(running: Running, aim: Aim) -> float:
    """Median microseconds from connect to answer, 100 connections a second, one after the other."""
    return load(running, aim, "paced", 100)["p50_us"]
