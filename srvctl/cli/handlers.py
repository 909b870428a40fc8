"""``srvctl handlers [NAME]``: the list of ready-made handlers, and the help of each."""

from __future__ import annotations

import inspect
import re
from importlib.metadata import EntryPoint
from types import ModuleType
from typing import Any

import click

from srvctl.cli import completion
from srvctl.errors import LaunchError, UsageError, did_you_mean
from srvctl.loader import builtin
from srvctl.loader.attributes import declared_attributes
from srvctl.loader.importer import failure
from srvctl.runtime.error_text import describe

_KINDS = {"Stream": "Connections", "Datagram": "Datagrams"}


@click.command("handlers", short_help="List the ready-made handlers, or show one.")
@click.argument("name", required=False, shell_complete=completion.ready_made_handlers)
@click.pass_context
def handlers_command(ctx: click.Context, name: str | None) -> None:
    """List the ready-made handlers that are installed, with a line on each; or show the help of the one named NAME."""
    points = builtin.installed()
    if name is not None:
        click.echo(handler_help(ctx, name, points))
        return
    width = max((len(point.name) for point in points), default=0)
    for point in points:
        try:
            line = builtin.describe(point)
        except (Exception, SystemExit) as error:  # a broken handler of another package does not end the list
            line = f"({describe(error)})"
        by = f" ({point.dist.name})" if point.dist and point.dist.name != "srvctl" else ""
        click.echo(f"{point.name:<{width}}  {line}{by}")


def handler_help(ctx: click.Context, name: str, points: list[EntryPoint]) -> str:
    """Return the help of the ready-made handler `name`: what it does, and what ``--set`` can set.

    Imports the handler. Raises `LaunchError` if there is none of that name, or it cannot be imported.
    """
    point = next((point for point in points if point.name == name), None)
    if name in builtin.RENAMED and point is None:
        raise UsageError("explain", repr(name), f"it is called {builtin.RENAMED[name]!r} now")
    if point is None:
        names = [point.name for point in points]
        hint = did_you_mean(name, names) or f"; expected {', '.join(names)}"
        raise UsageError("explain", repr(name), f"there is no ready-made handler of that name{hint}")
    loaded = _load(point)
    formatter = ctx.make_formatter()
    formatter.write_usage("srvctl", f"FAMILY ADDRESS [OPTIONS] {name}")
    if isinstance(loaded, ModuleType):
        _write_text(formatter, loaded)
        for attribute, kind in _KINDS.items():
            if handler := getattr(loaded, attribute, None):
                with formatter.section(kind):
                    _write_handler(formatter, handler)
    else:
        _write_handler(formatter, loaded)
    formatter.write_paragraph()
    formatter.write_text("More: man srvctl-handlers")
    return formatter.getvalue().rstrip("\n")


def _load(point: EntryPoint) -> Any:
    try:
        return point.load()
    except LaunchError:  # the handler says itself what it lacks
        raise
    except (Exception, SystemExit) as error:
        raise failure("load", f"handler {point.name!r}", error) from error


def _write_handler(formatter: click.HelpFormatter, handler: Any) -> None:
    _write_text(formatter, handler)
    rows = [(f"{name} ({kind})", _default(handler, name)) for name, kind in declared_attributes(handler).items()]
    if rows:
        formatter.write_paragraph()
        formatter.write_text("Attributes, which --set NAME=VALUE sets:")
        with formatter.indentation():
            formatter.write_dl(sorted(rows))


def _write_text(formatter: click.HelpFormatter, documented: Any) -> None:
    """Write the docstring of a module, a class or a function, names in single quotes."""
    text = re.sub("``(.+?)``", r"'\1'", inspect.cleandoc(documented.__doc__ or ""))
    if text:
        formatter.write_paragraph()
        formatter.write_text(text)


def _default(handler: Any, name: str) -> str:
    """Return the default of an attribute as ``--set`` would read it; a text in quotes."""
    match getattr(handler, name, inspect.Parameter.empty):
        case inspect.Parameter.empty:
            return "no default"
        case bool(value):
            return f"default: {'yes' if value else 'no'}"
        case float(value):
            return f"default: {value:g}"
        case None:
            return "default: none"
        case value:
            return f"default: {value!r}"
