"""Entry point of a worker process: receive the listener and the setup, load the handler, and serve.

A worker is a fresh interpreter that its supervisor started. It imports what its own model needs and no more: each fork
pays for what is in the process at that moment.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys

from srvctl.errors import LaunchError
from srvctl.runtime import lifeline
from srvctl.runtime.channel import Channel, ChannelClosed
from srvctl.serving.shared_limit import SharedLimit
from srvctl.worker import handler_output
from srvctl.worker.protocol import FromWorker, ToWorker, WorkerSetup
from srvctl.worker.worker import Worker

# The listener, the memory of `Recorder`, and the two of `SharedLimit`.
_DESCRIPTORS = 4


def main(control: int, stacks: int, supervisor: int) -> None:
    """Run a worker on the channel whose descriptor is `control`; returns when it has drained.

    It writes stacks of its threads to the descriptor `stacks`, and `supervisor` is the end of a pipe that lasts as long
    as the supervisor. The listener comes by the channel before the setup, because the supervisor may still be reading
    its command line. Exits the process on a failure.
    """
    for fd in (control, stacks, supervisor):
        os.set_inheritable(fd, False)
    sock = socket.socket(fileno=control)
    _close_others({0, 1, 2, control, stacks, supervisor})
    if os.getsid(0) != os.getpid():
        lifeline.arm(supervisor)
    try:
        listener, record, *limits = _receive_descriptors(sock)
        channel = Channel(sock, ToWorker)
        message, values = channel.receive()
    except ChannelClosed:
        return
    assert message is ToWorker.SETUP
    setup = WorkerSetup(**values)
    if setup.announces:
        _print_to_standard_error()
    shared_limit = SharedLimit(*limits) if limits else None
    worker = Worker(channel, setup, socket.socket(fileno=listener), record, shared_limit, stacks)
    try:
        _load_and_serve(worker, channel)
    finally:  # the traceback of a fault in srvctl goes to standard error, whatever the log leaves out
        handler_output.restore()


def _load_and_serve(worker: Worker, channel: Channel) -> None:
    try:
        worker.load()
    except LaunchError as error:
        channel.send(
            FromWorker.FAILED,
            verb=error.verb,
            what=error.what,
            why=error.why,
            detail=error.detail,
            status=int(error.status),
        )
        os._exit(int(error.status))
    if worker.wait_to_serve():
        worker.serve()
    else:
        worker.end()


def _close_others(kept: set[int]) -> None:
    """Close all descriptors but `kept`: those that srvctl itself inherited are not for a handler or a program."""
    for fd in [int(name) for name in os.listdir("/proc/self/fd")]:
        if fd not in kept:
            with contextlib.suppress(OSError):  # the descriptor of the listing itself
                os.close(fd)


def _receive_descriptors(sock: socket.socket) -> list[int]:
    """Return what the supervisor sends first; a program that a handler executes inherits none of it. Blocks."""
    try:
        _, received, _, _ = socket.recv_fds(sock, 1, _DESCRIPTORS)
    except ConnectionError:
        received = []
    if not received:
        raise ChannelClosed
    for fd in received:
        os.set_inheritable(fd, False)  # `recv_fds` ignores its flags, MSG_CMSG_CLOEXEC too
    return received


def _print_to_standard_error() -> None:
    """Have what the handler prints go there: standard output is for the announcement alone."""
    os.dup2(2, 1)
    if sys.stdout is not None:  # line by line at a terminal, as if the interpreter had started so
        sys.stdout.reconfigure(line_buffering=sys.stdout.isatty())  # type: ignore[union-attr]
