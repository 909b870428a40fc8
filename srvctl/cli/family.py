"""A family's command as click has it: ``srvctl FAMILY``, and the same words after ``check`` and ``unit``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import click

from srvctl.cli import completion, parser
from srvctl.cli.options import click_options, write_options
from srvctl.config.option import Option
from srvctl.net.address import Family

# Called with the settings, and with the values of the options that only this command has.
Run = Callable[..., Any]

SUMMARIES = {
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
    Family.FD: "Socket inherited from systemd, inetd or a shell",
}
_ADDRESSES = {
    "ip": ":9000 or 9000 (every interface), 127.0.0.1:9000, [::1]:9000, host:9000 or :http. "
    "With port 0 the kernel chooses a port.",
    "unix": "a path, or @name in the abstract namespace.",
    "vsock": "CID:PORT or :PORT.",
    "fd": "the number of an inherited descriptor, or its name in LISTEN_FDNAMES.",
}
_HELP = (
    "HANDLER is pkg.mod:Name, path/to/file.py:Name, or the name of a ready-made handler (see: srvctl handlers); the "
    "default is echo. Any class or function that can be called as (request, client_address, server) is a handler.",
    "PROGRAM is executed for each connection, with the connection as its standard input and output, or for each "
    "datagram.",
    "SECONDS may have a unit: 500ms, 30s, 2m or 1h. The word off turns a limit off. In brackets are the default of an "
    "option and the environment variable that sets it.",
)


class FamilyCommand(click.Command):
    """``FAMILY ADDRESS [OPTIONS] [HANDLER | -- PROGRAM]``: read by `srvctl.cli.parser`, described by click."""

    def __init__(self, family: Family, run: Run, extra: Sequence[Option[Any]]) -> None:
        complete_address = completion.paths if family.domain == "unix" else completion.nothing
        arguments = [
            click.Argument(["address"], shell_complete=complete_address),
            click.Argument(["handler"], required=False, shell_complete=completion.handlers),
        ]
        super().__init__(
            family.word,
            params=[arguments[0], *click_options(extra), arguments[1]],
            help="\n\n".join([f"{SUMMARIES[family]}.", f"ADDRESS is {_ADDRESSES[family.domain]}", *_HELP]),
            short_help=SUMMARIES[family],
            options_metavar="[OPTIONS]",
        )
        self._family, self._run, self._extra = family, run, extra

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.meta[completion.IS_PROGRAM] = "--" in args
        if ctx.resilient_parsing or parser.wants_help(args):
            return super().parse_args(ctx, args)
        ctx.obj = parser.parse(self._family.word, args, self._extra)
        return []

    def invoke(self, ctx: click.Context) -> Any:
        settings, others = ctx.obj
        return self._run(settings, **others)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> completion.Items:
        if ctx.meta.get(completion.IS_PROGRAM):
            return completion.paths(ctx, None, incomplete)
        return super().shell_complete(ctx, incomplete)

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        return ["ADDRESS [OPTIONS] [HANDLER | -- PROGRAM [ARG]...]"]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        write_options(self.get_params(ctx), ctx, formatter)
