"""One thread alone, or several: what a trial finds, and that whoever waits for something keeps nobody else waiting."""

from __future__ import annotations

import socket
import threading
from types import SimpleNamespace

import pytest

from srvctl.config.settings import Settings
from srvctl.serving import single_thread_trial
from srvctl.serving.single_thread_trial import FEW_A_SECOND, TRIAL_INTERVAL, SingleThreadTrial
from srvctl.worker.assemble import assemble
from tests.serving.running import PATIENCE, running

SECOND = FEW_A_SECOND * 10  # requests


@pytest.fixture
def passed(monkeypatch):
    """Have time pass, and threads wait, as a test says."""
    clock = SimpleNamespace(now=1000.0, switches=0)

    def pass_(seconds, waits):
        clock.now += seconds
        clock.switches += waits

    monkeypatch.setattr(single_thread_trial, "monotonic", lambda: clock.now)
    monkeypatch.setattr(single_thread_trial, "getrusage", lambda who: SimpleNamespace(ru_nvcsw=clock.switches))
    return pass_


@pytest.fixture
def trial(passed):
    """A trial that has just begun."""
    trial = SingleThreadTrial()
    assert trial.is_due()
    trial.start(0, 0)
    assert trial.active
    return trial


def test_one_stays_alone_while_nothing_waits(trial, passed):
    """Many requests, and waits for no more than a few of them."""
    for seconds in range(1, 5):
        passed(1, SECOND // 10)
        trial.evaluate(True, SECOND * seconds, 0)
        assert trial.active
    assert not trial.is_due()


def test_the_time_before_the_others_have_left_tells_nothing(trial, passed):
    """They wait for the interpreter's lock."""
    for seconds, is_one in enumerate((False, False, True), 1):
        passed(1, SECOND * 2)
        trial.evaluate(is_one, SECOND * seconds, 0)
        assert trial.active
    passed(1, SECOND * 2)
    trial.evaluate(True, SECOND * 4, 0)
    assert not trial.active


@pytest.mark.parametrize(("requests", "waits", "idle_waits"), [(SECOND, SECOND, 0), (FEW_A_SECOND // 2, 0, 0)])
def test_several_take_requests_again_when_one_waits_or_few_come(trial, passed, requests, waits, idle_waits):
    """And the next trial is later."""
    trial.evaluate(True, 0, 0)
    passed(1, waits)
    trial.evaluate(True, requests, idle_waits)
    assert not trial.active
    assert not trial.is_due()
    passed(TRIAL_INTERVAL, 0)
    assert trial.is_due()


def test_a_trial_ends_when_requests_stop_coming(trial, passed):
    """Also while several are there, that wait for one and do not leave: nobody looks after an idle server."""
    passed(1, 0)
    trial.evaluate(False, 0, 0)
    assert not trial.active


def test_a_wait_at_the_gate_is_none(trial, passed):
    """Who waits for a request waits for nothing else."""
    trial.evaluate(True, 0, 0)
    passed(1, SECOND)
    trial.evaluate(True, SECOND, SECOND)
    assert trial.active


def test_one_that_is_alone_keeps_nobody_waiting():
    """Handlers that wait for each other are all there, though one thread took requests when they came."""
    together = threading.Barrier(5)

    def meet(request, client_address, server):
        data, reply = request
        together.wait(PATIENCE)
        reply.sendto(data, client_address)

    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    server = assemble(Settings.resolve("udp", ":0", "x", "threads"), 8, sock, meet, is_own=True)
    server.executor._trial.start(0, 0)
    with running(server), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(PATIENCE)
        client.connect(server.server_address)
        for number in range(5):
            client.send(b"%d" % number)
        assert {client.recv(10) for _ in range(5)} == {b"%d" % number for number in range(5)}
