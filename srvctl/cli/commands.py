"""The commands as click has them, with their help: a family each, ``check``, ``unit``, ``handlers`` and ``help``."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any

import click

import srvctl
from srvctl.cli import banner, output
from srvctl.cli.errors import from_click, report
from srvctl.cli.family import FamilyCommand, Run
from srvctl.config.option import Option
from srvctl.config.options import OPTIONS
from srvctl.config.settings import Settings
from srvctl.errors import ExitStatus, UsageError, did_you_mean
from srvctl.net.address import Family
from srvctl.supervisor.launch import launch

_USAGE = "FAMILY ADDRESS [OPTIONS] [HANDLER | -- PROGRAM [ARG]...]"
_SUMMARY = "Run a socket server with a Python handler, or a program for each request."
# What the one screen of `srvctl --help` shows.
_ADDRESSES = (
    ("tcp tcp4 tcp6 udp udp4 udp6", ":9000, 127.0.0.1:9000 or [::1]:9000"),
    ("unix unix-dgram unix-seqpacket", "a path, or @name"),
    ("vsock", "CID:PORT, or :PORT"),
    ("fd", "number or name of an inherited socket"),
)
_EXAMPLES = (
    "srvctl tcp :9000 --threads app.py:Echo",
    "srvctl unix /run/app.sock --workers 4 package.module:Handler",
    "srvctl udp 127.0.0.1:9000 -- ./program --its-option",
)
_FREQUENT = (
    *("max_connections", "workers", "idle_timeout", "graceful_timeout"),
    *("set", "announce", "log_format"),
)


class _LazyCommands(dict[str, Any]):
    """Commands by name, each made when it is first asked for: the options of one family take 3 ms."""

    def __getitem__(self, name: str) -> click.Command:
        command: Any = super().__getitem__(name)
        if not isinstance(command, click.Command):
            command = self[name] = command()
        made: click.Command = command
        return made

    def get(self, name: str, default: Any = None) -> Any:
        try:
            return self[name]
        except KeyError:
            return default


def _family_commands(run: Run, extra: Sequence[Option[Any]] = ()) -> dict[str, Any]:
    return {family.word: partial(FamilyCommand, family, run, extra) for family in Family}


class _FamilyGroup(click.Group):
    """A command whose next word is a family."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if self.get_command(ctx, args[0]) is None and not args[0].startswith("-"):
            Family.named(args[0])  # raises, with the words that are families
        return super().resolve_command(ctx, args)

    def format_usage(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        formatter.write_usage(ctx.command_path, _USAGE)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("FAMILY and ADDRESS"):
            formatter.write_dl(_ADDRESSES)
        family = f"{ctx.command_path} {Family.TCP.word}"
        formatter.write_paragraph()
        formatter.write_text(f"The options are those of a family: {family} --help")


@contextlib.contextmanager
def _reader_may_leave() -> Iterator[None]:
    """End the command with status 0 when nobody reads what it prints; click would end it with 1."""
    try:
        yield
    except BrokenPipeError:
        if not output.discard_unread():
            raise
        raise click.exceptions.Exit(ExitStatus.OK) from None


class _Program(_FamilyGroup):
    """The whole command line. Its help fits one screen."""

    def make_context(self, *args: Any, **extra: Any) -> click.Context:
        with _reader_may_leave():
            return super().make_context(*args, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        with _reader_may_leave():
            return super().invoke(ctx)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        word = args[0]
        if self.get_command(ctx, word) is None and not word.startswith("-"):
            own_flags = [flag for param in self.get_params(ctx) for flag in param.opts]
            if hint := did_you_mean(word, [*self.commands, *own_flags]):
                raise UsageError("serve", repr(word), f"no such family or command{hint}")
        return super().resolve_command(ctx, args)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("FAMILY and ADDRESS"):
            formatter.write_dl(_ADDRESSES)
        with formatter.section("Frequent options"):
            formatter.write_dl(list(_frequent_options()))
        with formatter.section("Examples"):
            for example in _EXAMPLES:
                formatter.write_text(example)
        with formatter.section("Other commands"):
            others = [name for name in self.commands if name not in {family.word for family in Family}]
            formatter.write_dl([(name, self.commands[name].get_short_help_str(80)) for name in others])
        formatter.write_paragraph()
        formatter.write_text("More: srvctl tcp --help (all options), man srvctl, man srvctl-handlers")


def _frequent_options() -> Iterable[tuple[str, str]]:
    yield "--threads | --fork", "Serve each request in a thread, or in a process."
    options = {option.name: option for option in OPTIONS}
    for name in _FREQUENT:
        option = options[name]
        value = option.metavar or "|".join(option.choices)
        yield f"{', '.join(option.flags)} {value}".rstrip(), option.help


def _serve(settings: Settings) -> int:
    return int(launch(settings, show_banner=banner.show))


def _check_command() -> click.Command:
    from srvctl.cli.check import CHECK_OPTIONS, print_check

    return _FamilyGroup(
        "check",
        help="Check what the same words would start: the address, the handler and the server. Serves nothing.",
        short_help="Check what the same words would start.",
        commands=_LazyCommands(_family_commands(print_check, CHECK_OPTIONS)),
    )


def _unit_command() -> click.Command:
    from srvctl.cli.unit import UNIT_OPTIONS, print_units

    return _FamilyGroup(
        "unit",
        help="Print a hardened systemd unit that starts the same words.",
        short_help="Print a systemd unit that starts the same words.",
        commands=_LazyCommands(_family_commands(print_units, UNIT_OPTIONS)),
    )


def _handlers_command() -> click.Command:
    from srvctl.cli.handlers import handlers_command

    return handlers_command


def _help_command() -> click.Command:
    from srvctl.cli.help import help_command

    return help_command


def make_command() -> click.Group:
    """Return the whole command line."""
    others: dict[str, Callable[[], click.Command]] = {
        "check": _check_command,
        "unit": _unit_command,
        "handlers": _handlers_command,
        "help": _help_command,
    }
    program = _Program(
        "srvctl",
        help=_SUMMARY,
        commands=_LazyCommands(_family_commands(_serve) | others),
        no_args_is_help=True,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    )
    click.version_option(srvctl.__version__, "-V", "--version", message="%(prog)s %(version)s")(program)
    return program


def run(words: Sequence[str]) -> int:
    """Run a command; return its exit status. Raises `LaunchError`."""
    try:
        outcome = make_command().main(list(words), prog_name="srvctl", standalone_mode=False)
        return outcome if isinstance(outcome, int) else ExitStatus.OK
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.ctx.get_help() if error.ctx else "", err=True)
        return ExitStatus.USAGE
    except click.ClickException as error:
        return report(from_click(error))
    except click.Abort:
        return ExitStatus.SOFTWARE
