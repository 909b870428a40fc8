"""A server without a socket: its requests are the rows of a database table."""

from __future__ import annotations

import os
import select
import sqlite3
import subprocess
import sys
import threading
import types

import pytest

from srvctl.socketserver import BaseServer, ForkingMixIn, ThreadingMixIn
from tests.socketserver.running import PATIENCE, forks, has_only, in_time, open_fds, serving

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
    """Handle a row: write its text in capitals beside it, and tell the test."""
    if text == "bad":
        os.write(server.done, b".")
        raise ValueError(text)
    with open_table(server.server_address) as table:
        table.execute("UPDATE jobs SET state = 'done', answer = ? WHERE id = ?", (text.upper(), number))
    os.write(server.done, b".")


@pytest.fixture
def path(tmp_path):
    """An empty table."""
    path = str(tmp_path / "jobs.sqlite")
    with open_table(path) as table:
        table.execute("CREATE TABLE jobs (id INTEGER PRIMARY KEY, text, answer, state DEFAULT 'new')")
    return path


@pytest.fixture
def done():
    """A pipe on which a handler tells that it is through with a row."""
    read, write = os.pipe()
    yield types.SimpleNamespace(read=read, write=write)
    os.close(read)
    os.close(write)


# While a server forks, no other thread of the test may be inside SQLite: the child would have its locks for ever.
# So rows are added from another process, and read when the server has ended.

ADD = """
import sqlite3, sys
with sqlite3.connect(sys.argv[1], timeout=10) as table:
    table.executemany("INSERT INTO jobs (text) VALUES (?)", [(text,) for text in sys.argv[2:]])
"""


def add(path, *texts):
    subprocess.run([sys.executable, "-c", ADD, path, *texts], check=True)


def answers(path):
    with open_table(path) as table:
        return [row[0] for row in table.execute("SELECT answer FROM jobs ORDER BY id")]


def make_table_server(model, path, done, **attributes):
    return type(model.__name__, (model,), {"done": done.write, **attributes})(path, shout)


def wait_for(done, rows):
    """Wait until so many rows more are through."""
    for _ in range(rows):
        assert select.select([done.read], [], [], PATIENCE)[0], "a row was not served"
        os.read(done.read, 1)


@MODELS
def test_rows_are_served(model, path, done):
    """What is in the table, and what is added while the server waits, gets served; the server needs no descriptor."""
    add(path, "one", "two", "three")
    with serving(make_table_server(model, path, done), poll_interval=0.01):
        wait_for(done, 3)
        add(path, "four")
        wait_for(done, 1)
    assert answers(path) == ["ONE", "TWO", "THREE", "FOUR"]


@MODELS
def test_a_row_whose_handler_fails_is_no_end(model, path, done, capfd):
    """A handler that raises ends its own row."""
    add(path, "bad", "good")
    with serving(make_table_server(model, path, done), poll_interval=0.01) as run:
        wait_for(done, 2)
    assert answers(path) == [None, "GOOD"]
    assert run.error is None
    assert "ValueError: bad" in capfd.readouterr().err


@MODELS
def test_shutdown_while_no_row_comes_is_immediate(model, path, done):
    """shutdown() does not wait until it is time to look at the table again."""
    looked = threading.Event()

    def get_request(server):
        looked.set()
        return model.get_request(server)

    server = make_table_server(model, path, done, get_request=get_request)
    with serving(server, poll_interval=600) as run:
        assert looked.wait(PATIENCE)
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
def test_the_bound_holds_for_rows(model, path, done):
    """Rows beyond what may be served at the same time stay in the table until there is room."""
    most = []

    def process_request(server, request, client_address):
        model.process_request(server, request, client_address)
        most.append(server._running if model is ThreadingTableServer else len(server.active_children))

    add(path, *["row"] * 12)
    bounds = {"max_threads": 2, "max_children": 2, "process_request": process_request}
    with serving(make_table_server(model, path, done, **bounds), poll_interval=0.01):
        wait_for(done, 12)
    assert answers(path) == ["ROW"] * 12
    assert max(most) <= 2


@MODELS
def test_handle_request_serves_one_row(model, path, done):
    """handle_request() takes one row when there is one, and returns when there is none."""
    add(path, "one", "two")
    with make_table_server(model, path, done) as server:
        server.handle_request()
        wait_for(done, 1)
        server.handle_request()
        wait_for(done, 1)
        server.handle_request()
    assert answers(path) == ["ONE", "TWO"]


def test_nothing_of_it_stays_open(path, done):
    """A server without a socket leaves no descriptor behind."""
    before = open_fds()
    add(path, "one")
    with serving(make_table_server(ForkingTableServer, path, done), poll_interval=0.01):
        wait_for(done, 1)
    assert has_only(before)
