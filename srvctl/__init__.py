"""srvctl: serve a socket from one command line.

For authors of handlers: the base classes are importable from here. Everything else of use to a program is in
`srvctl.socketserver`.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from srvctl.socketserver import BaseRequestHandler, DatagramRequestHandler, StreamRequestHandler

__all__ = ["BaseRequestHandler", "DatagramRequestHandler", "StreamRequestHandler", "__version__"]

__version__ = "0.1.0"


def __getattr__(name: str) -> "Any":
    """Import the base classes when the first of them is asked for: the command line has none of its own."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from srvctl import socketserver

    found = globals()[name] = getattr(socketserver, name)
    return found
