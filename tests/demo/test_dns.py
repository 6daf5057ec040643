# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names, as the public, a project and the federation's administrators see and change them."""

from __future__ import annotations

import base64
import concurrent.futures
import contextlib
import functools
import json
import secrets
import time
from collections.abc import Iterator
from typing import Any

import dns.dnssec
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.query
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.tsig
import dns.tsigkeyring
import dns.update
import dns.zone
import pytest
from ansible_collections.infn.cloud.plugins.module_utils._dns_keys import unseal
from ansible_collections.infn.cloud.plugins.module_utils._dns_records import RecordsError

from tooling.names import ask, chain, project_key, signed

from .conftest import eventually, signed_by_the_demo

ZONE = "demo.test"
PROJECT = f"cms.{ZONE}"
NAME = f"cloud.{ZONE}"


def values(server: str, name: str, kind: str) -> list[str]:
    """What a server answers, sorted."""
    answer = ask(server, name, kind)
    assert answer.flags & dns.flags.AA, f"{server} does not have {name}"
    wanted = dns.rdatatype.from_text(kind)
    return sorted(
        record.to_text() for rrset in answer.answer if rrset.rdtype == wanted for record in rrset
    )


def served(server: str, name: str, kind: str, expected: list[str]) -> None:
    assert values(server, name, kind) == expected


# A zone by a transfer, from where the firewall lets it.
FETCH = """
import json, sys, dns.exception, dns.message, dns.query, dns.rdatatype, dns.tsigkeyring, dns.zone
wish = json.load(sys.stdin)
query = dns.message.make_query(wish["zone"], "AXFR")
query.use_tsig(dns.tsigkeyring.from_text(dict([wish["key"]])))
zone = dns.zone.Zone(wish["zone"])
try:
    dns.query.inbound_xfr(wish["server"], zone, query, timeout=5, lifetime=20)
except (dns.exception.DNSException, OSError):
    print("null")
else:
    texts = [one for _name, one in zone.iterate_rdatasets(dns.rdatatype.TXT)]
    print(json.dumps([b"".join(one[0].strings).decode() for one in texts]))
"""


class Names:
    """The name servers, and a project's key."""

    def __init__(self, demo: Any) -> None:
        self.demo = demo
        self.secondaries = {host: demo.hosts[host] for host in demo.groups("dns_secondary")}
        (self.primary,) = demo.groups("dns_primary")
        (self.standby,) = demo.groups("dns_standby")
        self.key = project_key(demo.directory)

    def update(
        self, *changes: tuple[Any, ...], zone: str = PROJECT, through: str = "bari-gw1",
        key: tuple[str, str] | None = None,
    ) -> str:  # fmt: skip
        """Send an update; what the server says of it."""
        ring = dns.tsigkeyring.from_text(dict([key or self.key]))
        message = dns.update.UpdateMessage(zone, keyring=ring)
        for change in changes:
            getattr(message, change[0])(*change[1:])
        try:
            answer = dns.query.tcp(message, self.secondaries[through], timeout=10)
        except dns.tsig.PeerBadKey:
            return "BADKEY"
        return dns.rcode.to_text(answer.rcode())

    def everywhere(self, name: str, kind: str, expected: list[str], seconds: float = 10) -> None:
        for server in self.secondaries.values():
            eventually(
                lambda server=server: served(server, name, kind, expected), seconds, every=0.02
            )


@pytest.fixture(scope="module")
def names(demo) -> Names:
    return Names(demo)


@pytest.fixture
def portal(names) -> Iterator[str]:
    """A name of the project's, gone again afterwards."""
    name = f"portal-{time.time_ns() % 10**9}"
    yield name
    assert names.update(("delete", name)) == "NOERROR"


# --- what the public sees


def test_an_address_has_a_name_and_names_below_it(names) -> None:
    """For services that have an address and no name yet; of our own networks only."""
    zone = f"myip.{ZONE}"
    for server in names.secondaries.values():
        keys = chain(server, ZONE, zone)
        for name in (f"10-201-2-77.{zone}", f"notebook.x.10-201-2-77.{zone}"):
            assert values(server, name, "A") == ["10.201.2.77"]
            signed(server, name, "A", keys)
        assert ask(server, f"192-0-2-77.{zone}", "A").rcode() == dns.rcode.NXDOMAIN


def test_every_site_answers_for_the_federation(demo, names) -> None:
    addresses = sorted(demo.hosts[gateway] for gateway in demo.gateways)
    for server in names.secondaries.values():
        assert values(server, ZONE, "NS") == sorted(f"{host}.{ZONE}." for host in names.secondaries)
        # A site that was busy a moment ago may have been left out for a while.
        eventually(lambda server=server: served(server, NAME, "A", addresses), 30)
        assert values(server, f"anything.apps.{ZONE}", "A") == addresses
        for site in demo.sites.values():
            assert values(server, f"{site.name}.{ZONE}", "A") == [demo.hosts[site.gateways[0]]]


def test_addresses_point_back(demo, names) -> None:
    for host, address in demo.hosts.items():
        pointer = ".".join(reversed(address.split("."))) + ".in-addr.arpa"
        for server in names.secondaries.values():
            (found,) = values(server, pointer, "PTR")
            assert found == f"{host}.{ZONE}."


def test_nobody_is_told_more_than_asked(demo, names) -> None:
    """No transfer without a key, no name servers' versions, no service for strangers' names."""
    for server in names.secondaries.values():
        with pytest.raises(dns.exception.DNSException):
            dns.query.inbound_xfr(server, dns.zone.Zone(PROJECT), timeout=5)
        for name, kind in (("example.org", "A"), (f"catalog.{ZONE}", "SOA")):
            answer = ask(server, name, kind)
            assert not answer.answer
            assert not answer.flags & dns.flags.RA
        answer = dns.query.udp(
            dns.message.make_query("version.bind", "TXT", "CH"), server, timeout=5
        )
        assert not answer.answer or "9." not in str(answer.answer[0])


def test_the_primary_is_hidden(demo, names) -> None:
    """Only the federation's own hosts reach it."""
    with pytest.raises(dns.exception.Timeout):
        dns.query.udp(dns.message.make_query(ZONE, "SOA"), demo.hosts[names.primary], timeout=2)


# --- signatures


def test_signatures_lead_from_the_federation_to_the_project(names) -> None:
    for server in names.secondaries.values():
        signed(server, PROJECT, "SOA", chain(server, ZONE, PROJECT))


def test_the_upkeep_finds_nothing_wrong(demo, names) -> None:
    demo.shell(names.primary, "systemctl start dns-upkeep.service")


def test_a_signature_near_its_end_is_an_alarm(demo, names) -> None:
    script = """
        set -e; cd /root; trap 'rm -f alarm.json' EXIT
        sed 's/"alarm_days": [0-9]*/"alarm_days": 60/' /etc/bind/delegations.json >alarm.json
        ! python3 -B /usr/local/lib/infn-cloud-dns/dns_upkeep.py alarm.json
    """
    said = demo.shell(names.primary, script)
    assert f"<3>{PROJECT}: its signature at primary ends in" in said


def test_the_keys_have_copies_at_another_site(demo, names) -> None:
    """The zone with the copies is on the standby, and says nothing to who has no key for it."""
    assert demo.site_of(names.primary).name != demo.site_of(names.standby).name
    held = demo.shell(
        names.standby, f"rndc sync backup.{ZONE}; cat /var/cache/bind/backup.{ZONE}.db"
    )
    assert held.count("gAAAAA") >= 2, "a sealed copy begins so"
    assert "PrivateKey" not in held
    secret = demo.shell(names.primary, f"cat /var/lib/bind/keys/K{PROJECT}.*.private")
    private = next(line for line in secret.splitlines() if line.startswith("PrivateKey"))
    assert private.split()[1] not in held


# --- what a project does


def test_an_update_is_everywhere_at_once(names, portal) -> None:
    assert names.update(("replace", portal, 5, "A", "192.0.2.80")) == "NOERROR"
    names.everywhere(f"{portal}.{PROJECT}", "A", ["192.0.2.80"], seconds=5)
    for server in names.secondaries.values():
        keys = chain(server, ZONE, PROJECT)
        signed(server, f"{portal}.{PROJECT}", "A", keys)


@pytest.mark.parametrize(
    ("change", "zone"),
    [
        (("replace", "x", 5, "NS", "ns.elsewhere."), PROJECT),
        (("replace", "x", 5, "TXT", "text"), PROJECT),
        (("replace", "@", 5, "CAA", '0 issue "elsewhere"'), PROJECT),
        (("replace", "x", 5, "A", "192.0.2.1"), ZONE),
        (("replace", "cloud", 5, "A", "192.0.2.1"), ZONE),
        (("delete", "cms", "NS"), ZONE),
    ],
)
def test_a_key_writes_only_what_it_may(names, change, zone) -> None:
    assert names.update(change, zone=zone) == "REFUSED"


def test_another_key_writes_nothing(names) -> None:
    change = ("replace", "x", 5, "A", "192.0.2.1")
    wrong = (names.key[0], "d3Jvbmctd3Jvbmctd3Jvbmctd3Jvbmctd3Jvbmctd3I=")
    stranger = ("stranger.example", wrong[1])
    assert names.update(change, key=wrong) in ("NOTAUTH", "BADKEY", "REFUSED")
    assert names.update(change, key=stranger) in ("NOTAUTH", "BADKEY", "REFUSED")
    assert values(names.secondaries["cnaf-gw1"], f"x.{PROJECT}", "A") == []


def test_challenges_of_a_wildcard_and_its_apex_fit(names) -> None:
    """Two tokens at once, and their predecessors: four, of which none is dropped in silence."""
    owner = "_acme-challenge"
    changes = [("add", owner, 5, "TXT", f"token-{number}") for number in range(4)]
    try:
        assert names.update(*changes) == "NOERROR"
        names.everywhere(f"{owner}.{PROJECT}", "TXT", [f'"token-{n}"' for n in range(4)])
    finally:
        assert names.update(("delete", owner, "TXT")) == "NOERROR"


# --- what administrators do


def test_records_of_both_live_in_one_zone(demo, names, portal) -> None:
    """A run touches what it names, and shows it before."""
    assert names.update(("replace", portal, 5, "A", "192.0.2.81")) == "NOERROR"
    records = [{"name": f"{portal}-ours", "type": "TXT", "values": ['v=ours; say "hello"']}]
    wished = {"zone": PROJECT, "records": records}
    first = demo.module(names.primary, "dns_records", **wished)
    try:
        assert first["changed"]
        assert first["added"] == [f'{portal}-ours.{PROJECT}. 300 IN TXT "v=ours; say \\"hello\\""']
        assert not demo.module(names.primary, "dns_records", **wished)["changed"]
        names.everywhere(f"{portal}.{PROJECT}", "A", ["192.0.2.81"])
    finally:
        records[0]["state"] = "absent"
        gone = demo.module(names.primary, "dns_records", **wished)
    assert gone["removed"] == first["added"]


def test_what_cannot_stand_beside_other_records_is_an_error(demo, names, portal) -> None:
    """BIND leaves a CNAME beside an address out, and says that all is well."""
    assert names.update(("replace", portal, 5, "A", "192.0.2.82")) == "NOERROR"
    records = [{"name": portal, "type": "CNAME", "values": ["elsewhere.example."]}]
    result = demo.module(names.primary, "dns_records", zone=PROJECT, records=records)
    assert result["failed"]
    assert "a CNAME beside other records" in result["msg"]


def play(demo, projects: list[dict[str, Any]], *options: str) -> Any:
    """The name servers' playbook for projects, with some beside the demo's own."""
    return demo.play("operations/dns_projects", *options, demo_dns_more_projects=projects)


def test_a_project_comes_and_goes(demo, names) -> None:
    """Zone, signature, delegation, key; and in the other order, with the others as they were."""
    secret = "YSBzZWNyZXQgb2YgMzMgYnl0ZXMgZm9yIHRoaXMgdGVzdA=="
    zone = f"belle2.{ZONE}"
    key = {"name": "k", "secret": secret, "grants": [{"types": {"A": 1}}]}
    project = {"name": "belle2", "max_records": 20, "keys": [key]}
    before = values(names.secondaries["bari-gw1"], PROJECT, "DS")
    run = play(demo, [project])
    try:
        assert run.rc == 0, run.text
        for server in names.secondaries.values():
            above = {dns.name.from_text(ZONE): signed(server, ZONE, "DNSKEY", {})}
            (wanted,) = signed(server, zone, "DS", above)
            apex = dns.name.from_text(zone)
            (own,) = signed(server, zone, "DNSKEY", {})
            assert dns.dnssec.make_ds(apex, own, "SHA256") == wanted
        change = ("replace", "www", 5, "A", "192.0.2.9")
        assert names.update(change, zone=zone, key=(f"k.{zone}", secret)) == "NOERROR"
        assert names.update(change, key=(f"k.{zone}", secret)) == "REFUSED", "of another project"
        # It has room for 20 records, and its signatures count.
        flood = [("add", f"n{number}", 5, "A", "192.0.2.9") for number in range(20)]
        assert names.update(*flood, zone=zone, key=(f"k.{zone}", secret)) != "NOERROR"
        again = play(demo, [project])
        assert again.rc == 0, again.text
        assert not again.changed, again.report
        vanished = play(demo, [])
        assert vanished.rc != 0
        assert "project belle2: belle2.demo.test is served and delegated" in vanished.text
    finally:
        gone = play(demo, [{"name": "belle2", "state": "absent"}])
        assert gone.rc == 0, gone.text
    for server in names.secondaries.values():
        eventually(lambda server=server: served(server, zone, "DS", []), 10)
        answer = ask(server, f"www.{zone}", "A")
        assert dns.rcode.to_text(answer.rcode()) == "NXDOMAIN"
        assert values(server, PROJECT, "DS") == before
    kept = demo.shell(
        names.primary,
        f"cat /var/lib/bind/removed/{zone}.*.zone; ls /var/lib/bind /var/lib/bind/keys",
    )
    assert f"www.{zone}. 5 IN A 192.0.2.9" in kept
    assert f"{zone}.db" not in kept
    assert f"K{zone}" not in kept
    last = play(demo, [])
    assert last.rc == 0, last.text


@pytest.mark.settings
def test_names_of_addresses_follow_the_networks(demo, names) -> None:
    """To other networks and back again, and at once everywhere: the zone is made anew each time."""
    zone = f"ips.{ZONE}"

    def networks(*wished: str, state: str = "present") -> None:
        run = play(demo, [{"name": "ips", "addresses": wished, "state": state}])
        assert run.rc == 0, run.text

    try:
        for network, others in (("192.0.2", "198.51.100"), ("198.51.100", "192.0.2")) * 2:
            networks(f"{network}.0/24")
            name = network.replace(".", "-")
            names.everywhere(f"x.{name}-255.{zone}", "A", [f"{network}.255"])
            for server in names.secondaries.values():
                signed(server, f"x.{name}-0.{zone}", "A", chain(server, ZONE, zone))
                gone = ask(server, f"{others.replace('.', '-')}-7.{zone}", "A")
                assert gone.rcode() == dns.rcode.NXDOMAIN
        files = demo.shell(names.primary, f"ls /var/lib/bind | grep '^{zone}' | grep -vc jnl")
        assert files.strip() == "1"
    finally:
        networks(state="absent")
    assert play(demo, []).rc == 0


def test_bad_projects_are_refused_before_anything_changes(demo, names) -> None:
    _name, secret = names.key
    twice = [{"types": {"A": 1}}, {"name": "app", "types": {"A": 1}}]
    bad = [
        {"name": "No Label"},
        {"name": "atlas", "keys": [{"name": "k", "secret": secret, "grants": twice}]},
    ]
    run = play(demo, bad)
    assert run.rc != 0
    assert "project No Label: its name becomes a label" in run.text
    assert "overlap in A" in run.text
    assert not run.changed


def test_status_is_a_page_and_an_exit_status(demo) -> None:
    run = demo.play("operations/dns_status").good()
    assert f"{PROJECT}\n" in json.dumps(run.report).replace("\\n", "\n")


@pytest.mark.settings
def test_zones_travel_by_tls_when_that_is_wished(demo, names, portal) -> None:
    """RFC 9103, to servers of both makes; not from a server with another's certificate."""
    pairs = {
        host: signed_by_the_demo(demo.directory, f"{host}.{ZONE}")
        for host in (names.primary, names.standby)
    }
    wished = {
        "dns_tls": True, "test_pairs": pairs,
        "dns_tls_certificate": "{{ (test_pairs[inventory_hostname] | default(['', '']))[0] }}",
        "dns_tls_private_key": "{{ (test_pairs[inventory_hostname] | default(['', '']))[1] }}",
    }  # fmt: skip

    run = functools.partial(demo.apply, "dns,firewall")

    def add(address: str) -> None:
        name = f"{portal}.{PROJECT}."
        assert names.update(("add", name, 60, "A", address), through="cnaf-gw1") == "NOERROR"

    def came(host: str, since: str) -> str:
        """The ports from which zones came."""
        script = (
            f"journalctl -o cat -u named -u knot --since '@{since}'"
            f" | grep -oE '{demo.hosts[names.primary]}[#@](53|853)' | sed 's/.*[#@]//' | sort -u"
        )
        return demo.shell(host, script).strip()

    try:
        assert run(**wished) > 0
        began = demo.shell(names.primary, "date +%s").strip()
        time.sleep(1)
        add("192.0.2.1")
        names.everywhere(f"{portal}.{PROJECT}", "A", ["192.0.2.1"])
        for host in [*names.secondaries, names.standby]:
            eventually(lambda host=host: _equal(came(host, began), "853"), 20)
        # One server expects somebody else there, and takes nothing.
        run("--limit", "bari-gw1", **wished, dns_primary_name=f"nobody.{ZONE}")
        add("192.0.2.2")
        both = ["192.0.2.1", "192.0.2.2"]
        at_cnaf = names.secondaries["cnaf-gw1"]
        eventually(lambda: served(at_cnaf, f"{portal}.{PROJECT}", "A", both), 10, every=0.02)
        time.sleep(2)
        served(names.secondaries["bari-gw1"], f"{portal}.{PROJECT}", "A", ["192.0.2.1"])
    finally:
        run()
    # What it missed comes with the next change; by itself it tries again after a while.
    add("192.0.2.3")
    names.everywhere(f"{portal}.{PROJECT}", "A", [*both, "192.0.2.3"])
    assert run() == 0


@pytest.mark.settings
def test_secrets_between_the_servers_change(demo, names, portal) -> None:
    """In one run; every server answers all the time, and goes on with the new ones."""
    kinds = ("transfer", "backup", "health")
    new = {
        f"dns_{kind}_secret": base64.b64encode(secrets.token_bytes(32)).decode() for kind in kinds
    }

    run = functools.partial(demo.apply, "dns")

    def add(address: str) -> None:
        assert names.update(("add", f"{portal}.{PROJECT}.", 60, "A", address)) == "NOERROR"

    def given_by(server: str, zone: str, key: str) -> list[str] | None:
        """The texts of a zone that a server gives the standby by a secret; None if it refuses."""
        wish = {"server": server, "zone": zone, "key": key.split("=", 1)}
        said = demo.shell(names.standby, f"python3 -c '{FETCH}'", stdin=json.dumps(wish).encode())
        return json.loads(said)

    def good(secrets_now: dict[str, str], others: dict[str, str]) -> None:
        """Zones and copies of keys travel by these secrets, and by no others."""
        primary, backup = demo.hosts[names.primary], f"backup.{ZONE}"
        transfer = secrets_now["dns_transfer_secret"]
        assert given_by(primary, PROJECT, f"transfer={transfer}") is not None
        assert given_by(primary, PROJECT, f"transfer={others['dns_transfer_secret']}") is None
        secret = secrets_now["dns_backup_secret"]

        def copied() -> None:
            copies = given_by("127.0.0.1", backup, f"backup={secret}")
            assert copies
            try:
                assert all(unseal(one, secret) for one in copies)
            except RecordsError as error:
                raise AssertionError("those of before, still") from error

        eventually(copied, 20)

    def answered(server: str, name: str, kind: str) -> list[str]:
        """As resolvers ask: again, when an answer is lost, as the one is that Knot restarts."""
        with contextlib.suppress(dns.exception.Timeout, ConnectionError):
            return values(server, name, kind)
        return values(server, name, kind)

    old = {name: demo.secrets[name] for name in new}
    asked = {NAME: "A", f"{PROJECT}.": "SOA"}
    try:
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            changed = pool.submit(run, **new)
            while not changed.done():
                for server in names.secondaries.values():
                    for name, kind in asked.items():
                        assert answered(server, name, kind), f"{server} does not answer"
                time.sleep(0.2)
            assert changed.result() > 0
        good(new, old)
        add("192.0.2.1")
        names.everywhere(f"{portal}.{PROJECT}", "A", ["192.0.2.1"])
        leaves_a_site_that_dies(demo, names)
        assert run(**new) == 0
        demo.shell(names.primary, "systemctl start dns-upkeep.service")
    finally:
        run()
    good(old, new)
    add("192.0.2.2")
    names.everywhere(f"{portal}.{PROJECT}", "A", ["192.0.2.1", "192.0.2.2"])


def _equal(found: object, expected: object) -> None:
    assert found == expected


# --- the federation's name, and the primary, without a site


@pytest.mark.drill
def test_the_federations_name_leaves_a_site_that_dies(demo, names) -> None:
    leaves_a_site_that_dies(demo, names)


def leaves_a_site_that_dies(demo, names) -> None:
    """Within 15 s, the time for which clients remember it included."""
    gone = demo.hosts["bari-gw1"]
    others = {host: at for host, at in names.secondaries.items() if host != "bari-gw1"}
    rest = sorted(set(names.secondaries.values()) - {gone})
    began = time.monotonic()
    demo.shell("bari-gw1", "systemctl stop haproxy.service")
    try:
        for server in others.values():
            eventually(lambda server=server: served(server, NAME, "A", rest), 10, every=0.2)
        ttl = ask(next(iter(others.values())), NAME, "A").answer[0].ttl
        assert time.monotonic() - began + ttl <= 15
    finally:
        demo.shell("bari-gw1", "systemctl start haproxy.service")
    every = sorted(names.secondaries.values())
    for server in names.secondaries.values():
        eventually(lambda server=server: served(server, NAME, "A", every), 20, every=0.2)


def promote(demo, name: str) -> None:
    demo.play("operations/dns_promote", dns_promote=name).good()


@pytest.mark.drill
@pytest.mark.settings
def test_the_standby_takes_over_and_gives_back(demo, names, portal) -> None:
    """The primary dies; names and signatures stay, and projects write to its successor."""
    assert names.update(("replace", portal, 5, "A", "192.0.2.83")) == "NOERROR"
    names.everywhere(f"{portal}.{PROJECT}", "A", ["192.0.2.83"])
    keys = values(names.secondaries["cnaf-gw1"], PROJECT, "DNSKEY")
    demo.shell(names.primary, "systemctl kill --signal KILL named; systemctl stop named ssh.socket")
    try:
        refused = names.update(("replace", portal, 5, "A", "192.0.2.84"))
        assert refused != "NOERROR"
        promote(demo, names.standby)
        assert names.update(("replace", portal, 5, "A", "192.0.2.85")) == "NOERROR"
        names.everywhere(f"{portal}.{PROJECT}", "A", ["192.0.2.85"])
        for server in names.secondaries.values():
            assert values(server, PROJECT, "DNSKEY") == keys, "nobody has to believe new keys"
            signed(server, f"{portal}.{PROJECT}", "A", chain(server, ZONE, PROJECT))
            signed(server, f"10-201-1-1.myip.{ZONE}", "A", chain(server, ZONE, f"myip.{ZONE}"))
        # The inventory still names the old one, whose zones are those of yesterday by now.
        run = demo.play("backbone", "--tags", "dns")
        assert run.rc != 0
        assert f"{names.standby} is the primary now" in run.text
    finally:
        promote(demo, names.primary)
    names.everywhere(f"{portal}.{PROJECT}", "A", ["192.0.2.85"])
    assert names.update(("replace", portal, 5, "A", "192.0.2.86")) == "NOERROR"
    names.everywhere(f"{portal}.{PROJECT}", "A", ["192.0.2.86"])
    for server in names.secondaries.values():
        signed(server, f"{portal}.{PROJECT}", "A", chain(server, ZONE, PROJECT))
