"""What handlers print, warn of and log: in the log, with the conversation that the code served."""

from __future__ import annotations

import concurrent.futures
import concurrent.futures.thread
import contextlib
import logging
import logging.config
import os
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from srvctl.runtime import log
from srvctl.runtime.current import current
from srvctl.serving.handling import Handling
from srvctl.socketserver import BaseRequestHandler
from srvctl.worker import handler_output
from srvctl.worker.logging_handler import LogHandler, connect
from tests.runtime.logged import logged
from tests.serving.running import conversation

Events = Callable[[], list[dict[str, Any]]]
DICT = {"version": 1, "disable_existing_loggers": False}  # or the loggers of other tests would be silent


@contextlib.contextmanager
def redirected(threshold: int = log.INFO) -> Iterator[Events]:
    """Redirect, as a worker does, with `logging` as no program has configured it; undo all of it."""
    root, threads = logging.root, threading.Thread
    executors = concurrent.futures.ThreadPoolExecutor
    before = root.handlers, root.level, logging.basicConfig, threads.start, threading.excepthook, executors.submit
    streams, show = (sys.stdout, sys.stderr), warnings.showwarning
    root.handlers, root.level = [], logging.WARNING
    try:
        with logged(threshold) as read:
            handler_output.redirect()
            yield read
            handler_output.restore()
            assert (sys.stdout, sys.stderr) == streams
    finally:
        root.handlers, level, logging.basicConfig, threads.start, threading.excepthook, executors.submit = before
        root.setLevel(level)  # which forgets what loggers know of it
        warnings.showwarning = show
        sys.stdout, sys.stderr = streams


def serve(work: Callable[[], object], number: int = 7) -> str:
    """Have `work` run as the handler of a conversation; return the identifier of that."""
    served = conversation(number)
    Handling(lambda request, address, server: (work(), None)[1], None, None).run(served)
    return served.id


def marks(event: dict[str, Any]) -> tuple[Any, Any]:
    """Return which conversation an event belongs to."""
    return event.get("peer"), event.get("id")


# --- logging


@pytest.mark.parametrize(
    ("level", "word"),
    [(50, "error"), (40, "error"), (30, "warning"), (25, "notice"), (20, "info"), (15, "debug"), (10, "debug")],
)
def test_a_record_is_an_event_of_its_level(level: int, word: str) -> None:
    """With its logger and its message."""
    with redirected(log.DEBUG) as events:
        logging.getLogger("some.module").log(level, "%d of %s", 3, "four\nlines")
        (event,) = events()
    assert event == {"level": word, "event": "logged", "logger": "some.module", "message": "3 of four\nlines"}


def test_records_below_the_level_of_the_log_are_not_made() -> None:
    """The root logger has its level, and a program need not ask the log."""
    for threshold, level in ((log.DEBUG, 10), (log.INFO, 20), (log.WARNING, 30), (log.ERROR, 30)):
        with redirected(threshold):
            assert logging.getLogger("any").getEffectiveLevel() == level


def test_a_record_has_the_exception_that_it_was_made_with() -> None:
    """On one line, as that of a handler."""
    with redirected() as events:
        try:
            raise ValueError("two\nlines")
        except ValueError:
            logging.exception("it failed")
        (event,) = events()
    assert (event["message"], event["error"]) == ("it failed", "ValueError: two\nlines")
    assert "test_handler_output.py" in event["traceback"]


def test_a_record_in_a_conversation_has_its_peer_and_identifier() -> None:
    """And one outside of it has neither."""
    with redirected() as events:
        id = serve(lambda: logging.info("inside"))
        logging.info("outside")
        inside, outside = events()
    assert marks(inside) == ("192.0.2.1:7", id)
    assert marks(outside) == (None, None)


def test_a_record_whose_text_cannot_be_made_fails_nobody() -> None:
    """`logging` says what is wrong with it, and that is in the log too."""
    with redirected() as events:
        logging.info("%d", "no number")
        assert any("--- Logging error ---" in event["line"] for event in events())


@pytest.mark.parametrize(
    "configure",
    [
        lambda handler: logging.basicConfig(handlers=[handler]),
        lambda handler: logging.basicConfig(handlers=[handler], force=True),
        lambda handler: logging.config.dictConfig(
            {**DICT, "handlers": {"own": {"()": lambda: handler}}, "root": {"handlers": ["own"]}}
        ),
        lambda handler: logging.config.dictConfig(DICT) or logging.root.addHandler(handler),
    ],
    ids=["basicConfig", "force", "dictConfig", "dictConfig without root"],
)
def test_a_program_that_configures_logging_has_what_it_configured(configure: Callable[[logging.Handler], None]) -> None:
    """Nothing of ours is left, the level neither."""
    kept: list[str] = []
    own = logging.Handler()
    own.emit = lambda record: kept.append(record.getMessage())  # type: ignore[method-assign]
    with redirected() as events:
        configure(own)
        logging.warning("to the program's own")
        assert events() == []
        assert (logging.root.handlers, logging.root.level) == ([own], logging.WARNING)
    assert kept == ["to the program's own"]


def test_a_level_that_a_program_has_set_is_kept() -> None:
    """Also by a configuration that comes later."""
    with redirected():
        logging.root.setLevel(logging.ERROR)
        logging.basicConfig()
        assert logging.root.level == logging.ERROR


def test_a_handler_that_is_added_gets_the_records_as_well() -> None:
    """As beside any other, and then ``basicConfig`` does nothing, as it is documented."""
    kept: list[str] = []
    own = logging.Handler()
    own.emit = lambda record: kept.append(record.getMessage())  # type: ignore[method-assign]
    with redirected() as events:
        logging.getLogger().addHandler(own)
        logging.basicConfig(level=logging.ERROR)
        logging.info("to both")
        assert [event["message"] for event in events()] == kept == ["to both"]


def test_the_handler_is_that_of_the_root_of_the_module() -> None:
    """Connected once; ``basicConfig`` is called with the words that it was given."""
    root = logging.RootLogger(logging.WARNING)
    given: list[dict[str, Any]] = []
    module: Any = SimpleNamespace(root=root, basicConfig=lambda **options: given.append(options))
    with logged():
        connect(module)
        assert [type(handler) for handler in root.handlers] == [LogHandler]
        module.basicConfig(level=10)
    assert (given, root.handlers) == ([{"level": 10}], [])


# --- self.log


class Login(BaseRequestHandler):
    """Logs once, and notes what it has logged with."""

    seen: list[str] = []

    def handle(self) -> None:
        self.log.info("hello", extra={"user": "ann"})
        self.seen.append(self.connection_id)


def serve_login(number: int = 7) -> str:
    served = conversation(number)
    Handling(Login, None, None).run(served)
    return served.id


def test_a_handler_has_a_log_of_its_own() -> None:
    """Its records have the peer and the identifier, as attributes too, beside what a call adds."""
    records: list[logging.LogRecord] = []
    with redirected() as events:
        own = logging.Handler()
        own.emit = records.append  # type: ignore[method-assign, assignment]
        logging.root.addHandler(own)
        id = serve_login()
        (event,) = events()
    assert (event["logger"], event["message"], marks(event)) == ("srvctl.handler", "hello", ("192.0.2.1:7", id))
    (record,) = (vars(record) for record in records)
    assert (record["peer"], record["connection_id"], record["user"]) == ("192.0.2.1:7", id, "ann")
    assert Login.seen.pop() == id


def test_the_log_of_a_handler_keeps_its_conversation_in_any_thread() -> None:
    """Also in one that serves another at that moment."""
    made: list[BaseRequestHandler] = []

    class Keeps(BaseRequestHandler):
        def handle(self) -> None:
            made.append(self)

    first, second = conversation(1), conversation(2)
    with redirected() as events:
        for served in (first, second):
            Handling(Keeps, None, None).run(served)
        serve(lambda: made[0].log.info("of the first"), 3)
        (event,) = events()
    assert marks(event) == (first.name, first.id)
    assert made[1].connection_id == second.id


@pytest.mark.parametrize(("handler", "imports"), [("Logs", True), ("Child", True), ("Quiet", False), ("print", False)])
def test_logging_is_imported_ahead_for_children_that_will_ask_for_it(handler: str, imports: bool) -> None:
    """And for no others: it makes each fork dearer."""
    code = (
        "import sys\nfrom srvctl import StreamRequestHandler\n"
        "class Quiet(StreamRequestHandler):\n  def handle(self): self.wfile.write(b'x')\n"
        "class Logs(StreamRequestHandler):\n  def handle(self): self.log.info('x')\n"
        "class Child(Logs): pass\n"
        "from srvctl.worker.handler_output import import_logging_for_children\n"
        f"import_logging_for_children({handler})\nsys.exit('logging' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == imports


# --- print and warnings


def test_print_is_an_event_of_the_conversation() -> None:
    """On either stream, and a last line without its end when the handler has returned."""

    def work() -> None:
        print("one")
        print("two", file=sys.stderr)
        print("thr", end="")
        print("ee", end="", flush=True)

    with redirected() as events:
        id = serve(work)
        found = events()
    assert [(event["stream"], event["line"]) for event in found] == [
        ("stdout", "one"),
        ("stderr", "two"),
        ("stdout", "three"),
    ]
    assert {marks(event) for event in found} == {("192.0.2.1:7", id)}


def test_a_handler_that_fails_has_its_last_line_logged_too() -> None:
    """After its exception, since it may have been on its way to an end of line."""

    def work() -> None:
        print("before", end="")
        raise ValueError("wrong")

    with redirected() as events:
        id = serve(work)
        failed, line = events()
    assert (failed["event"], line["line"]) == ("handler failed", "before")
    assert failed["id"] == line["id"] == id


def test_a_warning_is_an_event_of_the_conversation() -> None:
    """With its category and its place."""
    with redirected() as events, warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = handler_output._show_warning  # pytest's own collects them
        id = serve(lambda: warnings.warn("old", DeprecationWarning, stacklevel=1))
        (event,) = events()
    assert (event["event"], event["category"], event["message"]) == ("warned", "DeprecationWarning", "old")
    assert event["file"].startswith(__file__ + ":")
    assert marks(event) == ("192.0.2.1:7", id)


# --- threads, executors and children


def test_a_thread_that_a_handler_starts_belongs_to_its_conversation() -> None:
    """Also after the handler has returned; one that is started elsewhere belongs to none."""
    go = threading.Event()
    threads: list[threading.Thread] = []

    def late() -> None:
        go.wait()
        print("late", end="")

    def work() -> None:
        threads.append(threading.Thread(target=late))
        threads[0].start()

    with redirected() as events:
        id = serve(work)
        go.set()
        threads[0].join()
        elsewhere = threading.Thread(target=lambda: print("elsewhere"))
        elsewhere.start()
        elsewhere.join()
        first, second = events()
    assert (marks(first), marks(second)) == (("192.0.2.1:7", id), (None, None))
    assert "run" not in vars(threads[0])


def test_a_thread_that_fails_is_one_event() -> None:
    """An error, whatever level lines that are printed have."""

    def fail() -> None:
        raise ValueError("in a thread")

    def work() -> None:
        thread = threading.Thread(target=fail, name="helper")
        thread.start()
        thread.join()

    with redirected(log.WARNING) as events:
        before = threading.excepthook
        threading.excepthook = handler_output._log_thread_error  # pytest's own collects them
        id = serve(work)
        threading.excepthook = before
        (event,) = events()
    assert (event["event"], event["thread"], event["error"]) == ("thread failed", "helper", "ValueError: in a thread")
    assert event["id"] == id


def test_a_call_of_an_executor_belongs_to_the_conversation_that_submitted_it() -> None:
    """And not to the one that has started the thread, which the next one uses again."""
    with redirected() as events, concurrent.futures.ThreadPoolExecutor(1) as executor:

        def submit(text: str) -> Callable[[], object]:
            return lambda: executor.submit(print, text).result()

        ids = [serve(submit(f"line {number}"), number) for number in range(2)]
        submit("outside")()
        found = events()
    assert [event.get("id") for event in found] == [*ids, None]


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_a_forked_child_belongs_to_the_conversation() -> None:
    """Its parent's handler waits for it."""

    def work() -> None:
        pid = os.fork()
        if pid == 0:
            try:
                print("in the child")
                logging.info("also")
            finally:
                os._exit(0)
        os.waitpid(pid, 0)

    with redirected() as events:
        id = serve(work)
        found = events()
    assert [marks(event) for event in found] == [("192.0.2.1:7", id)] * 2


def test_after_a_conversation_there_is_none() -> None:
    """What runs in the loop belongs to nobody."""
    with logged():
        serve(lambda: None)
    assert current.get() is None
