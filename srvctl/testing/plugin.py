"""The plugin of pytest: the fixture ``serve``. pytest loads it by its entry point of the group ``pytest11``.

Nothing else of srvctl is imported before a test asks for the fixture, and pytest not at all where it does not run.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING or "pytest" in sys.modules:
    from collections.abc import Iterator

    import pytest

    if TYPE_CHECKING:
        from srvctl.testing.server import Client, Handler, Serve

    @pytest.fixture
    def serve() -> Iterator[Serve]:
        """Serve a handler by srvctl, and return a client: ``serve(Handler, "tcp", "--threads")``.

        The words are those of srvctl(1) without the address, which is a free one; `srvctl.testing.Server` says what a
        handler may be. The server and its log are ``client.server``. Both are closed when the test is over.
        """
        from contextlib import ExitStack

        from srvctl.testing.server import Server

        with ExitStack() as opened:

            def start(handler: Handler | str, family: str = "tcp", *options: str) -> Client:
                server = opened.enter_context(Server(handler, family, *options))
                return opened.enter_context(server.connect())

            yield start
