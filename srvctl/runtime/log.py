"""The log: one function for each event, side by side.

One event is one line on standard error, whatever bytes a peer put into it: ``key=value`` for people,
JSON for machines. Writing never blocks and never fails whoever logs (`srvctl.runtime.line_writer`). Nobody else in
srvctl writes to standard error, but the command line with its one line of an error.
"""

from __future__ import annotations

import sys

from srvctl.runtime import current, log_format
from srvctl.runtime.error_text import causes_of, describe, frames_of, members_of, notes_of, traceback_of
from srvctl.runtime.line_writer import LineWriter
from srvctl.runtime.log_format import DEBUG as DEBUG  # exported, for callers of `configure` and `wants`
from srvctl.runtime.log_format import ERROR as ERROR
from srvctl.runtime.log_format import INFO as INFO
from srvctl.runtime.log_format import NOTICE as NOTICE
from srvctl.runtime.log_format import WARNING as WARNING
from srvctl.runtime.log_format import is_plain
from srvctl.runtime.rate_limit import RateLimiter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# One process has one log. `configure` is called once, before anything else runs.
_sink: LineWriter | None = None
_threshold = INFO
_style = "text"


def configure(style: str, threshold: int, fd: int = 2) -> LineWriter:
    """Write events of `threshold` and above to descriptor `fd`, which stays the caller's.

    `style` is ``text``, ``terminal`` (colour, local time, source lines), ``plain`` (the same without colour),
    ``journal`` (a leading priority, no time) or ``json``.
    """
    global _sink, _threshold, _style
    _sink, _threshold, _style = LineWriter(fd, lines_dropped), threshold, style
    "".encode("unicode_escape")  # imports the codec, now that there are descriptors for it; see `log_format.escape`
    _sink.restart_in_children()
    return _sink


def wants(priority: int) -> bool:
    """Tell whether an event of `priority` is written at all, for callers that would work to make one."""
    return _sink is not None and priority <= _threshold


def _event(priority: int, event: str, **fields: Any) -> None:
    if _sink is None or priority > _threshold:
        return
    _sink.write(log_format.line(_style, priority, event, fields).encode("ascii"))


# --- what happens to the server


def listening(address: str, server: str, handler: str, model: str, most: int) -> None:
    _event(NOTICE, "listening", address=address, server=server, handler=handler, model=model, max=most)


def resolved(name: str, address: str) -> None:
    _event(INFO, "resolved", name=name, address=address)


def handler_loaded(handler: str, path: str) -> None:
    _event(INFO, "handler loaded", handler=handler, file=path)


def descriptors_unused(fds: str) -> None:
    _event(WARNING, "descriptors not served", fds=fds, why="one command line serves one socket")


def running_as_root() -> None:
    _event(WARNING, "running as root", why="handlers and programs have all of its rights")


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


def conversation_began(peer: str, id: str) -> None:
    _event(DEBUG, "began", peer=peer, id=id)


def conversation_ended(
    peer: str, seconds: float, received: int, sent: int, how: str, id: str, is_datagram: bool
) -> None:
    # A datagram that was answered is not news: at 100,000 of them a second the log would be the load.
    priority = DEBUG if is_datagram and how == "done" else INFO
    if _sink is None or priority > _threshold:
        return
    if _style != "text" or not is_plain(peer):
        _event(priority, "ended", peer=peer, seconds=seconds, received=received, sent=sent, how=how, id=id)
        return
    # What `_event` would make of it, written out: there is one such line for each connection.
    fields = f"peer={peer} seconds={seconds:.3f} received={received} sent={sent} how={how} id={id}"
    line = f"{log_format.timestamp()} {log_format.NAMES[priority]} ended {fields}\n"
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


def printed(stream: str, line: str) -> None:
    """A handler has written a line to ``stdout`` or ``stderr``, with `print` for example."""
    _event(NOTICE, "printed", **current.fields(), stream=stream, line=line)


def warned(category: str, message: object, file: str) -> None:
    """Code of a handler has warned, by `warnings`; `file` is where, with the line."""
    _event(WARNING, "warned", **current.fields(), category=category, message=message, file=file)


def logged(
    priority: int, logger: str, message: str, marks: dict[str, str], error: BaseException | None, stack: str
) -> None:
    """A record of `logging`. `marks` say which conversation it belongs to; it may have an error, or a stack."""
    fields = {} if error is None else {"error": describe(error)}
    if frames := stack if error is None else frames_of(error):
        fields["traceback"] = frames
    _event(priority, "logged", **marks, logger=logger, message=message, **fields)


def thread_failed(thread: str, error: BaseException) -> None:
    """A thread that a handler has started has ended with an exception."""
    _event(ERROR, "thread failed", **current.fields(), thread=thread, error=describe(error), traceback=frames_of(error))


def conversation_cut(peer: str, age: float, why: str, id: str) -> None:
    _event(WARNING, "cut", peer=peer, age=age, why=why, id=id)


def handler_failed(peer: str, error: BaseException, skip: str) -> None:
    """A handler raised: what, and why; and once in a while where, without the frames of files below `skip`.

    Source lines are for someone who watches, or asked for more.
    """
    fields: dict[str, Any] = {}
    shows_source = _style in ("terminal", "plain") or _threshold >= DEBUG
    if not shows_source:
        parts = {"causes": causes_of(error, skip), "notes": notes_of(error), "exceptions": members_of(error, skip)}
        fields = {name: part for name, part in parts.items() if part}
    if _traceback_rate.allow() is not None:
        frames = traceback_of(error, skip) if shows_source else frames_of(error, skip)
        if frames:
            fields["traceback"] = frames
    _event(ERROR, "handler failed", peer=peer, error=describe(error), **current.id_field(), **fields)


def hook_failed(what: str, error: BaseException, suppressed: int = 0) -> None:
    _event(ERROR, "hook failed", what=what, error=describe(error), suppressed=suppressed)


def peer_failed(peer: str, error: BaseException) -> None:
    _event(DEBUG, "peer failed", peer=peer, error=describe(error), **current.id_field())


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


def clients_wait(queue: int, most: int) -> None:
    _event(WARNING, "clients wait", queue=queue, max=most)


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
