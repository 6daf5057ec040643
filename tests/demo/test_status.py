# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How Swift is: samples and their copies, and the page that tells it."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tooling.browser import Browser

PLAYBOOK = "playbooks/operations/swift_status.yml"
# Swift's own report on the same samples. It would list them through a proxy, as a user.
UPSTREAM = """
import json, sys
from eventlet import GreenPool, patcher
from eventlet.pools import Pool
patcher.monkey_patch()
from swift.cli import dispersion_report as report
from swift.common import direct_client
from swift.common.ring import Ring
from swift.common.storage_policy import POLICIES

account = sys.argv[1]
accounts, containers, objects = (Ring("/etc/swift", ring_name=n)
                                 for n in ("account", "container", "object"))

class Listings:
    def get_account(self, prefix, full_listing):
        part, nodes = accounts.get_nodes(account)
        return direct_client.direct_get_account(nodes[0], part, account, prefix=prefix)

    def get_container(self, container, prefix, full_listing):
        part, nodes = containers.get_nodes(account, container)
        return direct_client.direct_get_container(nodes[0], part, account, container, prefix=prefix)

listings = Pool()
listings.create = Listings
report.json_output = True
common = dict(account=account, retries=2, output_missing_partitions=False, policy=POLICIES.default,
              connpool=listings, coropool=GreenPool(25))
print(json.dumps({
    "object": report.object_dispersion_report(object_ring=objects, **common),
    "container": report.container_dispersion_report(container_ring=containers, **common),
}))
"""
# Takes one copy of an object away, so that the replicators do not know.
LOSE = """
import os, shutil, sys
from swift.common.utils import hash_path
device, partition, *names = sys.argv[1:]
name = hash_path(*names)
shutil.rmtree(os.path.join("/srv/node", device, "objects", partition, name[-3:], name))
"""


def ask(demo: Any, module: str, **options: Any) -> dict[str, Any]:
    result = demo.module(demo.builder, module, **options)
    assert not result.get("failed"), result
    return result


def counted(demo: Any, account: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Figures of objects and of containers."""
    found = ask(demo, "swift_dispersion_info", account=account)
    assert found["not_reached"] == [], found
    return found["dispersion"]["object"]["three-regions"], found["dispersion"]["container"]


@pytest.fixture
def account(demo: Any) -> Iterator[str]:
    """An account for samples, removed with all of them."""
    name = f".dispersion-test-{secrets.token_hex(4)}"
    yield name
    # Containers that were emptied a moment ago may not know it yet.
    for _attempt in range(5):
        result = demo.module(demo.builder, "swift_dispersion", account=name, state="absent")
        if not result.get("failed"):
            break
    assert not result.get("failed"), result


@pytest.mark.settings
def test_samples_are_kept_counted_and_removed(
    demo: Any, account: str, wait: Callable[..., Any]
) -> None:
    few = {"account": account, "samples_min": 10, "coverage": 1}
    planned = demo.ansible(
        "ansible", demo.builder, "--check", "-m", "infn.cloud.swift_dispersion",
        "-a", json.dumps(few),
    ).results[demo.builder]  # fmt: skip
    assert planned["changed"] and set(planned["samples"].values()) == {10}
    made = ask(demo, "swift_dispersion", **few)
    assert made["samples"] == planned["samples"]

    def complete(samples: int) -> None:
        for figures in counted(demo, account):
            assert (figures["samples"], figures["overlapping"]) == (samples, 0)
            assert figures["copies_found"] == figures["copies_expected"] == 3 * samples
            assert set(figures["regions"]) == {"1", "2", "3"}

    wait(lambda: complete(10), 60)
    assert not ask(demo, "swift_dispersion", **few)["changed"]
    more = ask(demo, "swift_dispersion", **{**few, "samples_min": 15})
    assert set(more["samples"].values()) == {5}
    wait(lambda: complete(15), 60)

    # What Swift's own program counts.
    script = f"python3 - {account}"
    upstream = json.loads(demo.shell(demo.builder, script, stdin=UPSTREAM.encode()))
    for kind in ("object", "container"):
        assert upstream[kind]["copies_found"] == upstream[kind]["copies_expected"] == 45

    # One copy less, in one region.
    sample = (account, "dispersion_objects_0", "dispersion_0")
    place = demo.places([sample])[0]
    lost = place["replicas"][0]
    demo.shell(
        lost["host"],
        f"python3 - {lost['device']} {place['partition']} {' '.join(sample)}",
        stdin=LOSE.encode(),
    )
    objects, containers = counted(demo, account)
    assert objects["missing"] == {"0": 14, "1": 1, "2": 0, "3": 0}
    assert objects["copies_found_percent"] == 97.77
    for region, figures in objects["regions"].items():
        assert figures["copies_found"] == (14 if region == str(lost["region"]) else 15)
    assert containers["copies_found_percent"] == 100
    upstream = json.loads(demo.shell(demo.builder, script, stdin=UPSTREAM.encode()))
    assert upstream["object"]["copies_found"] == objects["copies_found"] == 44

    def gone() -> None:
        result = demo.module(demo.builder, "swift_dispersion", account=account, state="absent")
        assert not result.get("failed"), result

    wait(gone, 60)
    assert not ask(demo, "swift_dispersion", account=account, state="absent")["changed"]


def test_no_user_reaches_the_samples(demo: Any) -> None:
    site = next(iter(demo.sites))
    url = f"{demo.sites[site].object_storage}/v1/.dispersion"
    for token in (demo.sessions[site].get_token(), None):
        for method in ("GET", "PUT"):
            assert demo.http(method, f"{url}/new", token=token).status_code in (401, 403)


# --- the page


def status(demo: Any, directory: Path, *options: str, inventory: Path | None = None) -> Any:
    more = ["--inventory", inventory] if inventory else []
    return demo.ansible(
        "ansible-playbook", *more, PLAYBOOK, "-e", f"swift_status_dir={directory}", *options,
        timeout=300,
    )  # fmt: skip


def test_the_page_tells_how_the_federation_is(demo: Any, tmp_path: Path) -> None:
    for _run in range(2):
        run = status(demo, tmp_path)
        assert run.rc == 0, run.text
        assert all(host["changed"] == 0 for host in run.stats.values())
    told = json.loads((tmp_path / "status.json").read_text())
    assert [region["site"] for region in told["regions"]] == ["cnaf", "bari", "padova"]
    assert {host["host"] for host in told["hosts"]} == set(demo.storage)
    assert all(host["reached"] and host["version"] for host in told["hosts"])
    assert {ring["ring"]: ring["agreed"] for ring in told["rings"]} == {
        "account": True, "container": True, "object": True, "object-1": True, "object-2": True,
    }  # fmt: skip
    for device in told["devices"]:
        assert 0 < device["fill_percent"] < 100
        for ring in device["rings"].values():
            assert ring["weight"] == ring["weight_wished"] and ring["partitions"] > 0
    assert told["summary"]["dispersion_percent"] > 0
    assert len((tmp_path / "history.jsonl").read_text().splitlines()) == 2
    with Browser() as browser:
        browser.open(tmp_path / "report.html", width=390)
        assert browser.complaints == [] and len(browser.requests) == 1
        assert browser.run("document.documentElement.scrollWidth") == 390
        text = browser.run("document.body.textContent")
    for site in demo.sites:
        assert site in text


def test_what_is_away_is_told_and_fails_only_where_asked(demo: Any, tmp_path: Path) -> None:
    """The builder is away, and so is a storage server: another site's proxy asks for the rest."""
    overlay = tmp_path / "away.yml"
    # Nobody listens at port 1.
    overlay.write_text(f"all: {{hosts: {{{demo.builder}: {{ansible_port: 1}}}}}}\n")
    known = demo.groups("swift_builder")
    assert known == [demo.builder]
    servers = "federation_sites | infn.cloud.swift_servers(groups['swift_storage'])"
    absent = "[{'host': 'gone-st1', 'address': '127.0.0.1', 'port': 1, 'kind': 'object'}]"
    more = json.dumps({"swift_rings_servers": "{{ " + f"{servers} + {absent}" + " }}"})
    run = status(demo, tmp_path, "-e", more, inventory=overlay)
    assert run.rc == 0, run.text
    told = json.loads((tmp_path / "status.json").read_text())
    texts = [one["text"] for one in told["findings"]]
    assert f"{demo.builder}: does not answer Ansible" in texts
    assert any(text.startswith("gone-st1 (object 127.0.0.1:1)") for text in texts)
    assert any("the rings could not be read" in text for text in texts)
    assert told["summary"]["hosts_not_reached"] == 1
    assert told["summary"]["dispersion_percent"] > 0
    run = status(
        demo, tmp_path, "-e", more, "-e", "swift_status_fail_on=dispersion,not_reached",
        inventory=overlay,
    )  # fmt: skip
    assert run.rc == 2 and "gone-st1" in run.text
