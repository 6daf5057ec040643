# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A project comes with all that the backbone has for it, and goes without a trace or a loss."""

from __future__ import annotations

import copy
import json
import secrets
import smtplib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dns.name
import keystoneauth1.exceptions
import pytest
import swiftclient
from cryptography import x509

from tooling.mail import submission
from tooling.names import ask, chain, signed

from .conftest import eventually
from .test_logs import Logs

# Four runs of the playbook take minutes: `make test-all`.
pytestmark = pytest.mark.settings

ZONE = "demo.test"
NAME = "belle2"
OWN = f"{NAME}.{ZONE}"
HOST = "bari-st1"
RELAY = "padova-gw1"
# What Keystone says of a credential that it has forgotten.
GONE = (keystoneauth1.exceptions.Unauthorized, keystoneauth1.exceptions.NotFound)
PLAYBOOK = "services/onboard_project"


class Projects:
    """The playbook, with a list of projects of the test's own."""

    def __init__(self, demo: Any) -> None:
        self.demo = demo
        self.there = True
        self.mail = secrets.token_urlsafe(33)
        self.logs = Logs(demo)
        self.logs.users["view"] = (f"view-{NAME}", secrets.token_urlsafe(20))
        self.wished = {
            "name": NAME, "owner": f"admin@{ZONE}", "zone": {"max_records": 40},
            "mail": [{"id": f"{NAME}-portal", "secret": self.mail, "expires": "2099-12-31",
                      "senders": [f"portal@{OWN}"]}],
            "certificates": [{"host": HOST, "names": ["", "portal"], "group": "swift"}],
            "objects": {"password": secrets.token_urlsafe(20), "quota_bytes": 1_000_000,
                        "containers": [{"name": "data", "policy": "two-regions"}]},
            "logs": {"password": self.logs.users["view"][1]},
        }  # fmt: skip

    def play(self, *options: str, **changes: Any) -> Any:
        wished = copy.deepcopy(self.wished) | changes
        return self.demo.play(PLAYBOOK, *options, backbone_projects=[wished])

    @property
    def file(self) -> Path:
        return Path(self.demo.directory) / "projects" / f"{NAME}.clouds.yaml"

    def login(self) -> dict[str, str]:
        """The project's credential for the object storage."""
        return json.loads(self.file.read_text())["clouds"][NAME]["auth"]

    def storage(self, login: dict[str, str]) -> swiftclient.Connection:
        """As the project's service sees it."""
        return self.demo.swift("bari", self.demo.credential_session(login))

    def sees(self, mark: str) -> set[str]:
        """Lines with a mark that the project finds in the logs."""
        body = {"query": {"match": {"message": mark}}, "size": 100}
        status, found = self.logs.request("POST", "/logs-*/_search", user="view", body=body)
        assert status == 200, found
        return {hit["_source"]["message"] for hit in found["hits"]["hits"]}

    def may_send(self) -> int:
        """What the relay says to the project's service."""
        with submission(f"{RELAY}.{ZONE}", self.demo.hosts[RELAY], self.demo.ca) as smtp:
            try:
                smtp.login(f"{NAME}-portal", self.mail)
            except smtplib.SMTPAuthenticationError as error:
                return error.smtp_code
            smtp.mail(f"portal@{OWN}")
            return smtp.rcpt("reader@example.org")[0]


@pytest.fixture(scope="module")
def projects(demo) -> Iterator[Projects]:
    made = Projects(demo)
    try:
        yield made
    finally:
        if made.there:
            made.play("-e", "onboard_allow_data_loss=true", state="absent")
        (primary,) = demo.groups("dns_primary")
        demo.shell(HOST, f"rm -rf /etc/certificates/live/{NAME}", check=False)
        demo.shell(primary, "rm -rf /var/lib/bind/removed", check=False)


def test_a_project_that_cannot_be_is_refused(projects) -> None:
    run = projects.play(mail=[{"id": "cms-x", "secret": "s" * 32, "expires": "2099-12-31",
                               "senders": [f"portal@cms.{ZONE}"]}])  # fmt: skip
    assert run.rc != 0
    assert f"is not in its own {OWN}" in run.text
    assert not run.changed


def test_one_run_gives_it_everything(demo, projects) -> None:
    before = signed(demo.hosts["bari-gw1"], f"cms.{ZONE}", "DNSKEY", {})
    assert projects.play().good().changed > 0
    for host in demo.groups("dns_secondary"):
        server = demo.hosts[host]
        keys = chain(server, ZONE, OWN)
        assert signed(server, OWN, "SOA", keys)
        texts = [b"".join(one.strings).decode() for one in signed(server, OWN, "TXT", keys)]
        assert any(text.startswith("v=spf1 ip4:") for text in texts), texts
        assert signed(server, f"_dmarc.{OWN}", "TXT", keys)
    assert projects.may_send() == 250
    pem = demo.shell(HOST, f"cat /etc/certificates/live/{NAME}/fullchain.pem")
    names = x509.load_pem_x509_certificate(pem.encode()).extensions.get_extension_for_class(
        x509.SubjectAlternativeName
    )
    assert names.value.get_values_for_type(x509.DNSName) == [OWN, f"portal.{OWN}"]
    assert projects.file.stat().st_mode & 0o777 == 0o600
    storage = projects.storage(projects.login())
    storage.put_object("data", "letter", b"Dear reader")
    assert storage.get_object("data", "letter")[1] == b"Dear reader"
    assert storage.head_account()["x-account-quota-bytes"] == "1000000"
    assert storage.head_container("data")["x-storage-policy"] == "two-regions"
    # Another project's zone is as it was.
    assert signed(demo.hosts["bari-gw1"], f"cms.{ZONE}", "DNSKEY", {}) == before


def test_it_sees_the_lines_about_itself(demo, projects) -> None:
    mark = f"t{secrets.token_hex(8)}"
    own = {f"{mark} question for www.{OWN}", f"{mark} {OWN}: loaded", f"{mark} by {NAME}-portal."}
    foreign = {
        f"{mark} www.x{OWN}",
        f"{mark} {NAME}",
        f"{mark} cms.{ZONE}",
        f"{mark} x{NAME}-portal",
    }
    demo.shell(RELAY, "logger -t demo-test", stdin="\n".join(own | foreign).encode())

    def all_there() -> None:
        found = {line["message"] for line in projects.logs.find(mark)}
        assert found == own | foreign

    eventually(all_there, 20)
    assert projects.sees(mark) == own
    for path in ("/", "/_cat/indices", "/_plugins/_security/api/roles"):
        assert projects.logs.request("GET", path, user="view")[0] == 403, path


def test_a_second_run_changes_nothing(projects) -> None:
    assert projects.play().good().changed == 0


def test_who_goes_is_nobody_any_more(demo, projects) -> None:
    """First without what it has stored, which is kept; then that too."""
    login = projects.login()
    assert projects.storage(login).get_object("data", "letter")[1]
    run = projects.play(state="absent")
    assert run.good().changed > 0
    assert f"What {NAME} stored is kept" in json.dumps(run.report)
    for host in demo.groups("dns_secondary"):
        answer = ask(demo.hosts[host], OWN, "SOA").answer
        assert not [rrset for rrset in answer if rrset.name == dns.name.from_text(OWN)]
    assert projects.may_send() == 535
    assert projects.logs.request("POST", "/logs-*/_search", user="view")[0] == 401
    assert not projects.file.exists()
    assert not demo.shell(HOST, f"ls -d /etc/certificates/live/{NAME} 2>/dev/null; true")
    # A token that it has already is good for as long as the proxies remember it.
    with pytest.raises(GONE):
        projects.storage(login).get_object("data", "letter")
    assert signed(demo.hosts["bari-gw1"], f"cms.{ZONE}", "DNSKEY", {})
    assert projects.play("-e", "onboard_allow_data_loss=true", state="absent").good().changed > 0
    assert projects.play("-e", "onboard_allow_data_loss=true", state="absent").good().changed == 0
    projects.there = False
