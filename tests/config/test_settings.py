"""Settings: frozen, complete, and the same in the worker."""

from __future__ import annotations

import marshal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from srvctl.config.options import MODELS, OPTIONS
from srvctl.config.settings import Settings


def test_what_is_not_given_is_the_default() -> None:
    """Each option has its default, except --max-connections, whose default depends on the model."""
    settled = Settings.resolve("tcp", ":0", "echo", "fork", verbose=True)
    given_ = {option.name: getattr(settled, option.name) for option in OPTIONS}
    defaults = {option.name: option.default for option in OPTIONS}
    assert given_ == defaults | {"verbose": True, "max_connections": 40}


def test_settings_are_frozen() -> None:
    """Neither an option nor a field can be set."""
    settled = Settings.resolve("tcp", ":0", "echo", "sync")
    with pytest.raises(AttributeError, match="settings are frozen; graceful_timeout cannot be set"):
        settled.graceful_timeout = 1.0
    with pytest.raises(AttributeError, match="settings are frozen; family cannot be set"):
        settled.family = "udp"
    assert (settled.graceful_timeout, settled.family) == (30.0, "tcp")


VALUES = {
    "max_connections": st.integers(8, 10**6),
    "workers": st.integers(1, 8),
    "start_limit": st.integers(1, 100),
    "start_timeout": st.floats(0, 10**8),
    "hang_timeout": st.floats(0, 10**8),
    "max_requests": st.integers(1, 10**9),
    "max_requests_jitter": st.integers(1, 10**9),
    "max_worker_age": st.floats(0, 10**8),
    "max_worker_memory": st.integers(1, 2**50),
    "fd_store": st.booleans(),
    "at_limit": st.sampled_from(["wait", "refuse"]),
    "backlog": st.integers(0, 2**31 - 1),
    "socket_mode": st.integers(0, 0o777),
    "socket_owner": st.text(min_size=1),
    "set": st.lists(st.tuples(st.text(), st.text())).map(tuple),
    "datagram_guard": st.sampled_from(["on", "off"]),
    "mixin": st.lists(st.text()).map(tuple),
    "datagram_wait": st.booleans(),
    "program_stderr": st.sampled_from(["log", "inherit", "socket", "null"]),
    "env": st.lists(st.tuples(st.text(), st.none() | st.text())).map(tuple),
    "keep_env": st.booleans(),
    "chdir": st.text(),
    "umask": st.integers(0, 0o777),
    "rlimit": st.lists(st.tuples(st.text(), st.integers(-1, 2**62), st.integers(-1, 2**62))).map(tuple),
    "nice": st.integers(-39, 39),
    "idle_timeout": st.floats(0, 10**8),
    "max_duration": st.floats(0, 10**8),
    "graceful_timeout": st.floats(0, 10**8),
    "drain_idle_timeout": st.floats(0, 10**8),
    "announce": st.booleans(),
    "log_format": st.sampled_from(["text", "json"]),
    "verbose": st.booleans(),
    "quiet": st.booleans(),
}


@given(
    family=st.text(),
    address=st.text(),
    handler=st.text(),
    model=st.sampled_from(MODELS),
    given_=st.fixed_dictionaries({}, optional=VALUES),
    program=st.lists(st.text()).map(tuple),
)
def test_settings_survive_the_way_to_the_worker(family, address, handler, model, given_, program) -> None:  # type: ignore[no-untyped-def]
    """Settings that `marshal` has written and read are the same."""
    settled = Settings(family, address, handler, model, given_, program)
    arrived = Settings.from_wire(marshal.loads(marshal.dumps(settled.to_wire(), 2)))
    assert arrived.to_wire() == settled.to_wire()
    assert [getattr(arrived, o.name) for o in OPTIONS] == [getattr(settled, o.name) for o in OPTIONS]


def test_every_option_goes_to_the_worker() -> None:
    """The test above has a value for each option."""
    assert set(VALUES) == {option.name for option in OPTIONS}
