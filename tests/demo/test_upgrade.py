# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Newer packages of the services that the sites share, while these are used."""

from __future__ import annotations

import concurrent.futures
import contextlib
import re
import smtplib
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import dns.exception
import dns.rcode
import pytest

from tooling.names import ask

from .conftest import REPOSITORY
from .test_logs import Logs, writing

NEWER = (REPOSITORY / "tests" / "upgrade" / "files" / "newer.sh").read_text()
# Newer than what an earlier run left.
SUFFIX = f"+newer{int(time.time())}"
PLACE = "/srv/newer-services"
SOURCES = "bind9 knot postfix dovecot rspamd valkey rsyslog"
# Which of these sources' packages there are, with their versions.
SHOW = r"${db:Status-Status} ${source:Package} ${Package} ${Version}\n"
VERSIONS = f"""
    dpkg-query --show --showformat '{SHOW}' | while read -r status source package version; do
        [[ "$status" != installed || " {SOURCES} opensearch " != *" $source "* ]] ||
            echo "$package $version"
    done
"""
# Services that go on with files of before.
OLD = r"""
for unit in named knot postfix dovecot rspamd valkey-server@smtp_relay unbound log-collector log-shipper opensearch; do
    pid=$(systemctl show --property MainPID --value $unit.service)
    [ "$pid" = 0 ] || ! grep -qE ' /(usr|opt)/.* \(deleted\)$' /proc/$pid/maps || echo $unit
done
"""  # noqa: E501


class Watch:
    """Asks hosts for a service over and over; who did not answer, round by round."""

    def __init__(self, asked: Mapping[str, Mapping[str, Callable[[], Any]]]) -> None:
        self.asked = asked
        self.rounds: dict[str, list[set[str]]] = {kind: [] for kind in asked}
        self.over = threading.Event()

    def watch(self, kind: str) -> None:
        def silent(host: str) -> bool:
            try:
                self.asked[kind][host]()
            except (OSError, dns.exception.DNSException, smtplib.SMTPException, AssertionError):
                return True
            return False

        hosts = list(self.asked[kind])
        with concurrent.futures.ThreadPoolExecutor(len(hosts)) as pool:
            while not self.over.wait(0.2):
                answers = zip(hosts, pool.map(silent, hosts))
                self.rounds[kind].append({host for host, none in answers if none})

    def __enter__(self) -> Watch:
        self.threads = [threading.Thread(target=self.watch, args=(kind,)) for kind in self.asked]
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self.over.set()
        for thread in self.threads:
            thread.join()


def versions(demo) -> dict[str, dict[str, str]]:
    said = demo.on(list(demo.hosts), VERSIONS)
    return {host: dict(line.split() for line in lines.splitlines()) for host, lines in said.items()}


@pytest.fixture
def newer(demo, tmp_path) -> Iterator[dict[str, str]]:
    """Newer versions of all, offered to the hosts, and what names the one of the log store.

    They hold the same files, and stay; the offer goes.
    """
    hosts = list(demo.hosts)
    script = f"bash -s {PLACE} {SUFFIX} {SOURCES}"
    demo.on(hosts, script, stdin=NEWER.encode(), timeout=300)
    (package,) = (REPOSITORY / ".cache" / "testbed").glob("opensearch-*.deb")
    version = re.findall(r"-([\d.]+)\.deb$", package.name)[0]
    tree, made = tmp_path / "tree", tmp_path / "opensearch.deb"
    subprocess.run(["dpkg-deb", "--raw-extract", package, tree], check=True)
    control = tree / "DEBIAN" / "control"
    control.write_text(re.sub(r"(?m)^(Version: .*)$", rf"\1{SUFFIX}", control.read_text()))
    subprocess.run(
        ["dpkg-deb", "--root-owner-group", "-Zgzip", "-z1", "--build", tree, made],
        check=True, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield {"elk_package_file": str(made), "elk_package_version": f"{version}{SUFFIX}"}
    finally:
        gone = f"rm -rf {PLACE} /etc/apt/sources.list.d/newer-services.list; apt-get update -qq"
        demo.on(hosts, gone, timeout=120)


@pytest.mark.settings
def test_services_are_upgraded_one_host_at_a_time(demo, newer) -> None:
    """Names are answered, mail is taken and no line is lost while all of it becomes newer."""
    playbook = "operations/services_upgrade"
    before = versions(demo)
    dry = demo.play(playbook, "--check", timeout=900, **newer).good()
    assert dry.changed > 0, "the dry run announces it"
    assert versions(demo) == before

    def name(host: str) -> None:
        answer = ask(demo.hosts[host], "cloud.demo.test", "A")
        assert answer.rcode() == dns.rcode.NOERROR and answer.answer

    def relay(host: str) -> None:
        with smtplib.SMTP(demo.hosts[host], 587, timeout=3) as smtp:
            assert smtp.ehlo("watch.demo.test")[0] == 250

    asked = {
        "names": {host: lambda host=host: name(host) for host in demo.groups("dns_secondary")},
        "mail": {host: lambda host=host: relay(host) for host in demo.groups("smtp_relay")},
    }
    with contextlib.ExitStack() as stack:
        stack.enter_context(writing(Logs(demo), list(demo.hosts), 1500, 5, within=180))
        watch = stack.enter_context(Watch(asked))
        run = demo.play(playbook, timeout=900, **newer)
        assert run.rc == 0, run.text
    for kind, rounds in watch.rounds.items():
        away = [silent for silent in rounds if silent]
        print(
            f"{kind}: asked {len(rounds)} times, one of {len(asked[kind])} away {len(away)} times"
        )
        assert len(rounds) > 100
        assert all(len(silent) == 1 for silent in away), f"{kind}: more than one away at a time"
    after = versions(demo)
    wished = {
        host: {name: re.sub(r"\+newer\d+$", "", old) + SUFFIX for name, old in packages.items()}
        for host, packages in before.items()
    }
    assert after == wished
    assert "".join(demo.on(list(demo.hosts), OLD).values()) == "", "all run what is installed"
    assert demo.play(playbook, timeout=900, **newer).good().changed == 0


def test_it_does_not_begin_while_something_is_not_well(demo) -> None:
    """A relay that does not answer: the others are left as they are, they are needed."""
    host = min(demo.groups("smtp_relay"))
    before = versions(demo)
    demo.shell(host, "systemctl stop dovecot.socket dovecot.service")
    try:
        run = demo.play("operations/services_upgrade")
    finally:
        demo.shell(host, "systemctl start dovecot.service")
    assert run.rc != 0 and f"Ask the relay for its greeting: {host}" in run.text, run.text
    assert not run.changed
    assert versions(demo) == before
