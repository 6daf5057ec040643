# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The journal of a load on the object store, and what follows from it: pure, no network.

PRIVATE to the collection: it may change without notice.

A journal is lines of JSON. What the store has acknowledged stands in it before anybody counts it,
so it is the whole truth about what must not be lost. Names are never used twice: an object has one
right content for ever, and the accounting needs no guesses about the order of overwrites.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Dict, Iterable, List, Mapping, Optional, Sequence, Set, Tuple

# What a reader found: the bytes that were written, no object, other bytes, no answer.
OK, MISSING, WRONG, UNREADABLE = "ok", "missing", "wrong", "unreadable"
# Names shown of each kind; the counts are complete.
SHOWN = 20


class JournalError(Exception):
    """The file is no journal of a load; the text says what is wrong where."""


@dataclass(frozen=True)
class Attempt:
    """One request to one site; `failure` is its kind, or None."""

    op: str
    site: str
    name: str
    at: float
    seconds: float
    failure: Optional[str] = None

    @property
    def end(self) -> float:
        """Tell when it was answered, or given up."""
        return self.at + self.seconds


@dataclass(frozen=True)
class Acknowledged:
    """An object that the store said it has."""

    name: str
    bytes: int
    md5: str
    sha256: str
    site: str
    at: float


@dataclass(frozen=True)
class GaveUp:
    """A request that failed at every site that the client tried."""

    op: str
    name: str
    at: float
    failure: str


@dataclass(frozen=True)
class Reading:
    """What one site gave for one object after the drill."""

    site: str
    name: str
    found: str
    detail: str = ""


@dataclass
class Journal:
    """All that a load has written down."""

    account: str = ""
    container: str = ""
    sites: Tuple[str, ...] = ()
    acknowledged: Dict[str, Acknowledged] = field(default_factory=dict)
    attempts: List[Attempt] = field(default_factory=list)
    gave_up: List[GaveUp] = field(default_factory=list)
    # What contradicts itself: an object acknowledged twice, a reader that got other bytes.
    faults: List[str] = field(default_factory=list)
    ended: bool = False


def read_journal(lines: Iterable[str]) -> Journal:
    """Read a journal, also while it is being written: its last line may be half a line."""
    journal = Journal()
    torn: Optional[str] = None
    for number, line in enumerate(lines, 1):
        if torn is not None:
            raise JournalError(torn)
        try:
            entry = json.loads(line)
            _add(journal, entry)
        except (ValueError, KeyError, TypeError) as error:
            torn = f"line {number} is no entry of a load's journal ({error!r}): {line[:80]!r}"
    if not journal.container:
        raise JournalError("the journal does not say which container was used: did the load begin?")
    return journal


def _add(journal: Journal, entry: Dict[str, Any]) -> None:
    event = entry.pop("event")
    if event == "begin":
        journal.account, journal.container = entry["account"], entry["container"]
        journal.sites = tuple(entry["sites"])
    elif event == "attempt":
        journal.attempts.append(Attempt(**entry))
    elif event == "acknowledged":
        found = Acknowledged(**entry)
        if found.name in journal.acknowledged:
            journal.faults.append(f"{found.name}: acknowledged twice, names are used once")
        journal.acknowledged.setdefault(found.name, found)
    elif event == "gave_up":
        journal.gave_up.append(GaveUp(**entry))
    elif event == "wrong":
        journal.faults.append(f"{entry['name']}: read other bytes through {entry['site']}")
    elif event == "end":
        journal.ended = True
    else:
        raise ValueError(f"unknown event {event}")


# --- figures -----------------------------------------------------------------------------------


def seconds_until_service(
    attempts: Sequence[Attempt],
    since: float,
    sites: Iterable[str],
    window: int,
    *,
    proven_from: Optional[float] = None,
) -> Optional[float]:
    """Say after how many seconds the last of the sites served as if nothing were wrong.

    A site serves from its last failure before the first `window` requests in a row that succeed.
    Only requests that were begun after the event count for a window, or after `proven_from`: a
    fault takes a while to be in force everywhere. A failure counts if it came to light after the
    event. None: some site has not got there yet.
    """
    slowest, proven = 0.0, since if proven_from is None else max(since, proven_from)
    for site in sites:
        served_from, row = since, 0
        for attempt in sorted(attempts, key=lambda one: one.end):
            if attempt.site != site or attempt.end < since:
                continue
            if attempt.failure is not None:
                served_from, row = attempt.end, 0
            elif attempt.at >= proven:
                row += 1
            if row >= window:
                break
        if row < window:
            return None
        slowest = max(slowest, served_from - since)
    return slowest


def by_kind(failures: Iterable[str]) -> Dict[str, int]:
    """Count failures by their kind, the most frequent first."""
    counts: Dict[str, int] = {}
    for kind in failures:
        counts[kind] = counts.get(kind, 0) + 1
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def figures(
    journal: Journal,
    *,
    fault_at: Optional[float] = None,
    broken_at: Optional[float] = None,
    healed_at: Optional[float] = None,
    living: Sequence[str] = (),
    window: int = 10,
) -> Dict[str, Any]:
    """Count what a drill reports. Without `healed_at` the fault lasts until the journal's end."""
    begin = fault_at if fault_at is not None else float("inf")
    end = healed_at if healed_at is not None else float("inf")
    during = [one for one in journal.attempts if one.end >= begin and one.at <= end]
    failed = [one for one in during if one.failure is not None]
    lived = [one for one in failed if one.site in living]
    given_up = [one for one in journal.gave_up if begin <= one.at <= end]
    result: Dict[str, Any] = {
        "acknowledged": len(journal.acknowledged),
        "acknowledged_bytes": sum(one.bytes for one in journal.acknowledged.values()),
        "acknowledged_during_fault": sum(
            begin <= one.at <= end for one in journal.acknowledged.values()
        ),
        "requests": len(journal.attempts),
        "requests_during_fault": len(during),
        "failed_during_fault": len(failed),
        "failed_during_fault_by_kind": by_kind(
            f"{one.site} {one.op} {one.failure}" for one in failed
        ),
        "failed_during_fault_at_living_sites": len(lived),
        "failed_after_retry_during_fault": len(given_up),
        "failed_after_retry_by_kind": by_kind(f"{one.op} {one.failure}" for one in given_up),
        "failed_before_fault": sum(
            one.failure is not None and one.end < begin for one in journal.attempts
        ),
        "failed_after_heal": sum(
            one.failure is not None and one.at > end for one in journal.attempts
        ),
        "slowest_success_during_fault": round(
            max((one.seconds for one in during if one.failure is None), default=0.0), 2
        ),
        "faults": journal.faults[:SHOWN],
        "faulty": len(journal.faults),
        "seconds_until_service": None,
        "seconds_until_every_site": None,
    }
    if fault_at is not None:
        result["seconds_until_service"] = _rounded(
            seconds_until_service(journal.attempts, fault_at, living, window, proven_from=broken_at)
        )
    if healed_at is not None:
        result["seconds_until_every_site"] = _rounded(
            seconds_until_service(journal.attempts, healed_at, journal.sites, window)
        )
    return result


def _rounded(seconds: Optional[float]) -> Optional[float]:
    return None if seconds is None else round(seconds, 1)


# --- verdict -----------------------------------------------------------------------------------


def judge(
    acknowledged: Mapping[str, Acknowledged], readings: Sequence[Reading], sites: Sequence[str]
) -> Dict[str, Any]:
    """Count objects that some site lacks, gives with other bytes, or does not give at all.

    Every acknowledged object has to be read through every site; what nobody read is unreadable,
    not right. An object is counted once, by the worst that was found.
    """
    worst: Dict[str, Tuple[int, str]] = {}
    rank = {OK: 0, UNREADABLE: 1, MISSING: 2, WRONG: 3}
    seen: Set[Tuple[str, str]] = set()

    def note(name: str, found: str, detail: str) -> None:
        if rank[found] > worst.get(name, (0, ""))[0]:
            worst[name] = (rank[found], detail)

    for reading in readings:
        seen.add((reading.site, reading.name))
        if reading.found != OK:
            note(
                reading.name,
                reading.found,
                f"{reading.name} through {reading.site}: {reading.detail}",
            )
    for name in acknowledged:
        for site in sites:
            if (site, name) not in seen:
                note(name, UNREADABLE, f"{name} through {site}: was not read")
    result: Dict[str, Any] = {"read": len(readings)}
    for key, kind in (("lost", MISSING), ("corrupted", WRONG), ("unreadable", UNREADABLE)):
        names = sorted(detail for number, detail in worst.values() if number == rank[kind])
        result[key] = len(names)
        result[f"{key}_objects"] = names[:SHOWN]
    return result


def as_objects(journal: Journal) -> List[Dict[str, str]]:
    """Give the acknowledged objects as the module swift_object_info takes them."""
    return [
        {
            "account": journal.account,
            "container": journal.container,
            "object": one.name,
            "etag": one.md5,
        }
        for one in journal.acknowledged.values()
    ]
