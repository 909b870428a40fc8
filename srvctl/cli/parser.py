"""Parser of ``FAMILY ADDRESS [OPTIONS] [HANDLER | -- PROGRAM [ARG]...]``: words and variables to settings.

It is ours because a server would wait for click: importing that takes as long as a worker takes to start. click has the
same declarations, and does what no server waits for: help, completion and the other commands.
"""

from __future__ import annotations

import os

from srvctl.config.option import variable_of
from srvctl.config.options import MODEL_OPTIONS, MODELS, OPTIONS
from srvctl.config.settings import Settings
from srvctl.errors import UsageError, did_you_mean

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from typing import Any

    from srvctl.config.option import Option

HELP_FLAGS = ("-h", "--help")

# What options were called in 0.1.0, and what they are called now.
RENAMED = {
    "--drain-idle": "--drain-idle-timeout",
    "--graceful": "--graceful-timeout",
    "--max": "--max-connections",
    "--max-age": "--max-worker-age",
    "--max-rss": "--max-worker-memory",
    "--max-served": "--max-requests",
    "--max-served-jitter": "--max-requests-jitter",
    "--timeout": "--max-duration",
}

_YES, _NO = ("1", "true", "t", "yes", "y", "on"), ("0", "false", "f", "no", "n", "off")


def parse(family: str, words: Sequence[str], extra: Sequence[Option[Any]] = ()) -> tuple[Settings, dict[str, Any]]:
    """Return the settings that `words` and the environment ask for, and the values of the options `extra`.

    Raises `UsageError`.
    """
    words, program = _split_program(words)
    options = (*MODEL_OPTIONS, *extra, *OPTIONS)
    arguments, typed = _scan(words, {flag: option for option in options for flag in option.flags})
    if not arguments:
        raise UsageError("serve", family, "ADDRESS is missing")
    address, *handlers = arguments.values()
    if len(handlers) > 1:
        raise _forgotten_dashes(words, arguments) or _unexpected(handlers[1:])
    if handlers and program:
        raise UsageError("serve", f"handler {handlers[0]!r} and a program", "expected one of them")
    variables = _read_variables(option for option in options if option.name not in typed)
    model = _choose_model(typed, variables) or ("fork" if program else "sync")
    given = {name: value for name, value in {**variables, **typed}.items() if name not in MODELS}
    others = {option.name: given.pop(option.name, option.default) for option in extra}
    handler = "" if program else handlers[0] if handlers else "echo"
    return Settings.resolve(family, address, handler, model, program, **given), others


def wants_help(words: Sequence[str]) -> bool:
    """Tell whether `words` ask for help; what follows ``--`` is the program's."""
    end = words.index("--") if "--" in words else len(words)
    return any(word in HELP_FLAGS for word in words[:end])


def _split_program(words: Sequence[str]) -> tuple[Sequence[str], tuple[str, ...]]:
    if "--" not in words:
        return words, ()
    at = words.index("--")
    if at + 1 == len(words):
        raise UsageError("run", "a program", "there is none after --")
    return words[:at], tuple(words[at + 1 :])


def _scan(words: Sequence[str], options: dict[str, Option[Any]]) -> tuple[dict[int, str], dict[str, Any]]:
    """Return the arguments by position, and the values of options by name.

    Options may stand anywhere; the last one counts.
    """
    arguments: dict[int, str] = {}
    typed: dict[str, Any] = {}
    rest = enumerate(words)
    following = (word for _, word in rest)
    for position, word in rest:
        if not word.startswith("-") or word == "-":
            arguments[position] = word
            continue
        for flag, value in _flags_of(word):
            option = options.get(flag)
            if option is None:
                raise _forgotten_dashes(words, arguments) or no_such_option(flag, options)
            read = _typed_value(option, flag, value, following)
            typed[option.name] = (*typed.get(option.name, ()), read) if option.multiple else read
    return arguments, typed


def _flags_of(word: str) -> Iterator[tuple[str, str | None]]:
    """Yield each flag in `word` with the value after its equals sign: ``--name=value``, or letters as in ``-vq``."""
    if word.startswith("--"):
        flag, equals, value = word.partition("=")
        yield flag, value if equals else None
    else:
        for letter in word[1:]:
            yield f"-{letter}", None


def _typed_value(option: Option[Any], flag: str, value: str | None, rest: Iterator[str]) -> Any:
    """Return the value of a typed option: from its own word, or else the next word."""
    if option.flag:
        if value is not None:
            hint = "; --max-connections is the number" if option in MODEL_OPTIONS else ""
            raise UsageError("use", f"option {flag!r}", f"it takes no value{hint}")
        return True
    if value is None:
        value = next(rest, None)
    if value is None:
        expected = option.metavar or "|".join(option.choices)
        raise UsageError("use", f"option {flag!r}", f"its value is missing; expected {flag} {expected}")
    return _read(option, value, "")


def _read(option: Option[Any], text: str, source: str) -> Any:
    try:
        return option.read(text)
    except ValueError as error:
        raise UsageError("use", f"{option.long_flag} {text!r}", f"{error}{source}") from None


def no_such_option(flag: str, valid: Iterable[str]) -> UsageError:
    """Return the error for an option that is none of the `valid` ones."""
    from srvctl.cli.foreign_options import FOREIGN_OPTIONS

    if flag in RENAMED:
        return UsageError("use", flag, f"it is called {RENAMED[flag]} now")
    if flag in FOREIGN_OPTIONS:
        return UsageError("use", flag, FOREIGN_OPTIONS[flag])
    return UsageError("use", f"option {flag!r}", f"no such option{did_you_mean(flag, [*valid, '--help'])}")


def _forgotten_dashes(words: Sequence[str], arguments: dict[int, str]) -> UsageError | None:
    """Return the error for a program in the place of the handler, with words after it that only a program can have."""
    from srvctl.loader.builtin import OWN
    from srvctl.loader.mistaken_handler import explain_program

    position, handler = [*arguments.items(), (0, ""), (0, "")][1]
    return explain_program(words[position:]) if handler and handler not in OWN else None


def _unexpected(arguments: Iterable[str]) -> UsageError:
    return UsageError("read", "the command line", f"unexpected argument ({' '.join(arguments)})")


def _read_variables(options: Iterable[Option[Any]]) -> dict[str, Any]:
    """Return the values that the environment sets, by name. An empty variable sets nothing, nor does a flag's "no"."""
    for old, new in RENAMED.items():
        if (name := variable_of(old)) in os.environ:  # it would be ignored silently
            raise UsageError("use", f"the variable {name}", f"it is called {variable_of(new)} now")
    found: dict[str, Any] = {}
    for option in options:
        if text := os.environ.get(option.envvar):
            source = f" (from the variable {option.envvar})"
            if option.flag:
                found[option.name] = _read_flag(option, text, source)
            elif option.multiple:
                found[option.name] = tuple(_read(option, part, source) for part in text.split())
            else:
                found[option.name] = _read(option, text, source)
    return {name: value for name, value in found.items() if value is not False and value != ()}


def _read_flag(option: Option[Any], text: str, source: str) -> bool:
    word = text.strip().lower()
    if word not in _YES + _NO:
        raise UsageError("use", f"{option.long_flag} {text!r}", f"expected yes or no{source}")
    return word in _YES


def _choose_model(typed: dict[str, Any], variables: dict[str, Any]) -> str:
    """Return the one concurrency model that was asked for, or an empty text. What is typed beats the environment."""
    chosen = [m for m in MODELS if m in typed] or [m for m in MODELS if m in variables]
    if len(chosen) > 1:
        raise UsageError("use", " and ".join(f"--{model}" for model in chosen), "expected one concurrency model")
    return chosen[0] if chosen else ""
