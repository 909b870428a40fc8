"""Every option, declared once: its flags, type, default and help.

The parser of the command line, ``--help``, the environment variables and the test of the manual page are all made from
these declarations. What options mean together is in `srvctl.config.rules`.
"""

from __future__ import annotations

from srvctl.config.option import Option
from srvctl.config.parsers import (
    BACKLOG_OF_THE_KERNEL,
    or_off,
    parse_assignment,
    parse_backlog,
    parse_count,
    parse_limit,
    parse_mode,
    parse_nice,
    parse_owner,
    parse_seconds,
    parse_size,
    parse_variable,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

# The concurrency models. Each is a flag; a `Settings` has the model that was chosen.
MODELS = ("sync", "threads", "fork")
MODEL_OPTIONS = (
    Option("--sync", False, "Serve one request at a time; the default.", group="Concurrency", flag=True),
    Option("--threads", False, "Serve each request in a thread of a pool.", group="Concurrency", flag=True),
    Option("--fork", False, "Serve each request in a process of its own.", group="Concurrency", flag=True),
)


class Options:
    """The options of a server, in the order of the help. As long as there are options: a declaration is a few lines."""

    __slots__ = ("values",)

    values: Mapping[str, Any]

    max_connections = Option(
        "--max-connections",
        0,
        "Serve at most N requests at the same time.",
        group="Concurrency",
        parse=parse_count,
        metavar="N",
        default_text="40 with --fork, 512 with --threads",
    )
    at_limit = Option(
        "--at-limit",
        "wait",
        "At --max-connections, wait leaves new clients in the kernel's queue; refuse accepts and closes them.",
        group="Concurrency",
        choices=("wait", "refuse"),
    )
    workers = Option(
        "--workers",
        1,
        "Run N workers, which share --max-connections.",
        group="Workers",
        parse=parse_count,
        metavar="N",
    )
    start_limit = Option(
        "--start-limit",
        5,
        "Exit when no worker serves and N workers in a row have failed to start.",
        group="Workers",
        parse=parse_count,
        metavar="N",
    )
    start_timeout = Option(
        "--start-timeout",
        60.0,
        "Kill a worker that has not loaded its handler after this time.",
        group="Workers",
        parse=or_off(parse_seconds),
        metavar="SECONDS",
    )
    hang_timeout = Option(
        "--hang-timeout",
        0.0,
        "Replace a worker whose Python interpreter has not responded for this time.",
        group="Workers",
        parse=or_off(parse_seconds),
        metavar="SECONDS",
        default_text="off",
    )
    max_requests = Option(
        "--max-requests",
        0,
        "Replace a worker after N requests.",
        group="Workers",
        parse=or_off(parse_count),
        metavar="N",
        default_text="off",
    )
    max_requests_jitter = Option(
        "--max-requests-jitter",
        0,
        "Add a random number up to N to --max-requests, so that workers are not replaced all at once.",
        group="Workers",
        parse=parse_count,
        metavar="N",
    )
    max_worker_age = Option(
        "--max-worker-age",
        0.0,
        "Replace a worker after this time.",
        group="Workers",
        parse=or_off(parse_seconds),
        metavar="SECONDS",
        default_text="off",
    )
    max_worker_memory = Option(
        "--max-worker-memory",
        0,
        "Replace a worker that uses this much resident memory, such as 512M.",
        group="Workers",
        parse=or_off(parse_size),
        metavar="BYTES",
        default_text="off",
    )
    fd_store = Option(
        "--fd-store",
        False,
        "Keep the listening socket in systemd over a restart; the unit needs FileDescriptorStoreMax=.",
        group="Socket",
        flag=True,
    )
    backlog = Option(
        "--backlog",
        BACKLOG_OF_THE_KERNEL,
        "Length of the kernel's queue of connections that are not yet accepted, listen(2).",
        group="Socket",
        parse=parse_backlog,
        metavar="N",
        default_text="the kernel's maximum, somaxconn",
    )
    socket_mode = Option[int](
        "--socket-mode",
        -1,
        "Permission bits of a unix socket's file, in octal.",
        group="Socket",
        parse=parse_mode,
        metavar="MODE",
        default_text="0666 less the umask",
    )
    socket_owner = Option(
        "--socket-owner",
        "",
        "Owner and group of a unix socket's file.",
        group="Socket",
        parse=parse_owner,
        metavar="[USER][:GROUP]",
        default_text="who runs srvctl",
    )
    datagram_guard = Option(
        "--datagram-guard",
        "on",
        "Do not answer UDP senders that may be forged: ports below 1024, floods, and more than was asked.",
        group="Socket",
        choices=("on", "off"),
    )
    set = Option[tuple[tuple[str, str], ...]](
        "--set",
        (),
        "Set an attribute of the handler; repeatable.",
        group="Handler",
        parse=parse_assignment,
        metavar="NAME=VALUE",
        default_text="what the handler declares",
        multiple=True,
    )
    mixin = Option[tuple[str, ...]](
        "--mixin",
        (),
        "Put a class in front of what serves, for hooks such as verify_request; repeatable.",
        group="Handler",
        metavar="MODULE:CLASS",
        default_text="none",
        multiple=True,
    )
    datagram_wait = Option(
        "--datagram-wait",
        False,
        "Hand the datagram socket itself to one program and wait for it to exit (inetd's wait).",
        group="Program",
        flag=True,
    )
    program_stderr = Option(
        "--program-stderr",
        "log",
        "Send its standard error to the log (an entry for each line), to srvctl's own, to the client, or nowhere.",
        group="Program",
        choices=("log", "inherit", "socket", "null"),
    )
    env = Option[tuple[tuple[str, str | None], ...]](
        "--env",
        (),
        "Pass the variable NAME to the program, or set it; repeatable.",
        group="Program",
        parse=parse_variable,
        metavar="NAME[=VALUE]",
        default_text="a short list, and what is known of the connection",
        multiple=True,
    )
    keep_env = Option(
        "--keep-env",
        False,
        "Pass the whole environment to the program.",
        group="Program",
        flag=True,
    )
    chdir = Option(
        "--chdir",
        "",
        "Working directory of the program.",
        group="Program",
        metavar="DIRECTORY",
        default_text="where srvctl runs",
    )
    umask = Option[int](
        "--umask",
        -1,
        "File mode creation mask of the program, in octal.",
        group="Program",
        parse=parse_mode,
        metavar="MODE",
        default_text="srvctl's own",
    )
    rlimit = Option[tuple[tuple[str, int, int], ...]](
        "--rlimit",
        (),
        "Resource limit of the program, such as NOFILE=64 or CPU=10:20 (soft:hard); repeatable.",
        group="Program",
        parse=parse_limit,
        metavar="NAME=VALUE",
        default_text="srvctl's own",
        multiple=True,
    )
    nice = Option(
        "--nice",
        0,
        "Add N to the nice value of the program, and of the worker that runs it.",
        group="Program",
        parse=parse_nice,
        metavar="N",
    )
    idle_timeout = Option(
        "--idle-timeout",
        0.0,
        "Close a connection that was idle for this time.",
        group="Time",
        parse=or_off(parse_seconds),
        metavar="SECONDS",
        default_text="off",
    )
    max_duration = Option(
        "--max-duration",
        0.0,
        "Close a connection after this time.",
        group="Time",
        parse=or_off(parse_seconds),
        metavar="SECONDS",
        default_text="off",
    )
    graceful_timeout = Option(
        "--graceful-timeout",
        30.0,
        "On a stop, let requests finish for this time.",
        group="Time",
        parse=parse_seconds,
        metavar="SECONDS",
    )
    drain_idle_timeout = Option(
        "--drain-idle-timeout",
        1.0,
        "On a stop, half-close a connection that has received nothing for this time.",
        group="Time",
        parse=parse_seconds,
        metavar="SECONDS",
    )
    announce = Option(
        "--announce",
        False,
        "When ready, print the bound address to stdout.",
        group="Output",
        flag=True,
    )
    log_format = Option(
        "--log-format",
        "text",
        "Format of the log on standard error.",
        group="Output",
        choices=("text", "json"),
    )
    verbose = Option(
        "-v --verbose",
        False,
        "Log more: each connection's begin, each datagram, errors that peers cause, tracebacks.",
        group="Output",
        flag=True,
    )
    quiet = Option("-q --quiet", False, "Log warnings and errors only.", group="Output", flag=True)


OPTIONS: tuple[Option[Any], ...] = tuple(option for option in vars(Options).values() if isinstance(option, Option))
