"""Options: each declared once, with what the help, the environment and the manual page show of it."""

from __future__ import annotations

import pytest

from srvctl.config.option import Option
from srvctl.config.options import MODEL_OPTIONS, MODELS, OPTIONS
from srvctl.config.settings import Settings

options = pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name)


@options
def test_an_option_is_complete(option: Option[object]) -> None:
    """The help has a sentence, a heading, a default to show, and what stands for the value."""
    assert option.help.endswith(".") and option.help[0].isupper()
    assert option.group in ("Concurrency", "Workers", "Socket", "Handler", "Program", "Time", "Output")
    assert option.default_text
    assert option.flag or option.choices or option.metavar


@options
def test_the_variable_of_an_option_has_its_name(option: Option[object]) -> None:
    """The variable is the option's name in capitals, after SRVCTL_."""
    assert option.envvar == f"SRVCTL_{option.name.upper()}"
    assert option.long_flag == "--" + option.name.replace("_", "-")


def test_flags_and_variables_are_unique() -> None:
    """No two options share a flag or a variable, models included."""
    flags = [flag for option in OPTIONS for flag in option.flags] + [f"--{model}" for model in MODELS]
    variables = [option.envvar for option in (*OPTIONS, *MODEL_OPTIONS)]
    assert len(set(flags)) == len(flags)
    assert len(set(variables)) == len(variables)


@options
def test_the_default_of_a_choice_is_one_of_its_words(option: Option[object]) -> None:
    """A flag's default is off."""
    assert not option.choices or option.default in option.choices
    assert not option.flag or option.default is False


def test_an_option_of_the_class_is_its_declaration() -> None:
    """On the class an option is its declaration; the help is made from that."""
    assert Settings.graceful_timeout in OPTIONS


@pytest.mark.parametrize("option", ["rlimit", "env", "umask", "nice"])
def test_a_value_reads_back_as_it_was_written(option: str) -> None:
    """A unit file has these texts on its command line."""
    (declared,) = [o for o in OPTIONS if o.name == option]
    samples = {
        "rlimit": ["CPU=1:unlimited", "NOFILE=7"],
        "env": ["A", "A=", "A=b c"],
        "umask": ["0027"],
        "nice": ["-3"],
    }
    for text in samples[option]:
        assert declared.text_of(declared.read(text)) == text


def test_a_choice_takes_its_words_only() -> None:
    """Any other word is an error that lists them."""
    at_limit = next(option for option in OPTIONS if option.name == "at_limit")
    assert at_limit.read("refuse") == "refuse"
    with pytest.raises(ValueError, match=r"^expected wait or refuse$"):
        at_limit.read("x")
    with pytest.raises(ValueError, match=r"^expected wait or refuse; did you mean refuse\?$"):
        at_limit.read("refues")


def test_a_limit_that_is_off_is_shown_so() -> None:
    """The word `off` that the help shows is read as the default."""
    shown_off = [option for option in OPTIONS if option.default_text == "off" and not option.flag]
    names = {"hang_timeout", "max_requests", "max_worker_age", "max_worker_memory", "idle_timeout", "max_duration"}
    assert {option.name for option in shown_off} == names
    for option in shown_off:
        value = option.read("off")
        assert (value, type(value)) == (option.default, type(option.default))
