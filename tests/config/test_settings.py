"""Options, each declared once, and the frozen value that they make together."""

from __future__ import annotations

import marshal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from srvctl.config import parsers as module
from srvctl.config.settings import DEFAULT_MAX, MODELS, OPTIONS, Option, Settings

options = pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name)
PARSERS = [
    module.parse_count,
    module.parse_backlog,
    module.parse_seconds,
    module.parse_mode,
    module.parse_owner,
    module.parse_assignment,
    module.parse_size,
    module.parse_text,
    module.parse_variable,
    module.parse_limit,
    module.parse_nice,
]


@options
def test_an_option_is_complete(option: Option[object]) -> None:
    """The help has a sentence, a heading, a default to show, and what stands for the value."""
    assert option.help.endswith(".") and option.help[0].isupper()
    assert option.group in ("Concurrency", "Workers", "Socket", "Handler", "Program", "Time", "Output")
    assert option.default_text or option.flag or option.choices or option.default
    assert option.flag or option.choices or option.metavar


@options
def test_the_variable_of_an_option_has_its_name(option: Option[object]) -> None:
    """With the one prefix."""
    assert option.envvar == f"SRVCTL_{option.name.upper()}"
    assert option.long_flag == "--" + option.name.replace("_", "-")


def test_flags_and_variables_are_unique() -> None:
    """Those of the models included."""
    flags = [flag for option in OPTIONS for flag in option.flags] + [f"--{model}" for model in MODELS]
    variables = [option.envvar for option in OPTIONS] + [f"SRVCTL_{model.upper()}" for model in MODELS]
    assert len(set(flags)) == len(flags)
    assert len(set(variables)) == len(variables)


@options
def test_the_default_of_a_choice_is_one_of_its_words(option: Option[object]) -> None:
    """And a default is of the type that is parsed."""
    assert not option.choices or option.default in option.choices
    assert not option.flag or option.default is False


@pytest.mark.parametrize("model", MODELS)
def test_the_bound_depends_on_the_model(model: str) -> None:
    """Unless it is given."""
    assert Settings.resolve("tcp", ":0", "echo", model).max_connections == DEFAULT_MAX[model]
    assert Settings.resolve("tcp", ":0", "echo", model, max_connections=7).max_connections == 7


def test_what_is_not_given_is_the_default() -> None:
    """Of every option but the bound, which depends."""
    settled = Settings.resolve("tcp", ":0", "echo", "fork", verbose=True)
    given_ = {option.name: getattr(settled, option.name) for option in OPTIONS}
    defaults = {option.name: option.default for option in OPTIONS}
    assert given_ == defaults | {"verbose": True, "max_connections": 40}


def test_settings_are_frozen() -> None:
    """Whatever holds them."""
    settled = Settings.resolve("tcp", ":0", "echo", "sync")
    with pytest.raises(AttributeError, match="settings are frozen; graceful_timeout cannot be set"):
        settled.graceful_timeout = 1.0
    with pytest.raises(AttributeError, match="settings are frozen; family cannot be set"):
        settled.family = "udp"
    assert (settled.graceful_timeout, settled.family) == (30.0, "tcp")


def test_an_option_of_the_class_is_its_declaration() -> None:
    """For who asks what there is."""
    assert Settings.graceful_timeout in OPTIONS


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
    """As `marshal` writes and reads them."""
    settled = Settings(family, address, handler, model, given_, program)
    arrived = Settings.from_wire(marshal.loads(marshal.dumps(settled.to_wire(), 2)))
    assert arrived.to_wire() == settled.to_wire()
    assert [getattr(arrived, o.name) for o in OPTIONS] == [getattr(settled, o.name) for o in OPTIONS]


def test_every_option_goes_to_the_worker() -> None:
    """The test above knows them all."""
    assert set(VALUES) == {option.name for option in OPTIONS}


@pytest.mark.parametrize("parse", PARSERS, ids=lambda parse: parse.__name__)
@given(text=st.text() | st.text("0123456789.-+e:=_msh٣²", max_size=12))
def test_any_text_is_a_value_or_a_value_error(parse, text: str) -> None:  # type: ignore[no-untyped-def]
    """The command line turns that, and nothing else, into a usage error."""
    try:
        parse(text)
    except ValueError as error:
        assert str(error).startswith("expected ")


@pytest.mark.parametrize(
    ("text", "seconds"), [("0", 0), ("30", 30), ("1.5", 1.5), ("250ms", 0.25), ("2s", 2), ("5m", 300), ("1h", 3600)]
)
def test_seconds_may_have_a_unit(text: str, seconds: float) -> None:
    """As systemd's and sleep(1)'s may."""
    assert module.parse_seconds(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "-1", "nan", "inf", "1d", "s", "1e99", "1 0"])
def test_what_is_no_time_is_refused(text: str) -> None:
    """A timer could not take it."""
    with pytest.raises(ValueError, match="expected seconds"):
        module.parse_seconds(text)


@pytest.mark.parametrize(("text", "mode"), [("660", 0o660), ("0660", 0o660), ("0", 0), ("0777", 0o777)])
def test_a_mode_is_octal(text: str, mode: int) -> None:
    """As of chmod(1)."""
    assert module.parse_mode(text) == mode


@pytest.mark.parametrize("text", ["", "8", "1777", "-1", "u+w"])
def test_what_is_no_mode_is_refused(text: str) -> None:
    """Nor are the set-id and sticky bits."""
    with pytest.raises(ValueError, match="octal"):
        module.parse_mode(text)


@pytest.mark.parametrize("text", ["0", "-1", "", "x", "1.5", "²"])
def test_a_count_is_at_least_1(text: str) -> None:
    """Zero would serve nobody."""
    with pytest.raises(ValueError, match="at least 1"):
        module.parse_count(text)


def test_an_assignment_keeps_what_is_behind_the_first_equals_sign() -> None:
    """A value may have more of them."""
    assert module.parse_assignment("a=b=c") == ("a", "b=c")
    assert module.parse_assignment("a=") == ("a", "")


@pytest.mark.parametrize("text", ["a", "=b", "a-b=c", ""])
def test_what_is_no_assignment_is_refused(text: str) -> None:
    """The name is one that Python could have."""
    with pytest.raises(ValueError, match="NAME=VALUE"):
        module.parse_assignment(text)


@pytest.mark.parametrize("text", ["", ":", ":group", "user:"])
def test_what_is_no_owner_is_refused(text: str) -> None:
    """A group alone would leave the owner open."""
    with pytest.raises(ValueError, match=r"USER or USER:GROUP"):
        module.parse_owner(text)


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("NOFILE=64", ("NOFILE", 64, 64)),
        ("cpu=1:2", ("CPU", 1, 2)),
        ("as=64M", ("AS", 64 * 1024**2, 64 * 1024**2)),
        ("core=0:unlimited", ("CORE", 0, -1)),
        ("stack=infinity", ("STACK", -1, -1)),
    ],
)
def test_a_limit_has_a_name_and_one_or_two_values(text: str, limit: tuple[str, int, int]) -> None:
    """As systemd's LimitNOFILE= and its kin."""
    assert module.parse_limit(text) == limit


@pytest.mark.parametrize("option", ["rlimit", "env", "umask", "nice"])
def test_a_value_reads_back_as_it_was_written(option: str) -> None:
    """For a unit, which has it on its command line."""
    (declared,) = [o for o in OPTIONS if o.name == option]
    samples = {
        "rlimit": ["CPU=1:unlimited", "NOFILE=7"],
        "env": ["A", "A=", "A=b c"],
        "umask": ["0027"],
        "nice": ["-3"],
    }
    for text in samples[option]:
        assert declared.text_of(declared.parse(text)) == text
