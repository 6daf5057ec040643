# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The life of the rings: a node joins and leaves, a disk dies, a builder is lost.

Runs the commands of docs/operations/rings.md on the demo, with a second storage node in one site
that lives for this file only. min_part_hours is 0 and the replicators are started anew after each
push, so that years fit into minutes; everything else is as an admin has it.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

pytestmark = pytest.mark.ringlife

REPOSITORY = Path(__file__).resolve().parents[2]
OPERATIONS = REPOSITORY / "playbooks" / "operations"
TESTBED = REPOSITORY / "scripts" / "testbed"
SETTINGS = {
    "backbone_min_part_hours": 0,
    # One site with twice the weight of the others: what swift_ring says that it needs, most of all
    # for the policy that lies in this site and one other.
    "backbone_overload": 0.5,
    "swift_rings_weight_step": 50,
    # The replicators are started anew after each push, with the new rings.
    "swift_rings_thresholds": {"reload": 0},
}
OBJECTS = 8


def root(*command: Any) -> list[str]:
    become = [] if os.geteuid() == 0 else ["sudo", "-n", "--preserve-env", "--"]
    return [*become, *map(str, command)]


class Life:
    """The demo with one node more, and the playbooks that change its rings."""

    def __init__(self, demo: Any, place: Path) -> None:
        self.demo = demo
        shutil.copytree(REPOSITORY / "inventories" / "demo", place)
        self.place = place
        self.inventory = place / "federation.yml"
        self.report = place / "report.json"
        federation = yaml.safe_load(self.inventory.read_text())
        self.site = next(site for site in demo.sites.values() if demo.builder not in site.hosts)
        self.old = self.site.storage[0]
        self.node = f"{self.site.name}-st2"
        network, _dot, last = self.site.hosts[self.old].rpartition(".")
        self.address = f"{network}.{int(last) + 1}"
        (hosts,) = (one["hosts"] for one in federation["sites"] if one["name"] == self.site.name)
        hosts.append({"name": self.node, "address": self.address, "services": ["swift_storage"]})
        self.inventory.write_text(yaml.safe_dump(federation))
        shutil.copy(self.inventory, place / "grown.yml")

    def set(self, host: str, **values: Any) -> None:
        """Write the host_vars of a host."""
        (self.place / "host_vars").mkdir(exist_ok=True)
        (self.place / "host_vars" / f"{host}.yml").write_text(yaml.safe_dump(values))

    def play(self, name: str, *options: str, good: bool = True, **more: Any) -> Any:
        """Run an operation; its settings are those of this file."""
        extra = json.dumps({**SETTINGS, "swift_converge_report": str(self.report), **more})
        self.report.unlink(missing_ok=True)
        run = self.demo.ansible(
            "ansible-playbook", OPERATIONS / f"{name}.yml", "-e", extra, *options,
            inventory=self.inventory, timeout=1800,
        )  # fmt: skip
        assert (run.rc == 0) == good, f"{name}: {run.rc}: {run.text}"
        return run

    def changed(self, run: Any) -> list[str]:
        """What a run has changed, and where."""
        return [
            f"{host}: {task['task']['name']}"
            for play in run.report["plays"]
            for task in play["tasks"]
            for host, result in task["hosts"].items()
            if result.get("changed")
        ]

    def decision(self) -> dict[str, Any]:
        return json.loads(self.report.read_text())

    def converge(self, *options: str) -> dict[str, Any]:
        run = self.play("swift_converge_rings", *options)
        found = self.decision()
        if found["state"] != "step":
            assert not self.changed(run), found["state"]
        return found

    def replicate(self) -> None:
        """Let a replication pass begin on every storage host, with the rings as they are."""
        units = " ".join(
            f"swift-replication-{kind}@replicator" for kind in ("account", "container", "object")
        )
        self.demo.on(self.storage, f"systemctl restart {units}")

    @property
    def storage(self) -> list[str]:
        """What the inventory has, as far as it is there: the node comes and goes."""
        there = subprocess.run(
            root(TESTBED, "podman", "container", "exists", self.node), check=False
        )
        known = there.returncode == 0 and self.node in self.inventory.read_text()
        return [*self.demo.storage, *([self.node] if known else [])]

    def weights(self) -> dict[str, float]:
        """Weights of the object ring by address and disk."""
        rings = self.demo.module(self.demo.builder, "swift_ring_info", ring="object")["rings"]
        return {f"{one['ip']}/{one['device']}": one["weight"] for one in rings[0]["devices"]}

    def held(self) -> bool:
        """Whether a ring still counts on the node."""
        found = self.demo.module(self.demo.builder, "swift_ring_info")
        assert "rings" in found, found.get("msg")
        return any(one["ip"] == self.address for ring in found["rings"] for one in ring["devices"])

    def version(self) -> str:
        path = "/etc/swift/rings/current"
        return self.demo.shell(self.demo.builder, f"readlink {path}").strip()


def podman(*args: Any) -> None:
    done = subprocess.run(
        root(TESTBED, "podman", *args), capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, f"podman {args}: {done.stderr}"


@pytest.fixture(scope="module")
def life(demo: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Life]:
    made = Life(demo, tmp_path_factory.mktemp("grown") / "inventory")
    place = REPOSITORY / "playbooks" / "demo"
    create = place / "create.yml"
    for playbook, options in (
        (create, ("--limit", f"localhost:{made.node}")),
        (place / "secrets.yml", ()),
    ):
        run = demo.ansible(
            "ansible-playbook", playbook, *options, inventory=made.inventory, timeout=300
        )
        assert run.rc == 0, run.text
    try:
        yield made
    finally:
        if made.held():
            # A test has failed half-way. The node goes, the rings must not count on it.
            shutil.copy(made.place / "grown.yml", made.inventory)
            made.set(made.node, backbone_drain=True)
            lost = {"node": made.node, "swift_decommission_allow_data_loss": True}
            made.play("swift_decommission_device", **lost)
        podman("rm", "--force", "--time", "5", made.node)
        state = demo.variables["_meta"]["hostvars"][demo.builder]["demo_state"]
        subprocess.run(root("rm", "-rf", f"{state}/hosts/{made.node}"), check=True)
        for file in (demo.directory / "tls").glob(f"{made.node}.*"):
            file.unlink()
        # The rings, firewalls and names as the demo's own inventory has them.
        demo.ansible("ansible-playbook", create, timeout=300)


@pytest.fixture(scope="module")
def objects(life: Life) -> Iterator[dict[str, bytes]]:
    container = f"demo-test-{secrets.token_hex(4)}"
    swift = life.demo.swift(life.site.name)
    swift.put_container(container)
    content = {f"o{number}": os.urandom(10_000) for number in range(OBJECTS)}
    for name, data in content.items():
        swift.put_object(container, name, data)
    yield {f"{container}/{name}": data for name, data in content.items()}
    life.demo.empty(container)


def readable(life: Life, objects: dict[str, bytes]) -> None:
    """Every object through every site, whatever is on its way."""
    for site in life.demo.sites:
        swift = life.demo.swift(site)
        for path, data in objects.items():
            assert swift.get_object(*path.split("/"))[1] == data, f"{path} in {site}"


def in_place(life: Life, objects: dict[str, bytes]) -> None:
    """One copy of everything in each region."""
    names = [(life.demo.account, *path.split("/")) for path in objects]
    for place in life.demo.places(names):
        assert place["regions"] == sorted(site.region for site in life.demo.sites.values()), place


def until_done(
    life: Life,
    objects: dict[str, bytes],
    wait: Callable[..., Any],
    each: Callable[[], Any] | None = None,
) -> int:
    """Converge until it is done; give the number of steps."""
    steps = 0

    def further() -> dict[str, Any]:
        found = life.converge()
        assert found["state"] != "waiting", found["reasons"]
        return found

    while True:
        life.replicate()
        found = wait(further, 120, every=5)
        if found["state"] == "done":
            in_place(life, objects)
            return steps
        steps += 1
        assert steps < 10, found
        readable(life, objects)
        if each:
            each()


def test_a_node_that_the_inventory_does_not_know_is_refused(life: Life) -> None:
    run = life.play("swift_add_node", node="nobody", good=False)
    assert "Name a storage host with -e node=NAME" in run.text
    assert not life.changed(run)


def test_a_node_joins_in_steps_and_the_way_back_is_open(
    life: Life, objects: dict[str, bytes], wait: Callable[..., Any]
) -> None:
    before = life.version()
    life.play("swift_add_node", node=life.node)
    mine = [f"{life.address}/{disk}" for disk in ("d1", "d2")]
    assert [life.weights()[disk] for disk in mine] == [0.0, 0.0], "no data moves at first"
    readable(life, objects)
    life.replicate()
    planned = life.play("swift_converge_rings", "--check")
    assert not life.changed(planned) or life.decision()["state"] == "step"
    started = life.version()

    def halfway() -> None:
        if set(map(life.weights().get, mine)) != {50.0}:
            return
        # Back to the rings before the first step, and forward again.
        life.play("swift_rollback_rings", version=started)
        assert life.version() == started
        assert [life.weights()[disk] for disk in mine] == [0.0, 0.0]
        assert not life.changed(life.play("swift_rollback_rings", version=started))
        readable(life, objects)

    rolled_back = False

    def once() -> None:
        nonlocal rolled_back
        if not rolled_back:
            rolled_back = True
            halfway()

    assert until_done(life, objects, wait, once) >= 3
    assert [life.weights()[disk] for disk in mine] == [100.0, 100.0]
    assert life.version() not in (before, started)
    assert not life.changed(life.play("swift_add_node", node=life.node)), "a second run"


def test_a_lost_builder_is_rebuilt(life: Life) -> None:
    version, weights = life.version(), life.weights()
    builder = life.demo.builder
    life.demo.shell(builder, "rm -r /etc/swift/builders")
    life.play("swift_recover_builder")
    assert (life.version(), life.weights()) == (version, weights), "from the copy of a region"
    assert life.converge()["state"] == "done"
    life.demo.shell(builder, "rm -r /etc/swift/builders")
    life.demo.on([*life.storage, *life.demo.gateways], "rm -f /var/backups/swift-builders")
    life.play("swift_recover_builder")
    assert (life.version(), life.weights()) == (version, weights), "from the rings themselves"
    assert not life.changed(life.play("swift_recover_builder")), "a second run"


def test_draining_must_stand_in_the_inventory(life: Life) -> None:
    run = life.play("swift_drain_node", node=life.node, good=False)
    assert f"write 'backbone_drain: true' to host_vars/{life.node}.yml" in run.text
    run = life.play("swift_decommission_device", node=life.node, good=False)
    assert "must wish it to be drained" in run.text
    assert not life.changed(run)


def test_a_step_waits_for_a_host_that_is_away(life: Life, wait: Callable[..., Any]) -> None:
    life.set(life.node, backbone_drain=True)
    podman("stop", "--time", "10", life.old)
    try:
        found = life.converge()
    finally:
        podman("start", life.old)
        wait(lambda: life.demo.shell(life.old, "systemctl is-active swift-object"), 90)
    assert found["state"] == "waiting"
    assert any(f"{life.old}: does not answer" in reason for reason in found["reasons"]), found


def test_a_node_is_drained_and_taken_out(
    life: Life, objects: dict[str, bytes], wait: Callable[..., Any]
) -> None:
    run = life.play("swift_decommission_device", node=life.node, good=False)
    assert "is not drained yet, nothing was changed" in run.text
    until_done(life, objects, wait)
    assert {life.weights()[f"{life.address}/{disk}"] for disk in ("d1", "d2")} == {0.0}
    life.play("swift_decommission_device", node=life.node)
    assert not any(disk.startswith(life.address) for disk in life.weights())
    left = life.demo.shell(
        life.node, "systemctl list-units --plain --no-legend --state=active 'swift*'; ls /srv/node"
    )
    assert not left.strip(), left
    assert not life.changed(life.play("swift_decommission_device", node=life.node))
    in_place(life, objects)


def test_a_dead_disk_is_replaced(
    life: Life, objects: dict[str, bytes], wait: Callable[..., Any]
) -> None:
    # From here on the node is out of the inventory.
    shutil.copy(REPOSITORY / "inventories" / "demo" / "federation.yml", life.inventory)
    run = life.play("swift_replace_disk", node=life.old, device="d9", good=False)
    assert "'d9' is none of" in run.text
    version = life.version()
    # Dead at once: servers that hold its files would keep it alive, for `mount --all` to find.
    life.demo.shell(
        life.old,
        "disk=$(readlink -f /dev/disk/by-id/demo-d2) && xfs_io -x -c shutdown /srv/node/d2 && "
        "umount --lazy /srv/node/d2 && wipefs --quiet --all --force $disk && losetup -d $disk && "
        "rm /var/lib/demo/disks/d2.img && systemctl restart demo-host",
    )
    life.play("swift_replace_disk", node=life.old, device="d2")
    mounted = life.demo.shell(life.old, "findmnt --noheadings --mountpoint /srv/node/d2")
    assert "xfs" in mounted
    assert life.version() == version, "the rings stay as they are"

    def full() -> None:
        life.replicate()
        run = life.play("swift_replace_disk", node=life.old, device="d2")
        found = life.decision()
        assert found["state"] == "done" and not found["remarks"], found
        assert not life.changed(run)

    wait(full, 180, every=5)
    in_place(life, objects)
    readable(life, objects)
