"""`ThreadingMixIn`: each request is handled by a thread: one of its own, or one of a pool."""

from __future__ import annotations

import threading
from time import monotonic

from srvctl.socketserver.accept_errors import RequestDeferred
from srvctl.socketserver.base import BaseServer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Base = BaseServer
else:
    Base = object


class _PoolThread(threading.Thread):
    """A thread that runs one job after another; between two it is parked on a lock, which costs no system call."""

    def __init__(self, pool: ThreadPool, job: Callable[[], None], daemon: bool) -> None:
        super().__init__(daemon=daemon)
        self.pool = pool
        self.job: Callable[[], None] | None = job
        self.is_retired = False
        self.parked = threading.Lock()
        self.parked.acquire()

    def run(self) -> None:
        try:
            while self.job is not None:
                job, self.job = self.job, None
                job()
                del job  # a parked thread must not keep the last request alive
                if self.is_retired or not self.pool.park(self):
                    return
                self.parked.acquire()
        finally:
            self.pool.ended(self)


class ThreadPool:
    """Threads for jobs: one that is parked when there is one, otherwise a new one, and at most `spare` parked.

    Whoever submits bounds how many run at the same time; the pool never queues and never blocks, but in `join`.
    """

    def __init__(self, spare: int, daemon: bool) -> None:
        self._spare, self._daemon = spare, daemon
        self._lock = threading.Lock()
        self._threads: set[_PoolThread] = set()
        self._parked: list[_PoolThread] = []  # the last one in is the first one out: its memory is warm
        self._closing = False

    def __len__(self) -> int:
        """Return how many threads there are, parked ones included."""
        return len(self._threads)

    def submit(self, job: Callable[[], None]) -> None:
        """Run `job` in a thread. Raises `RequestDeferred` when the system has none, and then nothing changed."""
        with self._lock:
            if self._parked:
                thread = self._parked.pop()
                thread.job = job
                thread.parked.release()
                return
        thread = _PoolThread(self, job, self._daemon)
        self._threads.add(thread)
        try:
            thread.start()
        except RuntimeError as error:  # "can't start new thread"
            self._threads.discard(thread)
            raise RequestDeferred from error

    def park(self, thread: _PoolThread) -> bool:
        """Take back a thread that has done its job; False tells it to end."""
        with self._lock:
            if self._closing or len(self._parked) >= self._spare:
                return False
            self._parked.append(thread)
            return True

    def retire_current(self) -> None:
        """Have the current thread, if it is one of these, end after its job."""
        thread = threading.current_thread()
        if isinstance(thread, _PoolThread):
            thread.is_retired = True

    def ended(self, thread: _PoolThread) -> None:
        """Forget a thread."""
        self._threads.discard(thread)

    def join(self, timeout: float | None = None) -> None:
        """Send the parked threads home and wait for the others, `timeout` seconds at most."""
        with self._lock:
            self._closing = True
            parked, self._parked = self._parked, []
        for thread in parked:
            thread.parked.release()
        deadline = None if timeout is None else monotonic() + timeout
        for thread in list(self._threads):
            if thread is not threading.current_thread():
                thread.join(None if deadline is None else max(0.0, deadline - monotonic()))
        self._closing = False


class ThreadingMixIn(Base):
    """Mix in before a server class to handle each request in a thread.

    At most ``max_threads`` requests are served at the same time; then new ones stay where they are.
    ``spare_threads`` stay behind for the next request; with none, as in the original, each request has a thread
    of its own. ``daemon_threads`` decides whether they keep the program alive, and ``block_on_close`` whether
    ``server_close`` waits for them.
    """

    daemon_threads = False
    block_on_close = True
    max_threads = 512
    spare_threads = 0
    _threads: ThreadPool | tuple[()] = ()
    _running = 0

    def _pool(self) -> ThreadPool:
        if not isinstance(self._threads, ThreadPool):
            self._threads = ThreadPool(self.spare_threads, self.daemon_threads or self.spare_threads > 0)
            self._running_lock = threading.Condition()
        return self._threads

    def process_request(self, request: Any, client_address: Any) -> None:
        """Hand the request to a thread."""
        self._submit(lambda: self.process_request_thread(request, client_address), self._request_ended)
        self._pause_when_full()

    def _submit(self, job: Callable[[], None], on_end: Callable[[], None]) -> None:
        """Run `job` in a thread, counted; `on_end` is called in the loop when it ends and requests may wait for that.

        Raises `RequestDeferred`, and then nothing has changed.
        """
        pool = self._pool()
        # Counted before it starts: a thread may end before submit() returns.
        with self._running_lock:
            self._running += 1
        try:
            pool.submit(lambda: self._run_in_thread(job, on_end))
        except RequestDeferred:
            self._thread_done()
            raise

    def _is_full(self) -> bool:
        return self._running >= self.max_threads

    def _run_in_thread(self, job: Callable[[], None], on_end: Callable[[], None]) -> None:
        try:
            job()
        finally:
            self._thread_done()
            if (self._pause_reasons or self._is_short()) and (loop := self._loop):
                loop.call_soon(on_end)

    def _is_short(self) -> bool:
        """Return whether a request may wait for a thread, though none are held back; not with a thread for each."""
        return False

    def _thread_done(self) -> None:
        with self._running_lock:
            self._running -= 1
            self._running_lock.notify_all()

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve the request, in its thread; an exception of the handler goes to `handle_error`."""
        try:
            self.finish_request(request, client_address)
        except Exception:
            self.handle_error(request, client_address)
        finally:
            self.shutdown_request(request)

    def _wait_for_room(self) -> None:
        if self._is_full():
            with self._running_lock:
                self._running_lock.wait_for(lambda: not self._is_full())

    def _wait_for_requests(self) -> None:
        """Wait for the threads when ``block_on_close`` is true and they do not outlive the program anyway."""
        if isinstance(self._threads, ThreadPool) and self.block_on_close and not self.daemon_threads:
            self._threads.join()
        super()._wait_for_requests()
