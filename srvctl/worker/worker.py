"""Worker: loads the handler, serves, and follows the messages of its supervisor."""

from __future__ import annotations

import _socket
import contextlib
import faulthandler
import os
import signal
import socket
import sys
from functools import partial
from io import FileIO
from time import monotonic

from srvctl.config.settings import Settings
from srvctl.errors import ExitStatus
from srvctl.runtime import directory, log, signals
from srvctl.runtime.channel import LAST_STACKS, Channel, ChannelClosed
from srvctl.runtime.descriptor_limit import raise_soft_limit
from srvctl.runtime.process_session import kill_session
from srvctl.serving.recorder import Recorder
from srvctl.serving.server import Server
from srvctl.serving.shared_limit import SharedLimit
from srvctl.worker import handler_output, tls_hook
from srvctl.worker.assemble import assemble, load_mixins
from srvctl.worker.protocol import FromWorker, ToWorker
from srvctl.worker.recycling import RecyclePolicy
from srvctl.worker.service_life import ServiceLife, owners

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType
    from typing import Any

    from srvctl.loader.importer import Loaded
    from srvctl.runtime.loop import Loop
    from srvctl.worker.mixins import Mixins
    from srvctl.worker.protocol import WorkerSetup

# How often stats go to the service manager's status line, when they have changed.
STATS_SECONDS = 5.0

_close = _socket.socket.close


class Worker:
    """The worker in this process. Owns the channel, and the listener until its server does."""

    def __init__(
        self,
        channel: Channel,
        setup: WorkerSetup,
        listener: socket.socket,
        record: int,
        shared_limit: SharedLimit | None,
        stacks: int,
    ) -> None:
        self._channel, self._setup, self._listener = channel, setup, listener
        self._stacks = FileIO(stacks, "wb")  # which `close` closes once
        self._settings = Settings.from_wire(setup.settings)
        self._line_writer = log.configure(setup.log_style, setup.log_threshold)
        self._recycle_policy = RecyclePolicy(self._settings)
        self._asked_for_successor = self._stats_are_due = False
        self._record, self._shared_limit = record, shared_limit
        self._recorder: Recorder | None = None
        self._is_stream = listener.type != socket.SOCK_DGRAM
        self._server: Server

    def load(self) -> None:
        """Import the handler, assemble the server on the listener, and report ready. Raises `LaunchError`."""
        self._handle_signals()
        directory.follow(self._setup.directory)
        if not self._settings.program:
            handler_output.redirect()
            tls_hook.install()
        mixins = load_mixins(self._settings)
        loaded = self._load_target(mixins)
        limit = self._limit(self._setup.index, self._setup.count)
        if (lacking := raise_soft_limit(limit)) and self._setup.index == 0:
            log.few_descriptors(*lacking)
        self._server = assemble(
            self._settings,
            limit,
            self._listener,
            loaded.handler,
            is_own=self._setup.owns_socket,
            server_class=mixins.server_class if mixins else Server,
            shared_limit=self._shared_limit,
        )
        self._record_connections()
        if self._setup.shares_limit:
            self._server.share_limit(is_shared=True)
        self._life = ServiceLife(owners(self._settings, loaded, mixins))
        self._life.start(self._server.facade)
        if self._settings.program:
            log.program_found(self._settings.program[0], loaded.file)
        else:
            log.handler_loaded(self._settings.handler, loaded.file)
        self._channel.send(FromWorker.READY, parts=self._server.parts(), name=self._server.name, file=loaded.file)

    def _record_connections(self) -> None:
        with FileIO(self._record, "rb+") as record, contextlib.suppress(OSError):  # no memory, or RLIMIT_FSIZE
            if self._is_stream:
                self._recorder = Recorder(record.fileno())
                self._server.record(self._recorder)

    def _load_target(self, mixins: Mixins | None) -> Loaded:
        if self._settings.program:
            from srvctl.programs import program

            program.check_type(self._settings, self._is_stream)
            return program.load(self._settings)
        if self._settings.model == "threads":
            from srvctl.serving.thread_locals import track

            track()
        from srvctl.loader.importer import load

        loaded = load(
            self._setup.target,
            self._setup.is_ready_made,
            self._is_stream,
            self._settings.set,
            mixins.facade_class if mixins else None,
        )
        if self._settings.model == "fork":
            handler_output.import_logging_for_children(loaded.handler)
        return loaded

    def _handle_signals(self) -> None:
        """Leave stopping to the supervisor: a service manager may send TERM to every process of the service."""
        signals.handle((number, signals.do_nothing) for number in signals.FOR_SUPERVISOR)
        signals.handle([(signal.SIGUSR2, self._write_stacks)])
        # This one also works where no bytecode runs any more. It reads frames that may be half made, and can crash (in
        # storms of signals it did, 3.11.7). So it is for workers that are killed next.
        faulthandler.register(LAST_STACKS, file=self._stacks, all_threads=True)

    def _write_stacks(self, number: int, frame: FrameType | None) -> None:
        faulthandler.dump_traceback(self._stacks, all_threads=True)

    def wait_to_serve(self) -> bool:
        """Wait until the supervisor says to serve; return false when it says to stop, or is gone. Blocks."""
        try:
            while True:
                message, values = self._channel.receive()
                if message is ToWorker.SERVE:
                    return True
                if message is ToWorker.SET_LIMIT:
                    self._set_limit(values)
                elif message is ToWorker.SHARE_LIMIT:
                    self._share_limit(values)
                elif message is not ToWorker.WAKE:
                    return False
        except ChannelClosed:
            return False

    def serve(self) -> None:
        """Serve until drained. Does not return when something had to be cut."""
        self._server.on_loop = self._on_loop
        self._server.on_give_up = self._give_up
        self._release_in_children()
        try:
            self._server.serve_forever()
        except OSError as error:
            self._report_fatal(error)
        self._server.server_close()
        self.end()
        self._report_drained()

    def end(self) -> None:
        """Call the hooks for the end of the service, those of them that were started. Blocks as they do."""
        self._life.stop(self._server.facade)

    def _on_loop(self, loop: Loop) -> None:
        loop.watch(self._channel.fileno(), lambda events: self._follow_messages())
        self._line_writer.attach(loop)
        if self._setup.heartbeat_seconds:
            self._send_heartbeats(loop)
        if self._setup.reports_stats or self._recycle_policy.is_enabled:
            self._server.on_change = lambda: self._on_change(loop)
        if self._settings.model == "sync" and not self._settings.program:
            signals.handle([(signal.SIGALRM, self._on_interrupt), (signal.SIGIO, self._on_interrupt)])
            self._channel.raise_signal(signal.SIGIO)

    def _on_interrupt(self, number: int, frame: FrameType | None) -> None:
        if self._server.interrupt() and number == signal.SIGIO:
            self._follow_messages()
            self._server.interrupt()

    def _send_heartbeats(self, loop: Loop) -> None:
        self._channel.send(FromWorker.HEARTBEAT, stats=self._server.figures())
        loop.call_at(monotonic() + self._setup.heartbeat_seconds, lambda: self._send_heartbeats(loop))

    def _on_change(self, loop: Loop) -> None:
        """A conversation has ended: ask for a successor when it is time, and report stats, but not each time."""
        if self._recycle_policy.is_enabled and not self._asked_for_successor:
            self._ask_for_successor(self._recycle_policy.reason(self._server.counters.ended))
        if self._setup.reports_stats and not self._stats_are_due:
            self._stats_are_due = True
            loop.call_soon(lambda: self._report_stats_later(loop))

    def _ask_for_successor(self, why: str) -> None:
        if why:
            self._asked_for_successor = True
            self._channel.send(FromWorker.RECYCLE, why=why)

    def _report_stats_later(self, loop: Loop) -> None:
        loop.call_at(monotonic() + STATS_SECONDS, self._report_stats)

    def _report_stats(self) -> None:
        self._stats_are_due = False
        self._channel.send(FromWorker.HEARTBEAT, stats=self._server.figures())

    def _release_in_children(self) -> None:
        """Close the channel and the listener in every forked child, srvctl's own or one that the handler forks.

        Only functions written in C are called there: Python code that a child runs for the first time makes it copy a
        dozen pages, which would be a third of the cost of a fork.
        """
        calls: list[Callable[[], object]] = [
            partial(_close, self._channel.socket),
            partial(faulthandler.unregister, int(LAST_STACKS)),
            self._stacks.close,  # once: the number may be another file's when a child of a child is forked
        ]
        if self._is_stream:
            calls.append(partial(_close, self._server.socket))
        if self._shared_limit:
            calls += self._shared_limit.closers
        if self._recorder:
            calls.append(self._recorder.close)
        for call in calls:
            os.register_at_fork(after_in_child=call)

    def _follow_messages(self) -> None:
        """Do what the supervisor says; end this process group when it is gone."""
        try:
            for message, values in self._channel.pending():
                if message is ToWorker.DRAIN:
                    self._server.drain(values["seconds"], keep_queue=values["keep_queue"])
                    self._channel.send(FromWorker.NOT_ACCEPTING)
                elif message is ToWorker.SET_LIMIT:
                    self._set_limit(values)
                elif message is ToWorker.SHARE_LIMIT:
                    self._share_limit(values)
                elif message is ToWorker.CLOSE_IDLE:
                    self._server.close_idle()
                elif message is ToWorker.STOP_NOW:
                    self._server.stop_now()
                elif message is ToWorker.REPORT:
                    self._channel.send(FromWorker.STATS, stats=self._server.figures())
        except ChannelClosed:
            log.supervisor_gone()
            if self._settings.program:
                self._channel.close()  # a descriptor, where there may be none left
                kill_session(os.getpid())
            # This process leads a group: its children, and what a handler started, end with it.
            os.killpg(0, signal.SIGKILL)

    def _set_limit(self, values: dict[str, Any]) -> None:
        self._server.resize(self._limit(values["index"], values["count"]))

    def _limit(self, index: int, count: int) -> int:
        """Return what this worker may serve: its share, or what there is, where all workers are asked for room."""
        whole = self._settings.max_connections
        return whole if self._shared_limit and self._settings.at_limit == "refuse" else share(whole, index, count)

    def _share_limit(self, values: dict[str, Any]) -> None:
        self._server.share_limit(is_shared=values["is_shared"])
        if values["is_shared"]:
            self._channel.send(FromWorker.SHARING)

    def _report_drained(self) -> None:
        self._channel.send(FromWorker.DRAINED, stats=self._server.figures())

    def _give_up(self) -> None:
        """Exit although something still runs: a thread that computes, or a handler that ignores its connection."""
        self.end()
        self._report_drained()
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(AttributeError, ValueError, OSError):
                stream.flush()
        os._exit(0)

    def _report_fatal(self, error: OSError) -> None:
        why, status = error.strerror or str(error), int(ExitStatus.OSERR)
        self._channel.send(
            FromWorker.FAILED, verb="accept on", what=self._setup.address, why=why, detail="", status=status
        )
        os._exit(status)


def share(whole: int, index: int, count: int) -> int:
    """Return the part of `whole` for number `index` of `count` workers; the parts of all add up to it."""
    return whole // count + (index < whole % count)
