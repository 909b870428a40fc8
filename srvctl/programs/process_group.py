"""Programs that are cut: TERM for the whole process group of each, then KILL; and a stop that waits for that."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from time import monotonic

from srvctl.config.settings import TERM_SECONDS
from srvctl.programs.reaper import Reaping
from srvctl.serving.conversation import Conversation
from srvctl.serving.deadlines import NEVER, shut

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from srvctl.programs.conversation import ProgramConversation


class ProgramGroups(Reaping):
    """Cut a conversation by ending the process group of its program: on TERM, or on KILL `TERM_SECONDS` later.

    The process id of a program is also that of its group. One that is on its way is ended when it is there.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._dying: set[int] = set()  # groups that got TERM and whose programs have ended since
        super().__init__(*args, **kwargs)

    def _cut(self, conversation: ProgramConversation, how: str) -> None:  # type: ignore[override]
        """Have the whole group of a program end; its connection stays, for what it says to that."""
        self._enter_started()
        if id(conversation.request) not in self.conversations:  # it had ended before anybody knew that it had begun
            return
        conversation.how = conversation.how or how
        conversation.cut_at = NEVER  # for the sweep of deadlines, this one is done
        if conversation.pid:
            self._end_group(conversation)
        elif id(conversation.request) in self._engaged:
            self._await_started()
        else:  # it waits for its turn
            shut(conversation, socket.SHUT_RDWR)

    def _sweep(self) -> None:
        self._enter_started()  # a program's descendants show whether it is idle
        super()._sweep()

    def _end_group(self, conversation: Conversation) -> None:
        pid = conversation.pid
        _signal_group(pid, signal.SIGTERM)
        _signal_group(pid, signal.SIGCONT)  # one that is stopped would not hear of it
        if self._loop:
            self._loop.call_at(monotonic() + TERM_SECONDS, lambda: self._kill_group(conversation, pid))

    def _kill_group(self, conversation: Conversation, pid: int) -> None:
        was_dying = pid in self._dying
        self._dying.discard(pid)
        if self._by_pid.get(pid) is conversation.request or (was_dying and pid not in self._by_pid):
            _signal_group(pid, signal.SIGKILL)
        self._check_drained()

    def _kill(self, conversation: Conversation) -> None:
        """Leave it to `_kill_group`: a program has longer than a handler."""

    def _give_up(self) -> None:
        """Give up behind the last KILL, and not before: what is left then is connections that are being closed."""
        if self._loop:
            self._loop.call_at(monotonic() + TERM_SECONDS, super()._give_up)

    def _has_children(self) -> bool:
        return bool(self._engaged)

    def _is_drained(self) -> bool:
        self._dying = {pid for pid in self._dying if has_group(pid)}
        return super()._is_drained() and not self._dying


def has_group(group: int) -> bool:
    """Tell whether a process group has anyone left in it."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _signal_group(group: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)
