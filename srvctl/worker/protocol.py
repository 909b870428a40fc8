"""Messages between a supervisor and its worker, and the setup that a worker is started with.

Both processes are srvctl's own. They may be of different versions for a moment: a new supervisor takes over the workers
of the one before it (`srvctl.supervisor.upgrade`), and ends them with the reload that follows.
"""

from __future__ import annotations

from collections import namedtuple

from srvctl.runtime.channel import Message

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class WorkerSetup(
    namedtuple(
        "WorkerSetup",
        "settings target is_ready_made owns_socket address log_style log_threshold"
        " index count heartbeat_seconds reports_stats announces",
        defaults=(0, 1, 0.0, False, False),
    )
):
    """What a worker needs to load and serve: frozen, and of plain values.

    `settings` is the wire form of `Settings`; `target` the dotted path to import, one of srvctl's own handlers if
    `is_ready_made`, or empty for a program. `address` is the listener's, for messages; `owns_socket` says that the
    listener was bound by srvctl, and not inherited. The worker is number `index` of `count`, which divide
    ``--max-connections`` among them. It sends a heartbeat each `heartbeat_seconds` (0: never), and its stats after they
    changed if it `reports_stats`. With `announces`, standard output is the supervisor's alone.
    """

    __slots__ = ()


class ToWorker(Message):
    """What a supervisor sends, and what each message carries."""

    SETUP = "setup", *WorkerSetup._fields
    SET_LIMIT = "set_limit", "index", "count"  # its share of --max-connections is now one of `count`
    SERVE = "serve"  # start to accept
    DRAIN = "drain", "seconds", "keep_queue"  # stop in order; `keep_queue` leaves the backlog to its successor
    STOP_NOW = "stop_now"  # the deadline of the drain is now
    REPORT = "report"  # send STATS
    WAKE = "stacks"  # run the loop once, so that a signal's handler runs


class FromWorker(Message):
    """What a worker sends, and what each message carries."""

    READY = "ready", "name", "parts", "file"
    FAILED = "failed", "verb", "what", "why", "detail", "status"  # a `LaunchError`; the process ends next
    HEARTBEAT = "heartbeat", "stats"
    STATS = "stats", "stats"
    RECYCLE = "recycle", "why"  # it asks for a successor
    NOT_ACCEPTING = "draining"  # its drain has begun: it takes nothing more from the backlog
    DRAINED = "drained", "stats"  # it is done; the process ends next


# A worker that srvctl 0.1 started speaks of the same things by other words.
_WORDS_OF_0_1 = {ToWorker.SET_LIMIT: "share", ToWorker.STOP_NOW: "hurry"}


def to_0_1(message: Message) -> str:
    """Return the word by which a worker of srvctl 0.1 knows `message`."""
    return _WORDS_OF_0_1.get(message, message.value)  # type: ignore[call-overload, no-any-return]


def from_0_1(word: str, values: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return what a worker of srvctl 0.1 said in today's words."""
    if word in ("alive", "figures", "drained"):
        return {"alive": "heartbeat", "figures": "stats"}.get(word, word), {"stats": values}
    return ("recycle" if word == "tired" else word), values
