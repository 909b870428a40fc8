"""What handlers print, warn of and log, in srvctl's log: `redirect`, once in the process that serves.

What the code of srvctl itself has to say is in `srvctl.runtime.log`; a program's standard error is read by
`srvctl.programs.output`.
"""

from __future__ import annotations

import sys
import warnings
from functools import partial, wraps

from srvctl.loader.after_import import call_after_import
from srvctl.runtime import log
from srvctl.runtime.current import current
from srvctl.runtime.printed import LoggedStream, end_lines
from srvctl.socketserver.handlers import BaseRequestHandler

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType
    from typing import Any, TextIO

    from srvctl.runtime.current import Marked


def redirect() -> None:
    """Write to the log, line by line, what is printed, warned of and logged from now on.

    `logging` and `threading` are added to when they have been imported, and are not imported for that.
    """
    sys.stdout, sys.stderr = LoggedStream("stdout", sys.stdout), LoggedStream("stderr", sys.stderr)
    warnings.showwarning = _show_warning
    call_after_import("logging", _connect_logging)
    call_after_import("threading", _mark_threads)
    call_after_import("concurrent.futures.thread", _mark_executors)


def restore() -> None:
    """Put the streams back; the last lines that were printed are written to the log."""
    end_lines()
    for name in ("stdout", "stderr"):
        if isinstance(stream := getattr(sys, name), LoggedStream):
            setattr(sys, name, stream.original)


def import_logging_for_children(handler: Any) -> None:
    """Import `logging` if a handler's methods ask for ``self.log``: otherwise each forked child would, for itself."""
    if not (isinstance(handler, type) and issubclass(handler, BaseRequestHandler)):
        return
    own = [cls for cls in handler.__mro__ if cls.__module__ != BaseRequestHandler.__module__]
    methods = [getattr(method, "__code__", None) for cls in own for method in vars(cls).values()]
    if any("log" in code.co_names for code in methods if code is not None):
        import logging  # noqa: F401


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    if file is None:
        log.warned(category.__name__, message, f"{filename}:{lineno}")
    else:
        file.write(warnings.formatwarning(message, category, filename, lineno, line))


def _connect_logging(module: ModuleType) -> None:
    from srvctl.worker.logging_handler import connect

    connect(module)


def _mark_threads(threading: Any) -> None:
    """Have a thread that a handler starts belong to its conversation: Python gives it an empty context."""
    original = threading.Thread.start

    @wraps(original)
    def start(thread: Any) -> None:
        if (conversation := current.get()) is not None:
            thread.run = partial(_run_thread, thread, conversation, thread.run)
        original(thread)

    threading.Thread.start = start
    threading.excepthook = _log_thread_error


def _log_thread_error(failed: Any) -> None:
    if failed.exc_type is not SystemExit:
        log.thread_failed(failed.thread.name if failed.thread else "", failed.exc_value or failed.exc_type())


def _run_thread(thread: Any, conversation: Marked, run: Callable[[], None]) -> None:
    del thread.run  # it would keep the thread alive as a cycle
    current.set(conversation)
    try:
        run()
    finally:
        end_lines()


def _mark_executors(module: ModuleType) -> None:
    """Have a call belong to the conversation that submits it, and not to that which has started the thread."""
    original = module.ThreadPoolExecutor.submit

    @wraps(original)
    def submit(executor: Any, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        return original(executor, _run_call, current.get(), function, *args, **kwargs)

    module.ThreadPoolExecutor.submit = submit


def _run_call(conversation: Marked | None, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    token = current.set(conversation)
    try:
        return function(*args, **kwargs)
    finally:
        end_lines()
        current.reset(token)
