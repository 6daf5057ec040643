# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sites of Azure, by the real azure.azcollection.azure_rm and Azure's real libraries.

Azure itself is a FAKE on loopback (azure_server.py). The libraries are large, `du -sh
.cache/azure-venv` says how large, so `scripts/setup azure` is asked for by name:
`python3 scripts/test.py azure` does that, `make test` does not, and without it these are skipped.
"""

from __future__ import annotations

import json
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from azure_server import CLIENT, PASSWORD, SUBSCRIPTION, TENANT, TOKEN, Azure
from inventory_place import ROOT, Place

VENV = ROOT / ".cache" / "azure-venv"
PYTHON = VENV / "bin" / "python"

pytestmark = pytest.mark.skipif(
    not list(VENV.glob(".stamp-*")), reason="no Azure libraries here: scripts/setup azure"
)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """With the core and the libraries of their environment, and the collection from ours."""
    found = Place(tmp_path)
    found.python = PYTHON
    (tmp_path / "collections").symlink_to(sysconfig.get_path("purelib"))
    return found


@pytest.fixture
def azure(tmp_path: Path) -> Iterator[Azure]:
    with Azure(tmp_path) as running:
        yield running


def dublin(place: Place, cloud: Azure, password: str = PASSWORD, **config: Any) -> None:
    variables = {
        "AZURE_SUBSCRIPTION_ID": SUBSCRIPTION,
        "AZURE_TENANT": TENANT,
        "AZURE_CLIENT_ID": CLIENT,
        "AZURE_SECRET": password,
        "AZURE_CLOUD_ENVIRONMENT": f"{cloud.url}/",
        "AZURE_DISABLE_INSTANCE_DISCOVERY": "true",  # which asks Microsoft
    }
    login = place.path / "azure.yml"
    login.write_text(yaml.safe_dump(variables), encoding="utf-8")
    login.chmod(0o600)
    place.plugin(
        "dublin",
        {
            "name": "azure.azcollection.azure_rm",
            "config": {
                "auth_source": "env",
                "keyed_groups": [{"key": "tags.role | default('none')", "prefix": "role"}],
                **config,
            },
        },
        credentials={"file": login.name},
    )


def environment(place: Place, cloud: Azure) -> dict[str, str]:
    """Where Azure's libraries learn of another cloud, and of its authority."""
    return {
        "ARM_CLOUD_METADATA_URL": f"{cloud.url}/metadata/endpoints?api-version=2022-09-01",
        "AZURE_CONFIG_DIR": str(place.path / "azure"),
        "REQUESTS_CA_BUNDLE": str(cloud.authority),
        "SSL_CERT_FILE": str(cloud.authority),
        "NO_PROXY": "127.0.0.1",
    }


def cached(place: Place) -> list[Path]:
    return [path for path in (place.path / "cache").rglob("*") if path.is_file()]


def no_secret(place: Place, *texts: str) -> None:
    written = "".join(path.read_text(encoding="utf-8") for path in cached(place))
    for secret in (PASSWORD, TOKEN, "not-this-one"):
        assert secret not in "".join(texts) + written


def test_azure_by_its_own_plugin(place: Place, azure: Azure) -> None:
    """Three machines in two resource groups, on two pages."""
    dublin(place, azure, default_host_filters=[])
    place.top["details"] = True
    done = place.run("--list", "-vvvv", **environment(place, azure))
    assert done.returncode == 0, done.stderr
    no_secret(place, done.stdout, done.stderr)
    assert "198.51.100.10" in "".join(path.read_text() for path in cached(place))
    found = json.loads(done.stdout)
    hosts = found["_meta"]["hostvars"]
    assert sorted(hosts) == ["archive.dublin", "front.dublin", "worker.dublin"], done.stderr
    archive, front, worker = (hosts[name] for name in sorted(hosts))
    facts = ("instance_id", "instance_name", "instance_state")
    assert [[one[f"federation_{fact}"] for fact in facts] for one in (front, worker, archive)] == [
        ["dublin/5f3c0b0e-0000-4000-8000-000000000001", "front", "running"],
        ["dublin/5f3c0b0e-0000-4000-8000-000000000002", "worker", "running"],
        ["dublin/5f3c0b0e-0000-4000-8000-000000000003", "archive", "deallocated"],
    ]
    assert front["ansible_host"] == "198.51.100.10"  # public before private
    assert worker["ansible_host"] == "10.0.0.5"  # that of its primary interface
    assert archive["ansible_host"] == "10.1.0.6"
    groups = {name: sorted(group.get("hosts", ())) for name, group in found.items()}
    assert groups["project_physics"] == ["front.dublin", "worker.dublin"]
    assert groups["project_web"] == ["archive.dublin"]
    assert groups["az_northeurope"] == sorted(hosts)
    assert groups["flavor_Standard_D2s_v5"] == ["front.dublin"]
    assert groups["image_ubuntu_24_04_lts"] == ["archive.dublin", "front.dublin"]
    image = worker["federation_instance"]["image"]  # one of a gallery has nothing but its id
    assert image.endswith("/galleries/ours/images/worker/versions/1.2.3")
    assert groups["plugin_role_swift_storage"] == ["archive.dublin"]
    assert "swift_storage" not in groups
    tags = front["federation_instance"]["details"]["tags"]
    assert tags == {"role": {"__ansible_unsafe": "web {{ 7*7 }}"}}
    assert "49" not in json.dumps([groups, tags])


def test_azure_leaves_out_what_stands_still_unless_told_otherwise(
    place: Place, azure: Azure
) -> None:
    """By the plugin's own default; and a request that is one too many at first is made again."""
    azure.busy = 1
    dublin(place, azure)
    found = place.list(**environment(place, azure))
    assert sorted(found["_meta"]["hostvars"]) == ["front.dublin", "worker.dublin"]
    assert azure.busy == 0


def refused_login(azure: Azure) -> None:
    """Nothing to do: the password is a wrong one."""


def busy(azure: Azure) -> None:
    azure.faults["/batch"] = 429


def broken_off(azure: Azure) -> None:
    azure.breaks_off = True


def refused_list(azure: Azure) -> None:
    azure.faults["/virtualMachines?"] = 403


def refused_page(azure: Azure) -> None:
    azure.faults["skiptoken"] = 403


def refused_interface(azure: Azure) -> None:
    azure.faults["/networkInterfaces/worker-nic"] = 403


REFUSED = "did not list everything: https://127.0.0.1:"


@pytest.mark.parametrize(
    ("wrong", "batch", "message"),
    [
        (refused_login, True, "AADSTS7000215: Invalid client secret provided."),
        (busy, True, "didn't find expected key responses/value in batch response"),
        (broken_off, True, "IncompleteRead"),
        (refused_list, True, REFUSED),
        (refused_page, True, REFUSED),
        (refused_interface, True, REFUSED),
        (refused_interface, False, "did not list everything: /subscriptions/"),
    ],
)
def test_azure_fails_alone_and_says_why(
    place: Place, azure: Azure, wrong: Any, batch: bool, message: str
) -> None:
    """Also where the plugin would go on without what was refused, as it does without a batch."""
    wrong(azure)
    password = "not-this-one" if wrong is refused_login else PASSWORD
    dublin(place, azure, password, batch_fetch=batch)
    place.static()
    done = place.run("--list", "-vvvv", **environment(place, azure))
    assert done.returncode == 0, done.stderr
    no_secret(place, done.stdout, done.stderr)
    hosts = json.loads(done.stdout)["_meta"]["hostvars"]
    assert list(hosts) == ["still-a"]
    report = hosts["still-a"]["federation_report"]
    assert (report["dublin"]["status"], report["still"]["status"]) == ("failed", "ok")
    said = str(report["dublin"]["message"])  # a brace in it makes it a dictionary
    assert message in said
    assert ("AuthorizationFailed" in said) == (403 in azure.faults.values())
