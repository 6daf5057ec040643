# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two sites with a database and a third one that only votes, and back to three databases.

Runs the commands of docs/operations/control_plane.md on the demo. It belongs to the step `ringlife`
of the tests, with the other changes of what the federation is made of.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

pytestmark = pytest.mark.ringlife

REPOSITORY = Path(__file__).resolve().parents[2]
DEMO = REPOSITORY / "inventories" / "demo"
REMOVE = REPOSITORY / "playbooks" / "operations" / "galera_remove_member.yml"
BACKBONE = REPOSITORY / "playbooks" / "backbone.yml"
SAYS = "SHOW STATUS WHERE Variable_name IN ('wsrep_cluster_size', 'wsrep_cluster_status')"


def status(demo: Any, host: str) -> dict[str, str]:
    said = demo.shell(host, f'mariadb -BNe "{SAYS}"').splitlines()
    return dict(line.split("\t", 1) for line in said)


def changed(run: Any) -> int:
    return sum(host["changed"] for host in run.stats.values())


class Votes:
    """The demo, with an arbitrator on the storage host of its last site instead of a database."""

    def __init__(self, demo: Any, place: Path) -> None:
        self.demo = demo
        shutil.copytree(DEMO, place)
        self.inventory = place / "federation.yml"
        federation = yaml.safe_load(self.inventory.read_text())
        last = federation["sites"][-1]
        for host in last["hosts"]:
            if "database" in host["services"]:
                self.leaves = host["name"]
                host["services"] = [
                    service
                    for service in host["services"]
                    if service not in ("database", "keystone")
                ]
            else:
                self.arbitrator = host["name"]
                host["services"].append("arbitrator")
        self.inventory.write_text(yaml.safe_dump(federation))
        self.stay = [host for host in demo.groups("database") if host != self.leaves]

    def play(self, playbook: Path, *options: str, inventory: Path | None = None) -> Any:
        return self.demo.ansible(
            "ansible-playbook", playbook, *options,
            inventory=inventory or DEMO / "federation.yml", timeout=1800,
        )  # fmt: skip

    def deploy(self, inventory: Path) -> Any:
        certificates = self.play(
            REPOSITORY / "playbooks" / "demo" / "secrets.yml", inventory=inventory
        )
        assert certificates.rc == 0, certificates.text
        run = self.play(BACKBONE, inventory=inventory)
        assert run.rc == 0, run.text
        return run


@pytest.fixture(scope="module")
def votes(demo: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Votes]:
    made = Votes(demo, tmp_path_factory.mktemp("votes") / "inventory")
    try:
        yield made
    finally:
        # Whatever was reached: the arbitrator goes, three databases as the demo has them.
        made.play(
            BACKBONE, "--limit", made.arbitrator, "--tags", "galera", "-e", "galera_state=absent",
            inventory=made.inventory,
        )  # fmt: skip
        made.deploy(DEMO / "federation.yml")


def serve(demo: Any) -> None:
    """Every site gives tokens that every site takes."""
    for site in demo.sites.values():
        token = demo.session(site.name).get_token()
        for other in demo.sites.values():
            answer = demo.http(
                "GET", f"{other.identity}/auth/tokens", token=token,
                headers={"X-Subject-Token": token},
            )  # fmt: skip
            assert answer.status_code == 200, f"{site.name} to {other.name}: {answer.text}"


def test_a_member_is_not_removed_by_mistake(votes: Votes) -> None:
    run = votes.play(REMOVE, "-e", "node=nobody")
    assert run.rc != 0 and "Name a database host with -e node=NAME" in run.text
    assert changed(run) == 0
    run = votes.play(REMOVE, "-e", f"node={votes.leaves}")
    assert run.rc != 0 and "galera_remove_allow_data_loss=true" in run.text
    assert changed(run) == 0
    run = votes.play(REMOVE, "-e", f"node={votes.leaves}", "--check")
    assert run.rc == 0 and changed(run) > 0, run.text
    assert status(votes.demo, votes.leaves)["wsrep_cluster_size"] == "3"


def test_a_member_leaves_and_an_arbitrator_votes(votes: Votes) -> None:
    demo = votes.demo
    allow = ("-e", "galera_remove_allow_data_loss=true")
    run = votes.play(REMOVE, "-e", f"node={votes.leaves}", *allow)
    assert run.rc == 0, run.text
    assert {host for host, one in run.stats.items() if one["changed"]} == {votes.leaves}
    left = demo.shell(
        votes.leaves,
        "ls -d /var/lib/mysql /etc/keystone /etc/mysql/galera 2>/dev/null;"
        " systemctl is-active mariadb keystone",
        check=False,
    )
    assert left.split() == ["inactive", "inactive"], left
    serve(demo)
    votes.deploy(votes.inventory)
    for host in votes.stay:
        assert status(demo, host) == {
            "wsrep_cluster_size": "3", "wsrep_cluster_status": "Primary",
        }  # fmt: skip
    assert changed(votes.play(BACKBONE, inventory=votes.inventory)) == 0, "a second run"
    serve(demo)


def test_the_arbitrator_keeps_one_database_going(votes: Votes, podman: Any, wait: Any) -> None:
    """The vote counts: with it the only server left is still the majority."""
    demo = votes.demo
    lost, left = votes.stay
    podman("stop", "--time", "5", lost)
    try:

        def goes_on() -> None:
            assert status(demo, left) == {
                "wsrep_cluster_size": "2", "wsrep_cluster_status": "Primary",
            }  # fmt: skip

        wait(goes_on, 60, every=2)
        assert demo.session(demo.site_of(left).name).get_token()
    finally:
        podman("start", lost)

    def whole() -> None:
        assert status(demo, left)["wsrep_cluster_size"] == "3"

    wait(whole, 120, every=2)


def test_three_databases_again(votes: Votes) -> None:
    demo = votes.demo
    gone = votes.play(
        BACKBONE, "--limit", votes.arbitrator, "--tags", "galera", "-e", "galera_state=absent",
        inventory=votes.inventory,
    )  # fmt: skip
    assert gone.rc == 0, gone.text
    active = demo.shell(
        votes.arbitrator, "systemctl is-active garb; ls -d /etc/galera", check=False
    )
    assert active.split() == ["inactive"], active
    votes.deploy(DEMO / "federation.yml")
    assert status(demo, votes.leaves) == {
        "wsrep_cluster_size": "3", "wsrep_cluster_status": "Primary",
    }  # fmt: skip
    serve(demo)
