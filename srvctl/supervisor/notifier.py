"""Notifications to the service manager: sd_notify(3), and the protocol of Type=notify-reload."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from time import CLOCK_MONOTONIC, clock_gettime

from srvctl.supervisor.worker_process import WorkerProcess
from srvctl.systemd import protocol as systemd

# A drain may take as long as its deadline, and the rest of a stop this much longer.
_AFTER_DRAIN_SECONDS = 5.0


class SystemdNotifier:
    """Notify the service manager; `enabled` says whether there is one, and nothing happens without it."""

    def __init__(self, address: str, graceful: float) -> None:
        self._address, self._graceful = address, graceful
        self._last_error = ""
        self.enabled = systemd.has_manager()

    def ready(self, workers: Iterable[WorkerProcess], stats: Mapping[str, int], error: str = "") -> None:
        """The server serves, for the first time or again; `error` stays in its status until the next time."""
        self._last_error = error
        systemd.notify(f"READY=1\n{self._status(workers, stats)}")

    def reloading(self) -> None:
        """A reload has begun. One message has both fields, as systemd.service(5) asks of Type=notify-reload."""
        systemd.notify(f"RELOADING=1\nMONOTONIC_USEC={int(clock_gettime(CLOCK_MONOTONIC) * 1e6)}\nSTATUS=reloading")

    def stopping(self) -> None:
        """The server stops, and that may take as long as its drain."""
        usec = int((self._graceful + _AFTER_DRAIN_SECONDS) * 1e6)
        systemd.notify(f"STOPPING=1\nSTATUS=draining\nEXTEND_TIMEOUT_USEC={usec}")

    def status(self, workers: Iterable[WorkerProcess], stats: Mapping[str, int]) -> None:
        """Send how many workers serve, and the stats of the service."""
        systemd.notify(self._status(workers, stats))

    def _status(self, workers: Iterable[WorkerProcess], stats: Mapping[str, int]) -> str:
        names = ["conversations", "served", "failed", "refused", *(["waiting"] if stats.get("waiting") else [])]
        counts = ", ".join(f"{stats.get(name, 0)} {name}" for name in names)
        serving = sum(worker.is_in_service for worker in workers)
        text = f"serving on {self._address} with {serving} worker{'s' * (serving != 1)}: {counts}"
        return f"STATUS={text}; {self._last_error}" if self._last_error else f"STATUS={text}"
