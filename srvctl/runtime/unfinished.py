"""What a handler returns when it has done nothing: a coroutine, a generator or an asynchronous generator."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from typing import Any, NoReturn


async def _coroutine() -> None: ...


def _generator() -> Iterator[None]:
    yield


async def _async_generator() -> AsyncIterator[None]:
    yield


def _types_of_unfinished() -> frozenset[type]:
    coroutine = _coroutine()
    coroutine.close()
    return frozenset((type(coroutine), type(_generator()), type(_async_generator())))


# What a function returns whose body has not run. `types`, which has names for them, is not imported by every worker.
UNFINISHED = _types_of_unfinished()


def refuse_unfinished(result: Any) -> NoReturn:
    """Raise TypeError for what a handler returned instead of doing its work."""
    if hasattr(result, "close"):
        result.close()  # or Python would warn that nobody has awaited it
    kind = type(result).__name__
    raise TypeError(f"the handler returned a {kind}, whose body has not run; expected a plain function")
