"""What the tests of the ready-made handlers share: a real server of each kind in a thread, and clients for it."""

from __future__ import annotations

import contextlib
import importlib
import queue
import socket
import sys
import threading

import pytest

from srvctl import socketserver

# Longer than anything here takes; what passes it is a failure, and never the way a test goes on.
PATIENCE = 20.0


class SeqpacketServer(socketserver.UnixStreamServer):
    """A server on unix sequenced packets, as the launcher's family `unix-seqpacket`."""

    socket_type = socket.SOCK_SEQPACKET


SERVERS = {
    "tcp": socketserver.TCPServer,
    "unix": socketserver.UnixStreamServer,
    "unix-seqpacket": SeqpacketServer,
    "udp": socketserver.UDPServer,
    "unix-dgram": socketserver.UnixDatagramServer,
}
STREAMS = ("tcp", "unix", "unix-seqpacket")
DATAGRAMS = ("udp", "unix-dgram")


class Service:
    """A handler that is being served, in order; `handled` gets each request when its handler has ended."""

    def __init__(self, base, address, handler):
        self.handler = handler
        self.handled = queue.Queue()
        self.errors = queue.Queue()
        service = self

        class Server(base):
            def process_request(self, request, client_address):
                try:
                    super().process_request(request, client_address)
                finally:
                    service.handled.put(request)

            def handle_error(self, request, client_address):
                service.errors.put(sys.exception())

        self.server = Server(address, handler)
        if start := getattr(handler, "service_start", None):
            self.server.state = start(self.server)
        self.address = self.server.server_address
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()

    def wait_until_handled(self):
        """Wait until one more request has been handled; return it."""
        return self.handled.get(timeout=PATIENCE)

    def close(self):
        self.server.stop()
        self.thread.join()


@pytest.fixture
def opened():
    """What is closed, the last one first, when the test is over."""
    with contextlib.ExitStack() as stack:
        yield stack


@pytest.fixture
def in_thread(opened, tmp_path):
    """Serve a ready-made handler, by its name or as a class, on a transport; fails the test if it raised."""
    started = []

    def start(handler, transport, *, address=None, **settings):
        if isinstance(handler, str):
            module = importlib.import_module(f"srvctl.handlers.{handler}")
            handler = module.Datagram if transport in DATAGRAMS else module.Stream
        handler = type(handler.__name__, (handler,), settings)
        ip = transport in ("tcp", "udp")
        anywhere = ("127.0.0.1", 0) if ip else str(tmp_path / f"s{len(started)}")
        service = Service(SERVERS[transport], address or anywhere, handler)
        started.append(service)
        opened.callback(service.close)
        return service

    yield start
    opened.close()
    assert [service.errors.get() for service in started if not service.errors.empty()] == []


@pytest.fixture
def connect(opened, tmp_path):
    """Return a client socket that is connected to a service, and has a name to be answered at."""
    names = iter(range(1000))

    def make(service, bind_to=None):
        sock = opened.enter_context(socket.socket(service.server.address_family, service.server.socket_type))
        sock.settimeout(PATIENCE)
        if bind_to:
            sock.bind(bind_to)
        elif sock.family == socket.AF_UNIX and sock.type == socket.SOCK_DGRAM:
            sock.bind(str(tmp_path / f"c{next(names)}"))
        sock.connect(service.address)
        return sock

    return make


@pytest.fixture
def low_port(opened):
    """Return a free UDP address whose port is below 1024."""

    def find():
        for port in range(1023, 600, -1):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
                try:
                    probe.bind(("127.0.0.1", port))
                except PermissionError:
                    pytest.skip("not permitted to bind a port below 1024")
                except OSError:
                    continue
                return "127.0.0.1", port
        pytest.skip("no port below 1024 is free")

    return find


@pytest.fixture
def receive_all():
    """Read a connection to its end; return the records that came, or the pieces of a stream."""
    return lambda sock: list(iter(lambda: sock.recv(1 << 20), b""))


@pytest.fixture
def is_silent():
    """Tell whether nothing has come to a socket; ask when the request is known to have been handled."""

    def ask(sock):
        sock.setblocking(False)
        try:
            sock.recv(1 << 16)
        except BlockingIOError:
            return True
        return False

    return ask
