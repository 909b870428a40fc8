"""srvctl: serve a socket from one command line.

For authors of handlers: the base classes are importable from here. Everything else of use to a program is in
`srvctl.socketserver`.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from srvctl.socketserver import BaseRequestHandler, DatagramRequestHandler, StreamRequestHandler

__all__ = ["BaseRequestHandler", "DatagramRequestHandler", "StreamRequestHandler", "__version__"]

__version__ = "0.1.0"


if not TYPE_CHECKING:  # or each name that is misspelt would be one

    def __getattr__(name: str) -> type:
        """Import the base classes when the first of them is asked for: the command line has none of its own."""
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from srvctl import socketserver

        found = globals()[name] = getattr(socketserver, name)
        return found
