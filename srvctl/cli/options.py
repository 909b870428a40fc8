"""Options as click has them, for help and completion; made of the declarations in `srvctl.config.options`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import click

from srvctl.cli.completion import directories
from srvctl.config.option import Option
from srvctl.config.options import MODEL_OPTIONS, MODELS, OPTIONS


class GroupedOption(click.Option):
    """An option of click's that knows under which heading the help shows it."""

    def __init__(self, *args: Any, heading: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.heading = heading


def click_options(extra: Sequence[Option[Any]] = ()) -> list[click.Option]:
    """Return the options of a command that serves, in the order of its help; `extra` are those of one command."""
    return [_click_option(option) for option in (*extra, *MODEL_OPTIONS, *OPTIONS)]


def _click_option(option: Option[Any]) -> GroupedOption:
    kwargs: dict[str, Any] = {"help": f"{option.help}  [{_notes(option)}]", "heading": option.group}
    if option.flag:
        kwargs["is_flag"] = True
    elif option.choices:
        kwargs["type"] = click.Choice(option.choices)
    else:
        kwargs["metavar"] = option.metavar
        kwargs["shell_complete"] = directories if option.metavar == "DIRECTORY" else None
    return GroupedOption([*option.flags, option.name], multiple=option.multiple, **kwargs)


def _notes(option: Option[Any]) -> str:
    notes = [] if option.name in MODELS else [f"default: {option.default_text}"]
    return "; ".join([*notes, f"env: {option.envvar}"] if option.envvar else notes)


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
