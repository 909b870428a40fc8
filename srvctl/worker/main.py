"""The life of one worker process: set up, load, say ready, serve, drain.

A worker is a fresh interpreter that its supervisor started. It imports what its own model needs and no more: what is
in the process when it forks is what each fork pays for.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import _socket
import contextlib
import faulthandler
import os
import signal
import socket
import sys
from functools import partial
from time import monotonic, monotonic_ns

from srvctl.config.settings import Settings
from srvctl.errors import LaunchError
from srvctl.runtime import log
from srvctl.runtime.channel import LAST_STACKS, Channel, ChannelClosed
from srvctl.runtime.process_session import kill_session
from srvctl.worker.assemble import assemble

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType
    from typing import Any

    from srvctl.loader.importer import Loaded
    from srvctl.runtime.loop import Loop
    from srvctl.serving.server import Server


def main(control: int, stacks: int) -> None:
    """Run a worker on the channel whose descriptor is `control`; returns when it has drained, or fails.

    `stacks` is where it writes those of its threads. The listener comes by the channel, ahead of the setup: the
    supervisor may still be reading its command line.
    """
    sock = _take_socket(control)
    os.set_inheritable(stacks, False)
    _close_others({0, 1, 2, control, stacks})
    try:
        listener = _receive_descriptor(sock)
        channel = Channel(sock)
        _, setup = channel.receive()
    except ChannelClosed:
        return
    if setup["announces"]:
        _print_to_standard_error()
    worker = Worker(channel, setup | {"listener": listener, "stacks": stacks})
    try:
        worker.load()
    except LaunchError as error:
        channel.send(
            "failed", verb=error.verb, what=error.what, why=error.why, detail=error.detail, status=int(error.status)
        )
        os._exit(int(error.status))
    if worker.waits_for_word():
        worker.serve()


# How often figures go to the service manager's status line, when they have changed.
FIGURES_SECONDS = 5.0
# How often a worker that serves looks at its memory.
WEIGHING_SECONDS = 1.0


def _close_others(kept: set[int]) -> None:
    """Close what whoever started srvctl left open in it: no handler, and no program that it starts, is to have that."""
    for fd in [int(name) for name in os.listdir("/proc/self/fd")]:
        if fd not in kept:
            with contextlib.suppress(OSError):  # the descriptor of the listing itself
                os.close(fd)


def _receive_descriptor(sock: socket.socket) -> int:
    """Return the descriptor that comes first; what a handler executes does not get it. Blocks; see `Channel`."""
    try:
        _, received, _, _ = socket.recv_fds(sock, 1, 1, socket.MSG_CMSG_CLOEXEC)
    except ConnectionError:
        received = []
    if not received:
        raise ChannelClosed
    return received[0]


def _print_to_standard_error() -> None:
    """Have what the handler prints go there: standard output is for the announcement alone."""
    os.dup2(2, 1)
    if sys.stdout is not None:  # line by line where somebody watches, as if the interpreter had started so
        sys.stdout.reconfigure(line_buffering=sys.stdout.isatty())  # type: ignore[union-attr]


def _take_socket(fd: int) -> socket.socket:
    """Return the socket that was handed over as `fd`; what a handler executes does not get it too."""
    os.set_inheritable(fd, False)
    return socket.socket(fileno=fd)


_close = _socket.socket.close


class Worker:
    """A worker: its channel, its server, and what it does when it is told."""

    def __init__(self, channel: Channel, setup: dict[str, Any]) -> None:
        self.channel = channel
        self.setup = setup
        self.settings = Settings.from_wire(setup["settings"])
        self.server: Server
        self._sink = log.configure(setup["log_style"], setup["log_threshold"])
        self._is_tired = self._tells_soon = False
        self._is_stream = True
        self._next_weighing = 0.0
        # Not from `random`, which a worker would have to import: the low bits of a clock are chance enough.
        self._served_limit = self.settings.max_requests + monotonic_ns() % (self.settings.max_requests_jitter + 1)

    def load(self) -> None:
        """Import the handler, assemble the server on the inherited socket, and say ready. Raises `LaunchError`."""
        sock = _take_socket(self.setup["listener"])
        is_stream = self._is_stream = sock.type != socket.SOCK_DGRAM
        self._take_signals()
        loaded = self._load_what_serves(is_stream)
        most = share(self.settings.max_connections, self.setup["index"], self.setup["count"])
        self.server = assemble(self.settings, most, sock, loaded.handler, is_own=self.setup["is_own"])
        self.channel.send("ready", parts=self.server.parts(), name=self.server.name, file=loaded.file)

    def _load_what_serves(self, is_stream: bool) -> Loaded:
        if self.settings.program:
            from srvctl.programs import program

            program.check_type(self.settings, is_stream)
            loaded = program.load(self.settings)
            log.program_found(self.settings.program[0], loaded.file)
            return loaded
        from srvctl.loader.importer import load

        loaded = load(self.setup["target"], self.setup["is_ready_made"], is_stream, self.settings.set)
        log.handler_loaded(self.settings.handler, loaded.file)
        return loaded

    def _take_signals(self) -> None:
        """Leave stopping to the supervisor: a service manager may send TERM to every process that we have.

        A handler that does nothing, and not SIG_IGN, which programs that the user's code executes would inherit.
        """
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, _do_nothing)
        signal.signal(signal.SIGUSR2, self._write_stacks)
        # What this installs also works where no bytecode runs any more. It looks at frames that may be half made: in
        # storms of signals 8 of 25 servers lost workers to SIGSEGV (3.11.7). So it is for workers that are killed next.
        faulthandler.register(LAST_STACKS, file=self.setup["stacks"], all_threads=True)

    def _write_stacks(self, number: int, frame: FrameType | None) -> None:
        faulthandler.dump_traceback(self.setup["stacks"], all_threads=True)

    def waits_for_word(self) -> bool:
        """Wait until the supervisor says to serve; return false when it says anything else, or is gone. Blocks."""
        try:
            while True:
                word, values = self.channel.receive()
                if word == "serve":
                    return True
                if word == "share":
                    self._take_share(values)
                elif word != "stacks":
                    return False
        except ChannelClosed:
            return False

    def serve(self) -> None:
        """Serve until drained. Does not return when something had to be cut."""
        self.server.on_loop = self._on_loop
        self.server.on_give_up = self._give_up
        self._let_go_in_children()
        try:
            self.server.serve_forever()
        except OSError as error:
            self._report_fatal(error)
        self.server.server_close()
        self._say_drained()

    def _on_loop(self, loop: Loop) -> None:
        loop.watch(self.channel.fileno(), lambda events: self._listen())
        self._sink.attach(loop)
        if self.setup["heartbeat"]:
            self._beat(loop)
        if self.setup["tells_figures"] or self.settings.max_requests or self.settings.max_worker_memory:
            self.server.on_change = lambda: self._on_change(loop)
        if self.settings.model == "sync" and not self.settings.program:
            signal.signal(signal.SIGALRM, self._on_alarm)
            signal.signal(signal.SIGIO, self._on_alarm)
            self.channel.raise_signal(signal.SIGIO)

    def _on_alarm(self, number: int, frame: FrameType | None) -> None:
        if self.server.interrupt() and number == signal.SIGIO:
            self._listen()
            self.server.interrupt()

    def _beat(self, loop: Loop) -> None:
        self.channel.send("alive", **self.server.figures())
        loop.call_at(monotonic() + self.setup["heartbeat"], lambda: self._beat(loop))

    def _on_change(self, loop: Loop) -> None:
        """A conversation has ended: ask for a successor when it is time, and tell the figures, but not each time."""
        settings, ended = self.settings, self.server.counters.ended
        if settings.max_requests and ended >= self._served_limit:
            self._ask_for_successor(f"it has served {ended} requests")
        if settings.max_worker_memory and (now := monotonic()) >= self._next_weighing:
            self._next_weighing = now + WEIGHING_SECONDS
            if (rss := _resident_bytes()) >= settings.max_worker_memory:
                self._ask_for_successor(f"it holds {rss} bytes of memory")
        if self.setup["tells_figures"] and not self._tells_soon:
            self._tells_soon = True
            loop.call_soon(lambda: self._tell_figures_later(loop))

    def _ask_for_successor(self, why: str) -> None:
        if not self._is_tired:
            self._is_tired = True
            self.channel.send("tired", why=why)

    def _tell_figures_later(self, loop: Loop) -> None:
        loop.call_at(monotonic() + FIGURES_SECONDS, self._tell_figures)

    def _tell_figures(self) -> None:
        self._tells_soon = False
        self.channel.send("alive", **self.server.figures())

    def _let_go_in_children(self) -> None:
        """In any child, our own or one that the handler forks, keep neither the supervisor nor the port.

        No code of ours runs there for it: a function that a child calls for the first time is a dozen pages that it
        copies, and with one for this, and `signal.signal` in it, that was a third of a fork.
        """
        stacks = self.setup["stacks"]
        let_go = [
            partial(_close, self.channel.socket),
            partial(_signal.signal, int(signal.SIGUSR2), _signal.SIG_DFL),
            partial(faulthandler.unregister, int(LAST_STACKS)),
            partial(os.close, stacks),
        ]
        if self._is_stream:
            let_go.append(partial(_close, self.server.socket))
        for call in let_go:
            os.register_at_fork(after_in_child=call)

    def _listen(self) -> None:
        """Do what the supervisor says; without one, end."""
        try:
            for word, values in self.channel.pending():
                if word == "drain":
                    self.server.drain(values["seconds"], keep_queue=values["keep_queue"])
                    self.channel.send("draining")
                elif word == "share":
                    self._take_share(values)
                elif word == "hurry":
                    self.server.stop_now()
                elif word == "report":
                    self.channel.send("figures", **self.server.figures())
        except ChannelClosed:
            log.supervisor_gone()
            if self.settings.program:
                self.channel.close()  # a descriptor, where there may be none left
                kill_session(os.getpid())
            # This process leads a group: its children, and what a handler started, go with it.
            os.killpg(0, signal.SIGKILL)

    def _take_share(self, values: dict[str, Any]) -> None:
        self.server.resize(share(self.settings.max_connections, values["index"], values["count"]))

    def _say_drained(self) -> None:
        self.channel.send("drained", **self.server.figures())

    def _give_up(self) -> None:
        """Leave behind what nothing ends: a thread that computes, a handler that does not look at its connection."""
        self._say_drained()
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(AttributeError, ValueError, OSError):
                stream.flush()
        os._exit(0)

    def _report_fatal(self, error: OSError) -> None:
        why = error.strerror or str(error)
        self.channel.send("failed", verb="accept on", what=self.setup["address"], why=why, detail="", status=71)
        os._exit(71)


def _resident_bytes() -> int:
    """Return the resident memory of this process, proc(5)."""
    with open("/proc/self/statm", "rb") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def share(whole: int, index: int, count: int) -> int:
    """Return how much of `whole` the worker of slot `index` gets, of `count` whose shares add up to it."""
    return whole // count + (index < whole % count)


def _do_nothing(number: int, frame: FrameType | None) -> None:
    pass
