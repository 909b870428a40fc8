"""Reload under load, srvctl beside gunicorn: ``python -m tests.bench.reload [--reloads N] [--rate N]``.

Each server answers an HTTP request with the path that was asked for, a connection each. While a client makes `--rate`
connections a second, each with an id of its own, the server is told HUP again and again, and every answer is checked.
What is counted are clients that were let down: refused, reset, answered in part, answered wrong. gunicorn is left out,
in words, where it is not installed (``pip install gunicorn``).
"""

from __future__ import annotations

import argparse
import importlib.util
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

APPLICATION = """\
from http.server import BaseHTTPRequestHandler


class Path(BaseHTTPRequestHandler):
    def do_GET(self):
        body = self.path.encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


def wsgi(environ, start_response):
    body = environ["PATH_INFO"].encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"""
CLIENTS = 8


def servers(port: int) -> dict[str, list[str]]:
    """Return the command lines to compare."""
    address = f"127.0.0.1:{port}"
    found = {
        f"srvctl --{model}": [
            *(sys.executable, "-m", "srvctl", "tcp4", address),
            *(f"--{model}", "--workers", "2", "--quiet", "application:Path"),
        ]
        for model in ("threads", "fork")
    }
    if importlib.util.find_spec("gunicorn"):
        gunicorn = [sys.executable, "-m", "gunicorn", "--bind", address, "--workers", "2", "--log-level", "error"]
        found["gunicorn sync"] = [*gunicorn, "application:wsgi"]
        found["gunicorn gthread"] = [*gunicorn, "--worker-class", "gthread", "--threads", "8", "application:wsgi"]
    else:
        print("gunicorn is not installed: left out")
    return found


def ask(port: int, number: int) -> str:
    """Make one request; return how it went."""
    wanted = f"/{number}".encode()
    try:
        with socket.create_connection(("127.0.0.1", port), 10) as sock:
            sock.sendall(b"GET %b HTTP/1.0\r\nHost: bench\r\n\r\n" % wanted)
            received = b""
            while data := sock.recv(65536):
                received += data
    except ConnectionRefusedError:
        return "refused"
    except ConnectionResetError:
        return "reset"
    except TimeoutError:
        return "timed out"
    head, _, body = received.partition(b"\r\n\r\n")
    if not head.startswith((b"HTTP/1.0 200", b"HTTP/1.1 200")):
        return "no answer" if not received else "error"
    return "answered" if body == wanted else "wrong"


def load(port: int, rate: float, stop: threading.Event, counts: Counter[str], first: int) -> None:
    """Make `rate` requests a second until told to stop."""
    number, due = first, time.monotonic()
    while not stop.is_set():
        counts[ask(port, number)] += 1
        number += CLIENTS
        due += 1 / rate
        stop.wait(max(0.0, due - time.monotonic()))


def measure(name: str, command: list[str], port: int, reloads: int, rate: float, place: str) -> None:
    """Reload one server under load, and print a line."""
    process = subprocess.Popen(command, cwd=place, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 20
        while ask(port, 0) != "answered":
            if time.monotonic() > deadline or process.poll() is not None:
                print(f"{name:<18} did not start")
                return
            time.sleep(0.1)
        stop, counts = threading.Event(), [Counter[str]() for _ in range(CLIENTS)]
        threads = [
            threading.Thread(target=load, args=(port, rate / CLIENTS, stop, counts[n], n)) for n in range(CLIENTS)
        ]
        for thread in threads:
            thread.start()
        began = time.monotonic()
        for _ in range(reloads):
            process.send_signal(signal.SIGHUP)
            stop.wait(1.5)  # neither server tells a client when it is done; srvctl takes 0.7 s here
        stop.set()
        for thread in threads:
            thread.join()
        total = sum(counts, Counter[str]())
        seconds = time.monotonic() - began
        failed = {how: count for how, count in total.items() if how != "answered"}
        print(f"{name:<18} {reloads:>4} reloads  {total['answered'] / seconds:>6.0f}/s  {failed or 'nobody let down'}")
    finally:
        process.terminate()
        process.wait()


def main() -> None:
    """Run all of them, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--reloads", type=int, default=20)
    parser.add_argument("--rate", type=float, default=1000.0, help="connections a second")
    options = parser.parse_args()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as place:
        Path(place).chmod(0o755)
        (Path(place) / "application.py").write_text(APPLICATION)
        for name, command in servers(port).items():
            measure(name, command, port, options.reloads, options.rate, place)


if __name__ == "__main__":
    main()
