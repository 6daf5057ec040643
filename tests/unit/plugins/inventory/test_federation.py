# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The inventory as Ansible itself sees it: each test runs ansible-inventory or ansible."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.infn.cloud.plugins.module_utils._federation_model import read_federation

ROOT = Path(__file__).resolve().parents[4]

FEDERATION = """
plugin: infn.cloud.federation
federation: {name: demo, domain: demo.test}
sites:
  - name: cnaf
    region: 1
    coupling: backbone
    location: {city: Reggio nell'Emilia, latitude: 44.5, longitude: 11.34}
    provider: static
    network: 10.201.1.0/24
    hosts:
      - name: cnaf-gw1
        address: 10.201.1.11
        services: [gateway, keystone]
        vars: {ansible_connection: local, greeting: "{{ 6 * 7 }} from {{ site_name }}"}
      - {name: cnaf-st1, address: 10.201.1.21, services: [swift_storage], zone: 2}
  - name: rome-2
    coupling: federated
    provider: static
    hosts: [{name: rome-a, address: "2001:DB8::1"}]
"""


class Run:
    def __init__(self, command: str, *arguments: str, enabled: str = "auto") -> None:
        # A world of its own: neither the settings of the checkout nor those of the person.
        environment = {
            key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")
        }
        environment.update(
            ANSIBLE_CONFIG=str(ROOT / "tests" / "unit" / "no-such-ansible.cfg"),
            ANSIBLE_COLLECTIONS_PATH=str(ROOT / ".cache" / "collections"),
            ANSIBLE_INVENTORY_ENABLED=enabled,
            ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED="true",
            ANSIBLE_NOCOLOR="true",
            ANSIBLE_LOCALHOST_WARNING="false",
            LC_ALL="C.UTF-8",
        )
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-m", f"ansible.cli.{command}", *arguments],
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        self.code, self.out, self.err = done.returncode, done.stdout, done.stderr
        self.words = " ".join(done.stderr.split())


def write(folder: Path, text: str, name: str = "federation.yml") -> str:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(text, encoding="utf-8")
    return str(folder / name)


def inventory(path: str) -> Any:
    run = Run("inventory", "-i", path, "--list")
    assert run.code == 0, run.err
    assert run.err == ""
    return json.loads(run.out)


@pytest.fixture(scope="module")
def listed(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return inventory(write(tmp_path_factory.mktemp("a") / "with a space", FEDERATION))


def test_groups(listed: Any) -> None:
    groups = {
        name: set(group.get("hosts", ())) | set(group.get("children", ()))
        for name, group in listed.items()
        if name != "_meta"
    }
    assert groups.pop("all") >= {"backbone", "federated"}
    assert groups == {
        "provider_static": {"site_cnaf", "site_rome_2"},
        "backbone": {"site_cnaf"},
        "federated": {"site_rome_2"},
        "site_cnaf": {"cnaf-gw1", "cnaf-st1"},
        "site_rome_2": {"rome-a"},
        "region_1": {"cnaf-gw1", "cnaf-st1"},
        "gateway": {"cnaf-gw1"},
        "keystone": {"cnaf-gw1"},
        "swift_storage": {"cnaf-st1"},
    }


def test_variables(listed: Any) -> None:
    hosts = listed["_meta"]["hostvars"]
    storage = hosts["cnaf-st1"]
    assert storage["ansible_host"] == "10.201.1.21"
    assert storage["site_zone"] == 2
    assert storage["site_region"] == 1
    assert storage["site_location"]["city"] == "Reggio nell'Emilia"
    assert storage["federation_domain"] == "demo.test"
    assert hosts["rome-a"]["ansible_host"] == "2001:db8::1"
    assert hosts["rome-a"]["federation_sites"]["cnaf"]["hosts"]["cnaf-st1"] == {
        "address": "10.201.1.21",
        "services": ["swift_storage"],
        "zone": 2,
    }


def test_no_string_is_wrapped(listed: Any) -> None:
    assert "__ansible_unsafe" not in json.dumps(listed)


def test_vars_of_a_host_may_be_templates(tmp_path: Path) -> None:
    path = write(tmp_path, FEDERATION)
    run = Run("adhoc", "-i", path, "cnaf-gw1", "-m", "debug", "-a", "msg={{ greeting }}")
    assert run.code == 0, run.err
    assert "42 from cnaf" in run.out


def test_constructed_options_see_the_site(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        FEDERATION
        + """
strict: true
compose: {place: site_name ~ '/' ~ site_zone}
groups:
  stores: "'swift_storage' in federation_sites[site_name].hosts[inventory_hostname].services"
keyed_groups: [{key: place, prefix: place}]
""",
    )
    listed = inventory(path)
    assert listed["stores"]["hosts"] == ["cnaf-st1"]
    assert listed["place_cnaf_2"]["hosts"] == ["cnaf-st1"]


@pytest.mark.parametrize("enabled", ["auto", "infn.cloud.federation"])
@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            FEDERATION.replace("region: 1", "region: one").replace(".1.21", ".2.21"),
            "federation.yml: 2 problems - site cnaf, region: expected a whole number from 1 on,"
            " found the text 'one' - site cnaf, host cnaf-st1, address: 10.201.2.21 is outside",
        ),
        ("plugin: infn.cloud.federation\nsites: {a: b}\n", "sites: expected a list, found a map"),
    ],
)
def test_a_refused_file_fails_with_all_its_problems(
    tmp_path: Path, enabled: str, text: str, says: str
) -> None:
    run = Run("inventory", "-i", write(tmp_path, text), "--list", enabled=enabled)
    assert run.code != 0
    assert says in run.words


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is empty"),
        ("- a\n", "federation.yml: expected a mapping with plugin, federation, sites"),
        ("plugin: infn.cloud.federation\nsites: [a\n", "federation.yml"),
        ("plugin: other.one.here\n", "Incorrect plugin name in file: other.one.here"),
    ],
)
def test_a_file_that_is_no_description_fails(tmp_path: Path, text: str, says: str) -> None:
    run = Run("inventory", "-i", write(tmp_path, text), "--list", enabled="infn.cloud.federation")
    assert run.code != 0
    assert says in run.words
    assert "Traceback" not in run.err


def test_only_files_of_its_name_are_taken(tmp_path: Path) -> None:
    run = Run("inventory", "-i", write(tmp_path, FEDERATION, "sites.yml"), "--list")
    assert run.code != 0
    assert "could not be verified" in run.words


def test_the_example_is_valid_and_uses_documentation_addresses(tmp_path: Path) -> None:
    """Nobody here knows its clouds: each is missed, and what the file lists is there."""
    example = ROOT / "inventories" / "example" / "federation.yml"
    text = example.read_text(encoding="utf-8").replace(
        "[sudo, --non-interactive, podman]", "[none-x]"
    )
    run = Run("inventory", "-i", write(tmp_path, f"cache_directory: cache\n{text}"), "--list")
    assert run.code == 0, run.err
    listed = json.loads(run.out)
    assert sorted(listed["backbone"]["children"]) == ["site_bari", "site_cnaf", "site_padova"]
    hosts = listed["_meta"]["hostvars"]
    for variables in hosts.values():
        assert variables["ansible_host"].startswith(("192.0.2.", "198.51.100.", "203.0.113."))
    report = hosts["lab-ui"]["federation_report"]
    assert {one["provider"] for one in report.values()} == {
        "static",
        "openstack",
        "plugin",
        "containers",
    }
    failed = {name for name, one in report.items() if one["status"] == "failed"}
    assert failed == {"torino", "paris", "lab"}
    assert "no environment variable begins with PARIS_" in report["paris"]["message"]


def test_the_example_of_the_documentation_is_valid() -> None:
    page = (ROOT / "docs" / "inventory.md").read_text(encoding="utf-8")
    example = yaml.safe_load(page.split("```yaml\n")[1].split("```")[0])
    federation = read_federation(example, "docs/inventory.md", options={"plugin"})
    assert [site.source.provider for site in federation.sites] == ["openstack", "plugin", "static"]
    more = yaml.safe_load(page.split("```yaml\n")[2].split("```")[0])
    example["sites"][1]["options"] = more["options"]
    read_federation(example, "docs/inventory.md", options={"plugin"})
