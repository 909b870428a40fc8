"""What the service manager is told of the server's life: sd_notify(3), and the protocol of Type=notify-reload."""

from __future__ import annotations

from collections.abc import Iterable
from time import CLOCK_MONOTONIC, clock_gettime

from srvctl.supervisor.worker_process import WorkerProcess
from srvctl.systemd import protocol as systemd

# A drain may take as long as its deadline; what follows that is not the worker's.
_AFTER_DRAIN_SECONDS = 5.0


class SystemdNotifier:
    """Tell it; nothing happens where no service manager listens. `are_read` says whether one does."""

    def __init__(self, address: str, graceful: float) -> None:
        self._address, self._graceful = address, graceful
        self._complaint = ""
        self.are_read = systemd.has_manager()

    def ready(self, workers: Iterable[WorkerProcess], complaint: str = "") -> None:
        """The server serves, for the first time or again; `complaint` stays in its status until the next time."""
        self._complaint = complaint
        systemd.notify(f"READY=1\n{self._status(workers)}")

    def reloading(self) -> None:
        """A reload has begun; both in one message, as Type=notify-reload wants it, systemd.service(5)."""
        systemd.notify(f"RELOADING=1\nMONOTONIC_USEC={int(clock_gettime(CLOCK_MONOTONIC) * 1e6)}\nSTATUS=reloading")

    def stopping(self) -> None:
        """The server stops, and that may take as long as its drain."""
        usec = int((self._graceful + _AFTER_DRAIN_SECONDS) * 1e6)
        systemd.notify(f"STOPPING=1\nSTATUS=draining\nEXTEND_TIMEOUT_USEC={usec}")

    def status(self, workers: Iterable[WorkerProcess]) -> None:
        """Tell the figures."""
        systemd.notify(self._status(workers))

    def _status(self, workers: Iterable[WorkerProcess]) -> str:
        everyone = list(workers)
        total = {
            name: sum(worker.figures.get(name, 0) for worker in everyone)
            for name in ("conversations", "served", "failed", "refused")
        }
        figures = ", ".join(f"{total[name]} {name}" for name in total)
        serving = sum(worker.is_serving for worker in everyone)
        text = f"serving on {self._address} with {serving} worker{'s' * (serving != 1)}: {figures}"
        return f"STATUS={text}; {self._complaint}" if self._complaint else f"STATUS={text}"
