"""A server without a socket: its requests are the rows of a database table."""

from __future__ import annotations

import sqlite3
import threading

import pytest

from srvctl.socketserver import BaseServer, ForkingMixIn, ThreadingMixIn
from tests.socketserver.running import PATIENCE, eventually, forks, has_only, in_time, open_fds, serving

pytestmark = forks


class TableServer(BaseServer):
    """Serve the rows of `jobs`: the next that nobody has taken, with its number for an address."""

    def get_request(self):
        with open_table(self.server_address) as table:
            row = table.execute("SELECT id, text FROM jobs WHERE state = 'new' ORDER BY id LIMIT 1").fetchone()
            if row is None:
                raise BlockingIOError
            table.execute("UPDATE jobs SET state = 'taken' WHERE id = ?", row[:1])
        return row[1], row[0]


class ThreadingTableServer(ThreadingMixIn, TableServer):
    pass


class ForkingTableServer(ForkingMixIn, TableServer):
    pass


MODELS = pytest.mark.parametrize("model", [TableServer, ThreadingTableServer, ForkingTableServer])


class open_table:
    """A connection to the table for one transaction; each thread and each process opens its own."""

    def __init__(self, path):
        self.table = sqlite3.connect(path, timeout=PATIENCE, isolation_level="IMMEDIATE")

    def __enter__(self):
        self.table.__enter__()
        return self.table

    def __exit__(self, *error):
        self.table.__exit__(*error)
        self.table.close()


def shout(text, number, server):
    """Handle a row: write its text in capitals beside it."""
    if text == "bad":
        raise ValueError(text)
    with open_table(server.server_address) as table:
        table.execute("UPDATE jobs SET state = 'done', answer = ? WHERE id = ?", (text.upper(), number))


@pytest.fixture
def path(tmp_path):
    """An empty table."""
    path = str(tmp_path / "jobs.sqlite")
    with open_table(path) as table:
        table.execute("CREATE TABLE jobs (id INTEGER PRIMARY KEY, text, answer, state DEFAULT 'new')")
    return path


def add(path, *texts):
    with open_table(path) as table:
        table.executemany("INSERT INTO jobs (text) VALUES (?)", [(text,) for text in texts])


def answers(path):
    with open_table(path) as table:
        return [row[0] for row in table.execute("SELECT answer FROM jobs ORDER BY id")]


@MODELS
def test_rows_are_served(model, path):
    """What is in the table, and what is added while the server waits, gets served; the server needs no descriptor."""
    add(path, "one", "two", "three")
    with serving(model(path, shout), poll_interval=0.01):
        assert eventually(lambda: answers(path) == ["ONE", "TWO", "THREE"])
        add(path, "four")
        assert eventually(lambda: answers(path)[3:] == ["FOUR"])


@MODELS
def test_a_row_whose_handler_fails_is_no_end(model, path, capfd):
    """A handler that raises ends its own row."""
    add(path, "bad", "good")
    with serving(model(path, shout), poll_interval=0.01) as run:
        assert eventually(lambda: answers(path) == [None, "GOOD"])
    assert run.error is None
    assert "ValueError: bad" in capfd.readouterr().err


@MODELS
def test_shutdown_while_no_row_comes_is_immediate(model, path):
    """shutdown() does not wait until it is time to look at the table again."""
    server = model(path, shout)
    with serving(server, poll_interval=600) as run:
        add(path)
        assert in_time(server.shutdown, PATIENCE)
        assert run.has_ended()


@MODELS
def test_shutdown_while_rows_never_end_is_immediate(model, path):
    """shutdown() comes between two rows, however many there are."""
    many = threading.Event()

    class Endless(model):
        served = 0

        def get_request(self):
            type(self).served += 1
            if self.served > 30:
                many.set()
            return "row", self.served

    server = Endless(path, lambda *_: None)
    with serving(server):
        assert many.wait(PATIENCE)
        assert in_time(server.shutdown, PATIENCE)


@pytest.mark.parametrize("model", [ThreadingTableServer, ForkingTableServer])
def test_the_bound_holds_for_rows(model, path):
    """Rows beyond what may be served at the same time stay in the table until there is room."""
    add(path, *["row"] * 12)
    server = type("Bounded", (model,), {"max_threads": 2, "max_children": 2})(path, shout)
    with serving(server, poll_interval=0.01):
        assert eventually(lambda: answers(path) == ["ROW"] * 12)


@MODELS
def test_handle_request_serves_one_row(model, path):
    """handle_request() takes one row when there is one, and returns when there is none."""
    add(path, "one", "two")
    with model(path, shout) as server:
        server.handle_request()
        assert eventually(lambda: answers(path) == ["ONE", None])
        server.handle_request()
        server.handle_request()
    assert answers(path) == ["ONE", "TWO"]


def test_nothing_of_it_stays_open(path):
    """A server without a socket leaves no descriptor behind."""
    before = open_fds()
    add(path, "one")
    with serving(ForkingTableServer(path, shout), poll_interval=0.01):
        assert eventually(lambda: answers(path) == ["ONE"])
    assert has_only(before)
