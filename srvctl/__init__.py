"""srvctl: serve a socket from one command line.

For authors of handlers: the base classes are importable from here. Everything else of use to a program is in
`srvctl.socketserver`.
"""

from srvctl.socketserver import BaseRequestHandler, DatagramRequestHandler, StreamRequestHandler

__all__ = ["BaseRequestHandler", "DatagramRequestHandler", "StreamRequestHandler", "__version__"]

__version__ = "0.1.0"
