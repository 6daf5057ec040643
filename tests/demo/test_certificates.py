# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Certificates by ACME, proved through the demo's own names, and by an authority of one's own.

The authority is Debian's Pebble, which is made for tests: it is strict, and forgets everything when
it stops. It asks an Unbound that knows nothing but the demo's name servers.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import secrets
import socket
import ssl
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from tooling.names import project_key

from .conftest import eventually, signed_by_the_demo

HOST = "bari-st1"
GATEWAY = "bari-gw1"
SITE = "bari"
ZONE = "demo.test"
# A certificate for a project's zone and all below it, and for a name whose challenge is delegated.
DOMAINS = [f"cms.{ZONE}", f"*.cms.{ZONE}", f"shop.{ZONE}"]
CHALLENGE = {"name": "_acme-challenge.shop", "type": "CNAME", "ttl": 5,
             "values": [f"shop._acme-challenge.cms.{ZONE}."]}  # fmt: skip
LIFE = 40  # seconds
PEBBLE = {
    "listenAddress": "127.0.0.1:14000", "managementListenAddress": "127.0.0.1:15000",
    "certificate": "/root/acme/server.pem", "privateKey": "/root/acme/server.key",
    "httpPort": 5002, "tlsPort": 5001, "externalAccountBindingRequired": False,
    "retryAfter": {"authz": 1, "order": 1},
}  # fmt: skip
START = """
    set -e
    mkdir -p /root/acme; chmod 700 /root/acme; cd /root/acme
    cat >given.json
    python3 - <<'END'
import json
for name, text in json.load(open("given.json")).items():
    open(name, "w").write(text)
END
    rm given.json
    systemd-run --quiet --unit test-unbound unbound -d -p -c /root/acme/unbound.conf
    systemd-run --quiet --unit test-pebble --setenv PEBBLE_VA_NOSLEEP=1 \
        pebble -config /root/acme/pebble.json -strict -dnsserver 127.0.0.1:5353
    for i in $(seq 50); do ss -Hltn sport = :14000 | grep -q . && exit; sleep 0.2; done
    exit 1
"""
STOP = """
    systemctl stop test-pebble test-unbound
    DEBIAN_FRONTEND=noninteractive apt-get purge -y -qq pebble unbound >/dev/null 2>&1
    rm -rf /root/acme /etc/unbound /var/lib/unbound
"""


def ask_pebble(demo: Any, host: str, path: str) -> str:
    """A page of what Pebble tells of itself."""
    code = (
        "import ssl, sys, urllib.request as u; c = ssl._create_unverified_context();"
        " print(u.urlopen(sys.argv[1], context=c).read().decode())"
    )
    return str(demo.shell(host, f'python3 -c "{code}" https://localhost:15000/{path}'))


@contextlib.contextmanager
def pebble(demo: Any, host: str, life: int = LIFE) -> Iterator[None]:
    """An authority on a host, for that host, and a resolver that knows the demo's names."""
    certificate, key = signed_by_the_demo(demo.directory, "localhost")
    servers = "".join(f"    stub-addr: {demo.hosts[h]}\n" for h in demo.groups("dns_secondary"))
    unbound = f"""
server:
    interface: 127.0.0.1@5353
    username: ""
    chroot: ""
    pidfile: ""
    do-daemonize: no
    use-syslog: no
    do-not-query-localhost: no
    domain-insecure: "test"
    local-zone: "test." nodefault
    cache-max-ttl: 1
    cache-max-negative-ttl: 0
stub-zone:
    name: "{ZONE}"
{servers}
"""
    profile = {"description": "for a test", "validityPeriod": life}
    lives = {"certificateValidityPeriod": life, "profiles": {"default": profile}}
    files = {"server.pem": certificate, "server.key": key, "unbound.conf": unbound,
             "pebble.json": json.dumps({"pebble": PEBBLE | lives})}  # fmt: skip
    try:
        demo.install(host, "pebble", "unbound")
        demo.shell(host, START, stdin=json.dumps(files).encode(), timeout=180)
        yield
    finally:
        demo.shell(host, STOP, check=False, timeout=120)


class Certificates:
    """The role on one host."""

    def __init__(self, demo: Any, tmp: Path) -> None:
        self.demo = demo
        self.tmp = tmp
        self.key = dict(zip(("name", "secret"), project_key(demo.directory)))
        self.wished = {
            "certificates_source": "acme",
            "certificates_acme_directory": "https://localhost:14000/dir",
            "certificates_acme_email": f"admin@{ZONE}",
            "certificates_acme_ca_file": "/etc/ssl/certs/ca-certificates.crt",
            # The site's name server passes the update on to the primary, wherever that is.
            "certificates_dns_server": f"{demo.hosts[GATEWAY]}:53",
            "certificates_dns_resolvers": ["127.0.0.1:5353"],
            "certificates_list": [{"name": "cms", "domains": DOMAINS, "dns_key": self.key,
                                   "group": "swift", "reload": ["ssh.service"]}],
        }  # fmt: skip

    def play(self, **variables: Any) -> Any:
        playbook = self.tmp / "certificates.yml"
        role = {"role": "infn.cloud.certificates"}
        play = {"hosts": HOST, "become": True, "gather_facts": False, "roles": [role]}
        playbook.write_text(json.dumps([play]), encoding="utf-8")
        return self.demo.play(playbook, **self.wished | variables)

    def run(self, command: str, **options: Any) -> str:
        return self.demo.shell(HOST, f"certificates {command}", **options)

    def listed(self) -> dict[str, Any]:
        return json.loads(self.run("list"))

    def live(self, name: str, file: str) -> str:
        return self.demo.shell(HOST, f"cat /etc/certificates/live/{name}/{file}")

    def status(self, serial: str) -> str:
        told = ask_pebble(self.demo, HOST, f"cert-status-by-serial/{serial}")
        return str(json.loads(told)["Status"])


@pytest.fixture(scope="module")
def certificates(demo, tmp_path_factory) -> Iterator[Certificates]:
    (primary,) = demo.groups("dns_primary")
    made = Certificates(demo, tmp_path_factory.mktemp("certificates"))
    with pebble(demo, HOST):
        try:
            # It may be there from a run that was interrupted.
            added = demo.module(primary, "dns_records", zone=ZONE, records=[CHALLENGE])
            assert not added.get("failed"), added
            yield made
        finally:
            # Whatever a test left half-way.
            demo.shell(HOST, "runuser -u certificates -- certificates revoke cms", check=False)
            demo.shell(
                HOST,
                "systemctl disable --now 'certificate@cms.timer' certificates-check.timer;"
                " rm -rf /etc/certificates /var/lib/certificates /usr/local/sbin/certificates"
                " /etc/systemd/system/certificate*; systemctl daemon-reload; userdel certificates;"
                " DEBIAN_FRONTEND=noninteractive apt-get purge -y -qq lego >/dev/null 2>&1",
                check=False, timeout=120,
            )  # fmt: skip
            gone = [{**CHALLENGE, "state": "absent"}]
            demo.module(primary, "dns_records", zone=ZONE, records=gone)


def test_bad_wishes_are_refused_before_anything_changes(certificates) -> None:
    (one,) = certificates.wished["certificates_list"]
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"certificates_alarm_days": 30}, "below certificates_renew_days"),
        ({"certificates_list": [one, one]}, "a name of its own"),
        ({"certificates_list": [{**one, "name": "No Name"}]}, "a name of its own"),
        ({"certificates_list": [{**one, "domains": ["Big.demo.test"]}]}, "small letters"),
        ({"certificates_list": [{**one, "domains": []}]}, "one domain at least"),
        ({"certificates_list": [{"name": "cms", "domains": DOMAINS}]}, "a dns_key"),
        ({"certificates_acme_directory": "http://localhost/dir"}, "https"),
        (
            {"certificates_source": "authority", "certificates_authority_certificate": ""},
            "must hold PEM text",
        ),
    ]
    cases = {
        f"case {number}": ("certificates", HOST, certificates.wished | given)
        for number, (given, _says) in enumerate(wrong)
    }
    runs = certificates.demo.attempts(cases)
    for case, (given, says) in zip(cases, wrong):
        run = runs[case]
        assert run.rc != 0, given
        assert says in run.text, run.text
        assert not run.changed


def test_names_are_proved_and_services_can_read_it(certificates) -> None:
    """A wildcard, the name above it, and a name whose challenge is another's: one certificate."""
    assert certificates.play().good().changed > 0
    found = certificates.listed()["cms"]
    assert found["domains"] == sorted(DOMAINS)
    leaf, issuer = x509.load_pem_x509_certificates(
        certificates.live("cms", "fullchain.pem").encode()
    )
    leaf.verify_directly_issued_by(issuer)
    key: Any = serialization.load_pem_private_key(
        certificates.live("cms", "key.pem").encode(), None
    )
    assert key.public_key() == leaf.public_key()
    combined = certificates.live("cms", "combined.pem")
    assert combined == certificates.live("cms", "fullchain.pem") + certificates.live(
        "cms", "key.pem"
    )
    modes = certificates.demo.shell(
        HOST, "stat -Lc '%U:%G %a %n' /etc/certificates/live/cms /etc/certificates/live/cms/key.pem"
    )
    assert modes.splitlines() == [
        "root:swift 750 /etc/certificates/live/cms",
        "root:swift 640 /etc/certificates/live/cms/key.pem",
    ]
    # Challenges are gone again.
    left = certificates.demo.shell(
        HOST,
        f"journalctl -u certificate@cms -o cat | grep -c 'Cleaning DNS-01' || true; echo {ZONE}",
    )
    assert int(left.split()[0]) >= len(DOMAINS)


def test_it_is_renewed_without_ansible_and_services_are_told(certificates) -> None:
    """It lives for a moment: when a third is left, the timer's service fetches the next."""
    before = certificates.listed()["cms"]["serial"]

    def another() -> None:
        certificates.demo.shell(HOST, "systemctl start certificate@cms.service", timeout=120)
        assert certificates.listed()["cms"]["serial"] != before

    eventually(another, 90, every=5)
    told = certificates.demo.shell(HOST, "journalctl -u ssh -o cat --since -2min")
    assert "Reloaded ssh.service" in told


def test_an_end_in_sight_is_an_alarm(certificates) -> None:

    def alarm() -> None:
        said = certificates.run("check", check=False)
        assert "<3>cms: it ends in" in said, "a sixth of its life is left"

    certificates.run("check")
    eventually(alarm, 90, every=2)
    script = "! systemctl start certificates-check.service && systemctl reset-failed"
    certificates.demo.shell(HOST, script)


def test_a_certificate_that_is_not_wanted_is_revoked(certificates) -> None:
    certificates.demo.shell(HOST, "systemctl start certificate@cms.service", timeout=120)
    serial = certificates.listed()["cms"]["serial"]
    run = certificates.play(certificates_list=[])
    assert run.good().changed > 0
    assert certificates.status(serial) == "Revoked"
    left = certificates.demo.shell(
        HOST, "ls -A /etc/certificates/live /var/lib/certificates/certificates"
    )
    assert "cms" not in left
    assert certificates.play(certificates_list=[]).good().changed == 0


@pytest.mark.settings
def test_an_authority_of_ones_own(certificates) -> None:
    """Its key stays where Ansible runs; a second run changes nothing, an end in sight does."""
    directory = certificates.demo.directory
    own = {
        "certificates_source": "authority",
        "certificates_authority_certificate": (directory / "ca.pem").read_text(),
        "certificates_authority_private_key": (directory / "tls" / "ca.key").read_text(),
        "certificates_list": [{"name": "closed", "domains": [f"closed.{ZONE}", "192.0.2.1"]}],
    }
    assert certificates.play(**own).good().changed > 0
    found = certificates.listed()["closed"]
    assert found["domains"] == ["192.0.2.1", f"closed.{ZONE}"]
    assert found["days_left"] > 390
    assert certificates.play(**own).good().changed == 0
    assert certificates.play(**own, certificates_renew_days=400).good().changed > 0
    assert certificates.listed()["closed"]["serial"] != found["serial"]
    held = certificates.demo.shell(HOST, "grep -rlaF 'PRIVATE KEY' /etc/certificates /root | wc -l")
    keys = own["certificates_authority_private_key"].splitlines()[1]
    assert int(held) > 0
    assert not certificates.demo.shell(
        HOST, "grep -rlaFf /dev/stdin /etc /var/lib/certificates || true", stdin=keys.encode()
    )


def test_removal_asks_first_and_leaves_nothing(certificates) -> None:
    assert (
        "certificates_allow_data_loss=true" in certificates.play(certificates_state="absent").text
    )
    run = certificates.play(
        certificates_state="absent", certificates_source="authority",
        certificates_allow_data_loss=True,
    )  # fmt: skip
    assert run.good().changed > 0
    left = certificates.demo.shell(
        HOST, "ls -d /etc/certificates /var/lib/certificates /etc/systemd/system/certificate*"
        " 2>/dev/null; getent passwd certificates; true",
    )  # fmt: skip
    assert not left


# --- the sites' endpoints


class Load:
    """Requests to a site's identity and object storage, each on a connection of its own."""

    def __init__(self, address: str, name: str, authority: str) -> None:
        self.address, self.name = address, name
        self.context = ssl.create_default_context(cadata=authority)
        # Pebble's own certificates lack what Python 3.13 wants to see in an authority's.
        self.context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        self.answers: Counter[tuple[int, int]] = Counter()
        self.failures: list[str] = []
        self.serials: set[int] = set()
        self._end = threading.Event()
        self._threads = [
            threading.Thread(target=self._ask, args=(port, path))
            for port, path in ((5000, "/v3"), (8080, "/healthcheck"))
            for _worker in range(2)
        ]

    def _ask(self, port: int, path: str) -> None:
        while not self._end.wait(0.02):
            try:
                with (
                    socket.create_connection((self.address, port), 10) as plain,
                    self.context.wrap_socket(plain, server_hostname=self.name) as link,
                ):
                    leaf = x509.load_der_x509_certificate(link.getpeercert(True) or b"")
                    self.serials.add(leaf.serial_number)
                    connection = http.client.HTTPConnection(self.name, port, timeout=10)
                    connection.sock = link
                    connection.request("GET", path, headers={"Connection": "close"})
                    self.answers[port, connection.getresponse().status] += 1
            except (OSError, http.client.HTTPException) as error:
                self.failures.append(f"{port}: {error!r}")

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join()


def test_each_gateway_has_a_certificate_for_its_names(demo) -> None:
    """Of the demo's own authority, kept by the role; for its address too, which clients use."""
    for site in demo.sites.values():
        for gateway in (name for name in site.hosts if name in demo.groups("gateway")):
            listed = json.loads(demo.shell(gateway, "certificates list"))
            assert listed["endpoint"]["domains"] == sorted(
                [f"cloud.{ZONE}", f"{site.name}.{ZONE}", f"{gateway}.{ZONE}", demo.hosts[gateway]]
            )


@pytest.mark.settings
def test_an_endpoint_is_renewed_under_load_and_no_request_fails(demo) -> None:
    """By ACME, without Ansible, while identity and object storage are asked all the time."""
    gateways = demo.groups("gateway")
    keys = {one: base64.b64encode(secrets.token_bytes(32)).decode() for one in gateways}
    leaving = (
        "{{ [{'name': 'acme', 'state': 'absent'}] + demo_dns_projects + demo_dns_more_projects }}"
    )
    absent = "{{ backbone_challenges.records | map('combine', {'state': 'absent'}) }}"

    # Names: where the certificates are proved, and a key for each gateway.
    demo.apply("dns", backbone_acme_secrets=keys)
    try:
        # Long enough for the rest of the playbook's run after the first one.
        life = 4 * LIFE
        with pebble(demo, GATEWAY, life):
            # ACME knows no addresses: who asks for it by its address gets an administrator's own.
            pem, private = signed_by_the_demo(demo.directory, demo.hosts[GATEWAY])
            acme = {
                "backbone_acme_secrets": keys, "certificates_source": "acme",
                "certificates_acme_directory": "https://localhost:14000/dir",
                "certificates_acme_email": f"admin@{ZONE}",
                "certificates_acme_ca_file": "/etc/ssl/certs/ca-certificates.crt",
                "certificates_dns_resolvers": ["127.0.0.1:5353"],
                "certificates_list": "{{ [backbone_endpoint_certificate] }}",
                "load_balancer_certificate": pem, "load_balancer_private_key": private,
            }  # fmt: skip
            assert demo.apply("certificates,load_balancer", "--limit", GATEWAY, **acme) > 0
            root = ask_pebble(demo, GATEWAY, "roots/0")
            with Load(demo.hosts[GATEWAY], f"{SITE}.{ZONE}", root) as load:
                began = time.monotonic()
                while len(load.serials) < 3 and time.monotonic() - began < 3 * life:
                    demo.shell(GATEWAY, "systemctl start certificate@endpoint", timeout=120)
                    time.sleep(2)
                assert demo.http("GET", demo.sites[SITE].identity).ok, "by its address"
            print(f"{sum(load.answers.values())} requests, {len(load.serials)} certificates")
            assert not load.failures, load.failures[:5]
            assert len(load.serials) >= 3, "it was renewed twice"
            assert set(load.answers) == {(5000, 200), (8080, 200)}, load.answers
    finally:
        # A demo as the others know it; what lego got is of an authority that is gone.
        demo.apply("certificates,load_balancer", "--limit", GATEWAY)
        gone = {"dns_projects": leaving, "dns_records": absent, "dns_health_challenge": ""}
        demo.apply("dns", backbone_acme_secrets=keys, **gone)
        demo.apply("dns")
    assert demo.apply("dns,certificates,load_balancer") == 0, "nothing is left to do"
