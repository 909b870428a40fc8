"""``self.log`` and ``self.connection_id`` of a handler that srvctl does not run."""

from __future__ import annotations

import logging
import os
import subprocess
import sys

import pytest

from srvctl.loader.attributes import declared_attributes
from srvctl.socketserver import BaseRequestHandler, DatagramRequestHandler, StreamRequestHandler

HANDLERS = [BaseRequestHandler, StreamRequestHandler, DatagramRequestHandler]


class Plain(BaseRequestHandler):
    """Does nothing."""


def test_the_log_is_an_ordinary_logger() -> None:
    """Which a program configures as any other."""
    assert Plain(None, None, None).log is logging.getLogger("srvctl.handler")


def test_the_identifier_is_short_and_stays_and_no_other_handler_has_it() -> None:
    """It is made when it is asked for."""
    handlers = [Plain(None, None, None) for _ in range(3)]
    ids = [handler.connection_id for handler in handlers]
    assert ids == [handler.connection_id for handler in handlers]
    assert len(set(ids)) == 3 and all(id.isascii() and len(id) < 32 for id in ids)


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_forked_children_make_different_identifiers() -> None:
    """Though each makes its first."""
    ids = set()
    for _ in range(2):
        read, write = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.write(write, Plain(None, None, None).connection_id.encode())
            os._exit(0)
        os.close(write)
        with open(read, "rb") as pipe:
            ids.add(pipe.read())
        os.waitpid(pid, 0)
    assert len(ids) == 2


@pytest.mark.parametrize("handler", HANDLERS, ids=lambda cls: cls.__name__)
def test_they_are_not_options(handler: type) -> None:
    """``--set`` does not know them."""
    assert {"log", "connection_id"}.isdisjoint(declared_attributes(handler))


def test_a_program_may_have_such_names_for_itself() -> None:
    """As one that was written before there were these."""

    class Own(BaseRequestHandler):
        def setup(self) -> None:
            self.log = [1]  # type: ignore[assignment]
            self.connection_id = "mine"

    handler = Own(None, None, None)
    assert (handler.log, handler.connection_id) == ([1], "mine")


def test_a_handler_that_does_not_log_imports_no_logging() -> None:
    """Neither does the hierarchy."""
    code = (
        "import sys; from srvctl.socketserver import BaseRequestHandler; BaseRequestHandler(None, None, None)\n"
        "sys.exit('logging' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
