# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The demo's name servers as their clients see them: answers, signatures, a project's key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dns.dnssec
import dns.flags
import dns.message
import dns.name
import dns.query
import dns.rdataclass
import dns.rdatatype


def project_key(demo: Path) -> tuple[str, str]:
    """Name and secret of the key that may write into the zone of the project cms."""
    words = (demo / "dns-cms.key").read_text(encoding="utf-8").split('"')
    return words[1], words[3]


def ask(server: str, name: str, kind: str, *, seconds: float = 10) -> dns.message.Message:
    """What a name server says, which is nobody's resolver; with signatures."""
    question = dns.message.make_query(name, kind, want_dnssec=True)
    question.flags &= ~dns.flags.RD
    answer, _tcp = dns.query.udp_with_fallback(question, server, timeout=seconds)
    return answer


def signed(server: str, name: str, kind: str, keys: dict[Any, Any]) -> Any:
    """The records, whose signature was checked; without keys, by themselves.

    Raises LookupError if there is none, dns.dnssec.ValidationFailure if it is no good.
    """
    owner, rdtype = dns.name.from_text(name), dns.rdatatype.from_text(kind)
    answer = ask(server, name, kind)
    records = answer.get_rrset(answer.answer, owner, dns.rdataclass.IN, rdtype)
    seals = answer.get_rrset(answer.answer, owner, dns.rdataclass.IN, dns.rdatatype.RRSIG, rdtype)
    if records is None or seals is None:
        what = "" if records is None else "signature for "
        raise LookupError(f"{server} has no {what}{kind} of {name}")
    dns.dnssec.validate(records, seals, keys or {owner: records})
    return records


def chain(server: str, parent: str, child: str) -> dict[Any, Any]:
    """The child's keys, which the parent vouches for."""
    above = signed(server, parent, "DNSKEY", {})
    wanted = signed(server, child, "DS", {dns.name.from_text(parent): above})
    below = signed(server, child, "DNSKEY", {})
    apex = dns.name.from_text(child)
    made = {dns.dnssec.make_ds(apex, key, "SHA256") for key in below}
    if not set(wanted) <= made:
        raise LookupError(f"{server}: {parent} vouches for a key that {child} does not have")
    return {apex: below}
