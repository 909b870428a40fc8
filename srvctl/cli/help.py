"""``srvctl help [WORD]``: the help of a command, the text of an option, or the help of a ready-made handler."""

from __future__ import annotations

from collections.abc import Sequence

import click

from srvctl.cli import completion, parser
from srvctl.cli.foreign_options import FOREIGN_OPTIONS
from srvctl.cli.handlers import handler_help
from srvctl.cli.options import write_options
from srvctl.errors import UsageError, did_you_mean
from srvctl.loader import builtin
from srvctl.net.address import Family


class _HelpCommand(click.Command):
    """A command whose words may be options, which it completes and does not obey."""

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[click.shell_completion.CompletionItem]:
        assert ctx.parent
        return completion.beginning_with(incomplete, _options(ctx.parent))


def _complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> completion.Items:
    if ctx.params.get("words"):
        return []
    assert ctx.parent and isinstance(ctx.parent.command, click.Group)
    commands = completion.beginning_with(incomplete, ctx.parent.command.list_commands(ctx.parent))
    return [*commands, *completion.ready_made_handlers(ctx, param, incomplete)]


@click.command(
    "help",
    cls=_HelpCommand,
    short_help="Explain a family, a command, an option or a handler.",
    context_settings={"ignore_unknown_options": True},
)
@click.argument("words", nargs=-1, metavar="[WORD]", shell_complete=_complete)
@click.pass_context
def help_command(ctx: click.Context, words: Sequence[str]) -> None:
    """Explain WORD: a family, a command, an option with or without its dashes, or a ready-made handler.

    Without WORD, show the help of srvctl.
    """
    assert ctx.parent
    click.echo(_help(ctx.parent, words))


def _help(ctx: click.Context, words: Sequence[str]) -> str:
    """Return the help for `words`: those of a command, or one other word. Raises `LaunchError`."""
    inner = ctx
    for word in words:
        command = inner.command.get_command(inner, word) if isinstance(inner.command, click.Group) else None
        if command is None:
            break
        inner = click.Context(command, info_name=word, parent=inner)
    else:
        return inner.get_help()
    if len(words) > 1:
        raise UsageError("explain", repr(" ".join(words)), "expected a family, a command, an option or a handler")
    return _option_help(ctx, words[0]) or _handler_help(ctx, words[0])


def _options(ctx: click.Context) -> dict[str, click.Option]:
    """Return all options by their flags: those of a server, of ``srvctl unit`` and of srvctl itself."""
    unit = ctx.command.get_command(ctx, "unit") if isinstance(ctx.command, click.Group) else None
    server = unit.get_command(ctx, Family.TCP.word) if isinstance(unit, click.Group) else None
    params = [*(server.get_params(ctx) if server else ()), *ctx.command.get_params(ctx)]
    return {flag: param for param in params if isinstance(param, click.Option) for flag in param.opts}


def _option_help(ctx: click.Context, word: str) -> str:
    """Return the text of an option, or an empty string if `word` is none."""
    options = _options(ctx)
    option = options.get(word) or options.get(f"--{word}")
    if option is None:
        return ""
    formatter = ctx.make_formatter()
    write_options([option], ctx, formatter)
    return formatter.getvalue().strip("\n")


def _handler_help(ctx: click.Context, word: str) -> str:
    points = builtin.installed()
    names = [point.name for point in points]
    if word in names or word in builtin.RENAMED:
        return handler_help(ctx, word, points)
    options = _options(ctx)
    for flag in (word, f"--{word}"):
        if flag in FOREIGN_OPTIONS or flag in parser.RENAMED:
            raise parser.no_such_option(flag, options)
    assert isinstance(ctx.command, click.Group)
    hint = did_you_mean(word, [*options, *ctx.command.list_commands(ctx), *names])
    raise UsageError("explain", repr(word), f"no family, command, option or handler has that name{hint}")
