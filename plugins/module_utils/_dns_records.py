# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Record sets of a zone, compared with a wish and written by dynamic update (RFC 2136).

Only what the wish names is looked at and written: whatever others keep in the zone stays. Each
update says what it found before (RFC 2136 section 2.4), so that the server refuses it if somebody
else was faster.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Optional

try:
    import dns.exception
    import dns.flags
    import dns.message
    import dns.name
    import dns.query
    import dns.rcode
    import dns.rdataclass
    import dns.rdataset
    import dns.rdatatype
    import dns.tsig
    import dns.tsigkeyring
    import dns.update

    MISSING: Optional[ImportError] = None
except ImportError as error:
    MISSING = error

# Record sets in one update: far from the 64 KiB that a message over TCP can have.
BATCH = 200
# How often a zone is read again after somebody else was faster.
TRIES = 3
KEY_FILE = re.compile(
    r'key\s+"?(?P<name>[^"\s]+)"?\s*\{\s*algorithm\s+"?(?P<algorithm>[\w-]+)"?\s*;'
    r'\s*secret\s+"(?P<secret>[^"]+)"\s*;\s*\}',
)


class RecordsError(Exception):
    """Says which zone, which record, and what to do."""


@dataclass(frozen=True)
class Wish:
    """One record set: what it shall be, or that it shall not be."""

    name: Any  # dns.name.Name
    kind: Any  # dns.rdatatype.RdataType
    rdataset: Any  # dns.rdataset.Rdataset; None where it shall be absent

    def __str__(self) -> str:
        return f"{self.name.to_text(omit_final_dot=True)} {dns.rdatatype.to_text(self.kind)}"


# --- what is wished


def quoted(text: str) -> str:
    """A TXT value as a zone file has it; what is not quoted yet is one text, in parts of 255."""
    if text.startswith('"'):
        return text
    data = text.replace("\\", "\\\\").replace('"', '\\"')
    parts = [data[at : at + 250] for at in range(0, len(data), 250)] or [""]
    # A part must not end in the middle of an escape.
    for index in range(len(parts) - 1):
        if len(parts[index]) - len(parts[index].rstrip("\\")) & 1:
            parts[index + 1] = parts[index][-1] + parts[index + 1]
            parts[index] = parts[index][:-1]
    return " ".join(f'"{part}"' for part in parts)


def read(
    records: Iterable[Mapping[str, Any]], zone: str, ttl: int, others: Iterable[str] = ()
) -> list[Wish]:
    """The wishes; raises RecordsError with the record that cannot be.

    Names are relative to `zone`; absolute ones may also be in one of the others.
    """
    origin = dns.name.from_text(zone)
    zones = [origin, *map(dns.name.from_text, others)]
    found: dict[tuple[Any, int], Wish] = {}
    for record in records:
        what = f"{record['name']} {record['type']}"
        try:
            name = dns.name.from_text(str(record["name"]), origin)
            kind = dns.rdatatype.from_text(str(record["type"]))
        except (dns.exception.DNSException, ValueError) as error:
            raise RecordsError(f"record {what}: {error}") from error
        if not any(name.is_subdomain(one) for one in zones):
            raise RecordsError(f"record {what}: it is outside of the zone {zone}")
        if (name, kind) in found:
            raise RecordsError(f"record {what}: it is listed twice; put the values into one entry")
        rdataset = None
        if record.get("state", "present") == "present":
            values = [str(value) for value in record.get("values") or ()]
            if not values:
                raise RecordsError(
                    f"record {what}: it has no values; to remove it, say state: absent"
                )
            if kind == dns.rdatatype.TXT:
                values = [quoted(value) for value in values]
            try:
                rdataset = dns.rdataset.from_text_list(
                    dns.rdataclass.IN, kind, record.get("ttl") or ttl, values, origin=origin,
                    relativize=False,
                )  # fmt: skip
            except (dns.exception.DNSException, ValueError) as error:
                raise RecordsError(f"record {what}: {error or type(error).__name__}") from error
        found[name, kind] = Wish(name, kind, rdataset)
    return list(found.values())


def by_zone(wishes: Iterable[Wish], zones: Sequence[str]) -> dict[str, list[Wish]]:
    """The wishes of each zone that has any; a name is in the longest zone above it."""
    found: dict[str, list[Wish]] = {}
    names = {zone: dns.name.from_text(zone) for zone in zones}
    for wish in wishes:
        above = [zone for zone, name in names.items() if wish.name.is_subdomain(name)]
        found.setdefault(max(above, key=lambda zone: len(names[zone])), []).append(wish)
    return found


# --- the server


class Server:
    """A server that takes updates of a zone."""

    def __init__(
        self, address: str, port: int, zone: str, *, key_text: str = "", timeout: float = 10
    ) -> None:
        self.address, self.port, self.timeout = address, port, timeout
        self.zone = dns.name.from_text(zone)
        self.what = f"{zone} at {address}"
        self.key: Any = None
        if key_text:
            found = KEY_FILE.search(key_text)
            if not found:
                raise RecordsError("the key is no key statement of BIND: tsig-keygen prints such")
            try:
                ring = dns.tsigkeyring.from_text(
                    {found["name"]: (found["algorithm"], found["secret"])}
                )
            except (dns.exception.DNSException, ValueError) as error:
                raise RecordsError(f"the key {found['name']} cannot be used: {error}") from error
            self.key = next(iter(ring.values()))
            if self.key.algorithm not in dns.tsig.mac_sizes:
                raise RecordsError(
                    f"the key {found['name']} cannot be used: its algorithm {found['algorithm']} is"
                    " not known here; hmac-sha256 is, everywhere"
                )

    def _exchange(self, messages: Sequence[Any]) -> Iterator[Any]:
        """Send messages over one connection; their answers in order."""
        try:
            with socket.create_connection((self.address, self.port), self.timeout) as link:
                link.setblocking(False)  # dnspython waits by itself
                for message in messages:
                    if self.key:
                        message.use_tsig(self.key)
                    yield dns.query.tcp(
                        message, self.address, timeout=self.timeout, port=self.port, sock=link
                    )
        except (dns.exception.DNSException, OSError, EOFError) as error:
            said = str(error) or type(error).__name__
            raise RecordsError(f"{self.what}: {said}") from error

    def current(self, wishes: Sequence[Wish]) -> list[Any]:
        """The record sets that there are now (dns.rdataset.Rdataset or None)."""
        questions = []
        for wish in wishes:
            question = dns.message.make_query(wish.name, wish.kind)
            question.flags &= ~dns.flags.RD
            questions.append(question)
        found = []
        for wish, answer in zip(wishes, self._exchange(questions)):
            if answer.rcode() not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
                raise RecordsError(
                    f"{self.what}: {dns.rcode.to_text(answer.rcode())} when asked for {wish};"
                    " does it serve this zone?"
                )
            if not answer.flags & dns.flags.AA:
                raise RecordsError(
                    f"{self.what}: it refers elsewhere for {wish}: another zone begins above it"
                )
            rrset = answer.get_rrset(answer.answer, wish.name, dns.rdataclass.IN, wish.kind)
            found.append(_plain(rrset, rrset.ttl) if rrset is not None else None)
        return found

    def update(self, changes: Sequence[tuple[Wish, Any]]) -> bool:
        """Write; False if what was there is not there any more."""
        batches = []
        for start in range(0, len(changes), BATCH):
            message = dns.update.UpdateMessage(self.zone)
            for wish, before in changes[start : start + BATCH]:
                if before is None:
                    message.absent(wish.name, wish.kind)
                else:
                    message.present(wish.name, _plain(before, ttl=0))  # RFC 2136 section 2.4.2
                if wish.kind == dns.rdatatype.NS and wish.name == self.zone:
                    # A zone is never without: to delete all of them is ignored (section 3.4.2.4).
                    message.add(wish.name, wish.rdataset)
                    for record in before or ():
                        if record not in wish.rdataset:
                            message.delete(wish.name, record)
                elif wish.rdataset is None:
                    message.delete(wish.name, wish.kind)
                else:
                    message.replace(wish.name, wish.rdataset)
            batches.append(message)
        for answer in self._exchange(batches):
            code = answer.rcode()
            if code in (dns.rcode.NXRRSET, dns.rcode.YXRRSET):
                return False
            if code != dns.rcode.NOERROR:
                names = ", ".join(str(wish) for wish, _before in changes)
                raise RecordsError(
                    f"{self.what}: {dns.rcode.to_text(code)} for an update of {names};"
                    f" {_remedy(code)}"
                )
        return True


def _plain(rrset: Any, ttl: int) -> Any:
    """The records without their name, as a wish has them."""
    return dns.rdataset.from_rdata_list(ttl, list(rrset))


def _remedy(code: Any) -> str:
    known: dict[Any, str] = {
        dns.rcode.REFUSED: "may the key write this name and type? (update-policy)",
        dns.rcode.NOTAUTH: "is it the primary of the zone, and does it know the key?",
        dns.rcode.NOTZONE: "a name lies in another zone",
        dns.rcode.SERVFAIL: "its log says why; too many records for the zone's limit is one reason",
    }
    return known.get(code, "its log says why")


# --- both


def text(wish: Wish, rdataset: Any) -> list[str]:
    """Lines of a zone file, sorted."""
    if rdataset is None:
        return []
    name = wish.name.to_text()
    kind = dns.rdatatype.to_text(wish.kind)
    return sorted(f"{name} {rdataset.ttl} IN {kind} {record.to_text()}" for record in rdataset)


def reconcile(
    server: Server, wishes: Sequence[Wish], *, check: bool
) -> tuple[list[str], list[str]]:
    """Make the wishes true; the lines that went and the lines that came.

    Raises RecordsError if the server refuses, or took an update and does not serve what was wished.
    """
    changes: list[tuple[Wish, Any]] = []
    for _attempt in range(TRIES):
        changes = [
            (wish, before)
            for wish, before in zip(wishes, server.current(wishes))
            if not same(wish.rdataset, before)
        ]
        if not changes or check or server.update(changes):
            break
    else:
        raise RecordsError(
            f"{server.what}: somebody else changes the same records all the time:"
            f" {', '.join(str(wish) for wish, _before in changes)}"
        )
    if changes and not check:
        after = server.current([wish for wish, _before in changes])
        # A CNAME beside other records, or more of a type than a grant allows, is left out in
        # silence (RFC 2136 section 3.4.2.2).
        lost = [str(w) for (w, _b), now in zip(changes, after) if not same(w.rdataset, now)]
        if lost:
            raise RecordsError(
                f"{server.what}: it took the update, and serves something else for"
                f" {', '.join(lost)}: a CNAME beside other records,"
                " or more records than the key's grant allows?"
            )
    gone = [line for wish, before in changes for line in text(wish, before)]
    come = [line for wish, _before in changes for line in text(wish, wish.rdataset)]
    return gone, come


def same(one: Any, other: Any) -> bool:
    """Whether two record sets are the same, also in how long they may be remembered."""
    if one is None or other is None:
        return one is other
    return bool(one == other and one.ttl == other.ttl)
