"""A handler of `logging` that writes records to srvctl's log. Imported when `logging` is, and not before."""

from __future__ import annotations

import logging
from functools import wraps

from srvctl.runtime import current, log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any

# From the highest on: the first that a record reaches.
_PRIORITIES = (
    (logging.ERROR, log.ERROR),
    (logging.WARNING, log.WARNING),
    (logging.INFO + 5, log.NOTICE),  # what those who have such a level put between the two
    (logging.INFO, log.INFO),
)


class LogHandler(logging.Handler):
    """The handler of the root logger until a program configures `logging` for itself.

    The root's level is the least that the log writes. `close`, which ``dictConfig`` and ``basicConfig(force=True)``
    call too, takes the handler off and puts the level back.
    """

    def __init__(self, root: logging.Logger) -> None:
        super().__init__()
        self._root, self._level_before = root, root.level
        self._root_level = _level_of_log()
        root.addHandler(self)
        root.setLevel(self._root_level)

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record, with the conversation of the handler's own log, or else the current one."""
        try:
            about = getattr(record, "connection_id", None)
            marks = {"peer": getattr(record, "peer", "-"), "id": about} if about else current.fields()
            error = record.exc_info[1] if record.exc_info else None
            log.logged(
                _priority(record.levelno), record.name, record.getMessage(), marks, error, record.stack_info or ""
            )
        except Exception:
            self.handleError(record)

    def close(self) -> None:
        """Leave the root logger as it was."""
        self._root.removeHandler(self)
        if self._root.level == self._root_level:
            self._root.setLevel(self._level_before)
        super().close()

    def is_alone(self) -> bool:
        """Tell whether the root logger has this handler and no other."""
        return self._root.handlers == [self]


def connect(module: ModuleType) -> None:
    """Have the root logger of `module`, which is `logging`, write to the log until it is configured otherwise."""
    handler = LogHandler(module.root)
    configure = module.basicConfig

    @wraps(configure)
    def configure_basically(**options: Any) -> None:
        if handler.is_alone():  # or it would do nothing, since the root logger has a handler
            handler.close()
        configure(**options)

    module.basicConfig = configure_basically  # type: ignore[attr-defined]


def _level_of_log() -> int:
    if log.wants(log.DEBUG):
        return logging.DEBUG
    return logging.INFO if log.wants(log.INFO) else logging.WARNING


def _priority(level: int) -> int:
    for least, priority in _PRIORITIES:
        if level >= least:
            return priority
    return log.DEBUG
