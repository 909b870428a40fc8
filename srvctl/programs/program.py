"""How a program is started: found and looked at once, then spawned for each request, with nothing of srvctl's in it.

`find` is for the start: a program that can never run is refused there. `Program.prepare` is for each request, with
posix_spawn(3): no copy of this process is made, so no page of it is touched.
"""

from __future__ import annotations

import errno
import os
import signal
import stat

from srvctl.errors import LoadError, NoPermission, UsageError
from srvctl.loader.importer import Loaded
from srvctl.loader.trust import why_unsafe
from srvctl.net import ucspi
from srvctl.programs.spawn import prepared

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from srvctl.config.settings import Settings
    from srvctl.programs.spawn import PendingSpawn

# As much of a program as tells what it is: the kernel reads 256 bytes of a #! line, execve(2).
_HEAD_BYTES = 256
# Looked through when PATH is not set, as by execvp(3).
_DEFAULT_PATH = "/bin:/usr/bin"
# Of util-linux; sets limits on itself and becomes the program: none is missing in its first moments, and none
# is ever on this process, whose own memory and processor time it would count.
_PRLIMIT = "prlimit"


class Program:
    """A program that was found, and everything that is the same each time it is started."""

    def __init__(self, path: str, words: Sequence[str], base: Mapping[str, str]) -> None:
        self.path, self._words, self._base = path, words, base
        self._spawn = prepared(path, words, [os.fsencode(f"{name}={value}") for name, value in base.items()])

    def besides(self, variables: Mapping[str, str]) -> Program:
        """Return the program with `variables`, which no connection changes, besides those that it has."""
        return Program(self.path, self._words, {**self._base, **variables})

    def prepare(self, descriptors: tuple[int, int, int], variables: dict[str, str]) -> PendingSpawn:
        """Return what starts it with `descriptors` as its first three and no others, in a process group of its own.

        `variables` come on top of its environment, where none of them is. Raises ValueError for a null character.
        """
        text = os.fsencode("\0".join([*map("=".join, variables.items()), ""]))
        if text.count(b"\0") != len(variables):  # C would take it for the end
            raise ValueError("embedded null character in a variable")
        return self._spawn.prepare(descriptors, text)


def load(settings: Settings) -> Loaded:
    """Return the program of `settings`, found and looked at, and give this process what its programs inherit of it.

    That is the current directory, the umask and the nice value. Raises `LoadError`, `NoPermission`.
    """
    words = settings.program
    file = path = find(words[0])
    if settings.rlimit:
        path, words = _limited(settings, path)
    _settle_in(settings)
    base = ucspi.base_environment(os.environ, settings.keep_env, settings.env)
    return Loaded(Program(path, words, base), file)


def _limited(settings: Settings, path: str) -> tuple[str, tuple[str, ...]]:
    """Return what sets the limits and executes the program at `path`: a file and its words."""
    import resource  # not for everyone: it is a shared object of its own

    options = []
    for name, soft, hard in settings.rlimit:
        number = getattr(resource, f"RLIMIT_{name}")
        ours, most = resource.getrlimit(number)
        if most != -1 and (hard == -1 or hard > most):
            try:
                resource.setrlimit(number, (ours, hard))
            except (ValueError, OSError):
                what = f"--rlimit {name}={_limit_text(hard)}"
                raise NoPermission("set", what, f"the most that is allowed is {most}") from None
        options.append(f"--{name.lower()}={_limit_text(soft)}:{_limit_text(hard)}")
    try:
        prlimit = find(_PRLIMIT)
    except LoadError as error:
        raise LoadError("set", "--rlimit", f"it takes {_PRLIMIT}(1), of util-linux: {error.why}") from None
    return prlimit, (_PRLIMIT, *options, "--", path, *settings.program[1:])


def _limit_text(limit: int) -> str:
    return "unlimited" if limit == -1 else str(limit)


def _settle_in(settings: Settings) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # ignored, as somebody may have left it, it loses exit statuses
    if settings.chdir:
        try:
            os.chdir(settings.chdir)
        except OSError as error:
            raise LoadError("enter", f"directory {settings.chdir!r}", _why(error)) from None
    if settings.umask >= 0:
        os.umask(settings.umask)
    if settings.nice:
        try:
            os.nice(settings.nice)
        except OSError as error:
            raise NoPermission("set", f"--nice {settings.nice}", _why(error)) from None


def find(word: str) -> str:
    """Return the absolute path of the program that `word` names, as execvp(3) finds it. Raises `LoadError`.

    It is looked at as far as can be done without running it: that it is a file, that this user may execute it, that it
    begins as a program does, and, as root, that nobody else can change it.
    """
    what = f"program {word!r}"
    if not word:
        raise LoadError("run", what, "it has no name")
    path = os.path.abspath(word) if "/" in word else _searched(word, what)
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        raise LoadError("run", what, _why(error)) from None
    if not stat.S_ISREG(mode):
        raise LoadError("run", what, "it is a directory" if stat.S_ISDIR(mode) else "it is not a file")
    if not os.access(path, os.X_OK):
        raise LoadError("run", what, "it is not executable")
    _check_format(path, what)
    for guarded in (path, os.path.dirname(os.path.realpath(path))):
        if why := why_unsafe(guarded):
            raise LoadError("run", what, f"as root, {guarded!r} is not trusted: {why}")
    return path


def _searched(word: str, what: str) -> str:
    found = ""
    for directory in os.environ.get("PATH", _DEFAULT_PATH).split(":"):
        path = os.path.abspath(os.path.join(directory, word))
        if os.path.isfile(path):
            if os.access(path, os.X_OK):
                return path
            found = found or path
    if found:
        raise LoadError("run", what, f"{found!r} is not executable")
    raise LoadError("run", what, "there is no such program in PATH; for one in this directory, write ./ before it")


def _check_format(path: str, what: str) -> None:
    """Refuse what execve(2) would not take for a program. A binary that is not ELF may be one: binfmt_misc."""
    try:
        with open(path, "rb") as file:
            head = file.read(_HEAD_BYTES)
    except OSError:  # it can be executed all the same
        return
    if head[:2] == b"#!":
        _check_interpreter(head[2:].split(b"\n")[0], what)
    elif head[:4] != b"\x7fELF" and b"\0" not in head:
        why = "it is neither a binary nor does it begin with #! and an interpreter" if head else "it is empty"
        raise LoadError("run", what, why)


def _check_interpreter(line: bytes, what: str) -> None:
    words = line.replace(b"\t", b" ").split(b" ")  # and no other white space, execve(2)
    interpreter = os.fsdecode(next(filter(None, words), b""))
    if not os.access(interpreter, os.X_OK) or os.path.isdir(interpreter):
        hint = "; its lines end in CR LF" if line.endswith(b"\r") else ""
        raise LoadError("run", what, f"its interpreter {interpreter!r} cannot be executed{hint}")


def _why(error: OSError) -> str:
    why = error.strerror or str(error)
    return why[:1].lower() + why[1:]


# What the system may have again in a moment, so that a request is worth keeping; anything else is about the program.
_SHORTAGES = frozenset((errno.EAGAIN, errno.EMFILE, errno.ENFILE))


def is_shortage(error: OSError) -> bool:
    """Tell whether a program could not be started because of processes or descriptors that others have."""
    return error.errno in _SHORTAGES


def check_type(settings: Settings, is_stream: bool) -> None:
    """Refuse what the type of the socket leaves no sense to. Raises `UsageError`."""
    if settings.datagram_wait and is_stream:
        raise UsageError("use", "--datagram-wait", "this socket is for connections")
    if settings.program_stderr == "socket" and not is_stream and not settings.datagram_wait:
        raise UsageError("use", "--program-stderr socket", "a program that gets one datagram has no socket")
