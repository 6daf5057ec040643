# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The ties between zones: delegations and DS records in the parent, members of the catalog.

The primary server has the parent and its children. So the DS of a child is put into the parent as
soon as the child says by its CDS that it should be (RFC 7344), without anybody in between. A new
child needs no waiting at all: nobody can have its old data in memory, so its DS comes with its
delegation.
"""

from __future__ import annotations

import concurrent.futures
import hashlib
import os
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional

from ansible_collections.infn.cloud.plugins.module_utils._dns_records import (
    MISSING,
    RecordsError,
    Server,
    Wish,
    reconcile,
    same,
    text,
)

if MISSING is None:
    import dns.dnssec
    import dns.exception
    import dns.flags
    import dns.message
    import dns.name
    import dns.query
    import dns.rcode
    import dns.rdataclass
    import dns.rdataset
    import dns.rdatatype
    import dns.zone

SHA256 = 2  # RFC 4509
SEP = 0x0001  # RFC 4034 section 2.1.1
DELETE = 0  # the algorithm by which a CDS asks for the removal of the DS (RFC 8078 section 4)
PAUSE = 0.05  # seconds between two looks at a server
# Options of the modules that ask all servers; their documentation is in doc_fragments/_dns.
SERVERS: dict[str, Any] = {
    "servers": {"type": "dict", "default": {}},
    "server_port": {"type": "int", "default": 53},
    "primary": {"type": "str", "default": "127.0.0.1"},
    "port": {"type": "int", "default": 53},
}


@dataclass(frozen=True)
class Settings:
    """What shall be; the fields have the names of the module's options."""

    parent: str
    name_servers: Sequence[str]  # absolute
    delegations: Mapping[str, bool]  # zone: whether it is signed
    catalog: str = ""
    members: Sequence[str] = ()
    servers: Mapping[str, str] = field(default_factory=dict)  # name: address, without the primary
    primary: str = "127.0.0.1"
    port: int = 53
    server_port: int = 53
    ttl: int = 300
    wait: float = 15
    timeout: float = 5
    alarm_days: float = 3


@dataclass
class Outcome:
    """What a run did, and what it could not see done."""

    removed: list[str] = field(default_factory=list)
    added: list[str] = field(default_factory=list)
    unconfirmed: list[str] = field(default_factory=list)


def member_name(zone: str, catalog: str) -> str:
    """The name of a zone's entry; any label would do that stays the same (RFC 9432 section 4.1)."""
    digest = hashlib.sha1(zone.encode(), usedforsecurity=False).hexdigest()
    return f"{digest}.zones.{catalog}."


class Delegations:
    """Works on one primary server."""

    def __init__(self, settings: Settings, key_text: str, *, check: bool = False) -> None:
        self.settings = settings
        self.key_text = key_text
        self.check = check
        self.outcome = Outcome()

    def server(self, zone: str) -> Server:
        return Server(
            self.settings.primary, self.settings.port, zone, key_text=self.key_text,
            timeout=self.settings.timeout,
        )  # fmt: skip

    def _write(self, zone: str, wishes: Sequence[Wish]) -> None:
        gone, come = reconcile(self.server(zone), wishes, check=self.check)
        self.outcome.removed += gone
        self.outcome.added += come

    # --- what shall be

    def establish(self) -> Outcome:
        """Members into the catalog, their own NS, new delegations, DS records that are due."""
        settings = self.settings
        if settings.catalog:
            self._write(settings.catalog, [self._member(z, True) for z in settings.members])
        for zone in settings.members:
            if self._at_primary(zone):
                self._write(zone, [self._wish(zone, dns.rdatatype.NS, settings.name_servers)])
        if not settings.delegations:
            return self.outcome
        parent = self.server(settings.parent)
        contents = transfer(parent)
        names = list(settings.delegations)
        new = [
            name for name in names if contents.get_rdataset(f"{name}.", dns.rdatatype.NS) is None
        ]
        if self.check:
            self.outcome.added += [
                f"{name}. {settings.ttl} IN NS {server}"
                for name in new for server in settings.name_servers
            ]  # fmt: skip
            names = [name for name in names if name not in new]
            new = []
        # What is no member, every server has of its own.
        self._await([name for name in new if name in settings.members])
        wishes = []
        for name in names:
            wishes.append(self._wish(name, dns.rdatatype.NS, settings.name_servers))
            if settings.delegations[name]:
                wishes += self._signers(contents, name)
            else:
                wishes.append(self._wish(name, dns.rdatatype.DS, ()))
        self._write_delegations(parent, contents, wishes)
        return self.outcome

    def _at_primary(self, zone: str, *, signed: bool = False) -> Optional[Look]:
        """Wait until the primary has a zone that it was just configured with, and has signed it.

        In a dry run a new one is not there yet: None.
        """
        end = time.monotonic() + self.settings.wait
        while True:
            found = look(self.settings.primary, self.settings.port, zone, self.settings.timeout)
            if self.check or (found is not None and (found.expires or not signed)):
                return found
            if time.monotonic() > end:
                raise RecordsError(
                    f"{zone}: the primary does not serve it{' signed' if found else ''};"
                    " its log says why"
                )
            time.sleep(PAUSE)

    def _write_delegations(self, parent: Server, contents: Any, wishes: Sequence[Wish]) -> None:
        """Like reconcile, beside the whole parent.

        Asked for a child's NS, a server that has the child too answers from the child; a transfer
        tells what the parent itself has.
        """
        found = [(wish, contents.get_rdataset(wish.name, wish.kind)) for wish in wishes]
        changes = [(wish, before) for wish, before in found if not same(wish.rdataset, before)]
        if changes and not self.check and not parent.update(changes):
            raise RecordsError(
                f"{parent.what}: somebody else changes its delegations; run it again"
            )
        for wish, before in changes:
            self.outcome.removed += text(wish, before)
            self.outcome.added += text(wish, wish.rdataset)

    def _wish(self, zone: str, kind: Any, values: Iterable[str]) -> Wish:
        listed = list(values)
        rdataset = None
        if listed:
            rdataset = dns.rdataset.from_text_list(
                dns.rdataclass.IN, kind, self.settings.ttl, listed
            )
        return Wish(dns.name.from_text(zone), kind, rdataset)

    def _member(self, zone: str, wanted: bool) -> Wish:
        name = dns.name.from_text(member_name(zone, self.settings.catalog))
        rdataset = None
        if wanted:
            rdataset = dns.rdataset.from_text(dns.rdataclass.IN, dns.rdatatype.PTR, 0, f"{zone}.")
        return Wish(name, dns.rdatatype.PTR, rdataset)

    def _signers(self, contents: Any, zone: str) -> list[Wish]:
        """The DS that a child wants; nothing while it says nothing."""
        child = self.server(zone)
        name = dns.name.from_text(zone)
        wanted, keys = child.current(
            [Wish(name, dns.rdatatype.CDS, None), Wish(name, dns.rdatatype.DNSKEY, None)]
        )
        known = {
            dns.dnssec.make_ds(name, key, "SHA256").to_text()
            for key in keys or () if key.flags & SEP
        }  # fmt: skip
        if wanted is None:
            there = contents.get_rdataset(name, dns.rdatatype.DS)
            # A key is announced by CDS hours after the zone was first signed; until then, the keys
            # that a new zone began with are what it is signed by.
            values = known if there is None else None
        elif any(record.algorithm == DELETE for record in wanted):
            self.outcome.unconfirmed.append(f"{zone}: it asks for the end of its DS; not done")
            values = None
        else:
            values = {record.to_text() for record in wanted if record.digest_type == SHA256}
            if not values & known:
                self.outcome.unconfirmed.append(f"{zone}: none of its CDS is one of its keys")
                values = None
        return [] if values is None else [self._wish(zone, dns.rdatatype.DS, sorted(values))]

    def _await(self, zones: Sequence[str]) -> None:
        """Wait until new zones are signed, and served wherever they will be looked for.

        A server that is away is reported; a zone that none of them serves is an error, since a
        delegation to it would be lame.
        """
        serials = {}
        for zone in zones:
            found = self._at_primary(zone, signed=self.settings.delegations[zone])
            serials[zone] = found.serial if found else 0
        end = time.monotonic() + self.settings.wait
        servers = self.settings.servers

        def late(address: str) -> list[str]:
            missing = list(zones)
            while missing:
                # Nothing of a server that is away: the first zone tells it.
                for zone in list(missing):
                    found = look(address, self.settings.server_port, zone, self.settings.timeout)
                    if found is None or found.serial < serials[zone]:
                        break
                    missing.remove(zone)
                else:
                    continue
                if time.monotonic() > end:
                    break
                time.sleep(PAUSE)
            return missing

        with concurrent.futures.ThreadPoolExecutor(max(1, len(servers))) as pool:
            missing = dict(zip(servers, pool.map(late, servers.values())))
        for zone in zones:
            without = [name for name in missing if zone in missing[name]]
            if servers and len(without) == len(servers):
                raise RecordsError(
                    f"{zone}: none of {', '.join(missing)} serves it; it is not delegated, so that"
                    " nobody is sent to servers that refuse it. Look into their logs, run it again"
                )
            self.outcome.unconfirmed += [f"{zone}: not seen at {name}" for name in without]

    # --- what shall not be

    def withdraw(self, zones: Sequence[str], keep: Optional[Path]) -> Outcome:
        """Take zones away: their DS first, then, when nobody remembers it, delegation and entry.

        A copy of each zone is written below `keep` before.
        """
        parent = self.server(self.settings.parent)
        contents = transfer(parent)
        gone = [self._wish(zone, dns.rdatatype.DS, ()) for zone in zones]
        found = [contents.get_rdataset(wish.name, wish.kind) for wish in gone]
        longest = max([rdataset.ttl for rdataset in found if rdataset is not None], default=0)
        self._write_delegations(parent, contents, gone)
        if longest and not self.check:
            time.sleep(longest)
        if keep is not None and not self.check:
            for zone in zones:
                self._copy(zone, keep)
        delegations = [self._wish(zone, dns.rdatatype.NS, ()) for zone in zones]
        self._write_delegations(parent, contents, delegations)
        if self.settings.catalog:
            self._write(self.settings.catalog, [self._member(zone, False) for zone in zones])
        return self.outcome

    def _copy(self, zone: str, keep: Path) -> None:
        server = self.server(zone)
        contents = transfer(server)
        path = keep / f"{zone}.{contents.get_soa().serial}.zone"
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            contents.to_file(file, relativize=False)

    # --- how it is

    def status(self, zones: Sequence[str]) -> dict[str, Any]:
        """Each zone at each server: serial, days until its signature ends; and what is wrong."""
        settings = self.settings
        places = [("primary", settings.primary, settings.port)]
        places += [(name, at, settings.server_port) for name, at in settings.servers.items()]

        def everything(place: tuple[str, str, int]) -> dict[str, Optional[Look]]:
            found: dict[str, Optional[Look]] = {}
            for zone in zones:
                found[zone] = look(place[1], place[2], zone, settings.timeout)
                if found[zone] is None and not any(found.values()):
                    break  # a server that is away is asked once, not for each zone
            return found

        with concurrent.futures.ThreadPoolExecutor(len(places)) as pool:
            looks = dict(zip([place[0] for place in places], pool.map(everything, places)))
        now = time.time()
        result: dict[str, Any] = {"zones": {}, "faults": []}
        for zone in zones:
            seen = [one for found in looks.values() if (one := found.get(zone)) is not None]
            newest = max((one.serial for one in seen), default=0)
            entry: dict[str, Any] = {"servers": {}}
            for name, found in looks.items():
                one = found.get(zone)
                if one is None:
                    entry["servers"][name] = None
                    result["faults"].append(f"{zone}: {name} does not serve it")
                    continue
                days = round((one.expires - now) / 86400, 2) if one.expires else None
                entry["servers"][name] = {"serial": one.serial, "signature_days": days}
                if one.serial != newest:
                    result["faults"].append(
                        f"{zone}: {name} has serial {one.serial}, another server {newest}"
                    )
                if days is not None and days < settings.alarm_days:
                    result["faults"].append(
                        f"{zone}: its signature at {name} ends in {days} days;"
                        " is the primary alive?"
                    )
                if days is None and settings.delegations.get(zone):
                    result["faults"].append(f"{zone}: {name} serves it without signatures")
            result["zones"][zone] = entry
        return result


@dataclass(frozen=True)
class Look:
    """A zone at a server."""

    serial: int
    expires: int  # of the signature of the SOA, seconds since 1970; 0 without one


def look(address: str, port: int, zone: str, timeout: float) -> Optional[Look]:
    """Ask a server for a zone's SOA; None if it does not answer, or not for this zone."""
    question = dns.message.make_query(zone, "SOA", want_dnssec=True)
    question.flags &= ~dns.flags.RD
    try:
        answer, _tcp = dns.query.udp_with_fallback(question, address, timeout=timeout, port=port)
    except (dns.exception.DNSException, OSError, EOFError):
        return None
    if answer.rcode() != dns.rcode.NOERROR or not answer.flags & dns.flags.AA:
        return None
    serial, expires = None, 0
    for rrset in answer.answer:
        if rrset.rdtype == dns.rdatatype.SOA:
            serial = rrset[0].serial
        elif rrset.rdtype == dns.rdatatype.RRSIG:
            expires = min(record.expiration for record in rrset)
    return None if serial is None else Look(serial, expires)


def transfer(server: Server) -> Any:
    """The whole zone (dns.zone.Zone), with absolute names."""
    query = dns.message.make_query(server.zone, "AXFR")
    if server.key:
        query.use_tsig(server.key)
    contents = dns.zone.Zone(server.zone, relativize=False)
    try:
        dns.query.inbound_xfr(
            server.address, contents, query, port=server.port, timeout=server.timeout,
            lifetime=60,
        )  # fmt: skip
    except (dns.exception.DNSException, OSError) as error:
        raise RecordsError(f"{server.what}: it cannot be read whole: {error}") from error
    return contents


def purge(
    zones: Sequence[str],
    files: Mapping[str, str],
    directory: Path,
    keys: Path,
    *,
    served: Callable[[str], bool],
    check: bool,
) -> list[str]:
    """Delete the files of zones that are no longer served; their paths.

    `files` has the file of each zone that is: what another file of it holds would come back with an
    old serial, which nobody takes, if the zone had that file once more.
    """
    gone = []
    for zone, file in files.items():
        name = re.compile(rf"{re.escape(zone)}\.db(\.[0-9a-f]{{8}}\b)?")
        for path in sorted(directory.glob(f"{zone}.db*")):
            own = name.match(path.name)
            if own and own[0] != file:
                if not check:
                    path.unlink()
                gone.append(str(path))
    for zone in zones:
        found = sorted([*directory.glob(f"{zone}.db*"), *keys.glob(f"K{zone}.+*")])
        if found and not check and served(zone):
            raise RecordsError(f"{zone}: it is still served; its files stay")
        for path in found:
            if not check:
                path.unlink()
            gone.append(str(path))
    return gone
