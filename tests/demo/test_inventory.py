# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The demo's own inventory, and the same hosts as the machine's podman tells of them.

The demo describes its hosts itself (provider static): a reading of the inventory then needs no root
and no answer of the machine, and a host that is switched off stays what it is.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

INVENTORY = Path(__file__).resolve().parents[2] / "inventories" / "demo" / "federation.yml"
PODMAN = "/run/infn-cloud-demo/podman"


def listed(demo: Any, path: Path) -> dict[str, Any]:
    done = demo.ansible("ansible-inventory", "--list", inventory=path)
    assert done.rc == 0, done.stderr
    return done.report


def test_every_site_answered(demo) -> None:
    found = listed(demo, INVENTORY)
    report = found["_meta"]["hostvars"]["cnaf-gw1"]["federation_report"]
    assert {name: site["status"] for name, site in report.items()} == dict.fromkeys(
        demo.sites, "ok"
    )
    for name, site in demo.sites.items():
        assert sorted(found[f"site_{name}"]["hosts"]) == sorted(site.hosts)


def test_the_machine_tells_the_same_hosts_and_how_they_are(demo, tmp_path) -> None:
    described = yaml.safe_load(INVENTORY.read_text())
    hosts = [host for site in described["sites"] for host in site["hosts"]]
    machine = {
        "name": "machine",
        "coupling": "federated",
        "provider": "containers",
        "options": {"command": [PODMAN]},
        "hosts": hosts,
    }
    path = tmp_path / "federation.yml"
    path.write_text(yaml.safe_dump(described | {"sites": [machine]}))
    found = listed(demo, path)
    known = found["_meta"]["hostvars"]
    assert sorted(known) == sorted(demo.hosts)
    for name, address in demo.hosts.items():
        assert known[name]["ansible_host"] == address
        assert known[name]["federation_instance_state"] == "running", name
    assert sorted(found["swift_storage"]["hosts"]) == sorted(demo.storage)
