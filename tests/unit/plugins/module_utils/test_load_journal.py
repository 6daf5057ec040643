# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The accounting of the drills finds what is lost, corrupted, or counted twice."""

from __future__ import annotations

import json

import pytest
from ansible_collections.infn.cloud.plugins.module_utils._load_journal import (
    MISSING,
    OK,
    UNREADABLE,
    WRONG,
    Attempt,
    JournalError,
    Reading,
    as_objects,
    figures,
    judge,
    read_journal,
    seconds_until_service,
)

SITES = ["cnaf", "bari", "padova"]
BEGIN = {"event": "begin", "account": "AUTH_a", "container": "c", "sites": SITES, "at": 0.0}


def acknowledged(name: str, at: float = 1.0, **more):
    entry = {"event": "acknowledged", "name": name, "bytes": 3, "md5": f"md5-{name}"}
    return entry | {"sha256": f"sha256-{name}", "site": "cnaf", "at": at} | more


def attempt(at: float, site: str = "cnaf", failure: str | None = None, op: str = "PUT"):
    entry = {"event": "attempt", "op": op, "site": site, "name": "o", "at": at, "seconds": 0.5}
    return entry | ({"failure": failure} if failure else {})


def journal(*entries):
    return read_journal([json.dumps(entry) + "\n" for entry in (BEGIN, *entries)])


def all_right(*names: str) -> list[Reading]:
    return [Reading(site, name, OK) for name in names for site in SITES]


def verdict(books, readings):
    found = judge(books.acknowledged, readings, SITES)
    return found["lost"], found["corrupted"], found["unreadable"]


# --- verdict


def test_what_is_there_everywhere_is_no_loss() -> None:
    books = journal(acknowledged("a"), acknowledged("b"))
    assert verdict(books, all_right("a", "b")) == (0, 0, 0)


def test_one_object_missing_in_one_site_is_one_loss() -> None:
    books = journal(acknowledged("a"), acknowledged("b"))
    readings = all_right("a", "b")
    readings[4] = Reading("bari", "b", MISSING, "HTTP 404")
    found = judge(books.acknowledged, readings, SITES)
    assert (found["lost"], found["corrupted"], found["unreadable"]) == (1, 0, 0)
    assert found["lost_objects"] == ["b through bari: HTTP 404"]


def test_an_object_missing_in_all_sites_is_counted_once() -> None:
    books = journal(acknowledged("a"), acknowledged("b"))
    gone = [Reading(site, "a", MISSING, "HTTP 404") for site in SITES]
    assert verdict(books, gone + all_right("b")) == (1, 0, 0)


def test_other_bytes_are_corruption_even_if_another_site_has_lost_it() -> None:
    books = journal(acknowledged("a"))
    readings = [
        Reading("cnaf", "a", MISSING, "HTTP 404"),
        Reading("bari", "a", WRONG, "3 other bytes"),
        Reading("padova", "a", OK),
    ]
    assert verdict(books, readings) == (0, 1, 0)


def test_what_nobody_read_is_not_right() -> None:
    books = journal(acknowledged("a"), acknowledged("b"))
    assert verdict(books, all_right("a")) == (0, 0, 1)
    assert verdict(books, all_right("a", "b")[:-1]) == (0, 0, 1)
    assert verdict(books, []) == (0, 0, 2)


def test_a_site_that_does_not_answer_is_not_right() -> None:
    books = journal(acknowledged("a"))
    readings = all_right("a")
    readings[0] = Reading("cnaf", "a", UNREADABLE, "timeout")
    assert verdict(books, readings) == (0, 0, 1)


# --- journal


def test_a_name_acknowledged_twice_is_a_fault() -> None:
    books = journal(acknowledged("a"), acknowledged("a", md5="other"))
    assert books.faults == ["a: acknowledged twice, names are used once"]
    assert figures(books)["faulty"] == 1
    assert books.acknowledged["a"].md5 == "md5-a"


def test_a_reader_that_got_other_bytes_is_a_fault() -> None:
    books = journal(acknowledged("a"), {"event": "wrong", "name": "a", "site": "bari", "at": 2.0})
    assert figures(books)["faults"] == ["a: read other bytes through bari"]


def test_half_a_line_at_the_end_is_a_load_that_was_killed() -> None:
    lines = [json.dumps(BEGIN) + "\n", json.dumps(acknowledged("a")) + "\n", '{"event": "ackn']
    assert list(read_journal(lines).acknowledged) == ["a"]


def test_half_a_line_in_the_middle_is_no_journal() -> None:
    lines = [json.dumps(BEGIN), '{"event": "ackn', json.dumps(acknowledged("a"))]
    with pytest.raises(JournalError, match="line 2 is no entry"):
        read_journal(lines)


@pytest.mark.parametrize("lines", [[], ["nonsense"], [json.dumps(acknowledged("a"))]])
def test_a_journal_has_a_beginning(lines) -> None:
    with pytest.raises(JournalError, match="which container"):
        read_journal(lines)


def test_objects_are_asked_for_with_their_checksum() -> None:
    assert as_objects(journal(acknowledged("a"))) == [
        {"account": "AUTH_a", "container": "c", "object": "a", "etag": "md5-a"}
    ]


# --- figures


def attempts(*entries):
    return journal(*entries).attempts


def test_service_without_a_failure_takes_no_time() -> None:
    some = attempts(*(attempt(10 + second) for second in range(5)))
    assert seconds_until_service(some, 10, ["cnaf"], 5) == 0


def test_service_begins_at_the_last_failure_before_a_window() -> None:
    some = attempts(
        attempt(9.8, failure="timeout"),  # came to light after the fault
        attempt(11),
        attempt(12, failure="HTTP 503"),
        *(attempt(13 + second) for second in range(3)),
        attempt(20, failure="HTTP 503"),
    )
    assert seconds_until_service(some, 10, ["cnaf"], 3) == 2.5


def test_a_request_from_before_the_fault_proves_nothing() -> None:
    some = attempts(attempt(9.9), attempt(11), attempt(12))
    assert seconds_until_service(some, 10, ["cnaf"], 3) is None


def test_what_succeeds_before_the_fault_is_in_force_proves_nothing() -> None:
    some = attempts(
        *(attempt(10 + second) for second in range(3)),
        attempt(14, failure="timeout"),
        *(attempt(15 + second) for second in range(3)),
    )
    assert seconds_until_service(some, 10, ["cnaf"], 3) == 0
    assert seconds_until_service(some, 10, ["cnaf"], 3, proven_from=13) == 4.5


def test_the_slowest_site_counts_and_a_silent_one_is_not_there_yet() -> None:
    some = attempts(
        attempt(11, "cnaf"), attempt(12, "cnaf"),
        attempt(11, "bari", "refused"), attempt(12, "bari"), attempt(13, "bari"),
    )  # fmt: skip
    assert seconds_until_service(some, 10, ["cnaf"], 2) == 0
    assert seconds_until_service(some, 10, ["cnaf", "bari"], 2) == 1.5
    assert seconds_until_service(some, 10, ["cnaf", "padova"], 2) is None


def test_failures_are_told_apart_by_when_and_where() -> None:
    books = journal(
        attempt(1, failure="before"),
        attempt(11, "bari", "timeout"),
        attempt(12, "bari", "timeout"),
        attempt(12, "cnaf", "HTTP 503", "GET"),
        attempt(13),
        attempt(31, "bari", "refused"),
        {"event": "gave_up", "op": "GET", "name": "o", "at": 12.9, "failure": "HTTP 503"},
        {"event": "gave_up", "op": "GET", "name": "o", "at": 35.0, "failure": "late"},
        acknowledged("a", 5.0),
        acknowledged("b", 13.5),
    )
    found = figures(books, fault_at=10, healed_at=30, living=["cnaf"], window=2)
    assert found["acknowledged"] == 2
    assert found["acknowledged_during_fault"] == 1
    assert found["acknowledged_bytes"] == 6
    assert found["requests"] == 6
    assert found["requests_during_fault"] == 4
    assert found["failed_before_fault"] == 1
    assert found["failed_during_fault"] == 3
    assert found["failed_during_fault_at_living_sites"] == 1
    assert found["failed_during_fault_by_kind"] == {"bari PUT timeout": 2, "cnaf GET HTTP 503": 1}
    assert found["failed_after_retry_during_fault"] == 1
    assert found["failed_after_heal"] == 1


def test_kinds_are_read_with_the_attempt() -> None:
    (one,) = attempts(attempt(1, failure="timeout"))
    assert one == Attempt("PUT", "cnaf", "o", 1, 0.5, "timeout")
    assert one.end == 1.5
