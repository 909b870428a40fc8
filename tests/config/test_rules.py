"""Rules between options: what excludes what, what has no effect, and what depends on the model."""

from __future__ import annotations

import pytest

from srvctl.config.options import MODELS
from srvctl.config.rules import DEFAULT_MAX
from srvctl.config.settings import Settings
from srvctl.errors import UsageError

PROGRAM = ("cat",)


@pytest.mark.parametrize("model", MODELS)
def test_the_bound_depends_on_the_model(model: str) -> None:
    """The default is the model's; without concurrency it is one for each worker."""
    assert Settings.resolve("tcp", ":0", "echo", model).max_connections == DEFAULT_MAX[model]
    workers = {"workers": 7} if model == "sync" else {}
    assert Settings.resolve("tcp", ":0", "echo", model, max_connections=7, **workers).max_connections == 7
    assert Settings.resolve("tcp", ":0", "", model, PROGRAM).max_connections == DEFAULT_MAX[model]


def test_a_program_that_has_the_socket_is_the_only_one() -> None:
    """With --datagram-wait the limit is 1 in every model."""
    for model in MODELS:
        assert Settings.resolve("udp", ":0", "", model, PROGRAM, datagram_wait=True).max_connections == 1


@pytest.mark.parametrize(
    ("family", "address", "model", "program", "given", "line"),
    [
        ("tcp", ":0", "fork", (), {"verbose": True, "quiet": True}, "--verbose and --quiet: they exclude each other"),
        ("tcp", ":0", "sync", (), {"max_connections": 2}, "--max-connections 2: without --threads or --fork, one "),
        ("tcp", ":0", "sync", PROGRAM, {"max_connections": 2}, "--max-connections 2: without --threads or --fork, "),
        ("tcp", ":0", "sync", (), {"at_limit": "refuse"}, "--at-limit refuse: without --threads or --fork, the next "),
        ("tcp", ":0", "fork", (), {"max_requests_jitter": 5}, "--max-requests-jitter: it is added to --max-requests"),
        ("tcp", ":0", "fork", (), {"socket_mode": 0o600}, "--socket-mode or --socket-owner: tcp :0 has no file; they"),
        ("unix", "@x", "fork", (), {"socket_owner": "a"}, "--socket-mode or --socket-owner: unix @x has no file; they"),
        ("fd", "3", "fork", (), {"socket_mode": 0o600}, "--socket-mode or --socket-owner: fd 3 has no file; they are"),
        ("fd", "3", "fork", (), {"backlog": 5}, "--backlog: fd is a socket that is open already; set it where"),
        ("fd", "3", "fork", (), {"fd_store": True}, "--fd-store: fd is a socket that is open already; set it where"),
        ("udp", ":0", "fork", (), {"backlog": 5}, "--backlog: udp has no queue of connections"),
        ("unix-dgram", "x", "fork", (), {"backlog": 5}, "--backlog: unix-dgram has no queue of connections"),
        ("udp", ":0", "fork", (), {"drain_idle_timeout": 5.0}, "--drain-idle-timeout: a datagram has no connection"),
        ("udp4", ":0", "threads", (), {"idle_timeout": 5.0}, "--idle-timeout: a datagram has no connection to close; "),
        ("udp", ":0", "sync", (), {"max_duration": 5.0}, "--max-duration: a datagram has no connection to close; with"),
        ("tcp", ":0", "fork", (), {"chdir": "/"}, "--chdir: it is for a program, and there is none; write -- PROGRAM"),
        ("tcp", ":0", "fork", PROGRAM, {"set": (("a", "1"),)}, "--set: it is for a handler; give a program arguments"),
        ("tcp", ":0", "fork", (), {"datagram_guard": "off"}, "--datagram-guard: senders of tcp cannot be forged"),
        ("tcp", ":0", "fork", PROGRAM, {"mixin": ("a:B",)}, "--mixin: it is for a handler, and a program is started"),
        ("tcp", ":0", "fork", PROGRAM, {"datagram_wait": True}, "--datagram-wait: tcp is for connections; expected "),
        ("udp", ":0", "fork", PROGRAM, {"program_stderr": "socket"}, "--program-stderr socket: a program that gets"),
    ],
)  # fmt: skip
def test_an_option_that_can_have_no_effect_is_refused(family, address, model, program, given, line) -> None:  # type: ignore[no-untyped-def]
    """The error says what to use instead."""
    with pytest.raises(UsageError) as refused:
        Settings.resolve(family, address, "" if program else "echo", model, program, **given)
    assert str(refused.value).startswith(f"cannot use {line}")


@pytest.mark.parametrize(
    ("family", "address", "model", "program", "given"),
    [
        ("unix", "x", "fork", (), {"socket_mode": 0o600, "socket_owner": "a", "backlog": 5, "fd_store": True}),
        ("unix-dgram", "x", "fork", (), {"socket_mode": 0o600, "fd_store": True}),
        ("udp", ":0", "fork", (), {"idle_timeout": 5.0, "max_duration": 5.0}),
        ("udp", ":0", "threads", (), {"idle_timeout": 0.0, "max_duration": 0.0}),
        ("udp", ":0", "threads", PROGRAM, {"idle_timeout": 5.0, "max_duration": 5.0}),
        ("tcp", ":0", "sync", PROGRAM, {"at_limit": "refuse"}),
        ("tcp", ":0", "sync", (), {"at_limit": "wait", "workers": 2, "max_connections": 2}),
        ("tcp", ":0", "fork", (), {"max_requests": 9, "max_requests_jitter": 5}),
        ("fd", "3", "fork", PROGRAM, {"datagram_wait": True, "program_stderr": "socket"}),
    ],
)
def test_an_option_that_can_have_an_effect_is_taken(family, address, model, program, given) -> None:  # type: ignore[no-untyped-def]
    """Combinations that have an effect pass, and so does what only an inherited descriptor can tell."""
    settings = Settings.resolve(family, address, "" if program else "echo", model, program, **given)
    assert {name: getattr(settings, name) for name in given} == given
