# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Mail of services: what a relay takes, from whom, and what arrives.

The receiver is a Postfix on a storage host, in a domain of the demo's own DNS; swaks is the client
where a session's whole course counts, Python's smtplib where a connection has to stay open.
"""

from __future__ import annotations

import contextlib
import datetime
import functools
import json
import re
import secrets
import smtplib
import urllib.parse
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import requests
import requests.adapters
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from tooling.mail import submission
from tooling.names import ask

from .conftest import eventually, signed_by_the_demo

ZONE = "demo.test"
RECEIVER = "padova-st1"
DOMAIN = f"in.{ZONE}"
BOX = f"box@{DOMAIN}"
MX = {"name": "in", "type": "MX", "ttl": 5, "values": [f"10 {RECEIVER}.{ZONE}."]}
START = r"""
    set -e
    mkdir -p /root/mail; chmod 700 /root/mail; cat >/root/mail/given.json
    python3 - <<'END'
import json
for name, text in json.load(open("/root/mail/given.json")).items():
    open(name, "w").write(text)
END
    rm /root/mail/given.json; chmod 600 /etc/postfix/receiver.pem
    install -d -o nobody -g nogroup /var/mail/test
    nft list chain inet infn_cloud input | grep -q 'comment "test of mail"' ||
        nft insert rule inet infn_cloud input tcp dport 25 accept comment '"test of mail"'
    systemctl restart postfix
"""
STOP = r"""
    systemctl stop postfix
    export DEBIAN_FRONTEND=noninteractive
    apt-get purge -y -qq postfix swaks python3-dkim >/dev/null 2>&1
    rm -rf /etc/postfix /var/spool/postfix /var/lib/postfix /var/mail/test /root/mail
    nft delete rule inet infn_cloud input handle \
        "$(nft -a list chain inet infn_cloud input | sed -n 's/.*"test of mail" # handle //p')"
"""
MAIN_CF = f"""
compatibility_level = 3.10
myhostname = {RECEIVER}.{ZONE}
inet_protocols = ipv4
mydestination =
alias_maps =
alias_database =
virtual_mailbox_domains = {DOMAIN}
virtual_mailbox_base = /var/mail/test
virtual_mailbox_maps = static:box/
virtual_uid_maps = static:65534
virtual_gid_maps = static:65534
smtpd_recipient_restrictions = reject_unauth_destination
smtpd_tls_security_level = may
smtpd_tls_chain_files = /etc/postfix/receiver.pem
"""
# Asks the demo's own name servers for the key.
VERIFY = """
import sys, dkim, dns.resolver
resolver = dns.resolver.Resolver(configure=False)
resolver.nameservers = sys.argv[2:]
def text(name, timeout=5):
    (record,) = resolver.resolve(name.decode(), "TXT")
    return b"".join(record.strings)
print(dkim.verify(open(sys.argv[1], "rb").read(), dnsfunc=text))
"""
# All of Postfix at once, whatever it is doing. Who sees its master die is gone by itself.
KILL = """
    for exe in /proc/[0-9]*/exe; do
        case $(readlink $exe) in /usr/lib/postfix/*) echo $exe | cut -d/ -f3 ;; esac
    done | xargs kill -9 2>/dev/null || true
"""
# Somebody without a credential, at both ports of each relay.
STRANGER = """
import smtplib, ssl, sys
context = ssl.create_default_context()
for relay in sys.argv[2:]:
    for port in (465, 587):
        kind = smtplib.SMTP_SSL if port == 465 else smtplib.SMTP
        with kind(relay, port, timeout=20, **({"context": context} if port == 465 else {})) as smtp:
            if port == 587:
                smtp.starttls(context=context)
            smtp.ehlo("stranger.example")
            code, _ = smtp.mail("monitoring@demo.test")
            if code == 250:
                code, _ = smtp.rcpt(sys.argv[1])
            print(relay, port, code)
"""


class Mail:
    """The relays, the receiver, and credentials for a while."""

    def __init__(self, demo: Any) -> None:
        self.demo = demo
        self.relays = demo.groups("smtp_relay")
        self.secret = demo.secrets["demo_smtp_secret"]
        self.more: list[dict[str, Any]] = []

    # --- administrators

    def credentials(self, *more: dict[str, Any]) -> Any:
        return self.demo.play("operations/smtp_credentials", demo_smtp_more_credentials=list(more))

    # --- clients

    def swaks(self, relay: str, *options: str, secret: str = "", port: int = 587) -> str:
        """What client and server said; what the server refused begins with <** or <~*."""
        tls = "--tls-on-connect" if port == 465 else "--tls"
        words = [
            *("--server", f"{relay}.{ZONE}", "--port", str(port), tls, "--tls-verify"),
            *("--tls-ca-path", "/etc/ssl/certs", "--ehlo", f"service.{ZONE}", "--to", BOX),
            *("--auth", "PLAIN", "--auth-user", "monitoring", "--from", f"monitoring@{ZONE}"),
            *options,
        ]
        quoted = " ".join("'" + word.replace("'", "'\\''") + "'" for word in words)
        script = f'swaks {quoted} --auth-password "$(cat)"'
        given = (secret or self.secret).encode()
        return str(self.demo.shell(RECEIVER, script, stdin=given, check=False))

    def connection(self, host: str) -> contextlib.AbstractContextManager[smtplib.SMTP]:
        return submission(f"{host}.{ZONE}", self.demo.hosts[host], self.demo.ca)

    @contextlib.contextmanager
    def session(self, relay: str, user: str, secret: str) -> Iterator[smtplib.SMTP]:
        with self.connection(relay) as smtp:
            smtp.login(user, secret)
            yield smtp

    def login(self, relay: str, one: dict[str, Any]) -> int:
        try:
            with self.session(relay, one["id"], one["secret"]):
                return 235
        except smtplib.SMTPAuthenticationError as error:
            return error.smtp_code

    def send(self, smtp: smtplib.SMTP, sender: str, subject: str) -> tuple[int, str]:
        """The server's last word: at the sender, the recipient, or the message."""
        message = f"From: <{sender}>\r\nTo: <{BOX}>\r\nSubject: {subject}\r\n\r\nHello\r\n"
        try:
            smtp.sendmail(sender, [BOX], message)
        except smtplib.SMTPResponseException as error:
            said = error.smtp_error
            return error.smtp_code, said.decode() if isinstance(said, bytes) else said
        except smtplib.SMTPRecipientsRefused as error:
            code, text = error.recipients[BOX]
            return code, text.decode()
        return 250, ""

    # --- the receiver

    def subjects(self) -> Counter[str]:
        """What has arrived."""
        found = self.demo.shell(
            RECEIVER, "cat /var/mail/test/box/new/* 2>/dev/null | sed -n 's/^Subject: //p'"
        )
        return Counter(found.split())

    def arrived(self, subject: str, seconds: float = 30) -> str:
        """The message, as a file."""

        def there() -> str:
            found = self.demo.shell(
                RECEIVER, f"grep -rlx 'Subject: {subject}' /var/mail/test/box/new; true"
            )
            assert found, f"{subject} has not arrived"
            return str(found.split()[0])

        return str(eventually(there, seconds))

    def verified(self, file: str) -> bool:
        servers = [self.demo.hosts[host] for host in self.demo.groups("dns_secondary")]
        said = self.demo.shell(
            RECEIVER, f"python3 - {file} {' '.join(servers)}", stdin=VERIFY.encode()
        )
        return bool(said.strip() == "True")

    def log(self, relay: str, text: str) -> None:
        """It is in the relay's journal by now."""

        def there() -> None:
            said = self.demo.shell(
                relay, "journalctl -o cat --since -5min -u postfix -u dovecot -u rspamd"
            )  # fmt: skip
            assert text in said, said[-2000:]

        eventually(there, 10)


def refusals(transcript: str) -> list[str]:
    return re.findall(r"^<[*~]\* +(.*)$", transcript, re.M)


def subject() -> str:
    return f"test-{secrets.token_hex(6)}"


def credential(name: str, **more: Any) -> dict[str, Any]:
    one = {"id": name, "owner": f"admin@{ZONE}", "senders": [f"{name}@{ZONE}"],
           "secret": secrets.token_urlsafe(33), "expires": "2099-12-31"}  # fmt: skip
    return one | more


def soon(seconds: float) -> str:
    when = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=seconds)
    return when.strftime("%Y-%m-%dT%H:%M:%SZ")


@pytest.fixture(scope="module")
def mail(demo) -> Iterator[Mail]:
    (primary,) = demo.groups("dns_primary")
    made = Mail(demo)
    certificate, key = signed_by_the_demo(demo.directory, f"{RECEIVER}.{ZONE}")
    files = {
        "/etc/postfix/main.cf": MAIN_CF, "/etc/postfix/receiver.pem": key + certificate,
    }  # fmt: skip
    try:
        select = "postfix postfix/main_mailer_type select No configuration"
        demo.shell(RECEIVER, f"echo '{select}' | debconf-set-selections")
        packages = ("postfix", "swaks", "libnet-ssleay-perl", "python3-dkim", "python3-dnspython")
        demo.install(RECEIVER, *packages)
        demo.shell(RECEIVER, START, stdin=json.dumps(files).encode(), timeout=180)
        added = demo.module(primary, "dns_records", zone=ZONE, records=[MX])
        assert not added.get("failed"), added
        yield made
    finally:
        made.credentials()
        demo.module(primary, "dns_records", zone=ZONE, records=[{**MX, "state": "absent"}])
        demo.shell(RECEIVER, STOP, check=False, timeout=120)


# --- what the world is told


def test_receivers_can_ask_whose_mail_it_is(demo, mail) -> None:
    addresses = {f"ip4:{demo.hosts[relay]}" for relay in mail.relays}

    def text(server: str, name: str) -> list[str]:
        answer = ask(server, name, "TXT").answer
        return [b"".join(one.strings).decode() for rrset in answer for one in rrset
                if hasattr(one, "strings")]  # fmt: skip

    for server in (demo.hosts[host] for host in demo.groups("dns_secondary")):
        (spf,) = [one for one in text(server, ZONE) if one.startswith("v=spf1")]
        assert set(spf.split()[1:-1]) == addresses
        assert spf.endswith(" -all")
        assert text(server, f"_dmarc.{ZONE}")[0].startswith("v=DMARC1; p=reject")


# --- what is taken


@pytest.mark.parametrize("port", [465, 587])
def test_a_service_sends_through_each_site(mail, port) -> None:
    names = {relay: subject() for relay in mail.relays}
    for relay, name in names.items():
        said = mail.swaks(relay, "--header", f"Subject: {name}", port=port)
        assert not refusals(said), said
    for relay, name in names.items():
        file = mail.arrived(name)
        content = mail.demo.shell(RECEIVER, f"cat {file}")
        assert f"d={ZONE};" in content
        assert f"from {relay}.{ZONE} (" in content
        assert mail.verified(file), content
        mail.log(relay, "credential=monitoring accepted")


def test_a_signature_is_of_what_was_sent(mail) -> None:
    """The check of the test above can fail."""
    name = subject()
    assert not refusals(mail.swaks("bari-gw1", "--header", f"Subject: {name}"))
    file = mail.arrived(name)
    mail.demo.shell(RECEIVER, f"sed 's/This is a test/This was a test/' {file} >/root/mail/changed")
    assert not mail.verified("/root/mail/changed")


# --- what is refused


@pytest.mark.parametrize(
    ("options", "secret", "said", "logged"),
    [
        ([], "wrong" * 8, "535 5.7.8", "sasl_username=monitoring"),
        (["--from", f"other@{ZONE}"], "", "553 5.7.1", "not owned by user monitoring"),
        (["--from", "monitoring@example.org"], "", "553 5.7.1", "not owned by user monitoring"),
        (["--header", f"From: other@{ZONE}"], "", "554 5.7.1", "credential=monitoring reject"),
        (["--header", f"Sender: other@{ZONE}"], "", "554 5.7.1", "credential=monitoring reject"),
        (["--add-header", f"From: o@{ZONE}"], "", "554 5.7.1", "credential=monitoring reject"),
    ],
    ids=["secret", "sender", "domain", "From", "Sender", "two-From"],
)  # fmt: skip
def test_what_is_not_its_own_is_refused(mail, options, secret, said, logged) -> None:
    name = subject()
    told = mail.swaks("cnaf-gw1", *options, "--header", f"Subject: {name}", secret=secret)
    assert refusals(told), told
    assert refusals(told)[0].startswith(said), told
    mail.log("cnaf-gw1", logged)
    assert name not in mail.subjects()


def test_nobody_is_served_without_a_credential(demo, mail) -> None:
    """From no host of the federation, the relays themselves included, and from no other."""
    relays = [f"{relay}.{ZONE}" for relay in mail.relays]
    for recipient in (BOX, "somebody@example.org"):
        said = demo.on(
            list(demo.hosts), f"python3 - {recipient} {' '.join(relays)}", stdin=STRANGER.encode()
        )
        for host, text in said.items():
            codes = [line.split()[-1] for line in text.splitlines()]
            assert len(codes) == 2 * len(relays), text
            assert all(code.startswith("5") for code in codes), f"{host}: {text}"
    for relay in mail.relays:
        with smtplib.SMTP(demo.hosts[relay], 587, timeout=20) as smtp:
            smtp.ehlo("stranger.example")
            assert not smtp.has_extn("auth"), "secrets travel by TLS only"
            assert smtp.mail(f"monitoring@{ZONE}")[0] == 530
        # Nor is who is logged in there.
        said = demo.shell(
            relay, f"echo | /usr/sbin/sendmail -f monitoring@{ZONE} {BOX} 2>&1; echo $?"
        )
        assert "not allowed to submit mail" in said
        assert said.split()[-1] != "0"
        # Nothing is received from the world.
        with pytest.raises(OSError):
            smtplib.SMTP(demo.hosts[relay], 25, timeout=2)


def test_a_limit_an_end_and_a_revocation(mail) -> None:
    """Each of them at once, also for who is connected already; the others go on."""
    brief = credential("brief", expires=soon(45))
    # Relays remember for an hour what it has sent: another one for each run.
    name = f"few-{secrets.token_hex(3)}"
    few = credential(name, rate={"count": 2, "seconds": 3600})
    taken = credential("taken")
    run = mail.credentials(brief, few, taken)
    assert run.rc == 0, run.text
    relay = "bari-gw1"

    with mail.session(relay, name, few["secret"]) as smtp:
        codes = [mail.send(smtp, f"{name}@{ZONE}", subject())[0] for _number in range(3)]
        assert codes == [250, 250, 451]
        mail.log(relay, f"credential={name} soft reject: credential {name}: more than 2 recipients")

    with (
        mail.session(relay, "brief", brief["secret"]) as short,
        mail.session(relay, "taken", taken["secret"]) as smtp,
    ):
        assert mail.send(short, f"brief@{ZONE}", subject())[0] == 250
        assert mail.send(smtp, f"taken@{ZONE}", subject())[0] == 250
        run = mail.credentials(brief, few, {**taken, "state": "revoked"})
        assert run.rc == 0, run.text
        code, said = mail.send(smtp, f"taken@{ZONE}", subject())
        assert (code, "taken" in said) in ((554, True), (553, True)), said
        assert mail.login("cnaf-gw1", taken) == 535

        def ended() -> None:
            assert soon(0) > brief["expires"]

        eventually(ended, 60)
        code, said = mail.send(short, f"brief@{ZONE}", subject())
        assert (code, "brief has expired" in said) == (554, True), said
        mail.log(relay, "credential=brief reject")
    assert mail.login(relay, brief) == 535
    mail.log(relay, "credential brief has expired")
    assert not refusals(mail.swaks(relay, "--header", f"Subject: {subject()}"))
    # The same list again, with one in it that has ended: nothing to do, nothing to refuse.
    run = mail.credentials(brief, few, {**taken, "state": "revoked"})
    assert run.rc == 0, run.text
    assert not run.changed, run.text


def test_bad_credentials_are_refused_before_anything_changes(mail) -> None:
    run = mail.credentials(
        credential("abroad", senders=["we@example.org"]),
        credential("broad", senders=[f"@{ZONE}", f"one@{ZONE}"]),
        credential("never", rate={"count": 0}),
        credential("over", expires="2020-01-01"),
        credential("short", secret="password"),
        credential("twice"), credential("twice"),
    )  # fmt: skip
    assert run.rc != 0
    for said in (
        "we do not sign for example.org", "overlaps", "its rate is", "expired", "shorter than",
        "it is there twice",
    ):  # fmt: skip
        assert said in run.text, said
    assert not run.changed


def test_a_secret_is_made_for_its_owner_alone(mail, tmp_path) -> None:
    file = tmp_path / "portal.secret"
    run = mail.demo.play(
        "operations/smtp_credentials", smtp_issue="portal", smtp_issue_file=str(file)
    )
    assert run.rc == 0, run.text
    assert file.stat().st_mode & 0o777 == 0o600
    secret = file.read_text().strip()
    assert secret not in json.dumps(run.report)
    (hashed,) = set(re.findall(r"\{ARGON2ID\}[\w$=,+/]+", json.dumps(run.report)))
    portal = {**credential("portal"), "hash": hashed}
    del portal["secret"]
    assert mail.credentials(portal).rc == 0
    with mail.session("padova-gw1", "portal", secret) as smtp:
        assert mail.send(smtp, f"portal@{ZONE}", subject())[0] == 250
    again = mail.demo.play(
        "operations/smtp_credentials", smtp_issue="portal", smtp_issue_file=str(file)
    )
    assert again.rc != 0, "a file that is there is not overwritten"


# --- what breaks


@contextlib.contextmanager
def stopped(demo: Any, host: str, unit: str) -> Iterator[None]:
    demo.shell(host, f"systemctl stop {unit}")
    try:
        yield
    finally:
        demo.shell(host, f"systemctl start {unit}")


def test_what_cannot_be_judged_waits_at_its_sender(mail) -> None:
    relay = "padova-gw1"
    for unit in ("valkey-server@smtp_relay", "rspamd"):
        with stopped(mail.demo, relay, unit):
            said = mail.swaks(relay, "--header", f"Subject: {subject()}")
            assert refusals(said), said
            assert refusals(said)[0].startswith(("451", "454")), said

    def served() -> None:
        assert not refusals(mail.swaks(relay, "--header", f"Subject: {subject()}"))

    eventually(served, 30)


def test_what_was_accepted_survives_a_crash(mail) -> None:
    """kill -9 between acceptance and delivery: everything arrives, once."""
    relay, names = "bari-gw1", [subject() for _number in range(20)]
    starts = "systemctl show --property NRestarts --value postfix"
    before = int(mail.demo.shell(relay, starts))
    with stopped(mail.demo, RECEIVER, "postfix"):
        with mail.session(relay, "monitoring", mail.secret) as smtp:
            for name in names:
                assert mail.send(smtp, f"monitoring@{ZONE}", name)[0] == 250
        mail.demo.shell(relay, KILL)
        assert not mail.subjects() & Counter(names)

    def runs() -> None:
        said = mail.demo.shell(relay, f"systemctl is-active postfix; {starts}", check=False)
        assert said.split() == ["active", str(before + 1)]

    # systemd starts it again by itself.
    eventually(runs, 30)
    mail.demo.shell(relay, "postqueue -f")

    def whole() -> None:
        arrived = mail.subjects()
        assert {name: arrived[name] for name in names} == dict.fromkeys(names, 1)

    eventually(whole, 60, every=2)


def test_a_relay_is_drained_before_maintenance(mail) -> None:
    relay, name = "bari-gw1", subject()
    assert "with --limit" in mail.demo.play("operations/smtp_drain").text
    with stopped(mail.demo, RECEIVER, "postfix"):
        assert not refusals(mail.swaks(relay, "--header", f"Subject: {name}"))
        try:
            run = mail.demo.play("operations/smtp_drain", "--limit", relay, smtp_drain_seconds=2)
            assert run.rc == 0, run.text
            assert "has 1 messages left" in json.dumps(run.report)
            assert f"to {BOX}" in json.dumps(run.report)
            with pytest.raises(OSError):
                smtplib.SMTP(mail.demo.hosts[relay], 587, timeout=5)
        finally:
            run = mail.demo.play("operations/smtp_drain", "--limit", relay, smtp_drain=False)
            assert run.rc == 0, run.text
    assert not refusals(mail.swaks(relay, "--header", f"Subject: {subject()}"))
    mail.demo.shell(relay, "postqueue -f")
    mail.arrived(name)


def test_the_key_that_signs_is_rotated(mail) -> None:
    """Everybody can verify what the new one signs, and what the old one has signed."""

    def selector(file: str) -> str:
        (found,) = set(re.findall(r"\bs=(\S+);", mail.demo.shell(RECEIVER, f"cat {file}")))
        return found

    def sent(relay: str) -> str:
        name = subject()
        assert not refusals(mail.swaks(relay, "--header", f"Subject: {name}"))
        return mail.arrived(name)

    before = sent("cnaf-gw1")
    run = mail.demo.play("operations/smtp_rotate_dkim")
    assert run.rc == 0, run.text
    after = [sent(relay) for relay in mail.relays]
    assert len({selector(file) for file in after}) == 1
    assert selector(after[0]) != selector(before)
    for file in (before, *after):
        assert mail.verified(file), file


# A real issuer, small: Debian's Glewlwyd, whose administrator it has from its package.
ISSUER = f"https://{RECEIVER}.{ZONE}:4593"
ISSUER_START = r"""
    set -e
    mkdir -p /root/oidc; chmod 700 /root/oidc; cd /root/oidc
    sqlite3 db </usr/share/dbconfig-common/data/glewlwyd/install/sqlite3
    openssl x509 -in /etc/postfix/receiver.pem -out cert.pem
    openssl pkey -in /etc/postfix/receiver.pem -out key.pem
    sed -e "s#^external_url=.*#external_url=\"$1/\"#" -e 's#^log_mode=.*#log_mode="console"#' \
        -e '/@include/d' -e '/secure_connection_ca_file/d' -e 's#cert.key#key.pem#' \
        -e 's#^use_secure_connection=.*#use_secure_connection=true#' \
        -e 's#/etc/glewlwyd/\(cert\|key\).pem#/root/oidc/\1.pem#' /etc/glewlwyd/glewlwyd.conf >conf
    echo 'database = { type = "sqlite3"; path = "/root/oidc/db"; };' >>conf
    systemd-run --quiet --unit test-issuer glewlwyd --config-file=/root/oidc/conf
    nft insert rule inet infn_cloud input tcp dport 4593 accept comment '"test of tokens"'
    for i in $(seq 50); do ss -Hltn sport = :4593 | grep -q . && exit; sleep 0.2; done
    exit 1
"""
ISSUER_STOP = r"""
    systemctl stop test-issuer
    DEBIAN_FRONTEND=noninteractive apt-get purge -y -qq glewlwyd glewlwyd-common >/dev/null 2>&1
    rm -rf /root/oidc
    nft delete rule inet infn_cloud input handle \
        "$(nft -a list chain inet infn_cloud input | sed -n 's/.*"test of tokens" # handle //p')"
"""
PLUGIN = {
    "iss": ISSUER, "jwt-type": "sha", "jwt-key-size": "256", "code-duration": 600,
    "refresh-token-duration": 3600, "access-token-duration": 3600, "allow-non-oidc": True,
    "auth-type-code-enabled": True, "auth-type-token-enabled": False,
    "auth-type-id-token-enabled": True, "auth-type-none-enabled": False,
    "auth-type-implicit-enabled": False, "auth-type-password-enabled": False,
    "auth-type-client-enabled": True, "auth-type-refresh-enabled": False,
    "introspection-revocation-allowed": True,
    "introspection-revocation-allow-target-client": True,
}  # fmt: skip


class Issuer:
    """Clients of an issuer of tokens, and their tokens."""

    def __init__(self, demo: Any) -> None:
        self.session = requests.Session()
        self.session.trust_env = False  # which may name another authority
        self.session.verify = str(demo.ca)
        # The machine that runs the tests does not know the demo's names.
        self.session.mount(ISSUER, Named(demo.hosts[RECEIVER]))
        self._ask("auth/", username="admin", password="password")  # as the package sets it
        self._ask(
            "mod/plugin/", module="oidc", name="oidc", display_name="oidc", enabled=True,
            parameters=PLUGIN | {"key": secrets.token_hex(32)},
        )  # fmt: skip

    def _ask(self, path: str, **content: Any) -> None:
        self.session.post(f"{ISSUER}/api/{path}", json=content, timeout=30).raise_for_status()

    def client(self, name: str) -> str:
        """Another client; its secret."""
        secret = secrets.token_hex(16)
        self._ask(
            "client/", client_id=name, client_name=name, password=secret, confidential=True,
            enabled=True, authorization_type=["client_credentials"], scope=["openid"],
            token_endpoint_auth_method=["client_secret_basic"],
        )  # fmt: skip
        return secret

    def token(self, name: str, secret: str) -> str:
        answer = self.session.post(
            f"{ISSUER}/api/oidc/token", auth=(name, secret), timeout=30,
            data={"grant_type": "client_credentials", "scope": "openid"},
        )  # fmt: skip
        answer.raise_for_status()
        return str(answer.json()["access_token"])


class Named(requests.adapters.HTTPAdapter):
    """Connects to an address, and asks for a certificate of the URL's own name."""

    def __init__(self, address: str) -> None:
        self.address = address
        super().__init__()

    def send(self, request: Any, *arguments: Any, **more: Any) -> Any:
        name = urllib.parse.urlsplit(request.url).hostname
        request.headers["Host"] = name
        request.url = request.url.replace(str(name), self.address, 1)
        self.poolmanager.connection_pool_kw["assert_hostname"] = name
        return super().send(request, *arguments, **more)


@pytest.mark.settings
def test_tokens_of_an_issuer_do_instead_of_secrets(demo, mail) -> None:
    """OAUTHBEARER (RFC 7628), each asked about (RFC 7662): it says who, the list says what."""
    relay = "bari-gw1"
    demo.install(RECEIVER, "glewlwyd", "sqlite3")
    demo.shell(RECEIVER, ISSUER_START.replace("$1", ISSUER), timeout=180)

    deploy = functools.partial(demo.play, "backbone", "--tags", "smtp_relay")

    def tell(token: str, sender: str, name: str = "reports") -> int:
        """The server's last word to who says its name, and shows a token."""
        with mail.connection(relay) as smtp:
            said = [f"n,a={name},\x01auth=Bearer {token}\x01\x01", "\x01"]
            try:
                smtp.auth("OAUTHBEARER", lambda _challenge=None: said.pop(0))
            except smtplib.SMTPAuthenticationError as error:
                return error.smtp_code
            return mail.send(smtp, sender, subject())[0]

    try:
        issuer = Issuer(demo)
        secret = issuer.client("reports")
        oidc = {"introspection_url": f"{ISSUER}/api/oidc/introspect", "client_id": "reports",
                "client_secret": secret}  # fmt: skip
        reports = credential("reports", oidc=True)
        del reports["secret"]
        assert "names no issuer" in deploy(demo_smtp_more_credentials=[reports]).text
        assert deploy(demo_smtp_more_credentials=[reports], smtp_relay_oidc=oidc).rc == 0
        token = issuer.token("reports", secret)
        assert tell(token, f"reports@{ZONE}") == 250
        assert tell(token, f"monitoring@{ZONE}") == 553
        assert tell(f"{token[:-4]}AAAA", f"reports@{ZONE}") == 535
        assert tell(token, f"monitoring@{ZONE}", "monitoring") == 535
        assert not refusals(mail.swaks(relay, "--header", f"Subject: {subject()}")), "secrets too"
        gone = {**reports, "state": "revoked"}
        assert deploy(demo_smtp_more_credentials=[gone], smtp_relay_oidc=oidc).rc == 0
        assert tell(token, f"reports@{ZONE}") == 554
    finally:
        demo.shell(RECEIVER, ISSUER_STOP, check=False, timeout=120)
        assert deploy().rc == 0


@pytest.mark.settings
def test_a_receiver_is_who_its_zone_says(demo, mail) -> None:
    """DANE (RFC 7672): with the TLSA record of its key it gets mail, with another's it does not."""
    (primary,) = demo.groups("dns_primary")
    pem = demo.shell(RECEIVER, "openssl x509 -in /etc/postfix/receiver.pem").encode()
    public = x509.load_pem_x509_certificate(pem).public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )  # fmt: skip
    digest = hashes.Hash(hashes.SHA256())
    digest.update(public)
    right = digest.finalize().hex()
    answer = ask(demo.hosts["bari-gw1"], ZONE, "DNSKEY").answer
    keys = [str(one) for rrset in answer for one in rrset]
    anchors = [f"{ZONE}. DNSKEY {key}" for key in keys if key.startswith("257 ")]
    record = {"name": f"_25._tcp.{RECEIVER}", "type": "TLSA", "ttl": 1}

    def tlsa(value: str) -> None:
        wished = record | ({"values": [f"3 1 1 {value}"]} if value else {"state": "absent"})
        assert not demo.module(primary, "dns_records", zone=ZONE, records=[wished]).get("failed")

    relay = functools.partial(demo.apply, "smtp_relay")

    def sent() -> str:
        name = subject()
        assert not refusals(mail.swaks("cnaf-gw1", "--header", f"Subject: {name}"))
        return name

    zone = {"zone": ZONE, "trust_anchors": anchors,
            "servers": [demo.hosts[host] for host in demo.groups("dns_secondary")]}  # fmt: skip
    try:
        tlsa(right)
        relay(smtp_relay_resolver_zones=[zone])
        mail.arrived(sent())
        mail.log("cnaf-gw1", "Verified TLS connection established to")
        tlsa("00" * 32)
        demo.on(mail.relays, "unbound-control reload >/dev/null 2>&1 || systemctl restart unbound")
        name = sent()
        mail.log("cnaf-gw1", "Server certificate not verified")
        assert name not in mail.subjects()
        tlsa(right)
        demo.on(mail.relays, "systemctl restart unbound")
        demo.shell("cnaf-gw1", "postqueue -f")
        mail.arrived(name)
    finally:
        tlsa("")
        relay()
