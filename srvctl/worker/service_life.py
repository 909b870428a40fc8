"""Service life: the hooks that a handler, its module and its mix-ins have for the start and the end of a worker.

``service_start(server)`` runs in each worker when everything is imported, before the
worker reports ready. What it returns becomes ``server.state``. ``service_stop(server)`` runs after the drain.
"""

from __future__ import annotations

from srvctl.errors import LaunchError, LoadError
from srvctl.loader.importer import failure
from srvctl.runtime import log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from srvctl.config.settings import Settings
    from srvctl.loader.importer import Loaded
    from srvctl.worker.mixins import Mixins

    Owner = tuple[str, Any]  # its name in messages, and the class or module


class ServiceLife:
    """Call the hooks of `owners`: at the start in their order, at the end in the opposite one.

    An owner without a hook is passed over.
    """

    def __init__(self, owners: Sequence[Owner]) -> None:
        self._owners = owners
        self._started: list[Owner] = []

    def start(self, server: Any) -> None:
        """Call each ``service_start``; the last result that is not None is ``server.state``. Blocks as they do.

        Raises `LaunchError` when one raises anything; then the ones before it have been stopped.
        """
        for name, holder in self._owners:
            for hook in ("service_start", "service_stop"):
                hook_of(holder, hook, name)  # a wrong one is an error now, and not in the end
        for owner in self._owners:
            try:
                self._start(owner, server)
            except LaunchError:
                self.stop(server)
                raise
            self._started.append(owner)

    def _start(self, owner: Owner, server: Any) -> None:
        name, holder = owner
        try:
            state = hook(server) if (hook := hook_of(holder, "service_start", name)) else None
        except LaunchError:
            raise
        except BaseException as error:  # SystemExit as well: it is for this process, which has not begun
            raise failure("start", name, error, "service_start raised ") from error
        if state is not None:
            server.state = state

    def stop(self, server: Any) -> None:
        """Call each ``service_stop`` of those that were started, once; logs what they raise. Blocks as they do."""
        while self._started:
            name, holder = self._started.pop()
            try:
                if hook := hook_of(holder, "service_stop", name):
                    hook(server)
            except BaseException as error:
                log.hook_failed(f"service_stop of {name}", error)


def owners(settings: Settings, loaded: Loaded, mixins: Mixins | None) -> list[Owner]:
    """Return what may have hooks, in the order of its start: the handler's module, each mix-in, the handler's class."""
    found: list[Owner] = []
    if loaded.module is not None:
        found.append((f"module {loaded.module.__name__!r}", loaded.module))
    if mixins is not None:
        found += [(f"mix-in {cls.__name__!r}", cls) for cls in mixins.classes]
    if isinstance(loaded.handler, type):
        found.append((f"handler {settings.handler!r}", loaded.handler))
    return found


def hook_of(holder: Any, hook: str, name: str) -> Callable[[Any], Any] | None:
    """Return the function `hook` of a module or a class, or None. Raises `LoadError` where it needs an instance."""
    found: Any = getattr(holder, hook, None)
    if found is None or not callable(found):
        return None
    code = None if hasattr(found, "__self__") else getattr(found, "__code__", None)
    if isinstance(holder, type) and code and code.co_argcount - len(found.__defaults__ or ()) > 1:
        raise LoadError(
            "load", name, f"{hook} would need an object of the class; put @classmethod over def {hook}(cls, server)"
        )
    return found  # type: ignore[no-any-return]
