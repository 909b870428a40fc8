"""Every option once: its name, type, default and help; and the frozen value they make together.

The parser, ``--help``, the environment variables and the test that checks the manual page are made from
`OPTIONS`. A `Settings` is complete and valid when it exists: no module looks at it twice. It travels to
the worker as a dict of plain values, so nothing here may cost a worker much to import. It is as long as there are
options: each is a few lines that say what it is, and no more.
"""

from __future__ import annotations

from srvctl.config.parsers import (
    BACKLOG_OF_THE_KERNEL,
    parse_assignment,
    parse_backlog,
    parse_count,
    parse_limit,
    parse_mode,
    parse_nice,
    parse_owner,
    parse_seconds,
    parse_size,
    parse_text,
    parse_variable,
)
from srvctl.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, Generic, TypeVar

    T = TypeVar("T")
else:

    class Generic:
        """A worker does without `typing`: 8 ms and a megabyte of pages that each fork would share."""

        def __class_getitem__(cls, parameters):
            return cls

    T = None

MODELS = ("sync", "threads", "fork")

# What is served at the same time unless --max-connections says otherwise. 40 is the original's; 512 threads cost
# about 40 MiB when all of them serve. A server without concurrency serves one.
DEFAULT_MAX = {"sync": 1, "threads": 512, "fork": 40}

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


def envvar(flag: str) -> str:
    """Return the name of the environment variable that an option can come from."""
    return "SRVCTL_" + flag[2:].replace("-", "_").upper()


# Between SIGTERM and SIGKILL for a program that is cut. A stop takes so much longer than its deadline at most.
TERM_SECONDS = 2.0


class Option(Generic[T]):
    """One option, declared once; on a `Settings` it reads as its value.

    `default_text` is what the help says where the default has no value of its own to show. A `flag` takes
    no value, a `choice` one of its words, and `multiple` collects a tuple.
    """

    def __init__(
        self,
        flags: str,
        default: T,
        help: str,
        *,
        group: str,
        parse: Callable[[str], Any] = parse_text,
        metavar: str = "",
        default_text: str = "",
        choices: tuple[str, ...] = (),
        flag: bool = False,
        multiple: bool = False,
    ) -> None:
        self.flags = tuple(flags.split())
        self.default = default
        self.help, self.group = help, group
        self.parse, self.metavar, self.choices = parse, metavar, choices
        self.default_text = default_text
        self.flag, self.multiple = flag, multiple

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name
        OPTIONS.append(self)

    def __get__(self, settings: Settings | None, owner: type | None = None) -> T:
        if settings is None:
            return self  # type: ignore[return-value]  # on the class: the declaration itself
        value: T = settings.values.get(self.name, self.default)
        return value

    @property
    def long_flag(self) -> str:
        return next(flag for flag in self.flags if flag.startswith("--"))

    def text_of(self, value: Any) -> str:
        """Return `value` as it would stand on a command line; what `parse` reads."""
        if self.parse is parse_mode:
            return f"{value:04o}"
        if self.parse in (parse_assignment, parse_variable):
            name, text = value
            return name if text is None else f"{name}={text}"
        if self.parse is parse_limit:
            name, soft, hard = value
            words = ["unlimited" if limit == -1 else str(limit) for limit in (soft, hard)]
            return f"{name}={words[0] if soft == hard else ':'.join(words)}"
        return f"{value:.15g}" if isinstance(value, float) else str(value)

    @property
    def envvar(self) -> str:
        """The environment variable that the option can come from."""
        return envvar(self.long_flag)


OPTIONS: list[Option[Any]] = []


class Settings:
    """What was asked for, complete, valid and frozen.

    `family` and `address` are the words of the command line, `handler` the handler's dotted path, `model`
    one of `MODELS`, `program` the words of a program that serves instead of a handler, or none. Make one with
    `resolve`; `values` holds what differs from the defaults.
    """

    __slots__ = ("address", "family", "handler", "model", "program", "values")

    family: str
    address: str
    handler: str
    model: str
    program: tuple[str, ...]
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
        "When --max-connections are being served: leave newcomers in the kernel's queue, or accept and close them.",
        group="Concurrency",
        choices=("wait", "refuse"),
    )
    workers = Option(
        "--workers",
        1,
        "Serve with N processes over the same socket; --max-connections is shared out among them.",
        group="Workers",
        parse=parse_count,
        metavar="N",
    )
    start_limit = Option(
        "--start-limit",
        5,
        "Give up when nobody serves and so many workers in a row did not become ready.",
        group="Workers",
        parse=parse_count,
        metavar="N",
    )
    start_timeout = Option(
        "--start-timeout",
        60.0,
        "Give a worker so long to load the handler.",
        group="Workers",
        parse=parse_seconds,
        metavar="SECONDS",
    )
    hang_timeout = Option(
        "--hang-timeout",
        0.0,
        "Replace a worker whose interpreter has not answered for so long.",
        group="Workers",
        parse=parse_seconds,
        metavar="SECONDS",
        default_text="off",
    )
    max_requests = Option(
        "--max-requests",
        0,
        "Replace a worker that has served N requests.",
        group="Workers",
        parse=parse_count,
        metavar="N",
        default_text="never",
    )
    max_requests_jitter = Option(
        "--max-requests-jitter",
        0,
        "Add up to N to --max-requests, by chance, so that workers are not replaced together.",
        group="Workers",
        parse=parse_count,
        metavar="N",
        default_text="0",
    )
    max_worker_age = Option(
        "--max-worker-age",
        0.0,
        "Replace a worker that has run so long.",
        group="Workers",
        parse=parse_seconds,
        metavar="SECONDS",
        default_text="never",
    )
    max_worker_memory = Option(
        "--max-worker-memory",
        0,
        "Replace a worker that holds so much memory; a number with K, M or G behind it.",
        group="Workers",
        parse=parse_size,
        metavar="BYTES",
        default_text="never",
    )
    fd_store = Option(
        "--fd-store",
        False,
        "Leave our own socket with systemd over a restart; the unit has FileDescriptorStoreMax=.",
        group="Socket",
        flag=True,
    )
    backlog = Option(
        "--backlog",
        BACKLOG_OF_THE_KERNEL,
        "Length of the kernel's queue of connections that are not accepted yet.",
        group="Socket",
        parse=parse_backlog,
        metavar="N",
        default_text="the kernel's maximum, somaxconn",
    )
    socket_mode = Option[int](
        "--socket-mode",
        -1,
        "Permission bits of a unix socket's file.",
        group="Socket",
        parse=parse_mode,
        metavar="MODE",
        default_text="0666 less the umask",
    )
    socket_owner = Option(
        "--socket-owner",
        "",
        "Owner, and group, of a unix socket's file.",
        group="Socket",
        parse=parse_owner,
        metavar="USER[:GROUP]",
        default_text="who runs srvctl",
    )
    set = Option[tuple[tuple[str, str], ...]](
        "--set",
        (),
        "Set a class attribute that the handler declares, converted to its type; repeatable.",
        group="Handler",
        parse=parse_assignment,
        metavar="NAME=VALUE",
        default_text="what the handler declares",
        multiple=True,
    )
    datagram_wait = Option(
        "--datagram-wait",
        False,
        "Give the program the datagram socket itself, and wait for it to end; inetd's wait.",
        group="Program",
        flag=True,
    )
    program_stderr = Option(
        "--program-stderr",
        "log",
        "Where the program's standard error goes: a log line for each of its lines, ours, the client, nowhere.",
        group="Program",
        choices=("log", "inherit", "socket", "null"),
    )
    env = Option[tuple[tuple[str, str | None], ...]](
        "--env",
        (),
        "Pass the variable NAME on to the program, or set it; repeatable.",
        group="Program",
        parse=parse_variable,
        metavar="NAME[=VALUE]",
        default_text="a short list, and what is known of the connection",
        multiple=True,
    )
    keep_env = Option(
        "--keep-env",
        False,
        "Pass the whole environment on to the program.",
        group="Program",
        flag=True,
    )
    chdir = Option(
        "--chdir",
        "",
        "Run the program in this directory.",
        group="Program",
        metavar="DIRECTORY",
        default_text="where srvctl runs",
    )
    umask = Option[int](
        "--umask",
        -1,
        "Run the program with this umask, in octal.",
        group="Program",
        parse=parse_mode,
        metavar="MODE",
        default_text="srvctl's own",
    )
    rlimit = Option[tuple[tuple[str, int, int], ...]](
        "--rlimit",
        (),
        "Set a resource limit on the program, such as NOFILE=64 or CPU=10:20; repeatable.",
        group="Program",
        parse=parse_limit,
        metavar="NAME=VALUE",
        default_text="srvctl's own",
        multiple=True,
    )
    nice = Option(
        "--nice",
        0,
        "Add so much to the nice value of the program, and of the worker that runs it.",
        group="Program",
        parse=parse_nice,
        metavar="N",
        default_text="0",
    )
    idle_timeout = Option(
        "--idle-timeout",
        0.0,
        "End a conversation on which nothing came or went for so long.",
        group="Time",
        parse=parse_seconds,
        metavar="SECONDS",
        default_text="off",
    )
    max_duration = Option(
        "--max-duration",
        0.0,
        "End a conversation that has lasted so long.",
        group="Time",
        parse=parse_seconds,
        metavar="SECONDS",
        default_text="off",
    )
    graceful_timeout = Option(
        "--graceful-timeout",
        30.0,
        "On a stop, wait so long for what runs to finish; then cut it.",
        group="Time",
        parse=parse_seconds,
        metavar="SECONDS",
    )
    drain_idle_timeout = Option(
        "--drain-idle-timeout",
        1.0,
        "On a stop, half-close a connection on which nothing has come for so long.",
        group="Time",
        parse=parse_seconds,
        metavar="SECONDS",
    )
    announce = Option(
        "--announce",
        False,
        "Write the bound address as one line to standard output when ready, and close it.",
        group="Output",
        flag=True,
    )
    log_format = Option(
        "--log-format",
        "text",
        "How the log on standard error is written.",
        group="Output",
        choices=("text", "json"),
    )
    verbose = Option(
        "-v --verbose",
        False,
        "Log more: each conversation's begin, each datagram, what peers cause; tracebacks.",
        group="Output",
        flag=True,
    )
    quiet = Option("-q --quiet", False, "Log warnings and errors only.", group="Output", flag=True)

    def __init__(
        self,
        family: str,
        address: str,
        handler: str,
        model: str,
        values: Mapping[str, Any],
        program: tuple[str, ...] = (),
    ) -> None:
        for name, value in zip(
            ("family", "address", "handler", "model", "program"),
            (family, address, handler, model, program),
            strict=True,
        ):
            object.__setattr__(self, name, value)
        object.__setattr__(self, "values", dict(values))

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"settings are frozen; {name} cannot be set")

    def __repr__(self) -> str:
        return f"Settings({self.family} {self.address} --{self.model} {self.target_text} {self.values})"

    @property
    def target_text(self) -> str:
        """The handler, or the program as a shell would read it, in one line for people."""
        if not self.program:
            return self.handler
        import shlex

        return shlex.join(self.program)

    @property
    def term_seconds(self) -> float:
        """How long behind the deadline of a stop a worker may still be ending what it cut."""
        return TERM_SECONDS if self.program else 0.0

    @classmethod
    def resolve(
        cls, family: str, address: str, handler: str, model: str, program: tuple[str, ...] = (), **given: Any
    ) -> Settings:
        """Return settings with the defaults that depend on other options filled in. Raises `UsageError`."""
        workers = given.get("workers", 1)
        _check_fit(family, bool(program), given)
        if given.get("datagram_wait"):
            given["max_connections"] = 1
        given["max_connections"] = given.get("max_connections") or (DEFAULT_MAX[model] if model != "sync" else workers)
        if given["max_connections"] < workers:
            raise UsageError(
                "share",
                f"--max-connections {given['max_connections']} out to {workers} workers",
                "expected at least one for each",
            )
        return cls(family, address, handler, model, given, program)

    def replace(self, **values: Any) -> Settings:
        """Return the same settings but for the options `values`."""
        return Settings.from_wire(self.to_wire() | {"values": {**self.values, **values}})

    def to_wire(self) -> dict[str, Any]:
        """Return plain values that `from_wire` in another process makes the same settings of."""
        return {name: getattr(self, name) for name in self.__slots__}

    @classmethod
    def from_wire(cls, plain: dict[str, Any]) -> Settings:
        """Return the settings that `to_wire` wrote."""
        return cls(**plain)


def _check_fit(family: str, is_program: bool, given: Mapping[str, Any]) -> None:
    """Refuse options that are for the other kind of server."""
    if not is_program:
        if stray := next((o for o in OPTIONS if o.group == "Program" and o.name in given), None):
            raise UsageError("use", stray.long_flag, "it is for a program, and there is none behind --")
        return
    if given.get("set"):
        raise UsageError("use", "--set", "it is for a handler, and a program has no attributes; see --env")
    if given.get("datagram_wait"):
        if family not in ("fd", "unix-dgram") and not family.startswith("udp"):
            raise UsageError("use", "--datagram-wait", f"{family} is for connections")
        if given.get("workers", 1) > 1 or given.get("max_connections", 1) > 1:
            raise UsageError(
                "use", "--datagram-wait", "one program has the socket; expected one worker, and --max-connections 1"
            )
    elif given.get("program_stderr") == "socket" and (family == "unix-dgram" or family.startswith("udp")):
        raise UsageError("use", "--program-stderr socket", "a program that gets one datagram has no socket")
