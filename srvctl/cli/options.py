"""`srvctl.config.settings.OPTIONS` as click has them: their types, their help, and the headings they stand under."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import click

from srvctl.config.settings import MODELS, OPTIONS, Option
from srvctl.errors import UsageError

_MODEL_HELP = {
    "sync": "Serve one request at a time (default).",
    "threads": "Serve each request in a thread of a pool.",
    "fork": "Serve each request in a process of its own.",
}

if TYPE_CHECKING:
    ParamType = click.ParamType[Any]
else:  # generic only since click 8.4, and there for type checkers
    ParamType = click.ParamType


class _ParsedType(ParamType):
    """An option's value, read by the function that its declaration names."""

    def __init__(self, option: Option[Any]) -> None:
        self._option = option
        self.name = option.metavar or "TEXT"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        try:
            return self._option.parse(value)
        except ValueError as error:
            raise UsageError("use", f"{self._option.long_flag} {value!r}", str(error)) from None


class _ChoiceType(click.Choice[str]):
    """An option's value, one of a few words."""

    def __init__(self, option: Option[Any]) -> None:
        super().__init__(option.choices)
        self._flag = option.long_flag

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value not in self.choices:
            raise UsageError("use", f"{self._flag} {value!r}", f"expected {' or '.join(self.choices)}")
        return value


class GroupedOption(click.Option):
    """An option of click's that knows under which heading the help shows it."""

    def __init__(self, *args: Any, heading: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.heading = heading


def click_options() -> Iterator[GroupedOption]:
    """Yield the options of a command that serves: the models first, then each that is declared."""
    for model in MODELS:
        envvar = f"SRVCTL_{model.upper()}"
        help = f"{_MODEL_HELP[model]}  [env: {envvar}]"
        yield GroupedOption([f"--{model}"], is_flag=True, envvar=envvar, help=help, heading="Concurrency")
    for option in OPTIONS:
        yield _click_option(option)


def _click_option(option: Option[Any]) -> GroupedOption:
    shown = option.default_text or ("off" if option.default is False else _default_text(option.default))
    help = f"{option.help}  [default: {shown}; env: {option.envvar}]"
    kwargs: dict[str, Any] = {"help": help, "envvar": option.envvar, "heading": option.group}
    if option.flag:
        kwargs["is_flag"] = True
    elif option.choices:
        kwargs["type"] = _ChoiceType(option)
    else:
        kwargs["type"] = _ParsedType(option)
        kwargs["metavar"] = option.metavar
    if option.multiple:
        kwargs["multiple"] = True
    return GroupedOption([*option.flags, option.name], **kwargs)


def _default_text(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def write_options(params: Iterable[click.Parameter], ctx: click.Context, formatter: click.HelpFormatter) -> None:
    """Write options under their headings, in the order in which they come."""
    headings: dict[str, list[tuple[str, str]]] = {}
    for param in params:
        heading = getattr(param, "heading", "Other")
        if isinstance(param, click.Option) and (record := param.get_help_record(ctx)):
            headings.setdefault(heading, []).append(record)
    for heading, records in headings.items():
        with formatter.section(heading):
            formatter.write_dl(records)
