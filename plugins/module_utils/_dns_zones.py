# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The zones of a federation, and what its projects may write into theirs.

A pure core: it asks no server. What is wrong is said before anything changes; what is right becomes
the zones that a server is configured with.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import ipaddress
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

# RFC 1035 section 2.3.1 and RFC 1123 section 2.1: a label that a host may have.
LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
# Names below a zone that are no hosts begin with an underscore (RFC 8552).
OWNER = re.compile(r"_?[a-z0-9]([a-z0-9_-]{0,61}[a-z0-9])?")
# What a project may be given. Not NS, DS and DNSKEY, which would hand a subtree on to others.
TYPES = frozenset(
    [
        "A",
        "AAAA",
        "CAA",
        "CNAME",
        "HTTPS",
        "LOC",
        "MX",
        "NAPTR",
        "PTR",
        "SRV",
        "SSHFP",
        "SVCB",
        "TLSA",
        "TXT",
        "URI",
    ]
)
ADDRESSES = frozenset({"A", "AAAA"})
# HMAC-SHA256 wants a key as long as its result (RFC 8945 section 6).
SECRET_BYTES = 32
# A project's addresses: the primary makes four signatures for each, all at once.
MOST_ADDRESSES = 4096


@dataclass(frozen=True)
class Grant:
    """What a key may write: types at one name, or at it and all below it."""

    key: str
    name: str  # absolute, without the last dot
    subtree: bool
    types: Mapping[str, int]
    shared: bool = False

    def covers(self, name: str) -> bool:
        return self.name == name or (self.subtree and name.endswith("." + self.name))

    def overlaps(self, other: Grant) -> bool:
        """Whether there is a name and a type that both may write, and one of them does not know."""
        same = self.covers(other.name) or other.covers(self.name)
        return (
            same
            and not (self.shared and other.shared)
            and not set(self.types).isdisjoint(other.types)
        )

    def policy(self) -> str:
        """As a rule of BIND's update-policy."""
        kind = "subdomain" if self.subtree else "name"
        types = " ".join(f"{one}({count})" for one, count in sorted(self.types.items()))
        return f'grant "{self.key}" {kind} {self.name}. {types};'


def absolute(name: str, zone: str) -> str:
    """A name of a zone, which is relative unless it ends in a dot; the result has no last dot."""
    if name in ("", "@"):
        return zone
    return name[:-1] if name.endswith(".") else f"{name}.{zone}"


def reverse_zone(network: str) -> str:
    """The zone of a network's addresses; the network must end where a label does."""
    parsed = ipaddress.ip_network(network)
    step = 8 if parsed.version == 4 else 4
    if parsed.prefixlen % step or not parsed.prefixlen:
        raise ValueError(f"its length must be a multiple of {step}, as a zone begins at a label")
    labels = parsed.network_address.reverse_pointer.split(".")
    kept = parsed.prefixlen // step
    return ".".join(labels[(len(labels) - 2) - kept :])


def address_names(networks: Iterable[str]) -> list[str]:
    """Lines of a zone file: each address has a name, 192-0-2-1, to which leads all below it.

    A wildcard covers no name that exists (RFC 4592), so there is one for each address beside it.
    """
    lines = []
    for network in networks:
        parsed = ipaddress.IPv4Network(network)
        for block in parsed.subnets(new_prefix=24) if parsed.prefixlen < 24 else [parsed]:
            first, last = int(block[0]) & 255, int(block[-1]) & 255
            start = str(block[0]).rpartition(".")[0]
            name = start.replace(".", "-")
            lines += [
                f"$GENERATE {first}-{last} {below}{name}-$ A {start}.$" for below in ("", "*.")
            ]
    return lines


def grants(project: Mapping[str, Any], zone: str) -> Iterator[Grant]:
    """What the keys of a project may write."""
    own = f"{project['name']}.{zone}"
    for key in project.get("keys") or ():
        for grant in key.get("grants") or ():
            yield Grant(
                key=key_name(key, own),
                name=absolute(str(grant.get("name") or ""), own).lower(),
                subtree=bool(grant.get("subtree", True)),
                types=dict(grant["types"]),
                shared=bool(grant.get("shared", False)),
            )


def key_name(key: Mapping[str, Any], own: str) -> str:
    return f"{key['name']}.{own}"


def present(projects: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [one for one in projects if one.get("state", "present") == "present"]


# --- faults


def faults(
    zone: str,
    projects: Sequence[Mapping[str, Any]],
    records: Sequence[Mapping[str, Any]] = (),
    *,
    reserved: Iterable[str] = (),
    networks: Sequence[str] = (),
    served: Iterable[str] = (),
) -> list[str]:
    """Sentences, each with its remedy; none if all is well.

    `reserved` are labels that projects cannot have; `served` are names of projects whose zones a
    server has now: one that is no longer listed would be delegated to servers that refuse it.
    """
    found = list(_zone_faults(zone))
    taken = {label.lower() for label in reserved}
    listed: set[str] = set()
    for number, project in enumerate(projects):
        name = project.get("name")
        what = f"project {name}" if isinstance(name, str) else f"project number {number + 1}"
        if not isinstance(name, str) or not LABEL.fullmatch(name):
            found.append(
                f"{what}: its name becomes a label of the DNS: small letters, digits and inner"
                " hyphens, 63 at most"
            )
            continue
        if name in listed:
            found.append(f"{what}: it is listed twice; join the two entries")
        if name in taken:
            found.append(
                f"{what}: the federation has a name {name}.{zone} of its own; take another"
            )
        listed.add(name)
        found += _project_faults(what, project, zone)
    lost = sorted(set(served) - listed)
    found += [
        f"project {name}: {name}.{zone} is served and delegated, but no longer listed; list it with"
        " state: absent to remove it in good order"
        for name in lost
    ]
    found += _record_faults(zone, projects, records)
    for network in networks:
        try:
            reverse_zone(network)
        except ValueError as error:
            found.append(f"reverse network {network}: {error}")
    return found


def _zone_faults(zone: str) -> Iterator[str]:
    labels = zone.split(".")
    if len(labels) < 2 or not all(LABEL.fullmatch(label) for label in labels) or len(zone) > 200:
        yield f"zone {zone!r}: it is a domain of two labels at least, without a dot at the end"


def _project_faults(what: str, project: Mapping[str, Any], zone: str) -> Iterator[str]:
    if project.get("state", "present") not in ("present", "absent"):
        yield f"{what}: its state is present or absent, not {project['state']!r}"
        return
    records = project.get("max_records", 1)
    if not isinstance(records, int) or isinstance(records, bool) or records < 1:
        yield f"{what}: max_records is a number from 1 on, not {records!r}"
    yield from _address_faults(what, project)
    own = f"{project['name']}.{zone}"
    names: set[str] = set()
    sound = True
    for key in project.get("keys") or ():
        name = key.get("name")
        if not isinstance(name, str) or not LABEL.fullmatch(name):
            yield f"{what}: a key's name is a label of the DNS, not {name!r}"
            sound = False
            continue
        if name in names:
            yield f"{what}: key {name} is listed twice; join the grants of the two"
        names.add(name)
        if project.get("state", "present") == "present":
            yield from _secret_faults(f"{what}: key {name}", key.get("secret"))
        if not key.get("grants"):
            yield f"{what}: key {name} may write nothing; give it grants, or take it out"
        for grant in key.get("grants") or ():
            bad = list(_grant_faults(f"{what}: key {name}", grant, own))
            sound = sound and not bad
            yield from bad
    if sound:
        yield from _overlaps(what, list(grants(project, zone)))


def _address_faults(what: str, project: Mapping[str, Any]) -> Iterator[str]:
    known: list[ipaddress.IPv4Network] = []
    for network in project.get("addresses") or ():
        try:
            parsed = ipaddress.IPv4Network(network)
        except ValueError as error:
            yield f"{what}: addresses {network}: {error}; give networks such as 192.0.2.0/24"
            continue
        for other in known:
            if parsed.overlaps(other):
                yield f"{what}: addresses {network} and {other} overlap; leave one of them out"
        known.append(parsed)
    if sum(network.num_addresses for network in known) > MOST_ADDRESSES:
        yield f"{what}: more than {MOST_ADDRESSES} addresses; give the networks that are in use"
    if known and (project.get("keys") or project.get("max_records")):
        yield (
            f"{what}: the zone of addresses is made anew when they change, so nobody can write"
            " there; give keys and max_records to a project of their own"
        )


def _secret_faults(what: str, secret: Any) -> Iterator[str]:
    try:
        length = len(base64.b64decode(str(secret or ""), validate=True))
    except (binascii.Error, ValueError):
        length = 0
    if length < SECRET_BYTES:
        yield (
            f"{what} needs a secret of {SECRET_BYTES} bytes at least, in base64:"
            " 'openssl rand -base64 32' makes one"
        )


def _grant_faults(what: str, grant: Mapping[str, Any], own: str) -> Iterator[str]:
    name = str(grant.get("name") or "")
    full = absolute(name, own).lower()
    inside = full == own or full.endswith("." + own)
    labels = [] if full == own else full[: -len(own) - 1].split(".")
    if not inside:
        yield f"{what}: {name} is outside of {own}"
    elif not all(OWNER.fullmatch(label) for label in labels):
        yield f"{what}: {name} is no name below {own}"
    types = grant.get("types")
    if not isinstance(types, Mapping) or not types:
        yield f"{what}: a grant names its types and how many records of each, such as {{A: 4}}"
        return
    for kind, count in types.items():
        if kind not in TYPES:
            yield f"{what}: type {kind} cannot be granted; there are {', '.join(sorted(TYPES))}"
        # A server drops silently what is above the count: a wildcard and its apex, challenged at
        # once, are two TXT records at one name, and the old ones may still be there.
        if not isinstance(count, int) or isinstance(count, bool) or not 1 <= count <= 100:
            yield f"{what}: the number of {kind} records at a name is from 1 to 100, not {count!r}"
        elif kind == "TXT" and "_acme-challenge" in labels and count < 4:
            yield (
                f"{what}: {name} needs room for 4 TXT records: a certificate for a name and its"
                " wildcard has two challenges at once, and their predecessors may still be there"
            )


def _overlaps(what: str, rules: Sequence[Grant]) -> Iterator[str]:
    for index, one in enumerate(rules):
        for other in rules[index + 1 :]:
            if one.overlaps(other):
                both = ", ".join(sorted(set(one.types) & set(other.types)))
                yield (
                    f"{what}: {one.key} at {one.name} and {other.key} at {other.name} overlap in"
                    f" {both}: each could undo the other's records; narrow one of them, or give"
                    " both 'shared: true'"
                )


def _record_faults(
    zone: str, projects: Sequence[Mapping[str, Any]], records: Sequence[Mapping[str, Any]]
) -> Iterator[str]:
    owners: set[tuple[str, str]] = set()
    children = {f"{one['name']}.{zone}" for one in present(projects) if one.get("name")}
    for record in records:
        name = str(record.get("name") or "@")
        full = absolute(name, zone).lower()
        kind = str(record.get("type", "")).upper()
        if (full, kind) in owners:
            yield f"record {name} {kind}: it is listed twice; put the values into one entry"
        owners.add((full, kind))
        inside = [c for c in children if full == c or full.endswith("." + c)]
        if inside:
            yield f"record {name} {kind}: {inside[0]} belongs to a project, whose zone it is"
    wished = [r for r in records if r.get("state", "present") == "present"]
    yield from _wildcard_faults(zone, wished)


def _wildcard_faults(zone: str, records: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """A name that exists is not covered by a wildcard, nor is one that only has names below it.

    RFC 4592 section 2.2.2: with `*.apps A` and `_acme-challenge.shop.apps CNAME`, `shop.apps` has
    no address any more, and nobody is told.
    """
    kinds: dict[str, set[str]] = {}
    for record in records:
        full = absolute(str(record.get("name") or "@"), zone).lower()
        kinds.setdefault(full, set()).add(str(record.get("type", "")).upper())
    for wildcard in (name for name in kinds if name.startswith("*.")):
        base = wildcard[2:]
        wanted = kinds[wildcard] & (ADDRESSES | {"CNAME"})
        hidden = set()
        for name in kinds:
            if not name.endswith("." + base) or name == wildcard:
                continue
            labels = name[: -len(base) - 1].split(".")
            # Every name from the record up to just below the wildcard's base.
            for depth in range(len(labels)):
                above = ".".join([*labels[depth:], base])
                if not above.startswith(("*.", "_")):
                    hidden.add((above, name))
        for above, name in sorted(hidden):
            if wanted and not kinds.get(above, set()) & (ADDRESSES | {"CNAME"}):
                yield (
                    f"record {name}: it makes {above} exist, which {wildcard} does not cover any"
                    f" more (RFC 4592): give {above} addresses of its own"
                )


# --- zones


def zones(
    zone: str,
    projects: Sequence[Mapping[str, Any]],
    networks: Sequence[str] = (),
) -> list[dict[str, Any]]:
    """The zones of the primary server: the federation's first, the projects', the reverse ones."""
    result = [_zone(zone)]
    for project in present(projects):
        own = f"{project['name']}.{zone}"
        keys = [
            {"name": key_name(key, own), "secret": key["secret"]}
            for key in project.get("keys") or ()
        ]
        policy = [one.policy() for one in grants(project, zone)]
        lines = address_names(project.get("addresses") or ())
        limit = project.get("max_records", 0)
        result.append(_zone(own, lines, keys=keys, policy=policy, max_records=limit))
    return result + [_zone(reverse_zone(network)) for network in networks]


def _zone(name: str, lines: Sequence[str] = (), **more: Any) -> dict[str, Any]:
    """A zone that begins with some lines; with other lines it is another file, and begins anew."""
    digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()[:8]
    file = f"{name}.db.{digest}" if lines else f"{name}.db"
    empty: dict[str, Any] = {"keys": [], "policy": [], "max_records": 0}
    return {"zone": name, "file": file, "lines": list(lines), **empty, **more}


def absent(zone: str, projects: Sequence[Mapping[str, Any]]) -> list[str]:
    """Zones of projects that shall go."""
    return [f"{one['name']}.{zone}" for one in projects if one.get("state") == "absent"]


def pointers(
    zone: str, records: Sequence[Mapping[str, Any]], networks: Sequence[str]
) -> list[dict[str, Any]]:
    """The PTR records of the addresses among `records` that lie in the networks.

    An address with several names points to the first of them.
    """
    known = [ipaddress.ip_network(network) for network in networks]
    found: dict[str, str] = {}
    for record in records:
        if record.get("state", "present") != "present":
            continue
        full = absolute(str(record.get("name") or "@"), zone)
        if str(record.get("type", "")).upper() not in ADDRESSES or full.startswith("*."):
            continue
        for value in record.get("values", ()):
            address = ipaddress.ip_address(value)
            if any(address in network for network in known):
                found.setdefault(address.reverse_pointer, full)
    return [
        {"name": pointer + ".", "type": "PTR", "values": [full + "."]}
        for pointer, full in found.items()
    ]
