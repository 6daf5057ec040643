# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a site may say about its cloud and its part in the federation."""

from __future__ import annotations

import datetime
from typing import Any

import pytest
import yaml
from ansible_collections.infn.cloud.plugins.module_utils._federation_cloud import (
    AddressChoice,
    ContainersOptions,
    Credentials,
    OpenStackOptions,
    PluginOptions,
)
from ansible_collections.infn.cloud.plugins.module_utils._federation_model import (
    FederationError,
    read_federation,
)

ISSUER = "https://iam.example.org/"
TEXT = """
plugin: infn.cloud.federation
federation: {name: demo, domain: demo.test}
deadline: 90
concurrency: 4
on_site_failure: skip
max_stale: 7200
refresh_after: 300
require_sites: [bari]
sites:
  - name: bari
    coupling: federated
    provider: openstack
    credentials: {cloud: bari}
    timeout: 20
    on_site_failure: fail
    options:
      auth_url: https://keystone.bari.example.org:5000/v3
      region: RegionOne
      projects: [web, 9f0e]
      filters: {status: ACTIVE}
      address: {network: private, kind: fixed, version: 4}
    identity_provider: {name: iam, protocol: openid, issuer: "https://iam.example.org/"}
    support_emails: [cloud@bari.example.org]
    default_public_net: public
    default_private_net: private
    private_net_proxy: {host: proxy.bari.example.org, user: proxy}
    image_tags: [federated]
    network_tags: [federated]
    sla:
      - group: /users/catch-all
        issuer: https://iam.example.org/
        project: web
        doc_uuid: 3B2C1D9E-0a4f-4c55-8d21-5f3a1b2c3d4e
        start_date: 2026-01-01
        end_date: "2026-12-31"
        preference: 1
        quotas: {instances: 10, ram_mb: -1}
  - name: paris
    coupling: federated
    provider: plugin
    credentials: {env: PARIS}
    options:
      name: amazon.aws.aws_ec2
      config: {regions: [eu-west-3], aws_secret_key: "{{ lookup('env', 'X') }}"}
      map: {name: tags.Name}
      keep_vars: [ansible_connection]
  - name: lab
    coupling: federated
    provider: containers
    options: {command: [sudo, podman], label: lab=yes}
"""


def example() -> Any:
    return yaml.safe_load(TEXT)


def read(data: object) -> Any:
    return read_federation(data, "federation.yml", options={"plugin"})


def one_problem(data: object) -> str:
    with pytest.raises(FederationError) as caught:
        read(data)
    (problem,) = caught.value.problems
    return str(problem)


def test_reads_how_the_sites_are_asked() -> None:
    federation = read(example())
    bari, paris, lab = federation.sites
    policy = federation.policy
    assert (policy.deadline, policy.concurrency, policy.max_stale) == (90, 4, 7200)
    assert (policy.refresh_after, policy.require_sites) == (300, ("bari",))
    assert [federation.timeout(site) for site in federation.sites] == [20, 90, 90]
    assert [federation.on_failure(site) for site in federation.sites] == ["fail", "skip", "skip"]
    assert bari.source.credentials == Credentials(cloud="bari")
    assert bari.source.options == OpenStackOptions(
        auth_url="https://keystone.bari.example.org:5000/v3",
        region="RegionOne",
        projects=("web", "9f0e"),
        filters={"status": "ACTIVE"},
        address=AddressChoice("private", "fixed", 4),
    )
    assert isinstance(paris.source.options, PluginOptions)
    assert paris.source.options.map == {"name": "tags.Name"}
    assert paris.source.options.keep_vars == ("ansible_connection",)
    assert lab.source.options == ContainersOptions(("sudo", "podman"), "lab=yes")


def test_a_site_never_gets_longer_than_all_of_them() -> None:
    data = example()
    data["deadline"] = 10
    federation = read(data)
    assert federation.timeout(federation.sites[0]) == 10


def test_without_a_word_the_sites_have_a_minute_and_their_last_answer_a_day() -> None:
    data = example()
    for key in ("deadline", "concurrency", "on_site_failure", "max_stale", "refresh_after"):
        del data[key]
    policy = read(data).policy
    assert (policy.deadline, policy.concurrency, policy.on_site_failure) == (60, 16, "stale")
    assert (policy.max_stale, policy.refresh_after) == (86400, 0)


def test_reads_the_part_in_the_federation() -> None:
    part = read(example()).sites[0].membership
    assert part.identity_provider.issuer == ISSUER
    assert (part.private_net_proxy.host, part.private_net_proxy.user) == (
        "proxy.bari.example.org",
        "proxy",
    )
    (sla,) = part.sla
    assert (sla.group, sla.issuer, sla.project) == ("/users/catch-all", ISSUER, "web")
    assert sla.doc_uuid == "3b2c1d9e-0a4f-4c55-8d21-5f3a1b2c3d4e"
    assert sla.quotas == {"instances": 10, "ram_mb": -1}
    assert sla.in_force(datetime.date(2026, 12, 31))
    assert not sla.in_force(datetime.date(2027, 1, 1))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"deadline": 0}, "deadline: expected a whole number from 1 to 86400"),
        ({"concurrency": "4"}, "concurrency: expected a whole number from 1 to 256"),
        ({"on_site_failure": "hope"}, "on_site_failure: expected one of stale, skip, fail"),
        ({"max_stale": 1.5}, "max_stale: expected a whole number"),
        ({"refresh_after": -1}, "refresh_after: expected a whole number from 0 on"),
        ({"require_sites": ["baree"]}, "require_sites: there is no site baree; name one of bari"),
        ({"require_sites": "bari"}, "require_sites: expected a list"),
        ({"details": "yes"}, "details: expected true or false, found the text 'yes'"),
    ],
)
def test_refuses_at_the_top(change: dict[str, Any], says: str) -> None:
    assert says in one_problem(example() | change)


@pytest.mark.parametrize(
    ("site", "change", "says"),
    [
        (0, {"credentials": None}, "site bari, credentials: missing; give one of cloud, env, file"),
        (0, {"credentials": {"cloud": "a", "env": "OS"}}, "credentials: give exactly one of"),
        (0, {"credentials": {}}, "credentials: give exactly one of"),
        (0, {"credentials": {"env": "os_"}}, "site bari, credentials, env: 'os_' is not valid"),
        (0, {"credentials": {"file": "{{ x }}"}}, "site bari, credentials, file: '{{ x }}' is not"),
        (0, {"timeout": 0}, "site bari, timeout: expected a whole number from 1 to 86400"),
        (0, {"options": {"page_size": 2000}}, "page_size: expected a whole number from 1 to 1000"),
        (0, {"options": {"auth_url": "keystone"}}, "auth_url: 'keystone' is not valid"),
        (0, {"options": {"auth_url": "https://me:pw@k/v3"}}, "without name or password in it"),
        (0, {"options": {"regoin": "a"}}, "options, regoin: unknown key; did you mean region?"),
        (0, {"options": {"filters": {"status": ["a"]}}}, "found status: a list"),
        (0, {"options": {"address": {"version": 5}}}, "address, version: expected 4 or 6"),
        (0, {"options": {"all_projects": True, "projects": ["a"]}}, "remove one of the two"),
        (0, {"support_emails": ["me"]}, "support_emails: 'me' is not valid"),
        (0, {"private_net_proxy": {"ip": "a"}}, "private_net_proxy, ip: unknown key"),
        (0, {"identity_provider": None}, "identity_provider: missing; an SLA is of no use without"),
        (1, {"credentials": {"cloud": "a"}}, "only provider openstack reads clouds.yaml"),
        (1, {"options": None}, "site paris, options: missing; name the inventory plugin there"),
        (1, {"options": {"name": "amazon.aws.aws_ec2"}}, "exactly one of config, config_file"),
        (2, {"credentials": {"env": "OS"}}, "credentials: provider containers uses none; remove"),
        (2, {"provider": "static"}, "site lab, options: provider static has none; remove them"),
    ],
)
def test_refuses_in_a_site(site: int, change: dict[str, Any], says: str) -> None:
    data = example()
    data["sites"][site].update(change)
    if "private_net_proxy" in change:  # then host and user are missing too
        with pytest.raises(FederationError) as caught:
            read(data)
        assert says in "\n".join(caught.value.problems)
        return
    assert says in one_problem(data)


@pytest.mark.parametrize(
    "key", ["password", "token", "application_credential_secret", "aws_secret_access_key", "secret"]
)
def test_a_secret_in_the_file_is_refused_and_not_repeated(key: str) -> None:
    data = example()
    data["sites"][0]["credentials"] = {key: "hunter2"}
    data["sites"][1]["options"]["config"] = {"nested": [{key: "hunter2"}]}
    with pytest.raises(FederationError) as caught:
        read(data)
    first, second = caught.value.problems
    assert first.startswith(f"site bari, credentials, {key}: secrets are not written here")
    assert f"site paris, options, config.nested.{key}: secrets are not written here" in second
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"start_date": "tomorrow"}, "start_date: expected a day such as 2026-01-31"),
        ({"start_date": "2026-02-30"}, "start_date: expected a day such as 2026-01-31"),
        ({"end_date": "2025-12-31"}, "end_date: 2025-12-31 is before start_date 2026-01-01"),
        ({"doc_uuid": "x"}, "sla number 1, doc_uuid: 'x' is not valid"),
        ({"issuer": "https://iam.example.org"}, "they differ in the slash at the end"),
        ({"issuer": "https://other.example.org/"}, "is not the identity provider's"),
        ({"preference": 0}, "preference: expected a whole number from 1 on"),
        ({"quotas": {"instances": -2}}, "quotas, instances: expected a whole number from -1 on"),
        ({"quotas": {"ram": 2}}, "quotas, ram: unknown key; did you mean ram_mb?"),
        ({"group": None}, "sla number 1, group: missing"),
    ],
)
def test_refuses_in_an_sla(change: dict[str, Any], says: str) -> None:
    data = example()
    data["sites"][0]["sla"][0].update(change)
    assert says in one_problem(data)


def test_a_project_has_one_sla_and_an_sla_one_group() -> None:
    data = example()
    first = data["sites"][0]["sla"][0]
    data["sites"][0]["sla"].append(first | {"group": "/users/others"})
    with pytest.raises(FederationError) as caught:
        read(data)
    project, uuid = caught.value.problems
    assert (
        "sla of /users/others, project: web is taken by site bari, sla of /users/catch-" in project
    )
    assert (
        "doc_uuid: 3b2c1d9e-0a4f-4c55-8d21-5f3a1b2c3d4e is the agreement of /users/catch-" in uuid
    )
