"""Admission: one answer, from the first check that refuses; and each refusal is counted and logged."""

from __future__ import annotations

import pytest

from srvctl.config.settings import Settings
from srvctl.runtime import log
from srvctl.serving.admission import Admission, LimitCheck, Verdict, rule
from srvctl.serving.server import Server
from srvctl.serving.table import ConversationTable
from tests.serving.running import FakeExecutor, FakeSource, conversation


def test_the_first_that_refuses_decides():
    """The others are not asked, and the table stays empty."""
    table, asked = ConversationTable(), []

    def check(verdict):
        return lambda conversation: asked.append(verdict) or verdict

    admission = Admission(table, [check(Verdict.ADMITTED), check(Verdict.RULE), check(Verdict.LIMIT)])
    assert admission.admit(conversation()) is Verdict.RULE
    assert asked == [Verdict.ADMITTED, Verdict.RULE]
    assert not table


def test_who_is_admitted_is_in_the_table():
    """Once."""
    table = ConversationTable()
    admitted = conversation()
    assert Admission(table, [LimitCheck(table, 1)]).admit(admitted) is Verdict.ADMITTED
    assert table.snapshot() == [admitted]


def test_the_limit_holds_until_a_stop_begins():
    """Then everybody who is still queued is served."""
    table = ConversationTable()
    limit = LimitCheck(table, 1)
    admission = Admission(table, [limit])
    assert admission.admit(conversation(1)) is Verdict.ADMITTED
    assert admission.admit(conversation(2)) is Verdict.LIMIT
    limit.is_lifted = True
    assert admission.admit(conversation(3)) is Verdict.ADMITTED


@pytest.mark.parametrize(("answer", "verdict"), [(True, Verdict.ADMITTED), (False, Verdict.RULE), (None, Verdict.RULE)])
def test_a_rule_is_asked_with_the_request_and_its_peer(answer, verdict):
    """As `verify_request` of the hierarchy."""
    asked = conversation(5)
    heard = []
    assert rule(lambda *given: heard.append(given) or answer)(asked) is verdict
    assert heard == [(asked.request, asked.peer)]


def test_a_rule_that_raises_lets_nobody_in(monkeypatch):
    """And that is logged as an error of the rule."""
    logged = []
    monkeypatch.setattr(log, "rule_failed", lambda peer, error: logged.append((peer, str(error))))

    def fail(request, client_address):
        raise ValueError("broken")

    assert rule(fail)(conversation(9)) is Verdict.RULE_FAILED
    assert logged == [("192.0.2.1:9", "broken")]


def test_with_nothing_to_check_there_is_no_admission():
    """That is the fast way; a rule makes one."""

    class Strict(Server):
        def verify_request(self, request, client_address):
            return False

    settings = Settings.resolve("tcp", ":0", "x", "threads")

    def source(counters):
        made = FakeSource()
        made.socket, made.address = None, ("192.0.2.1", 1)
        return made

    assert Server(settings, None, source, lambda server: FakeExecutor(), 1).admission is None
    assert Strict(settings, None, source, lambda server: FakeExecutor(), 1).admission is not None


@pytest.mark.parametrize(
    ("verdict", "counter", "calls"),
    [(Verdict.LIMIT, "refused", 1), (Verdict.RULE, "rejected", 1), (Verdict.RULE_FAILED, "rejected", 0)],
)
def test_a_refusal_is_counted_and_logged_once_in_a_while(parts, clock, monkeypatch, verdict, counter, calls):
    """With the reason and the peer; a rule that failed was logged as that."""
    logged = []
    monkeypatch.setattr(log, "refused", lambda *told: logged.append(told))
    made = parts()
    for number in range(3):
        made.closing.refuse(conversation(number), verdict)
    assert made.counters.figures()[counter] == 3
    assert logged == [(verdict.value, "192.0.2.1:0", 0)] * calls
    clock.now += 60
    made.closing.refuse(conversation(7), verdict)
    assert logged[1:] == [(verdict.value, "192.0.2.1:7", 2)] * calls
