# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The inventory over many clouds: sites that fail in every way, other plugins, both cores.

The OpenStack behind the faults is a fake on loopback (tooling.fake_openstack says so), since no
real one produces them on demand. Clouds of other kinds are in test_cloud_inventories.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.infn.cloud.plugins.module_utils._federation_cloud import OpenStackOptions
from ansible_collections.infn.cloud.plugins.plugin_utils._provider import (
    Answer,
    Deadline,
    ProviderError,
    Request,
)
from ansible_collections.infn.cloud.plugins.plugin_utils._provider_openstack import (
    OpenStackProvider,
)
from inventory_place import ANSIBLE_TIMEOUT, LOGIN, ROOT, Place

from tooling.fake_openstack import PASSWORD, FakeCloud, cloud_of, server_of

IMAGE = "3b2c1d9e-0a4f-4c55-8d21-5f3a1b2c3d4e"


@pytest.fixture
def cloud() -> Iterator[FakeCloud]:
    """Two projects: five servers on three pages, and one."""
    servers = {
        "p1": [server_of(number, "p1", IMAGE) for number in range(5)],
        "p2": [server_of(9, "p2", IMAGE, metadata={"role": "web,db"})],
    }
    with FakeCloud(servers, page=2) as running:
        yield running


def listed(cloud: FakeCloud, seconds: float = 30, **options: Any) -> Answer:
    entry = options.pop("entry", {"auth": LOGIN})
    request = Request(
        "bari",
        OpenStackOptions(auth_url=f"{cloud.url}/v3", **options),
        entry,
        Deadline.after(seconds),
        details=True,
        metadata_groups=("role",),
    )
    return OpenStackProvider(request).answer()


# --- OpenStack, asked directly --------------------------------------------------------------------


def test_every_page_of_every_project(cloud: FakeCloud) -> None:
    answer = listed(cloud)
    assert sorted(one.name for one in answer.instances) == [
        "vm0",
        "vm1",
        "vm2",
        "vm3",
        "vm4",
        "vm9",
    ]
    assert {one.project for one in answer.instances} == {"team-p1", "team-p2"}
    nine = next(one for one in answer.instances if one.name == "vm9")
    assert (nine.address, nine.state, nine.zone) == ("10.0.0.9", "ACTIVE", "gpu")
    assert (nine.image, nine.flavor, nine.networks) == ("image 3b2c1d9e", "small", ["private"])
    assert nine.metadata == {"role": "web,db"}
    assert nine.details["project_id"] == "p2"


def test_requests_are_pages_and_a_constant(cloud: FakeCloud) -> None:
    answer = listed(cloud)
    pages = 3 + 1
    assert (
        answer.requests == len(cloud.requests) == pages + 2 + 2 * 2
    )  # login, projects; per project


def test_only_the_projects_that_were_asked_for(cloud: FakeCloud) -> None:
    assert [one.name for one in listed(cloud, projects=("team-p2",)).instances] == ["vm9"]
    assert [one.name for one in listed(cloud, projects=("p2",)).instances] == ["vm9"]
    with pytest.raises(ProviderError, match="may not list project p3; correct options, projects"):
        listed(cloud, projects=("p3",))


def test_an_application_credential_lists_its_own_project(cloud: FakeCloud) -> None:
    secret = {"application_credential_id": "a", "application_credential_secret": PASSWORD}
    answer = listed(cloud, entry={"auth_type": "v3applicationcredential", "auth": secret})
    assert {one.project for one in answer.instances} == {"team-p1"}


def test_an_access_token_lists_all_projects(cloud: FakeCloud) -> None:
    auth = {"identity_provider": "iam", "protocol": "openid", "access_token": PASSWORD}
    answer = listed(cloud, entry={"auth_type": "v3oidcaccesstoken", "auth": auth})
    assert {one.project for one in answer.instances} == {"team-p1", "team-p2"}
    assert "POST /v3/OS-FEDERATION/identity_providers/iam/protocols/openid/auth" in cloud.requests


def test_a_login_that_is_not_known_is_named(cloud: FakeCloud) -> None:
    with pytest.raises(ProviderError, match=r"auth_type v3password: .*unexpected keyword"):
        listed(cloud, entry={"auth_type": "v3password", "auth": {**LOGIN, "colour": "red"}})
    with pytest.raises(ProviderError, match="nonsense"):
        listed(cloud, entry={"auth_type": "nonsense", "auth": LOGIN})


FAULTS = [
    ("auth", "401", "Keystone: .*401"),
    ("auth", "html", "Keystone: "),
    ("auth", "redirect", "Keystone: "),
    ("auth", "500", "Keystone: .*500"),
    ("auth", "reset", "Keystone: "),
    ("auth", "truncated", "Keystone: "),
    ("projects", "403", "answered 403 Forbidden"),
    ("projects", "shape", "Keystone answered without the list projects"),
    ("servers", "401", "Nova at .* answered 401"),
    ("servers", "429", "answered 429 .* wants 3600 s of patience, more than is left"),
    ("servers", "500", "Nova at .* answered 500"),
    ("servers", "502", "Nova at .* answered 502"),
    ("servers", "reset", "project team-p[12]: "),
    ("servers", "truncated", "project team-p[12]: "),
    ("servers", "short", "answered application/json that is no JSON"),
    ("servers", "shape", "Nova answered without the list servers"),
    ("servers", "html", "answered text/html that is no JSON"),
    ("servers", "redirect", r"sends to https://login\.example\.org/ instead of answering; a login"),
    ("servers", "same page", "on two pages; the list is not whole"),
    ("servers", "nothing more", "Nova says that there is more, on a page with nothing"),
    ("servers", "cell down", "Nova has a cell down"),
    ("images", "500", "Glance at .* answered 500"),
]


# From the first request on, and from the second, where there is one. The first page sent twice is a
# lie from the third on: the second may be another project's first.
CASES = [
    (service, fault, 2 if fault == "same page" else after, says)
    for service, fault, says in FAULTS
    for after in ((0,) if service == "projects" or fault == "same page" else (0, 1))
]


@pytest.mark.parametrize(("service", "fault", "after", "says"), CASES)
def test_a_fault_is_named_and_never_half_an_answer(
    cloud: FakeCloud, service: str, fault: str, after: int, says: str
) -> None:
    cloud.faults[service] = (fault, after)
    with pytest.raises(ProviderError, match=says):
        listed(cloud)


def test_a_server_that_hangs_is_named_by_the_end_of_the_time(cloud: FakeCloud) -> None:
    cloud.faults["servers"] = ("hang", 1)
    began = time.monotonic()
    with pytest.raises(ProviderError, match="project team-p"):
        listed(cloud, seconds=3)
    assert time.monotonic() - began < 30


@pytest.mark.parametrize("fault", ["once 429", "once 503"])
@pytest.mark.parametrize("service", ["auth", "servers", "images"])
def test_patience_when_it_is_asked_for(cloud: FakeCloud, service: str, fault: str) -> None:
    cloud.faults[service] = (fault, 0)
    began = time.monotonic()
    assert len(listed(cloud).instances) == 6
    assert time.monotonic() - began > 0.4


def test_nobody_listens() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v3"
    request = Request("x", OpenStackOptions(auth_url=url), {"auth": LOGIN}, Deadline.after(20))
    with pytest.raises(ProviderError, match="Connection refused"):
        OpenStackProvider(request).answer()


def test_fifty_thousand_servers_are_fifty_pages() -> None:
    with cloud_of(50_000) as cloud:
        answer = listed(cloud, seconds=300)
        assert len(answer.instances) == 50_000
        assert answer.requests == 50 + 4


# --- the inventory, as Ansible runs it ------------------------------------------------------------


def on_core(path: Path, core: str) -> Place:
    """A place whose ansible-inventory is of that core: newest, oldest, core-2.18, core-2.19."""
    found = Place(path)
    if core != "newest":
        done = subprocess.run(
            [ROOT / "scripts" / "setup", core], capture_output=True, text=True, check=False
        )
        if done.returncode == 3:
            pytest.skip(done.stderr.strip())
        assert done.returncode == 0, done.stderr
        found.python = ROOT / ".cache" / f"venv-{core}" / "bin" / "python"
    return found


@pytest.fixture(params=["newest", "oldest"])
def place(tmp_path: Path, request: pytest.FixtureRequest) -> Place:
    return on_core(tmp_path, request.param)


@pytest.fixture(params=["newest", "core-2.19", "core-2.18", "oldest"])
def every_core(tmp_path: Path, request: pytest.FixtureRequest) -> Place:
    return on_core(tmp_path, request.param)


@pytest.fixture
def newest(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_golden(every_core: Place, cloud: FakeCloud) -> None:
    """What ansible-inventory prints, whole, the same on every supported core."""
    place = every_core
    cloud.servers["p2"][0]["name"] = "web {{ 7*7 }}"
    cloud.servers["p2"][0]["metadata"] = {"role": "{{ 7*7 }}, db"}
    place.top |= {"metadata_groups": ["role"], "details": True}
    place.openstack("bari", cloud)
    place.static()
    listed_now = place.list()
    for host in listed_now["_meta"]["hostvars"].values():
        for report in host["federation_report"].values():
            del report["seconds"]
    listed_now["_meta"].pop("profile", None)  # newer cores say how they serialize
    text = json.dumps(listed_now, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    golden = Path(__file__).parent / "golden" / "federation_inventory.json"
    if os.environ.get("INFN_CLOUD_WRITE_GOLDEN"):
        golden.write_text(text, encoding="utf-8")
    assert text == golden.read_text(encoding="utf-8")


def test_a_site_that_fails_in_any_way_never_empties_the_inventory(place: Place) -> None:
    """Every fault at a site of its own, beside two good ones, in one run."""
    faults = [(service, fault) for service, fault, _says in FAULTS]
    faults += [("auth", "hang"), ("servers", "hang"), ("servers", "drip"), ("images", "hang")]
    bad: list[FakeCloud] = []
    try:
        for number, (service, fault) in enumerate(faults):
            one = cloud_of(3)
            one.page = 1
            one.faults[service] = (fault, 1 if fault == "same page" else 0)
            one.__enter__()
            bad.append(one)
            place.openstack(f"bad{number}", one, timeout=20)
        with cloud_of(3) as good:
            place.openstack("good", good)
            place.static()
            place.top["concurrency"] = 8
            place.top["deadline"] = 240
            found = place.list()
    finally:
        for one in bad:
            one.__exit__()
    hosts = found["_meta"]["hostvars"]
    assert sorted(hosts) == ["still-a", "vm0.good", "vm1.good", "vm2.good"]
    report = hosts["still-a"]["federation_report"]
    failed = {name for name, one in report.items() if one["status"] == "failed"}
    assert failed == {f"bad{number}" for number in range(len(faults))}
    assert all(report[name]["message"] for name in failed)


def test_a_dead_site_is_served_from_its_last_answer(every_core: Place, cloud: FakeCloud) -> None:
    place = every_core
    place.openstack("bari", cloud)
    place.static()
    before = place.list()
    assert "federation_stale" not in before
    cloud.faults["servers"] = ("500", 1)
    after = place.list()
    assert set(after["_meta"]["hostvars"]) == set(before["_meta"]["hostvars"])
    assert after["federation_stale"]["children"] == ["site_bari"]
    assert after["_meta"]["hostvars"]["vm0.bari"]["federation_stale"] is True
    assert after["_meta"]["hostvars"]["still-a"]["federation_stale"] is False
    report = after["_meta"]["hostvars"]["vm0.bari"]["federation_report"]["bari"]
    assert (report["status"], report["hosts"]) == ("stale", 6)
    assert "answered 500" in report["message"]


def test_the_cache_holds_no_secret(newest: Place, cloud: FakeCloud) -> None:
    newest.top["details"] = True
    newest.openstack("bari", cloud)
    done = newest.run("--list", "-vvvv")
    (entry,) = (newest.path / "cache").iterdir()
    assert PASSWORD not in entry.read_text() + done.stdout + done.stderr
    assert "token:" not in entry.read_text() + done.stdout + done.stderr
    assert entry.stat().st_mode & 0o777 == 0o600


def test_every_site_dead_fails_the_run(newest: Place, cloud: FakeCloud) -> None:
    cloud.faults["auth"] = ("401", 0)
    newest.openstack("bari", cloud)
    done = newest.run("--list")
    assert done.returncode != 0
    assert "no site answered: site bari: Keystone:" in " ".join(done.stderr.split())


def test_what_clouds_say_is_no_template(place: Place, cloud: FakeCloud) -> None:
    """Nor what compose makes of it."""
    for number, one in enumerate(cloud.servers["p1"]):
        one["name"] = f"{{{{ 7*7 }}}}{number}"
        one["metadata"] = {"evil": "{{ lookup('pipe', 'echo broken') }}"}
    place.top |= {"details": True, "compose": {"composed": "federation_instance_name ~ '!'"}}
    place.openstack("bari", cloud)
    shown = "{{ [federation_instance_name, composed, federation_instance.details.metadata] }}"
    done = place.run(
        "site_bari", "-c", "local", "-m", "ansible.builtin.debug", "-a", f"msg={shown}",
        "-f", "2", command="adhoc",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr + done.stdout
    assert "{{ 7*7 }}0!" in done.stdout
    assert "{{ lookup('pipe'" in done.stdout
    assert "49" not in done.stdout
    assert "broken')" in done.stdout


def test_list_is_plain_json_also_what_compose_makes(newest: Place, cloud: FakeCloud) -> None:
    newest.top |= {
        "details": True,
        "compose": {"composed": "federation_instance_name ~ '!'"},
        "keyed_groups": [{"key": "composed", "prefix": "mine"}],
    }
    newest.openstack("bari", cloud)
    found = newest.list()
    assert "__ansible_unsafe" not in json.dumps(found)
    assert found["_meta"]["hostvars"]["vm9.bari"]["composed"] == "vm9!"
    assert found["mine_vm9_"]["hosts"] == ["vm9.bari"]


def test_the_order_of_answers_changes_nothing(newest: Place, cloud: FakeCloud) -> None:
    with cloud_of(3) as other:
        newest.openstack("bari", cloud)
        newest.openstack("roma", other)
        cloud.delay = 0.2
        first = newest.run("--list").stdout
        cloud.delay, other.delay = 0.0, 0.3
        cloud.servers["p1"].reverse()
        cloud._pages.clear()
        second = newest.run("--list").stdout
    assert _without_seconds(first) == _without_seconds(second)


def _without_seconds(text: str) -> str:
    return "\n".join(line for line in text.splitlines() if '"seconds"' not in line)


def test_limit_to_a_site_and_verbose(newest: Place, cloud: FakeCloud) -> None:
    newest.openstack("bari", cloud)
    newest.static()
    done = newest.run("site_bari:!az_gpu", "--list-hosts", "-v", command="adhoc")
    assert done.returncode == 0, done.stderr
    names = {line.strip() for line in done.stdout.splitlines()[1:]}
    assert names == {"vm0.bari", "vm2.bari", "vm4.bari"}
    assert "site bari: ok, 6 hosts, " in done.stderr


def test_the_playbook_tells_how_each_site_answered(place: Place, cloud: FakeCloud) -> None:
    place.openstack("bari", cloud)
    place.static()
    playbook = str(ROOT / "playbooks" / "operations" / "federation_status.yml")
    file = place.path / "status.json"
    wish = json.dumps(
        {"federation_status_file": str(file), "federation_status_fail_on": ["failed"]}
    )
    good = place.run(playbook, "-e", wish, command="playbook")
    assert good.returncode == 0, good.stdout + good.stderr
    report = json.loads(file.read_text())
    assert (report["bari"]["status"], report["bari"]["hosts"]) == ("ok", 6)
    assert report["bari"]["requests"] == 10
    place.top["max_stale"] = 1
    time.sleep(1.5)
    cloud.faults["servers"] = ("500", 0)
    bad = place.run(playbook, "-e", wish, command="playbook")
    assert bad.returncode != 0
    assert "bari: see the table above." in bad.stdout + bad.stderr
    assert "answered 500" in bad.stdout


# --- other inventory plugins ----------------------------------------------------------------------

HOSTS: dict[str, Any] = {
    "all": {
        "hosts": {
            "one": {"ansible_host": "192.0.2.7", "ansible_connection": "local", "kind": "a"},
            "two": {"ansible_host": "192.0.2.8", "where": {"zone": "z1"}, "password": "hunter2"},
        },
        "children": {"swift_storage": {"hosts": {"one": None}}},
    }
}


def test_the_real_yaml_plugin(place: Place) -> None:
    (place.path / "hosts.yml").write_text(yaml.safe_dump(HOSTS))
    place.top["details"] = True
    place.plugin(
        "lab",
        {
            "name": "ansible.builtin.yaml",
            "config_file": "hosts.yml",
            "map": {"zone": "where.zone"},
            "keep_vars": ["kind"],
        },
    )
    inline = {"all": HOSTS["all"] | {"hosts": {"one": HOSTS["all"]["hosts"]["one"], "two": {}}}}
    place.plugin("inline", {"name": "ansible.builtin.yaml", "config": inline})
    found = place.list()
    hosts = found["_meta"]["hostvars"]
    assert sorted(hosts) == ["one.inline", "one.lab", "two.inline", "two.lab"]
    one, two = hosts["one.lab"], hosts["two.lab"]
    assert (one["ansible_host"], one["kind"]) == ("192.0.2.7", "a")
    assert "ansible_connection" not in one
    assert "kind" not in hosts["one.inline"]
    assert found["az_z1"]["hosts"] == ["two.lab"]
    assert sorted(found["plugin_swift_storage"]["hosts"]) == ["one.inline", "one.lab"]
    assert "swift_storage" not in found
    assert two["federation_instance"]["details"]["where"] == {"zone": "z1"}
    assert "hunter2" not in json.dumps(found)


BAD_PLUGIN = """
from __future__ import annotations
DOCUMENTATION = '''
name: bad
short_description: Does what it is told
description: A stand-in for what inventory plugins do wrong; real ones do it only now and then.
options: {plugin: {description: name, type: str}, how: {description: how, type: str}}
'''
import os, sys, time
from ansible.plugins.inventory import BaseInventoryPlugin

class InventoryModule(BaseInventoryPlugin):
    NAME = "test.bad.bad"

    def verify_file(self, path):
        return True

    def parse(self, inventory, loader, path, cache=True):
        super().parse(inventory, loader, path, cache)
        how = self._read_config_data(path)["how"]
        if how == "exit":
            sys.exit(4)
        if how == "leave":
            os._exit(0)
        if how == "crash":
            os.abort()
        if how == "hang":
            time.sleep(600)
        if how == "raise":
            raise ZeroDivisionError("oh")
        if how == "environment":
            inventory.add_host(os.environ.get("WHOM", "nobody"))
"""


def test_a_plugin_that_breaks_only_breaks_its_site(newest: Place) -> None:
    base = newest.path / "collections" / "ansible_collections" / "test" / "bad"
    (base / "plugins" / "inventory").mkdir(parents=True)
    (base / "plugins" / "inventory" / "bad.py").write_text(textwrap.dedent(BAD_PLUGIN))
    ways = {
        "exit": "its process ended with 4 before it had answered",
        "leave": "its process ended with 0 before it had answered",
        "crash": "its process was ended by signal 6 before it had answered",
        "hang": "no answer in ",
        "raise": "before it had answered: ZeroDivisionError: oh",
    }
    for how in (*ways, "environment"):
        more = {"credentials": {"env": "MINE"}} if how == "environment" else {}
        options = {"name": "test.bad.bad", "config": {"how": how}}
        newest.plugin(how, options, timeout=20, **more)
    newest.plugin("none", {"name": "test.bad.none", "config": {"how": "x"}})
    newest.static()
    found = newest.list(MINE_WHOM="me")
    report = found["_meta"]["hostvars"]["still-a"]["federation_report"]
    for how, says in ways.items():
        assert says in report[how]["message"], how
    assert "no inventory plugin test.bad.none here" in report["none"]["message"]
    assert sorted(found["_meta"]["hostvars"]) == ["me.environment", "still-a"]


GOING_ON = """
from ansible.plugins.inventory import BaseInventoryPlugin
from ansible.utils.display import Display

DOCUMENTATION = "{name: azure_rm, options: {plugin: {}, refused: {}}}"

class InventoryModule(BaseInventoryPlugin):
    NAME = "azure.azcollection.azure_rm"

    def parse(self, inventory, loader, path, cache=True):
        super().parse(inventory, loader, path, cache)
        self._read_config_data(path)
        inventory.add_host("some")
        if self.get_option("refused"):
            Display().error({"httpMethod": "GET", "url": "https://a.example/two"})
            Display().error({"error": {"code": "AuthorizationFailed", "message": "no"}})
"""


def test_a_plugin_that_goes_on_after_an_error_has_not_answered(every_core: Place) -> None:
    """A FAKE of Azure's plugin; test_azure_inventory.py has the real one."""
    place = every_core
    base = place.path / "collections" / "ansible_collections" / "azure" / "azcollection"
    (base / "plugins" / "inventory").mkdir(parents=True)
    (base / "plugins" / "inventory" / "azure_rm.py").write_text(GOING_ON)
    for name, refused in (("good", False), ("bad", True)):
        options = {"name": "azure.azcollection.azure_rm", "config": {"refused": refused}}
        place.plugin(name, options)
    found = place.list()
    assert list(found["_meta"]["hostvars"]) == ["some.good"]
    report = found["_meta"]["hostvars"]["some.good"]["federation_report"]
    assert report["bad"]["message"] == (
        "azure.azcollection.azure_rm did not list everything: "
        "https://a.example/two AuthorizationFailed no"
    )


def test_ansible_runner_gets_it(newest: Place, cloud: FakeCloud) -> None:
    newest.openstack("bari", cloud)
    newest.run("--list")
    script = (
        "import ansible_runner, json, sys\n"
        "out, err = ansible_runner.get_inventory('list', sys.argv[1:], response_format='json',"
        " quiet=True)\n"
        "print(json.dumps(sorted(out['_meta']['hostvars'])))\n"
    )
    environment = os.environ | {
        "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".cache" / "collections"),
        "ANSIBLE_HOME": str(newest.path / "home"),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    done = subprocess.run(
        [sys.executable, "-c", script, str(newest.path / "federation.yml")],
        env=environment, cwd=newest.path, capture_output=True, text=True,
        timeout=ANSIBLE_TIMEOUT, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])[-1] == "vm9.bari"


@pytest.fixture
def podman() -> Iterator[list[str]]:
    """The real one with a store of its own, whose path may not be longer than 50 characters."""
    if not shutil.which("podman"):
        pytest.skip("no podman here: apt install podman")
    with tempfile.TemporaryDirectory(prefix="infn-") as store:
        command = [
            *("podman", "--root", f"{store}/root", "--runroot", f"{store}/run"),
            *("--storage-driver", "vfs"),
        ]
        yield command
        for leftover in (["rm", "--all", "--force"], ["rmi", "--all", "--force"]):
            subprocess.run([*command, *leftover], check=True, capture_output=True, timeout=120)


def test_containers_by_the_real_podman(newest: Place, podman: list[str]) -> None:
    """Nobody else's containers are seen, and none is started."""
    (newest.path / "empty").mkdir()
    (newest.path / "empty" / "hello").touch()

    def call(*arguments: str, **more: Any) -> None:
        subprocess.run([*podman, *arguments], check=True, capture_output=True, timeout=120, **more)

    tar = subprocess.run(
        ["tar", "-C", str(newest.path / "empty"), "-c", "."], check=True, capture_output=True
    ).stdout
    call("import", "-", "localhost/empty:1", input=tar)
    for name in ("lab-ui", "other"):
        call("create", "--name", name, "--label", "federation=lab", "localhost/empty:1", "/hello")
    call("create", "--name", "stranger", "localhost/empty:1", "/hello")
    hosts = [
        {"name": "lab-ui", "address": "192.0.2.1", "services": ["login"]},
        {"name": "lab-gone", "address": "192.0.2.2"},
    ]
    newest.sites.append(
        {
            "name": "lab",
            "coupling": "federated",
            "provider": "containers",
            "options": {"command": podman, "label": "federation=lab"},
            "hosts": hosts,
        }
    )
    found = newest.list()
    known = found["_meta"]["hostvars"]
    assert sorted(known) == ["lab-gone", "lab-ui", "other.lab"]
    assert known["lab-ui"]["ansible_host"] == "192.0.2.1"
    assert known["lab-ui"]["federation_instance_state"] == "created"
    assert "federation_instance_state" not in known["lab-gone"]
    assert found["login"]["hosts"] == ["lab-ui"]
