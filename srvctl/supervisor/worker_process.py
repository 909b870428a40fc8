"""A worker as its supervisor sees it: a process, its end of the channel, and what it said last."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
from time import monotonic

import srvctl
from srvctl.runtime.channel import LAST_STACKS, Channel
from srvctl.runtime.process_session import kill_session
from srvctl.supervisor.signals import SIGNALS
from srvctl.systemd import protocol as systemd

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from srvctl.listener.listener import Listener
    from srvctl.runtime.loop import Timer

# Run with -P, so that neither the current directory nor this file's is on the path before the standard library. The
# one that srvctl itself was imported from comes last: it matters only where srvctl is not installed.
_BOOT = (
    "import gc, sys\n"
    "if sys.argv[1] not in sys.path: sys.path.append(sys.argv[1])\n"
    "gc.disable()\n"  # until everything is imported, as in `srvctl.__main__`
    "from srvctl.worker.main import main\n"
    "gc.freeze()\n"
    "gc.enable()\n"
    "main(int(sys.argv[2]), int(sys.argv[3]))\n"
)


class WorkerProcess:
    """A worker that was started, by this supervisor or by the one before it. Owns its descriptors until `close`.

    The process leads a process group: what it forks and what its handler starts can be ended with it. One that runs
    programs leads a session: they are in process groups of their own, and can be ended with it too.
    """

    def __init__(self, pid: int, pidfd: int, stacks: int, channel: Channel) -> None:
        self.pid, self.pidfd, self.stacks, self.channel = pid, pidfd, stacks, channel
        self.began = self.heard = monotonic()
        self.ready: dict[str, Any] | None = None
        self.start_timer: Timer | None = None  # until it is ready
        self.failure: dict[str, Any] | None = None
        self.figures: dict[str, Any] = {}
        self.wish = ""  # why it asked for a successor
        self.doom = ""  # why it is to be killed
        self.is_serving = self.has_drained = False
        self._is_told = self._is_buried = False

    @classmethod
    def boot(cls, is_session: bool) -> WorkerProcess:
        """Start one, which imports what every worker needs and waits for `tell`; one of programs has to lead a session.

        Raises OSError when the system has no process or descriptor.
        """
        with contextlib.ExitStack() as on_failure:
            channel, theirs = Channel.pair()
            on_failure.callback(channel.close)
            with theirs, contextlib.ExitStack() as afterwards:
                stacks, their_stacks = os.pipe()
                on_failure.callback(os.close, stacks)
                afterwards.callback(os.close, their_stacks)
                os.set_blocking(stacks, False)
                os.set_blocking(their_stacks, False)  # what does not fit is lost; nobody hangs on it
                pid = _spawn(theirs.fileno(), their_stacks, is_session)
            pidfd = os.pidfd_open(pid)
            on_failure.pop_all()
        return cls(pid, pidfd, stacks, channel)

    def tell(self, setup: dict[str, Any], listener: Listener) -> None:
        """Have it load what `setup` says, to serve `listener`. Raises OSError when the socket cannot be handed over."""
        self.began = self.heard = monotonic()  # what came before, a slow resolver too, was not its time
        try:
            with contextlib.suppress(ConnectionError):  # it has died meanwhile, which shows otherwise
                socket.send_fds(self.channel.socket, [b"\0"], [listener.socket.fileno()])
        except OSError:
            self.discard()
            raise
        self._is_told = True
        self.channel.send("setup", **setup)

    def discard(self) -> None:
        """End it if it was never told anything; wait for that."""
        if not self._is_told:
            self._is_told = True
            self.kill()
            self.reap()
            self.close()

    def hand_over(self) -> dict[str, Any]:
        """Return what `adopt` needs in the program that takes this one's place, with its descriptors left open."""
        for fd in (self.pidfd, self.stacks, self.channel.fileno()):
            os.set_inheritable(fd, True)
        names = ("pid", "pidfd", "stacks", "began", "ready", "figures", "is_serving")
        return {name: getattr(self, name) for name in names} | {"channel": self.channel.fileno()}

    @classmethod
    def adopt(cls, state: dict[str, Any]) -> WorkerProcess:
        """Return the worker that `hand_over` described."""
        for name in ("pidfd", "stacks", "channel"):
            os.set_inheritable(state[name], False)
        channel = Channel(socket.socket(fileno=state["channel"]))
        worker = cls(state["pid"], state["pidfd"], state["stacks"], channel)
        for name in ("began", "ready", "figures", "is_serving"):
            setattr(worker, name, state[name])
        return worker

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal to the worker alone."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def ask_for_stacks(self) -> None:
        """Have it write the Python stacks of all its threads to `stacks`.

        The signal reaches a handler that runs. The word ends the wait of a loop that was about to wait when the signal
        came: Python had looked for signals by then.
        """
        self.send_signal(signal.SIGUSR2)
        self.channel.send("stacks")

    def ask_for_last_stacks(self) -> None:
        """Have it write them even if no bytecode runs in it any more; it is to be killed next."""
        self.send_signal(LAST_STACKS)

    def take_stacks(self) -> str:
        """Return what it has written of its stacks since."""
        written = b""
        with contextlib.suppress(BlockingIOError):
            while data := os.read(self.stacks, 65536):
                written += data
        return written.decode(errors="replace")

    def kill_if_alive(self) -> None:
        """End the worker and its process group, unless it has ended by itself meanwhile."""
        if not self._is_buried:
            self.kill()

    def kill(self) -> None:
        """End the worker and everything in its process group, and in its session if it leads one, now."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        kill_session(self.pid)

    @property
    def age(self) -> float:
        """Seconds since it was started."""
        return monotonic() - self.began

    def serve(self) -> None:
        """Have it serve, now that it is ready."""
        self.is_serving = True
        self.channel.send("serve")

    def note(self, word: str, values: dict[str, Any]) -> None:
        """Keep what it said, and that it said anything."""
        self.heard = monotonic()
        if word == "failed":
            self.failure = values
        elif word == "tired":
            self.wish = values["why"]
        elif word in ("figures", "alive", "drained"):
            self.figures = values
            self.has_drained = self.has_drained or word == "drained"

    @property
    def state(self) -> str:
        """What it is doing, in a word."""
        return "drained" if self.has_drained else "serving" if self.is_serving else "loading"

    @property
    def cut(self) -> int:
        """How many conversations it cut; one that died while it served has not counted them, and cut some."""
        if self.has_drained:
            cut: int = self.figures["cut"]
            return cut
        return 1 if self.is_serving else 0

    def bury(self) -> str:
        """Reap the process, which has ended, close its descriptors, and return how it ended, in words."""
        if not self.has_drained or self.cut:
            self.kill()  # what is left of its process group; what a handler left running on purpose goes on
        how = self.reap()
        self.close()
        if said := self.failure:
            how = f"cannot {said['verb']} {said['what']}: {said['why']}"
        return f"{how}: {self.doom}" if self.doom else how

    def reap(self) -> str:
        """Wait for the process, which has ended, and return how: ``exit status 3``, ``SIGSEGV``."""
        _, status = os.waitpid(self.pid, 0)
        code = os.waitstatus_to_exitcode(status)
        return signal.Signals(-code).name if code < 0 else f"exit status {code}"

    def close(self) -> None:
        """Give up the descriptors."""
        self._is_buried = True
        os.close(self.pidfd)
        os.close(self.stacks)
        self.channel.close()


def _spawn(control: int, stacks: int, is_session: bool) -> int:
    """Start the interpreter of a worker, with these and the first three descriptors kept open for it.

    It leads a process group, with `is_session` also a session. Its signals are as the system has them, also when this
    process has not taken them yet, and was started with some of them ignored or blocked.
    """
    root = os.path.dirname(os.path.dirname(os.path.abspath(srvctl.__file__)))
    actions: list[Any] = [(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)]
    # A descriptor that is duplicated onto itself stays open over the exec, posix_spawn(3).
    actions += [(os.POSIX_SPAWN_DUP2, fd, fd) for fd in (control, stacks)]
    return os.posix_spawn(
        sys.executable,
        [sys.executable, "-P", "-c", _BOOT, root, str(control), str(stacks)],
        systemd.without_private(),
        file_actions=actions,
        setsigmask=(),
        setsigdef=SIGNALS,
        **({"setsid": True} if is_session else {"setpgroup": 0}),
    )
