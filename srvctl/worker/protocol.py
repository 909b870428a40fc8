"""Messages between a supervisor and its worker, and the setup that a worker is started with.

Both processes are srvctl's own. They may be of different versions for a moment: a new supervisor takes over the workers
of the one before it (`srvctl.supervisor.upgrade`), and ends them with the reload that follows.
"""

from __future__ import annotations

from collections import namedtuple

from srvctl.errors import ExitStatus
from srvctl.runtime.channel import Message

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


# A count or an amount of bytes that no process reaches.
_LARGEST_FIGURE = 2**63


class WorkerSetup(
    namedtuple(
        "WorkerSetup",
        "settings directory target is_ready_made owns_socket address log_style log_threshold"
        " index count heartbeat_seconds reports_stats announces shares_limit",
        defaults=(0, 1, 0.0, False, False, False),
    )
):
    """What a worker needs to load and serve: frozen, and of plain values.

    `settings` is the wire form of `Settings`; `directory` the working directory, by its name; `target` the dotted path
    to import, one of srvctl's own handlers if `is_ready_made`, or empty for a program. `address` is the listener's, for
    messages; `owns_socket` says that the listener was bound by srvctl, and not inherited. The worker is number `index`
    of `count`, which divide ``--max-connections`` among them. It sends a heartbeat each `heartbeat_seconds` (0: never),
    and its stats after they changed if it `reports_stats`. With `announces`, standard output is the supervisor's alone.
    With `shares_limit` it counts its conversations together with the other workers (`srvctl.serving.shared_limit`).
    """

    __slots__ = ()


class ToWorker(Message):
    """What a supervisor sends, and what each message carries."""

    SETUP = "setup", *WorkerSetup._fields
    SET_LIMIT = "set_limit", "index", "count"  # its share of --max-connections is now one of `count`
    SHARE_LIMIT = "share_limit", "is_shared"  # --max-connections is for all workers together, or by shares again
    SERVE = "serve"  # start to accept
    DRAIN = "drain", "seconds", "keep_queue"  # stop in order; `keep_queue` leaves the backlog to its successor
    CLOSE_IDLE = "close_idle"  # the whole server stops: quiet connections are not waited for any more
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
    SHARING = "sharing"  # what it serves is counted together with the other workers
    NOT_ACCEPTING = "draining"  # its drain has begun: it takes nothing more from the backlog
    DRAINED = "drained", "stats"  # it is done; the process ends next

    @classmethod
    def is_valid(cls, name: str, value: Any) -> bool:
        """Tell whether a worker may send `value` as `name`: it runs code that may have been taken over."""
        if name == "stats":
            return isinstance(value, dict) and all(
                isinstance(key, str) and isinstance(figure, int) and 0 <= figure < _LARGEST_FIGURE
                for key, figure in value.items()
            )
        if name == "parts":
            return isinstance(value, list) and all(isinstance(part, str) for part in value)
        if name == "status":
            return value in tuple(ExitStatus)
        return isinstance(value, str)


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
