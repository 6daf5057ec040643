# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Certificates by ACME, proved through the demo's own names, and by an authority of one's own.

The authority is Debian's Pebble, which is made for tests: it is strict, and forgets everything when
it stops. It asks an Unbound that knows nothing but the demo's name servers.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tooling.names import project_key

from .conftest import eventually

HOST = "bari-gw1"
ZONE = "demo.test"
# A certificate for a project's zone and all below it, and for a name whose challenge is delegated.
DOMAINS = [f"cms.{ZONE}", f"*.cms.{ZONE}", f"shop.{ZONE}"]
CHALLENGE = {"name": "_acme-challenge.shop", "type": "CNAME", "ttl": 5,
             "values": [f"shop._acme-challenge.cms.{ZONE}."]}  # fmt: skip
LIFE = 40  # seconds
PEBBLE = {
    "pebble": {
        "listenAddress": "127.0.0.1:14000", "managementListenAddress": "127.0.0.1:15000",
        "certificate": "/root/acme/server.pem", "privateKey": "/root/acme/server.key",
        "httpPort": 5002, "tlsPort": 5001, "externalAccountBindingRequired": False,
        "retryAfter": {"authz": 1, "order": 1}, "certificateValidityPeriod": LIFE,
        "profiles": {"default": {"description": "for a test", "validityPeriod": LIFE}},
    }
}  # fmt: skip
START = """
    set -e
    export DEBIAN_FRONTEND=noninteractive
    mkdir -p /root/acme
    # A mail relay has one too.
    command -v unbound >/dev/null || touch /root/acme/no-unbound
    printf '#!/bin/sh\\nexit 101\\n' >/usr/sbin/policy-rc.d; chmod 755 /usr/sbin/policy-rc.d
    apt-get install -y -qq --no-install-recommends pebble unbound >/dev/null 2>&1
    rm /usr/sbin/policy-rc.d
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
    export DEBIAN_FRONTEND=noninteractive
    apt-get purge -y -qq pebble >/dev/null 2>&1
    if [ -e /root/acme/no-unbound ]; then
        apt-get purge -y -qq unbound >/dev/null 2>&1; rm -rf /etc/unbound /var/lib/unbound
    fi
    rm -rf /root/acme
"""


def server_certificate(directory: Path) -> tuple[str, str]:
    """A certificate of the demo's own authority for the test's, and its key."""
    issuer = x509.load_pem_x509_certificate((directory / "ca.pem").read_bytes())
    pem = (directory / "tls" / "ca.key").read_bytes()
    signer: Any = serialization.load_pem_private_key(pem, None)
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.datetime.now(datetime.timezone.utc)
    names = x509.SubjectAlternativeName([x509.DNSName("localhost")])
    made = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(issuer.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(names, critical=True)
        .sign(signer, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return made.public_bytes(serialization.Encoding.PEM).decode(), private.decode()


class Certificates:
    """The role on one host."""

    def __init__(self, demo: Any, tmp: Path) -> None:
        self.demo = demo
        self.tmp = tmp
        self.key = dict(zip(("name", "secret"), project_key(demo.directory)))
        self.wished = {
            "certificates_acme_directory": "https://localhost:14000/dir",
            "certificates_acme_email": f"admin@{ZONE}",
            "certificates_acme_ca_file": "/etc/ssl/certs/ca-certificates.crt",
            # Its own name server passes the update on to the primary, wherever that is.
            "certificates_dns_server": "127.0.0.1:53",
            "certificates_dns_resolvers": ["127.0.0.1:5353"],
            "certificates_list": [{"name": "cms", "domains": DOMAINS, "dns_key": self.key,
                                   "group": "haproxy", "reload": ["haproxy.service"]}],
        }  # fmt: skip

    def play(self, **variables: Any) -> Any:
        given = self.tmp / "given.json"
        given.touch(0o600)
        given.write_text(json.dumps(self.wished | variables), encoding="utf-8")
        playbook = self.tmp / "certificates.yml"
        role = {"role": "infn.cloud.certificates"}
        play = {"hosts": HOST, "become": True, "gather_facts": False, "roles": [role]}
        playbook.write_text(json.dumps([play]), encoding="utf-8")
        return self.demo.ansible("ansible-playbook", playbook, "-e", f"@{given}", timeout=300)

    def run(self, command: str, **options: Any) -> str:
        return self.demo.shell(HOST, f"certificates {command}", **options)

    def listed(self) -> dict[str, Any]:
        return json.loads(self.run("list"))

    def live(self, name: str, file: str) -> str:
        return self.demo.shell(HOST, f"cat /etc/certificates/live/{name}/{file}")

    def status(self, serial: str) -> str:
        code = (
            "import ssl, sys, urllib.request as u; c = ssl._create_unverified_context();"
            " print(u.urlopen(sys.argv[1], context=c).read().decode())"
        )
        fetch = f'python3 -c "{code}" https://localhost:15000/cert-status-by-serial/{serial}'
        return str(json.loads(self.demo.shell(HOST, fetch))["Status"])


def changes(run: Any) -> int:
    assert run.rc == 0, run.text
    return sum(stats["changed"] for stats in run.stats.values())


@pytest.fixture(scope="module")
def certificates(demo, tmp_path_factory) -> Iterator[Certificates]:
    certificate, key = server_certificate(demo.directory)
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
    files = {"server.pem": certificate, "server.key": key, "pebble.json": json.dumps(PEBBLE),
             "unbound.conf": unbound}  # fmt: skip
    (primary,) = demo.groups("dns_primary")
    made = Certificates(demo, tmp_path_factory.mktemp("certificates"))
    try:
        demo.shell(HOST, START, stdin=json.dumps(files).encode(), timeout=180)
        added = demo.module(primary, "dns_records", zone=ZONE, records=[CHALLENGE])
        assert added["added"], added
        yield made
    finally:
        # The authority is gone already if a test failed half-way: remove what is there regardless.
        demo.shell(HOST, "runuser -u certificates -- certificates revoke cms", check=False)
        demo.shell(
            HOST,
            "systemctl disable --now 'certificate@cms.timer' certificates-check.timer;"
            " rm -rf /etc/certificates /var/lib/certificates /usr/local/sbin/certificates"
            " /etc/systemd/system/certificate*; systemctl daemon-reload; userdel certificates;"
            " DEBIAN_FRONTEND=noninteractive apt-get purge -y -qq lego >/dev/null 2>&1",
            check=False, timeout=120,
        )  # fmt: skip
        demo.shell(HOST, STOP, check=False, timeout=120)
        gone = [{**CHALLENGE, "state": "absent"}]
        demo.module(primary, "dns_records", zone=ZONE, records=gone)


def test_bad_wishes_are_refused_before_anything_changes(certificates) -> None:
    (one,) = certificates.wished["certificates_list"]
    for wrong, said in (
        ({"certificates_alarm_days": 30}, "below certificates_renew_days"),
        ({"certificates_list": [one, one]}, "a name of its own"),
        ({"certificates_list": [{**one, "name": "No Name"}]}, "a name of its own"),
        ({"certificates_list": [{**one, "domains": ["Big.demo.test"]}]}, "small letters"),
        ({"certificates_list": [{**one, "domains": []}]}, "one domain at least"),
        ({"certificates_list": [{"name": "cms", "domains": DOMAINS}]}, "a dns_key"),
        ({"certificates_acme_directory": "http://localhost/dir"}, "https"),
        ({"certificates_source": "authority"}, "must hold PEM text"),
    ):
        run = certificates.play(**wrong)
        assert run.rc != 0, wrong
        assert said in run.text, run.text
        assert not any(stats["changed"] for stats in run.stats.values())


def test_names_are_proved_and_services_can_read_it(certificates) -> None:
    """A wildcard, the name above it, and a name whose challenge is another's: one certificate."""
    assert changes(certificates.play()) > 0
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
        "root:haproxy 750 /etc/certificates/live/cms",
        "root:haproxy 640 /etc/certificates/live/cms/key.pem",
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
    told = certificates.demo.shell(HOST, "journalctl -u haproxy -o cat --since -2min")
    assert "Reloaded haproxy.service" in told
    assert certificates.demo.http("GET", certificates.demo.sites["bari"].identity).ok


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
    assert changes(run) > 0
    assert certificates.status(serial) == "Revoked"
    left = certificates.demo.shell(
        HOST, "ls -A /etc/certificates/live /var/lib/certificates/certificates"
    )
    assert "cms" not in left
    assert changes(certificates.play(certificates_list=[])) == 0


def test_an_authority_of_ones_own(certificates) -> None:
    """Its key stays where Ansible runs; a second run changes nothing, an end in sight does."""
    directory = certificates.demo.directory
    own = {
        "certificates_source": "authority",
        "certificates_authority_certificate": (directory / "ca.pem").read_text(),
        "certificates_authority_private_key": (directory / "tls" / "ca.key").read_text(),
        "certificates_list": [{"name": "closed", "domains": [f"closed.{ZONE}", "192.0.2.1"]}],
    }
    assert changes(certificates.play(**own)) > 0
    found = certificates.listed()["closed"]
    assert found["domains"] == ["192.0.2.1", f"closed.{ZONE}"]
    assert found["days_left"] > 390
    assert changes(certificates.play(**own)) == 0
    assert changes(certificates.play(**own, certificates_renew_days=400)) > 0
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
    assert changes(run) > 0
    left = certificates.demo.shell(
        HOST, "ls -d /etc/certificates /var/lib/certificates /etc/systemd/system/certificate*"
        " 2>/dev/null; getent passwd certificates; true",
    )  # fmt: skip
    assert not left
