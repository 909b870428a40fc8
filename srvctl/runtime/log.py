"""The log: one function for each event, side by side.

One event is one line on standard error, whatever bytes a peer put into it: ``key=value`` for people,
JSON for machines. Writing never blocks and never fails whoever logs (`srvctl.runtime.line_writer`). Nobody else in
srvctl writes to standard error, but the command line with its one line of an error.
"""

from __future__ import annotations

import sys
import time

from srvctl.runtime.line_writer import LineWriter
from srvctl.runtime.rate_limit import RateLimiter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# Priorities of syslog(3), which the journal reads from a leading <N>.
ERROR, WARNING, NOTICE, INFO, DEBUG = 3, 4, 5, 6, 7
_NAMES = {ERROR: "error", WARNING: "warning", NOTICE: "notice", INFO: "info", DEBUG: "debug"}
_COLOURS = {ERROR: "\x1b[31m", WARNING: "\x1b[33m", NOTICE: "\x1b[1m", INFO: "", DEBUG: "\x1b[2m"}

# A field is cut here, so that a peer cannot fill the disk with one event; frames of a traceback get more.
FIELD_MAX = 1024
TRACEBACK_MAX = 8192
_NEEDS_QUOTES = frozenset(' "=\\')


# One process has one log. `configure` is called once, before anything else runs.
_sink: LineWriter | None = None
_threshold = INFO
_style = "text"
_second = (0, "")


def configure(style: str, threshold: int, fd: int = 2) -> LineWriter:
    """Write events of `threshold` and above to descriptor `fd`, which stays the caller's.

    `style` is ``text``, ``terminal`` (colour, local time), ``journal`` (a leading priority, no time) or
    ``json``.
    """
    global _sink, _threshold, _style
    _sink, _threshold, _style = LineWriter(fd, lines_dropped), threshold, style
    "".encode("unicode_escape")  # imports the codec, now that there are descriptors for it; see `escape`
    return _sink


def wants(priority: int) -> bool:
    """Tell whether an event of `priority` is written at all, for callers that would work to make one."""
    return _sink is not None and priority <= _threshold


def escape(value: object, limit: int = FIELD_MAX) -> str:
    """Return `value` as printable ASCII on one line, quoted where it needs to be, at most about `limit` long."""
    if type(value) is float:
        return f"{value:.3f}"
    text = str(value)
    if type(value) is int:
        return text
    if text.isascii() and text.isprintable() and 0 < len(text) <= limit and _NEEDS_QUOTES.isdisjoint(text):
        return text  # nearly all are so
    if len(text) > limit:
        text = text[:limit] + "..."
    plain = text.encode("unicode_escape").decode("ascii")
    if len(plain) > limit + 3:
        plain = plain[:limit].rstrip("\\") + "..."
    if plain == text and plain and not any(c in plain for c in ' "='):
        return plain
    return '"' + plain.replace('"', '\\"') + '"'


def _event(priority: int, event: str, **fields: Any) -> None:
    if _sink is None or priority > _threshold:
        return
    _sink.write(_format(_style, priority, event, fields).encode("ascii"))


def _format(style: str, priority: int, event: str, fields: dict[str, Any]) -> str:
    if style == "json":
        return _format_json(priority, event, fields)
    frames = fields.pop("traceback", "")
    text = event + "".join([f" {key}={escape(value)}" for key, value in fields.items()])
    if style == "terminal":
        clock = time.strftime("%H:%M:%S")
        below = "".join(f"\n    {line.encode('unicode_escape').decode()}" for line in frames.splitlines())
        return f"{clock} {_COLOURS[priority]}{text}\x1b[0m{below}\n"
    if frames:
        text += f" traceback={escape(frames, TRACEBACK_MAX)}"
    if style == "journal":
        return f"<{priority}>{text}\n"
    return f"{_timestamp()} {_NAMES[priority]} {text}\n"


def _format_json(priority: int, event: str, fields: dict[str, Any]) -> str:
    import json

    record: dict[str, Any] = {"time": _timestamp(), "level": _NAMES[priority], "event": event}
    for key, value in fields.items():
        if isinstance(value, float):
            value = round(value, 6)
        elif not isinstance(value, int):
            value = str(value)[: TRACEBACK_MAX if key == "traceback" else FIELD_MAX]
        record[key] = value
    return json.dumps(record) + "\n"


def _timestamp() -> str:
    global _second
    now = time.time()
    second = int(now)
    if _second[0] != second:
        _second = (second, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second)))
    return f"{_second[1]}.{int(now % 1 * 1000):03d}Z"


def describe(error: BaseException) -> str:
    """Return an exception as ``Type: text``, whatever its own ``__str__`` does."""
    try:
        text = str(error)
    except Exception:
        text = "(its text cannot be had)"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def frames_of(error: BaseException, skip: str = "") -> str:
    """Return the traceback of `error`, without the frames of files below the directory `skip`.

    With source lines where someone watches or asked for more. Otherwise only file, line and function: the
    `traceback` module would cost a forked child more than its whole conversation.
    """
    if _style == "terminal" or _threshold >= DEBUG:
        import traceback

        entries = traceback.extract_tb(error.__traceback__)
        kept = [e for e in entries if not (skip and e.filename.startswith(skip))]
        return "".join(traceback.format_list(kept) + traceback.format_exception_only(error)).rstrip("\n")
    lines = []
    frame = error.__traceback__
    while frame is not None:
        code = frame.tb_frame.f_code
        if not (skip and code.co_filename.startswith(skip)):
            lines.append(f"{code.co_filename}:{frame.tb_lineno} in {code.co_name}")
        frame = frame.tb_next
    return " < ".join(reversed(lines[-20:]))


# --- what happens to the server


def listening(address: str, server: str, handler: str, model: str, most: int) -> None:
    _event(NOTICE, "listening", address=address, server=server, handler=handler, model=model, max=most)


def resolved(name: str, address: str) -> None:
    _event(INFO, "resolved", name=name, address=address)


def handler_loaded(handler: str, path: str) -> None:
    _event(INFO, "handler loaded", handler=handler, file=path)


def few_descriptors(limit: int, needed: int) -> None:
    _event(WARNING, "few descriptors", limit=limit, needed=needed)


def program_found(program: str, path: str) -> None:
    _event(INFO, "program found", program=program, file=path)


def stale_socket_removed(path: str) -> None:
    _event(INFO, "stale socket removed", path=path)


def stopping(signal: str, graceful: float) -> None:
    _event(NOTICE, "stopping", signal=signal, graceful=graceful)


def hurrying(signal: str) -> None:
    _event(NOTICE, "stopping now", signal=signal)


def stopped(cut: int, seconds: float) -> None:
    _event(NOTICE, "stopped", cut=cut, seconds=seconds)


def signal_ignored(signal: str, why: str) -> None:
    _event(WARNING, "signal ignored", signal=signal, why=why)


def state(**figures: object) -> None:
    _event(NOTICE, "state", **figures)


def reloading() -> None:
    _event(NOTICE, "reloading")


def upgrading() -> None:
    _event(NOTICE, "upgrading", why="srvctl's own files have changed")


def upgraded(workers: int) -> None:
    _event(NOTICE, "upgraded", workers=workers)


def upgrade_failed(why: str) -> None:
    _event(ERROR, "upgrade failed", why=why, next="the old srvctl goes on")


def reloaded() -> None:
    _event(NOTICE, "reloaded")


def reload_failed(why: str) -> None:
    _event(ERROR, "reload failed", why=why, next="the old workers go on")


# --- what happens to a worker


def worker_started(pid: int) -> None:
    _event(DEBUG, "worker started", pid=pid)


def worker_ready(pid: int, seconds: float) -> None:
    _event(DEBUG, "worker ready", pid=pid, seconds=seconds)


def worker_renewed(pid: int, why: str) -> None:
    _event(NOTICE, "worker renewed", pid=pid, why=why)


def renewal_failed(pid: int, how: str, pause: float) -> None:
    _event(ERROR, "renewal failed", pid=pid, how=how, next="the old worker goes on", retry_in=pause)


def worker_stacks(pid: int, stacks: str) -> None:
    _event(NOTICE, "stacks", pid=pid, traceback=stacks)


def worker_state(pid: int, age: float, state: str, figures: dict[str, int]) -> None:
    _event(NOTICE, "worker", pid=pid, age=age, state=state, **figures)


def worker_died(pid: int, how: str, pause: float) -> None:
    _event(ERROR, "worker died", pid=pid, how=how, restart_in=pause)


def worker_killed(pid: int, why: str) -> None:
    _event(ERROR, "worker killed", pid=pid, why=why)


def supervisor_gone() -> None:
    _event(ERROR, "supervisor gone", next="the worker ends itself")


# --- what happens to a conversation


def conversation_began(peer: str) -> None:
    _event(DEBUG, "began", peer=peer)


def conversation_ended(peer: str, seconds: float, received: int, sent: int, how: str, is_datagram: bool) -> None:
    # A datagram that was answered is not news: at 100,000 of them a second the log would be the load.
    priority = DEBUG if is_datagram and how == "done" else INFO
    if _sink is None or priority > _threshold:
        return
    is_plain = peer.isascii() and peer.isprintable() and 0 < len(peer) <= FIELD_MAX and _NEEDS_QUOTES.isdisjoint(peer)
    if _style != "text" or not is_plain:
        _event(priority, "ended", peer=peer, seconds=seconds, received=received, sent=sent, how=how)
        return
    # What `_event` would make of it, written out: there is one such line for each connection.
    fields = f"peer={peer} seconds={seconds:.3f} received={received} sent={sent} how={how}"
    line = f"{_timestamp()} {_NAMES[priority]} ended {fields}\n"
    _sink.write(line.encode("ascii"))


def program_ended(
    peer: str, seconds: float, counted: dict[str, int], how: str, ending: dict[str, object], id: str, is_datagram: bool
) -> None:
    """The same event of a conversation with a program: its bytes if they are known, and how the program ended."""
    priority = DEBUG if is_datagram and how == "done" else INFO
    _event(priority, "ended", peer=peer, seconds=seconds, **counted, how=how, **ending, id=id)


def program_said(peer: str, line: str) -> None:
    _event(NOTICE, "program said", peer=peer, line=line)


def program_not_started(peer: str, program: str, error: BaseException, suppressed: int) -> None:
    _event(
        ERROR,
        "program not started",
        peer=peer,
        program=program,
        error=describe(error),
        suppressed=suppressed,
        next="the client is refused",
    )


def program_in_vain(peer: str, program: str, suppressed: int, pause: float) -> None:
    _event(
        WARNING,
        "program took nothing",
        peer=peer,
        program=program,
        suppressed=suppressed,
        retry_in=pause,
    )


def answer_dropped(peer: str, why: str, suppressed: int) -> None:
    _event(WARNING, "answer dropped", peer=peer, why=why, suppressed=suppressed)


def conversation_cut(peer: str, age: float, why: str) -> None:
    _event(WARNING, "cut", peer=peer, age=age, why=why)


def handler_failed(peer: str, error: BaseException, skip: str) -> None:
    """A handler raised: the one line with its frames, or, past the first in a while, without them."""
    frames = frames_of(error, skip) if _traceback_rate.allow() is not None else ""
    fields = {"traceback": frames} if frames else {}
    _event(ERROR, "handler failed", peer=peer, error=describe(error), **fields)


def hook_failed(what: str, error: BaseException, suppressed: int = 0) -> None:
    _event(ERROR, "hook failed", what=what, error=describe(error), suppressed=suppressed)


def peer_failed(peer: str, error: BaseException) -> None:
    _event(DEBUG, "peer failed", peer=peer, error=describe(error))


_traceback_rate = RateLimiter()


# --- what happens to newcomers


def accept_failed(error: BaseException, suppressed: int, pause: float) -> None:
    _event(WARNING, "accept failed", error=describe(error), suppressed=suppressed, retry_in=pause)


def start_failed(error: BaseException, suppressed: int, pause: float) -> None:
    _event(WARNING, "request waits", error=describe(error), suppressed=suppressed, retry_in=pause)


def not_established(peer: str, step: str, error: BaseException, suppressed: int) -> None:
    _event(WARNING, "not established", peer=peer, step=step, error=describe(error), suppressed=suppressed)


def rule_failed(peer: str, error: BaseException) -> None:
    _event(ERROR, "rule failed", peer=peer, error=describe(error), next="the client is refused")


def refused(reason: str, peer: str, suppressed: int) -> None:
    _event(WARNING, "refused", reason=reason, peer=peer, suppressed=suppressed)


def datagram_truncated(peer: str, most: int, suppressed: int) -> None:
    _event(WARNING, "datagram dropped", peer=peer, why="too long", most=most, suppressed=suppressed)


def lines_dropped(count: int) -> None:
    _event(WARNING, "log lines dropped", count=count)


# --- what the command line says while it still can


def to_terminal() -> bool:
    """Tell whether standard error is a terminal."""
    try:
        return sys.stderr.isatty()
    except (AttributeError, ValueError):
        return False
