"""Text of an exception for the log: what it says, where it was raised, what caused it, and what it holds.

A chain of causes, a group or a text that has no end is cut: a client may have brought it about.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from traceback import TracebackException
    from types import TracebackType

# So many are told: the innermost frames, and the first of causes, notes and exceptions of a group.
FRAMES_MAX = 20
PARTS_MAX = 8
TEXT_MAX = 512


def describe(error: BaseException) -> str:
    """Return an exception as ``Type: text``, whatever its own ``__str__`` does."""
    try:
        text = str(error)
    except Exception:
        text = "(its text cannot be had)"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def frames_of(error: BaseException, skip: str = "") -> str:
    """Return file, line and function of each frame, the innermost first, without those of files below `skip`.

    The `traceback` module would cost a forked child more than its whole conversation.
    """
    kept = [_place(frame) for frame in _frames(error, skip)]
    return " < ".join(reversed(kept[-FRAMES_MAX:]))


def traceback_of(error: BaseException, skip: str = "") -> str:
    """Return the traceback with source lines, causes and groups as Python prints it, without the frames of `skip`."""
    import traceback

    told = traceback.TracebackException.from_exception(error, limit=-FRAMES_MAX)
    _drop_frames(told, skip)
    return "".join(told.format()).rstrip("\n")


def causes_of(error: BaseException, skip: str = "") -> list[str]:
    """Return the causes of `error` (PEP 3134: its cause, or else its context), each with its innermost frame."""
    causes: list[str] = []
    seen = {id(error)}
    cause = _cause(error)
    while cause is not None and id(cause) not in seen and len(causes) < PARTS_MAX:
        seen.add(id(cause))
        causes.append(_with_place(cause, skip))
        cause = _cause(cause)
    return causes


def notes_of(error: BaseException) -> list[str]:
    """Return the notes that were added to `error` (PEP 678)."""
    notes = getattr(error, "__notes__", None)
    if not isinstance(notes, (list, tuple)):
        return []
    return [note[:TEXT_MAX] for note in notes[:PARTS_MAX] if isinstance(note, str)]


def members_of(error: BaseException, skip: str = "") -> list[str]:
    """Return the exceptions that an exception group holds, those of groups within it too (PEP 654)."""
    members: list[str] = []
    waiting = [error]
    while waiting and len(members) < PARTS_MAX:
        candidate = waiting.pop(0)
        if isinstance(candidate, BaseExceptionGroup):
            waiting[:0] = candidate.exceptions
        elif candidate is not error:
            members.append(_with_place(candidate, skip))
    return members


def _cause(error: BaseException) -> BaseException | None:
    if error.__cause__ is not None:
        return error.__cause__
    return None if error.__suppress_context__ else error.__context__


def _with_place(error: BaseException, skip: str) -> str:
    frames = list(_frames(error, skip))
    return describe(error)[:TEXT_MAX] + (f" at {_place(frames[-1])}" if frames else "")


def _frames(error: BaseException, skip: str) -> Iterator[TracebackType]:
    frame = error.__traceback__
    while frame is not None:
        if not (skip and frame.tb_frame.f_code.co_filename.startswith(skip)):
            yield frame
        frame = frame.tb_next


def _place(frame: TracebackType) -> str:
    code = frame.tb_frame.f_code
    return f"{code.co_filename}:{frame.tb_lineno} in {code.co_name}"


def _drop_frames(told: TracebackException, skip: str) -> None:
    """Take the frames of files below `skip` out of a traceback, and out of all that belong to it."""
    waiting = [told]
    while waiting:
        part = waiting.pop()
        if skip:
            part.stack[:] = [entry for entry in part.stack if not entry.filename.startswith(skip)]
        waiting += [other for other in (part.__cause__, part.__context__, *(part.exceptions or ())) if other]
