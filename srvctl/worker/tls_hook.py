"""Hook on the import of `ssl`: TLS that a handler makes is counted then (`srvctl.serving.wrapped`)."""

from __future__ import annotations

from srvctl.loader.after_import import call_after_import

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType


def install() -> None:
    """Have connections counted that a handler wraps in TLS, in this process."""
    call_after_import("ssl", _count_wrapped)


def _count_wrapped(ssl: ModuleType) -> None:
    from srvctl.serving.wrapped import count_wrapped

    count_wrapped(ssl)
