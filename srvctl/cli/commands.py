"""The command line: words to `Settings`, errors to one line and an exit status. Only this module prints or exits."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

import srvctl
from srvctl.cli.options import GroupedOption, click_options, write_options
from srvctl.config.settings import MODELS, RENAMED, Settings, envvar
from srvctl.errors import ExitStatus, LaunchError, UsageError, from_os_error
from srvctl.net.address import Family
from srvctl.runtime import log
from srvctl.supervisor.launch import check as check_launch
from srvctl.supervisor.launch import launch
from srvctl.supervisor.signals import StoppedEarly, die_of
from srvctl.systemd import protocol as systemd

if TYPE_CHECKING:
    from srvctl.supervisor.worker_process import WorkerProcess

_ADDRESSES = {
    "ip": ":9000 (every interface), 127.0.0.1:9000, [::1]:9000, host:9000, :http, or 9000; port 0: the kernel chooses",
    "unix": "a path, or @name in the abstract namespace",
    "vsock": "CID:PORT or :PORT",
    "fd": "the number of an inherited descriptor, or its name in LISTEN_FDNAMES",
}
_SUMMARIES = {
    Family.TCP: "TCP over IPv6 and IPv4",
    Family.TCP4: "TCP over IPv4",
    Family.TCP6: "TCP over IPv6",
    Family.UDP: "UDP over IPv6 and IPv4",
    Family.UDP4: "UDP over IPv4",
    Family.UDP6: "UDP over IPv6",
    Family.UNIX: "Unix stream socket",
    Family.UNIX_DGRAM: "Unix datagram socket",
    Family.UNIX_SEQPACKET: "Unix sequenced-packet socket",
    Family.VSOCK: "Stream socket between a virtual machine and its host",
    Family.FD: "A socket that was inherited, from systemd or a shell",
}
_HELP = "Serve a socket: an address family and type, a concurrency model, and a handler in Python or any program."
_HANDLER_HELP = (
    "HANDLER is pkg.mod:Name, pkg.mod.Name, path/to/file.py:Name, or the name of a ready-made handler (see: srvctl "
    "handlers); echo when there is none. Anything that can be called as (request, client_address, server) will do. "
    "PROGRAM is executed for each connection, which is its standard input and output, or for each datagram."
)


class _FamilyCommand(click.Command):
    """``srvctl FAMILY ADDRESS [OPTIONS] [HANDLER | -- PROGRAM]``; its options are shown under their headings."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        program: tuple[str, ...] | None = None
        if "--" in args:
            at = args.index("--")
            args, program = args[:at], tuple(args[at + 1 :])
        rest = super().parse_args(ctx, args)
        if program is not None and not ctx.resilient_parsing:
            if not program:
                raise UsageError("run", "a program", "there is none behind --")
            if ctx.get_parameter_source("handler") is ParameterSource.COMMANDLINE:
                both = f"handler {ctx.params['handler']!r} and a program"
                raise UsageError("serve", both, "expected one of them")
            ctx.params |= {"handler": "", "program": program}
        return rest

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        return [*super().collect_usage_pieces(ctx), "[-- PROGRAM [ARG]...]"]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        write_options(self.get_params(ctx), ctx, formatter)


class _Commands(dict[str, Any]):
    """Commands by name, each made when it is asked for: the options of all families are 40 ms of a start."""

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


def _family_commands(run: Callable[..., None], *more: click.Option) -> dict[str, click.Command]:
    return _Commands({family.word: partial(_family_command, family, run, more) for family in Family})


def _family_command(family: Family, run: Callable[..., None], more: tuple[click.Option, ...]) -> click.Command:
    """Return the command of a family: `run` is called with the settings, and with the values of the options `more`."""

    def callback(address: str, handler: str, program: tuple[str, ...] = (), **given: Any) -> None:
        others = {option.name: given.pop(option.name) for option in more if option.name}
        run(_settings_of(family, address, handler, program, given), **others)

    return _FamilyCommand(
        family.word,
        callback=callback,
        params=[
            click.Argument(["address"]),
            *more,
            *click_options(),
            click.Argument(["handler"], required=False, default="echo"),
        ],
        help=f"{_SUMMARIES[family]}.\n\nADDRESS is {_ADDRESSES[family.domain]}.\n\n{_HANDLER_HELP}",
        short_help=_SUMMARIES[family],
        options_metavar="[OPTIONS]",
    )


def _settings_of(
    family: Family, address: str, handler: str, program: tuple[str, ...], given: dict[str, Any]
) -> Settings:
    _refuse_old_variables()
    model = _chosen_model({model: given.pop(model) for model in MODELS}, "fork" if program else "sync")
    given = {name: value for name, value in given.items() if value is not None and value is not False and value != ()}
    if "verbose" in given and "quiet" in given:
        raise UsageError("use", "--verbose and --quiet", "they exclude each other")
    if model == "sync" and "max_connections" in given and given["max_connections"] != given.get("workers", 1):
        raise UsageError(
            "use",
            f"--max-connections {given['max_connections']}",
            "without --threads or --fork, one request is served at a time by each worker",
        )
    return Settings.resolve(family.word, address, handler, model, program, **given)


def _refuse_old_variables() -> None:
    """Refuse an environment that sets an option by a name that it has no longer: it would be ignored without a word."""
    for old, new in RENAMED.items():
        if envvar(old) in os.environ:
            raise UsageError("use", f"the variable {envvar(old)}", f"it is called {envvar(new)} now")


def _chosen_model(flags: dict[str, bool], default: str) -> str:
    """Return the one concurrency model that was asked for; the command line beats the environment."""
    context = click.get_current_context()
    asked = [model for model in MODELS if flags[model]]
    typed = [m for m in asked if context.get_parameter_source(m) is ParameterSource.COMMANDLINE]
    chosen = typed or asked
    if len(chosen) > 1:
        raise UsageError("use", " and ".join(f"--{model}" for model in chosen), "expected one concurrency model")
    return chosen[0] if chosen else default


class _Launcher(click.Group):
    """The commands: a family each, and a few words that are none."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if self.get_command(ctx, args[0]) is None and not args[0].startswith("-"):
            Family.named(args[0])  # raises, with the words that are families
        return super().resolve_command(ctx, args)

    def format_usage(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        formatter.write_usage(ctx.command_path, "FAMILY ADDRESS [OPTIONS] [HANDLER | -- PROGRAM [ARG]...]")

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Families"):
            formatter.write_dl([(f"{family.word} ADDRESS", _SUMMARIES[family]) for family in Family])
        with formatter.section("Addresses"):
            domains = {"ip": "tcp, udp", "unix": "unix...", "vsock": "vsock", "fd": "fd"}
            formatter.write_dl([(domains[domain], text) for domain, text in _ADDRESSES.items()])
        others = [name for name in self.commands if name not in {family.word for family in Family}]
        if others:
            with formatter.section("Other commands"):
                formatter.write_dl([(name, self.commands[name].get_short_help_str(80)) for name in others])
        write_options([*self.commands[Family.TCP.word].params, *self.get_params(ctx)], ctx, formatter)


def _serve(settings: Settings) -> None:
    raise SystemExit(launch(settings, click.get_current_context().obj))


def _check(settings: Settings) -> None:
    for name, value in check_launch(settings).items():
        click.echo(f"{name:<8} {value}")


def _check_command() -> click.Command:
    return _Launcher(
        "check",
        help="Check what the same words would start: the address, the handler, the server class. Serves nothing.",
        short_help="Check what the same words would start, without serving",
        commands=_family_commands(_check),
    )


def _unit_command() -> click.Command:
    return _Launcher(
        "unit",
        help="Print a hardened systemd unit that starts what the same words would start.",
        short_help="Print a systemd unit that starts the same words",
        commands=_family_commands(_unit, *_unit_options()),
    )


def _unit_options() -> list[click.Option]:
    from srvctl.unit.service import NOTIFY_RELOAD_VERSION  # with `shutil`, 7 ms that a server does not need

    return [
        GroupedOption(["--socket"], is_flag=True, help="Print the matching .socket too.", heading="Unit"),
        GroupedOption(["--name"], default="", help="The name of the units.", heading="Unit"),
        GroupedOption(
            ["--systemd-version"],
            type=int,
            default=NOTIFY_RELOAD_VERSION,
            metavar="N",
            heading="Unit",
            help=f"The systemd that is to read them.  [default: {NOTIFY_RELOAD_VERSION} or newer]",
        ),
        GroupedOption(
            ["--write"],
            type=click.Path(exists=True, file_okay=False),
            metavar="DIRECTORY",
            heading="Unit",
            help="Write the units there instead of to standard output.",
        ),
    ]


def _unit(settings: Settings, socket: bool, name: str, systemd_version: int, write: str | None) -> None:
    from srvctl.unit.service import default_name, units

    made = units(settings, name or default_name(settings), socket, systemd_version)
    for file, text in made.items():
        if write:
            path = os.path.join(write, file)
            try:
                with open(path, "w", encoding="utf-8") as unit:
                    unit.write(text)
            except OSError as error:
                raise from_os_error("write", path, error) from error
            click.echo(path)
        else:
            click.echo(f"# {file}\n{text}" if len(made) > 1 else text, nl=False)


@click.command("handlers")
def _handlers() -> None:
    """List the ready-made handlers that are installed, with a line on each."""
    from srvctl.loader import builtin

    points = builtin.installed()
    width = max((len(point.name) for point in points), default=0)
    for point in points:
        try:
            line = builtin.describe(point)
        except (Exception, SystemExit) as error:  # somebody else's package, broken: the list goes on
            line = f"({log.describe(error)})"
        by = f" ({point.dist.name})" if point.dist and point.dist.name != "srvctl" else ""
        click.echo(f"{point.name:<{width}}  {line}{by}")


def make_command() -> click.Group:
    """Return the whole command line."""
    others = {"check": _check_command, "unit": _unit_command, "handlers": lambda: _handlers}
    program = _Launcher(
        "srvctl",
        help=f"{_HELP}\n\n{_HANDLER_HELP}",
        commands=_Commands(_family_commands(_serve) | others),
        no_args_is_help=True,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    )
    click.version_option(srvctl.__version__, "-V", "--version", message="%(prog)s %(version)s")(program)
    return program


def run(argv: list[str] | None = None, booted: WorkerProcess | None = None) -> int:
    """Run the command line; return its exit status. Dies of a signal that came before the server was ready.

    `booted` is a worker for the server, if the words ask for one; it stays the caller's if they do not.
    """
    try:
        outcome = make_command().main(argv, prog_name="srvctl", standalone_mode=False, obj=booted)
        return outcome if isinstance(outcome, int) else ExitStatus.OK
    except LaunchError as error:
        return _fail(error)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.ctx.get_help() if error.ctx else "", err=True)
        return ExitStatus.USAGE
    except click.ClickException as error:
        return _fail(_translated(error))
    except click.Abort:
        return ExitStatus.SOFTWARE
    except StoppedEarly as stopped:
        die_of(stopped.number)
        return ExitStatus.SOFTWARE
    except BrokenPipeError:  # of `srvctl handlers | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitStatus.OK


def _translated(error: click.ClickException) -> UsageError:
    """Put what click found into the one form of an error."""
    match error:
        case click.NoSuchOption() if error.option_name in RENAMED:
            return UsageError("use", error.option_name, f"it is called {RENAMED[error.option_name]} now")
        case click.NoSuchOption():
            hint = f"; did you mean {' or '.join(error.possibilities)}?" if error.possibilities else ""
            return UsageError("use", f"option {error.option_name!r}", f"no such option{hint}")
        case click.MissingParameter(param=param) if param is not None:
            words = error.ctx.command.name or "" if error.ctx else ""
            return UsageError("serve", words, f"{param.human_readable_name} is missing")
        case click.BadParameter(param=param) if param is not None:
            return UsageError("use", param.opts[0], error.message.rstrip("."))
        case click.BadOptionUsage():
            return UsageError("use", f"option {error.option_name!r}", error.message.rstrip("."))
    return UsageError("read", "the command line", error.format_message().rstrip("."))


def _fail(error: LaunchError) -> int:
    if error.detail:
        click.echo(error.detail.rstrip("\n"), err=True)
    line = str(error).encode("unicode_escape").decode().replace("\\\\", "\\")
    click.echo(f"srvctl: error: {line}", err=True)
    systemd.notify(f"STATUS={line}\nERRNO={int(error.status)}")
    return int(error.status)
