# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may send which mail, and what the world is told of it by DNS.

A pure core: what is wrong with domains, credentials and keys is said before anything changes; what
is right becomes the tables that a relay reads, and the records of its sender domains.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

# RFC 1035 section 2.3.1 and RFC 1123 section 2.1: names of hosts.
LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
DOMAIN = re.compile(rf"(?:{LABEL}\.)+{LABEL}")
# RFC 5321's dot-string, in small letters: nothing that a parser of tables or headers reads as more.
ADDRESS = re.compile(r"[a-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[a-z0-9!#$%&'*+/=?^_`{|}~-]+)*@(.+)")
IDENTITY = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?")
# What goes into a tag of a record: RFC 7489 and RFC 8460 separate by ; and , and space.
REPORTS = re.compile(r"[^\s;,!@]+@(.+)")
HASH = re.compile(r"\{ARGON2ID\}\$argon2id\$[A-Za-z0-9$=,+/]+")
# As 'openssl rand -base64 24' and longer make it; nobody types it.
SECRET_LENGTH = 32
# A limit keeps one entry for each recipient.
MOST = 100_000
# What is sent by the host itself, without a password.
LOCAL = "local"
RATE = {"count": 100, "seconds": 3600}
UTC = datetime.timezone.utc


def moment(text: object) -> datetime.datetime:
    """A time (UTC), or the end of a day."""
    given = str(text)
    if re.fullmatch(r"\d{4}-\d\d-\d\d", given):
        day = datetime.datetime.strptime(given, "%Y-%m-%d").replace(tzinfo=UTC)
        return day + datetime.timedelta(days=1)
    return datetime.datetime.strptime(given, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)


# --- what is wrong


def faults(
    domains: Sequence[Mapping[str, Any]],
    credentials: Sequence[Mapping[str, Any]],
    keys: Sequence[Mapping[str, Any]],
    *,
    local: Sequence[str] = (),
    known: Mapping[str, Mapping[str, Any]],
    now: datetime.datetime,
) -> list[str]:
    """Everything that is wrong, one sentence each; `known` is the table that a relay has."""
    ours = {domain["name"] for domain in domains if domain.get("state") != "absent"}
    found = [*_domain_faults(domains), *_key_faults(keys)]
    found += _twice("credential", [one["id"] for one in credentials])
    found += [f"smtp_relay_local_senders: {said}" for said in _sender_faults(local, ours)]
    for one in credentials:
        found += [f"credential {one['id']}: {said}" for said in _faults_of(one, ours, known, now)]
    return found


def _twice(kind: str, names: Iterable[str]) -> Iterator[str]:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            yield f"{kind} {name}: it is there twice; give each a name of its own"
        seen.add(name)


def _domain_faults(domains: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    yield from _twice("domain", [domain["name"] for domain in domains])
    for domain in domains:
        name, zone = domain["name"], domain.get("zone") or domain["name"]
        if not DOMAIN.fullmatch(name):
            yield f"domain {name}: not a domain; small letters, no dot at the end"
        if name != zone and not name.endswith("." + zone):
            yield f"domain {name}: it is not in the zone {zone}"
        for kind in ("reports", "tls_reports"):
            address = domain.get(kind) or ""
            match = REPORTS.fullmatch(address)
            if address and not (match and DOMAIN.fullmatch(match[1].lower())):
                yield f"domain {name}: {kind} ({address}) is not an address"
        if any(text.lower().startswith("v=spf1") for text in domain.get("texts") or ()):
            yield f"domain {name}: texts has an SPF record; two are none (RFC 7208), use spf"


def _key_faults(keys: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    yield from _twice("DKIM key", [key["selector"] for key in keys])
    if not keys or keys[0].get("retired"):
        yield "smtp_relay_dkim_keys: the first one signs; there must be one that is not retired"
    for key in keys:
        if not re.fullmatch(rf"{LABEL}(?:\.{LABEL})*", key["selector"]):
            yield f"DKIM key {key['selector']}: not a selector; small letters, digits, hyphens"
        try:
            moment(key.get("retired") or "2000-01-01")
        except ValueError:
            yield f"DKIM key {key['selector']}: retired is a date, such as 2030-12-31"


def _sender_faults(senders: Sequence[str], ours: set[str]) -> Iterator[str]:
    whole = {sender[1:] for sender in senders if sender.startswith("@")}
    for sender in sorted({one for one in senders if list(senders).count(one) > 1}):
        yield f"sender {sender} is there twice"
    for sender in senders:
        match = ADDRESS.fullmatch(sender)
        domain = sender[1:] if sender.startswith("@") else match[1] if match else ""
        if not DOMAIN.fullmatch(domain):
            yield f"sender {sender} is neither an address nor @domain, in small letters"
        elif domain not in ours:
            yield f"sender {sender}: we do not sign for {domain}; add it to smtp_relay_domains"
        elif match and domain in whole:
            yield f"sender {sender} overlaps @{domain}; leave one of them out"


def _faults_of(
    one: Mapping[str, Any],
    ours: set[str],
    known: Mapping[str, Mapping[str, Any]],
    now: datetime.datetime,
) -> Iterator[str]:
    if not IDENTITY.fullmatch(one["id"]) or one["id"] == LOCAL:
        yield "its id has small letters, digits and inner ._-, and is not 'local'"
    if not str(one["owner"]).strip():
        yield "it has no owner; say who answers for it"
    if not one["senders"]:
        yield "it has no senders"
    yield from _sender_faults(one["senders"], ours)
    rate = {**RATE, **(one.get("rate") or {})}
    if not 1 <= int(rate["count"]) <= MOST or not 1 <= int(rate["seconds"]) <= 86400 * 31:
        yield f"its rate is 1 to {MOST} recipients in 1 to {86400 * 31} seconds"
    try:
        ends = moment(one["expires"])
    except ValueError:
        yield f"expires ({one['expires']}) is a date or a time, 2030-12-31 or 2030-12-31T12:00:00Z"
    else:
        # What expires by itself must not keep an old federation from being run again.
        before = known.get(one["id"], {}).get("expires")
        if one.get("state") != "revoked" and ends <= now and before != int(ends.timestamp()):
            yield f"it would have expired at {one['expires']} already; give it a date to come"
    if one.get("state") == "revoked":
        return
    secret, hashed = one.get("secret") or "", one.get("hash") or ""
    if [bool(secret), bool(hashed), bool(one.get("oidc"))].count(True) != 1:
        yield "it needs one of secret, hash and oidc"
    elif secret and len(secret) < SECRET_LENGTH:
        yield f"its secret is shorter than {SECRET_LENGTH} characters; openssl rand -base64 24"
    elif hashed and not HASH.fullmatch(hashed):
        yield "its hash does not begin with {ARGON2ID}$argon2id$"


# --- what a relay reads


def table(
    credentials: Iterable[Mapping[str, Any]], local: Sequence[str], rate: Mapping[str, Any]
) -> dict[str, dict[str, Any]]:
    """What the filter asks for each message; no secret is in it."""
    found: dict[str, dict[str, Any]] = {
        one["id"]: {
            **RATE,
            **(one.get("rate") or {}),
            "owner": one["owner"],
            "senders": list(one["senders"]),
            "expires": int(moment(one["expires"]).timestamp()),
            "revoked": one.get("state") == "revoked",
        }
        for one in credentials
    }
    if local:
        found[LOCAL] = {
            **RATE, **rate, "owner": LOCAL, "senders": list(local), "expires": None,
            "revoked": False,
        }  # fmt: skip
    return found


def logins(credentials: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """Whose a sender is. Postfix takes the first entry that matches: an address, then @domain."""
    owners: dict[str, list[str]] = {}
    for one in credentials:
        for sender in one["senders"]:
            owners.setdefault(sender, []).append(one["id"])
    for sender, names in owners.items():
        whole = owners.get("@" + sender.partition("@")[2], ())
        names += [name for name in whole if name not in names]
    return dict(sorted(owners.items()))


# --- what the world is told


def records(
    domains: Iterable[Mapping[str, Any]],
    keys: Sequence[Mapping[str, Any]],
    addresses: Sequence[str],
    *,
    now: datetime.datetime,
    keep_days: int,
) -> dict[str, list[dict[str, Any]]]:
    """Record sets by zone; `keys` have their public part as `public`."""
    found: dict[str, list[dict[str, Any]]] = {}
    keep = datetime.timedelta(days=keep_days)
    past = [key for key in keys if key.get("retired") and moment(key["retired"]) + keep <= now]
    hosts = [f"ip{6 if ':' in address else 4}:{address}" for address in addresses]
    for domain in domains:
        name, zone = domain["name"], domain.get("zone") or domain["name"]
        gone = domain.get("state") == "absent"
        spf = " ".join(["v=spf1", *hosts, *(domain.get("spf") or []), "-all"])
        reports, tls = domain.get("reports") or "", domain.get("tls_reports") or ""
        dmarc = f"v=DMARC1; p={domain.get('policy') or 'none'}"
        texts = [*(domain.get("texts") or []), *([] if gone else [spf])]
        wished = {"": texts, "_dmarc": [dmarc + (f"; rua=mailto:{reports}" if reports else "")]}
        for key in keys:
            there = [] if key in past else [f"v=DKIM1; k=rsa; p={key['public']}"]
            wished[f"{key['selector']}._domainkey"] = there
        if tls:
            wished["_smtp._tls"] = [f"v=TLSRPTv1; rua=mailto:{tls}"]
        if domain.get("mta_sts_id"):
            wished["_mta-sts"] = [f"v=STSv1; id={domain['mta_sts_id']}"]
        for prefix, values in wished.items():
            # Absolute: the name can be the zone's own, or below it.
            record: dict[str, Any] = {"name": f"{prefix}.{name}.".lstrip("."), "type": "TXT"}
            if values and not (gone and prefix):
                record["values"] = values
            else:
                record["state"] = "absent"
            found.setdefault(zone, []).append(record)
    return found
