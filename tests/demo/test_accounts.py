# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Credentials of a service's own, and the limits of a project, made by Ansible, used by clients."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keystoneauth1.exceptions
import keystoneauth1.identity.v3
import keystoneauth1.session
import keystoneclient.v3.client
import openstack
import pytest

HOST = "bari-gw1"
EXPIRES = "2099-01-31T00:00:00Z"


class Service:
    """A service on a host of bari, with credentials of the demo's user that it may lose."""

    def __init__(self, demo: Any, tmp: Path) -> None:
        self.demo = demo
        self.tmp = tmp
        self.name = f"demo-test-{secrets.token_hex(4)}"
        self.path = f"/root/{self.name}.yaml"
        self.auth = {
            "auth_url": demo.sites["bari"].identity,
            "username": "demo",
            # The controller's own templates: no secret in a command line.
            "password": "{{ demo_secrets.demo_user_password }}",
            "project_name": "demo",
            "cacert": "/etc/ssl/certs/ca-certificates.crt",
        }

    def credential(self, **options: Any) -> dict[str, Any]:
        given = {"name": self.name, "path": self.path, "region_name": "bari", "roles": ["member"]}
        return self.demo.module(
            HOST, "application_credential", auth=self.auth, **given, expires_at=EXPIRES, **options
        )

    def session(self) -> keystoneauth1.session.Session:
        """A session with what the file says now."""
        cloud = json.loads(self.demo.shell(HOST, f"cat {self.path}"))["clouds"][self.name]
        assert cloud["auth_type"] == "v3applicationcredential"
        return self.demo.credential_session(cloud["auth"])


@pytest.fixture(scope="module")
def service(demo, tmp_path_factory) -> Iterator[Service]:
    made = Service(demo, tmp_path_factory.mktemp("service"))
    try:
        yield made
    finally:
        made.credential(state="absent", generation="none", remove_others=True)
        demo.shell(HOST, f"rm -f {made.path}")


def test_a_credential_is_made_once_and_used_in_every_site(demo, container, service) -> None:
    foreseen = service.demo.ansible(
        "ansible", HOST, "--check", "-m", "infn.cloud.application_credential",
        "-a", json.dumps({"auth": service.auth, "name": service.name, "roles": ["member"]}),
    ).results[HOST]  # fmt: skip
    assert foreseen["changed"] and "id" not in foreseen, foreseen
    made = service.credential()
    assert made.get("changed"), made
    assert "secret" not in made
    again = service.credential()
    assert not again["changed"] and again["id"] == made["id"], again
    mode = demo.host(HOST).file(service.path)
    assert (mode.mode, mode.user) == (0o600, "root")

    session = service.session()
    for site in demo.sites:
        swift = demo.swift(site, session)
        swift.put_container(container)
        swift.put_object(container, site, b"by a credential")
        assert swift.get_object(container, site)[1] == b"by a credential"
    # It cannot make further ones.
    keystone = keystoneclient.v3.client.Client(
        session=session, region_name="bari", interface="public"
    )
    with pytest.raises(keystoneauth1.exceptions.Forbidden):
        keystone.application_credentials.create(f"{service.name}-more")


def test_openstacks_library_takes_the_file(demo, container, service) -> None:
    file = service.tmp / "clouds.yaml"
    clouds = json.loads(demo.shell(HOST, f"cat {service.path}"))
    clouds["clouds"][service.name]["cacert"] = str(demo.ca)
    file.write_text(json.dumps(clouds))
    loader = openstack.config.OpenStackConfig(config_files=[str(file)], load_envvars=False)
    cloud = openstack.connection.Connection(config=loader.get_one(service.name))
    cloud.object_store.create_container(container)
    assert container in [each.name for each in cloud.object_store.containers()]


def test_a_credential_is_rotated_without_a_gap(demo, container, service) -> None:
    old = service.session()
    demo.swift("cnaf", old).put_container(container)
    refused = service.credential(generation="1", description="x", access_rules=[
        {"service": "object-store", "method": "GET", "path": "/v1/**"}])  # fmt: skip
    assert refused.get("failed") and "Give a new generation" in refused["msg"], refused

    assert service.credential(generation="2")["changed"]
    new = service.session()
    for session in (old, new):
        session.invalidate()
        demo.swift("padova", session).put_object(container, "o", b"x")
    done = service.credential(generation="2", remove_others=True)
    assert done["removed"] == [f"{service.name}-1"], done
    assert not service.credential(generation="2", remove_others=True)["changed"]
    with pytest.raises(keystoneauth1.exceptions.NotFound):
        old.invalidate()
        old.get_token()
    new.invalidate()
    assert demo.swift("padova", new).get_object(container, "o")[1] == b"x"


def test_a_credential_for_reading_only(demo, container, service) -> None:
    demo.swift("cnaf").put_container(container)
    demo.swift("cnaf").put_object(container, "o", b"to read")
    rule = {"service": "object-store", "method": "GET", "path": "/v1/**"}
    service.credential(generation="3", access_rules=[rule])
    token = service.session().get_token()
    for site in demo.sites.values():
        url = f"{site.object_storage}/v1/{demo.account}/{container}/o"
        answer = demo.http("GET", url, token=token)
        assert (answer.status_code, answer.content) == (200, b"to read"), site.name
        assert demo.http("PUT", url, token=token, data=b"x").status_code in (401, 403), site.name


# --- accounts


@pytest.fixture
def account(demo) -> Callable[..., dict[str, Any]]:
    """The module, as the demo's user."""

    def run(**options: Any) -> dict[str, Any]:
        auth = {
            "auth_url": demo.sites["bari"].identity,
            "username": "demo",
            "password": "{{ demo_secrets.demo_user_password }}",
            "project_name": "demo",
            "cacert": "/etc/ssl/certs/ca-certificates.crt",
        }
        url = f"{demo.sites['bari'].object_storage}/v1"
        return demo.module(HOST, "swift_account", auth=auth, url=url, **options)

    return run


def test_containers_are_made_as_declared(demo, container, account) -> None:
    wish = {
        "name": container,
        "policy": "two-regions",
        "quota_count": 1,
        "cors_origins": ["https://portal.example.org"],
        "read": ".r:*",
    }
    made = account(containers=[wish])
    assert made.get("changes") == [f"PUT container {container}"], made
    assert not account(containers=[wish])["changed"]
    headers = demo.swift("padova").head_container(container)
    assert headers["x-storage-policy"] == "two-regions"
    assert headers["x-container-meta-quota-count"] == "1"
    changed = account(containers=[wish | {"read": "", "quota_count": -1}])
    assert changed["changes"] == [f"POST container {container}"], changed
    headers = demo.swift("padova").head_container(container)
    assert "x-container-read" not in headers and "x-container-meta-quota-count" not in headers
    refused = account(containers=[wish | {"policy": "three-regions"}])
    assert "has the storage policy two-regions and cannot get three-regions" in refused["msg"]
    gone = account(containers=[{"name": container, "state": "absent"}])
    assert gone["changes"] == [f"DELETE container {container}"], gone


def test_a_users_own_quota_is_refused(account) -> None:
    refused = account(quota_bytes=1)
    assert refused.get("failed") and "need ResellerAdmin" in refused["msg"], refused


def test_a_projects_limits_are_set_by_playbook_and_hold(demo) -> None:
    """A project of the test's own; its member is told by every site."""
    name, password = f"demo-test-{secrets.token_hex(4)}", secrets.token_urlsafe(24)
    limits = {"quota_bytes": 100, "policy_quota_bytes": {"two-regions": 10}}

    def run(*more: str) -> Any:
        wished = [{"project": name, **limits}]
        run = demo.play("operations/object_accounts", *more, backbone_accounts=wished)
        return run.good().changed

    admin = {"username": "admin", "password": demo.secrets["keystone_admin_password"]}
    keystone = keystoneclient.v3.client.Client(
        session=demo.session("cnaf", project_name="admin", **admin),
        region_name="cnaf",
        interface="public",
    )
    made = []
    try:
        assert run() > 0
        assert run() == 0
        (project,) = keystone.projects.list(name=name)
        made.append(project)
        user = keystone.users.create(name, password=password, default_project=project)
        made.insert(0, user)
        role = next(each for each in keystone.roles.list() if each.name == "member")
        keystone.roles.grant(role, user=user, project=project)
        session = demo.session("bari", username=name, password=password, project_name=name)
        token = session.get_token()
        for number, site in enumerate(demo.sites.values()):
            url = f"{site.object_storage}/v1/AUTH_{project.id}"
            assert demo.http("PUT", f"{url}/c", token=token).ok
            policy = {"X-Storage-Policy": "two-regions"}
            assert demo.http("PUT", f"{url}/reduced", token=token, headers=policy).ok
            for path, size, status in (
                ("c/o", 101, 413), ("c/o", 5, 201), ("reduced/o", 11, 413), ("reduced/o", 3, 201),
            ):  # fmt: skip
                answer = demo.http("PUT", f"{url}/{path}{number}", token=token, data=b"x" * size)
                assert answer.status_code == status, f"{site.name} {path} {size}: {answer.text}"
        limits.update(quota_bytes=-1, policy_quota_bytes={"two-regions": -1})
        assert run("--check") > 0
        assert run() > 0
        # The proxies remember an account for a minute.
        url = f"{demo.sites['cnaf'].object_storage}/v1/AUTH_{project.id}"
        assert "x-account-quota-bytes" not in demo.http("HEAD", url, token=token).headers
        for number in range(len(demo.sites)):
            demo.http("DELETE", f"{url}/c/o{number}", token=token)
            demo.http("DELETE", f"{url}/reduced/o{number}", token=token)
        demo.http("DELETE", f"{url}/c", token=token)
        demo.http("DELETE", f"{url}/reduced", token=token)
    finally:
        for each in made:
            each.manager.delete(each)
