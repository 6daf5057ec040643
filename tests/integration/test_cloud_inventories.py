# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sites of other kinds, by the real inventory plugins of these clouds and their real libraries.

AWS is moto's server. OpenNebula is a FAKE on loopback, since it has no server that could be
installed here: it answers the one call that the plugin makes with recorded/opennebula_vm_pool.xml,
which says where its shape is from. Azure is in test_azure_inventory.py, since its libraries are
large; what becomes of a site without them is here.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xmlrpc.server import SimpleXMLRPCServer

import pytest
import yaml
from inventory_place import Place

SESSION = "reader:secret-of-one"
RECORDED = Path(__file__).parent / "recorded" / "opennebula_vm_pool.xml"


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def secret_file(place: Place, name: str, **variables: str) -> dict[str, str]:
    """Credentials of a site in a file that nobody else can read."""
    path = place.path / name
    path.write_text(yaml.safe_dump(variables), encoding="utf-8")
    path.chmod(0o600)
    return {"file": name}


def test_aws_by_its_own_plugin(place: Place) -> None:
    """The real amazon.aws.aws_ec2 and boto3, against moto's server."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        url = f"http://{host}:{port}"
        login = {"aws_access_key_id": "AKIAEXAMPLE", "aws_secret_access_key": "secret-of-aws"}
        client = boto3.client("ec2", region_name="eu-west-3", endpoint_url=url, **login)
        image = client.describe_images(Owners=["amazon"])["Images"][0]["ImageId"]
        tags = [{"Key": "Name", "Value": "front {{ 7*7 }}"}, {"Key": "role", "Value": "web"}]
        client.run_instances(
            ImageId=image, MinCount=2, MaxCount=2, InstanceType="t3.micro",
            TagSpecifications=[{"ResourceType": "instance", "Tags": tags}],
        )  # fmt: skip
        place.plugin(
            "paris",
            {
                "name": "amazon.aws.aws_ec2",
                "config": {
                    "regions": ["eu-west-3"],
                    "endpoint_url": url,
                    "keyed_groups": [{"key": "tags.role", "prefix": "role"}],
                },
            },
            credentials=secret_file(
                place, "aws.yml", **{name.upper(): value for name, value in login.items()}
            ),
        )
        place.top["details"] = True
        found = place.list()
    finally:
        server.stop()
    hosts = found["_meta"]["hostvars"]
    assert len(hosts) == 2
    assert sorted(found["plugin_role_web"]["hosts"]) == sorted(hosts)
    assert sorted(found["flavor_t3_micro"]["hosts"]) == sorted(hosts)
    for name, one in hosts.items():
        assert name.startswith("i-")  # two of one name go by their ids
        assert one["federation_instance_name"] == {"__ansible_unsafe": "front {{ 7*7 }}"}
        assert one["federation_instance_state"] == "running"
        assert one["ansible_host"]
    assert "secret-of-aws" not in json.dumps(found)


class OpenNebula:
    """A FAKE: the recorded answer to one.vmpool.infoextended, for who knows the password."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, int, int, int]] = []
        self._server = SimpleXMLRPCServer(("127.0.0.1", 0), logRequests=False)
        self._server.register_function(self._pool, "one.vmpool.infoextended")
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/RPC2"

    def _pool(self, session: str, whose: int, first: int, last: int, state: int) -> list[Any]:
        """Success, answer or message, error code: what every call of OpenNebula returns."""
        if session != SESSION:
            return [False, "[one.vmpool.infoextended] User couldn't be authenticated.", 0x0100]
        self.asked.append((whose, first, last, state))
        return [True, RECORDED.read_text(encoding="utf-8"), 0]

    def __enter__(self) -> OpenNebula:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def opennebula() -> Iterator[OpenNebula]:
    with OpenNebula() as running:
        yield running


def lyon(place: Place, cloud: OpenNebula, password: str = SESSION.partition(":")[2]) -> None:
    name = SESSION.partition(":")[0]
    place.plugin(
        "lyon",
        {"name": "community.general.opennebula", "config": {"api_url": cloud.url}},
        credentials=secret_file(place, "one.yml", ONE_USERNAME=name, ONE_PASSWORD=password),
    )


def test_opennebula_by_its_own_plugin(place: Place, opennebula: OpenNebula) -> None:
    """The real community.general.opennebula and pyone."""
    lyon(place, opennebula)
    place.top["details"] = True
    found = place.list()
    assert opennebula.asked == [(-2, -1, -1, 3)]  # everybody's machines that are active, at once
    hosts = found["_meta"]["hostvars"]
    assert sorted(hosts) == ["front-7-7.lyon", "gpu-1.lyon", "lonely.lyon"]
    front, gpu, lonely = (hosts[name] for name in sorted(hosts))
    assert front["federation_instance_name"] == {"__ansible_unsafe": "front {{ 7*7 }}"}
    assert gpu["federation_instance_id"] == "lyon/43"
    assert (front["ansible_host"], front["ansible_port"]) == ("198.51.100.42", 2222)
    assert gpu["ansible_host"] == "2001:db8::43"  # it has no other
    assert "ansible_host" not in lonely  # which has no network
    assert sorted(found["project_users"]["hosts"]) == ["front-7-7.lyon", "lonely.lyon"]
    assert found["project_physics"]["hosts"] == ["gpu-1.lyon"]
    # A label is its user's choice: it makes a group of a plugin, never one of ours.
    assert found["plugin_swift_storage"]["hosts"] == ["front-7-7.lyon"]
    assert "swift_storage" not in found
    assert front["federation_instance"]["details"]["host"] == "node2.lyon.example"
    assert "secret" not in json.dumps(found)


def test_opennebula_refuses_a_wrong_password(place: Place, opennebula: OpenNebula) -> None:
    lyon(place, opennebula, password="not-this-one")
    place.static()
    done = place.run("--list", "-vvvv")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)["_meta"]["hostvars"]["still-a"]["federation_report"]
    assert report["lyon"]["status"] == "failed"
    assert "User couldn't be authenticated" in report["lyon"]["message"]
    assert "not-this-one" not in done.stdout + done.stderr


def test_azure_without_its_libraries_is_named(place: Place) -> None:
    """The real azure.azcollection.azure_rm: its site fails alone, and says what to install."""
    place.plugin(
        "dublin",
        {"name": "azure.azcollection.azure_rm", "config": {"auth_source": "env"}},
        credentials=secret_file(
            place, "azure.yml", AZURE_CLIENT_ID="reader", AZURE_SECRET="secret-of-azure",
            AZURE_SUBSCRIPTION_ID="s", AZURE_TENANT="t",
        ),
    )  # fmt: skip
    place.static()
    found = place.list()
    report = found["_meta"]["hostvars"]["still-a"]["federation_report"]
    assert report["dublin"]["status"] == "failed"
    assert report["dublin"]["message"].startswith("azure.azcollection.azure_rm: ")
    assert "install the requirements of its collection" in report["dublin"]["message"]
    assert "secret-of-azure" not in json.dumps(found)
