"""Errors and exit statuses: one line that says what was wrong, and a number that says who can mend it."""

from __future__ import annotations

import errno
import os

import pytest

from srvctl.errors import (
    AddressError,
    AddressInUse,
    ExitStatus,
    LaunchError,
    LoadError,
    NoPermission,
    ResourceError,
    UsageError,
    did_you_mean,
    from_os_error,
)


def test_an_error_reads_cannot_verb_object_why() -> None:
    """The one form."""
    error = UsageError("parse", "tcp address ':x'", "the port is missing", "detail")
    assert str(error) == "cannot parse tcp address ':x': the port is missing"
    assert (error.verb, error.what, error.why, error.detail) == (
        "parse",
        "tcp address ':x'",
        "the port is missing",
        "detail",
    )


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (AddressError, "EX_UNAVAILABLE"),
        (LaunchError, "EX_SOFTWARE"),
        (ResourceError, "EX_OSERR"),
        (NoPermission, "EX_NOPERM"),
        (LoadError, "EX_CONFIG"),
    ],
)
def test_the_status_of_an_error_is_that_of_sysexits(kind: type[LaunchError], name: str) -> None:
    """systemd prints those by name."""
    assert kind.status == getattr(os, name)


def test_the_status_of_a_wrong_word_is_2() -> None:
    """As of every command that parses its words."""
    assert UsageError.status == ExitStatus.USAGE == 2


def test_a_cut_stop_is_a_temporary_failure() -> None:
    """EX_TEMPFAIL."""
    assert ExitStatus.TEMPFAIL == os.EX_TEMPFAIL


def test_each_exit_status_has_a_meaning_of_its_own() -> None:
    """It is what the documents print."""
    meanings = [status.meaning for status in ExitStatus]
    assert len(set(meanings)) == len(meanings) and all(meanings)


def test_an_exit_status_is_made_of_its_number() -> None:
    """A worker sends the number alone."""
    assert ExitStatus(78) is ExitStatus.CONFIG


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.EADDRINUSE, AddressInUse),
        (errno.EADDRNOTAVAIL, AddressError),
        (errno.ENOENT, AddressError),
        (errno.EACCES, NoPermission),
        (errno.EPERM, NoPermission),
        (errno.EMFILE, ResourceError),
        (errno.ENOMEM, ResourceError),
    ],
)
def test_what_the_system_says_of_an_address_is_sorted_by_whose_fault_it_is(
    number: int, kind: type[LaunchError]
) -> None:
    """The address's, the permission's, or the system's."""
    error = from_os_error("bind", "tcp :9", OSError(number, os.strerror(number)))
    assert type(error) is kind
    assert str(error).startswith("cannot bind tcp :9: ")


def test_the_reason_of_the_system_begins_in_lower_case() -> None:
    """It stands behind a colon."""
    assert from_os_error("bind", "x", OSError(errno.EMFILE, "Too many open files")).why == "too many open files"


def test_an_error_of_resources_keeps_the_number() -> None:
    """For who looks at it."""
    error = from_os_error("bind", "x", OSError(errno.ENFILE, "File table overflow"))
    assert isinstance(error, ResourceError) and error.errno == errno.ENFILE


def test_an_os_error_without_a_number_has_its_text() -> None:
    """OSError("...") has no strerror."""
    assert from_os_error("bind", "x", OSError("Too long")).why == "too long"


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("tpc", "; did you mean tcp?"),
        ("TCP", "; did you mean tcp?"),
        ("--tcp", "; did you mean tcp?"),
        ("udp5", "; did you mean udp?"),
        ("dup", "; did you mean udp?"),
        ("unxi-dgram", "; did you mean unix-dgram?"),
        ("uni", "; did you mean unix or unix-dgram?"),
        ("un", "; did you mean unix?"),
        ("u", ""),
        ("http", ""),
        ("", ""),
    ],
)
def test_a_hint_names_what_resembles_the_word(word: str, hint: str) -> None:
    """First those that begin with it; none when nothing is near."""
    assert did_you_mean(word, ["tcp", "tcp4", "udp", "udp4", "unix", "unix-dgram"]) == hint
