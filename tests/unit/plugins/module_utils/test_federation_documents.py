# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The documents have the shapes of tests/schemas, or the error says what the federation lacks."""

from __future__ import annotations

import copy
import datetime
import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.infn.cloud.plugins.module_utils._federation_documents import (
    Document,
    authorization_line,
    documents,
    notes,
)
from ansible_collections.infn.cloud.plugins.module_utils._federation_model import (
    FederationError,
    read_federation,
)
from ansible_collections.infn.cloud.plugins.module_utils._federation_registration import (
    KINDS,
    Wanted,
    entry_name,
)
from ansible_collections.infn.cloud.tests.unit.plugins.federation_shapes import (
    faults,
    read_lines,
    validator,
)

ISSUER = "https://iam.cloud.example/"
PISA_DOCUMENT = "22222222-2222-2222-2222-222222222222"
TEXT = """
federation: {name: example, domain: cloud.example}
sites:
  - name: torino
    coupling: federated
    location: {city: Torino, latitude: 45.05, longitude: 7.67}
    provider: openstack
    credentials: {cloud: torino}
    options:
      auth_url: https://keystone.torino.example:5000/v3
      region: RegionOne
      ca_file: ca.pem
    support_emails: [cloud-support@torino.example]
    identity_provider: {name: infn-cloud, protocol: openid, issuer: "https://iam.cloud.example/"}
    default_public_net: public
    default_private_net: private
    private_net_proxy: {host: bastion.torino.example, user: proxy}
    image_tags: [infn-cloud]
    network_tags: [infn-cloud]
    sla:
      - group: users/catch-all
        issuer: https://iam.cloud.example/
        project: catch-all
        doc_uuid: 0c54b4b8-9a5b-4b0e-8f0f-5f1f4c0a6d21
        start_date: 2026-01-01
        end_date: 2026-12-31
        quotas: {instances: 20}
      - group: users/web
        issuer: https://iam.cloud.example/
        project: 8f1d3c0a9e6b4c1f8a7d2e3b4c5d6e7f
        doc_uuid: 11111111-1111-1111-1111-111111111111
        start_date: 2025-01-01
        end_date: 2025-12-31
  - name: pisa
    coupling: federated
    provider: openstack
    credentials: {env: PISA}
    options: {auth_url: "https://cloud.pisa.example/identity", region: two}
    support_emails: [help@pisa.example]
    identity_provider: {name: iam, protocol: mapped, issuer: "https://iam.cloud.example/"}
    sla:
      - group: users/catch-all
        issuer: https://iam.cloud.example/
        project: catch-all
        doc_uuid: 22222222-2222-2222-2222-222222222222
        start_date: 2026-01-01
        end_date: 2026-12-31
  - {name: lab, coupling: federated, provider: containers}
"""
REGISTRATION: dict[str, Any] = {
    "torino": {
        "country": "Italy",
        "project_ids": {"catch-all": "5f1d3c0a9e6b4c1f8a7d2e3b4c5d6e7f"},
        "site_admins": ["7c2f0d8e-3b1a-4c5d-9e8f-0a1b2c3d4e5f"],
        "rally_username": "rally",
        "root_project": "catch-all",
    },
    "pisa": {
        "project_ids": {"catch-all": "6f1d3c0a9e6b4c1f8a7d2e3b4c5d6e7f"},
        "site_admins": ["7c2f0d8e-3b1a-4c5d-9e8f-0a1b2c3d4e5f"],
        "rally_username": "rally",
        "root_project": "catch-all",
        "test_flavor": "small",
        "floating_ips": True,
    },
}
SLA_URL = "https://documents.example.org/sla/{doc_uuid}"


EXAMPLE = yaml.safe_load(TEXT)


def example() -> Any:
    return copy.deepcopy(EXAMPLE)


def make(data: Any = None, **wanted: Any) -> list[Document]:
    wanted.setdefault("registration", REGISTRATION)
    wanted.setdefault("sla_url", SLA_URL)
    federation = read_federation(example() if data is None else data, "federation.yml")
    return documents(federation, "federation.yml", Wanted(**wanted))


def one(kind: str, data: Any = None, **wanted: Any) -> Any:
    return make(data, kinds=[kind], **wanted)[0].content


def problems(data: Any = None, **wanted: Any) -> tuple[str, ...]:
    with pytest.raises(FederationError) as caught:
        make(data, **wanted)
    assert str(caught.value).startswith("federation.yml: ")
    return caught.value.problems


def test_every_document_has_its_shape() -> None:
    made = make()
    assert [document.path for document in made] == [
        "feeder/torino.config.yaml",
        "feeder/pisa.config.yaml",
        "federation-manager.json",
        "clouds.yaml",
        "im-auth.txt",
    ]
    for document in made:
        assert not faults(document.kind, document.content)


def test_the_schema_refuses_what_the_feeder_refuses() -> None:
    """Its own example writes the proxy's host as ip."""
    feeder = validator("feeder")
    content = one("feeder")
    assert feeder.is_valid(content)
    proxy = content["openstack"][0]["projects"][0]["private_net_proxy"]
    proxy["ip"] = proxy.pop("host")
    assert not feeder.is_valid(content)


def paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if path:
        yield path
    if isinstance(value, (dict, list)):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, item in items:
            yield from paths(item, (*path, key))


def without(data: Any, path: tuple[Any, ...]) -> Any:
    data = copy.deepcopy(data)
    parent = data
    for key in path[:-1]:
        parent = parent[key]
    del parent[path[-1]]
    return data


def test_whatever_is_left_out_there_is_an_error_or_a_document_of_its_shape() -> None:
    outcomes = {"made": 0, "refused": 0}
    for path, kind in itertools.product(paths(example()), KINDS):
        try:
            made = make(without(example(), path), kinds=[kind])
        except FederationError:
            outcomes["refused"] += 1
        else:
            outcomes["made"] += 1
            for document in made:
                assert not faults(kind, document.content)
    assert min(outcomes.values()) > 50, outcomes
    for path, kind in itertools.product(paths(REGISTRATION), KINDS):
        try:
            made = make(kinds=[kind], registration=without(REGISTRATION, path))
        except FederationError as error:
            assert kind in ("feeder", "manager"), error
        else:
            for document in made:
                assert not faults(kind, document.content)


def test_feeder() -> None:
    content = one("feeder")
    assert content["trusted_idps"] == [
        {
            "issuer": ISSUER,
            "group_claim": "groups",
            "user_groups": [
                {
                    "name": "users/catch-all",
                    "slas": [
                        {
                            "doc_uuid": "0c54b4b8-9a5b-4b0e-8f0f-5f1f4c0a6d21",
                            "start_date": "2026-01-01",
                            "end_date": "2026-12-31",
                        }
                    ],
                },
                {
                    "name": "users/web",
                    "slas": [
                        {
                            "doc_uuid": "11111111-1111-1111-1111-111111111111",
                            "start_date": "2025-01-01",
                            "end_date": "2025-12-31",
                        }
                    ],
                },
            ],
        }
    ]
    (provider,) = content["openstack"]
    assert provider["regions"] == [
        {
            "name": "RegionOne",
            "location": {
                "site": "Torino",
                "country": "Italy",
                "latitude": 45.05,
                "longitude": 7.67,
            },
        }
    ]
    assert [project["id"] for project in provider["projects"]] == [
        "5f1d3c0a9e6b4c1f8a7d2e3b4c5d6e7f",
        "8f1d3c0a9e6b4c1f8a7d2e3b4c5d6e7f",
    ]
    assert provider["projects"][0]["private_net_proxy"] == {
        "host": "bastion.torino.example",
        "user": "proxy",
    }
    # Quotas of an agreement bind the group as a whole: they are no limits of a user.
    assert "per_user_limits" not in provider["projects"][0]


def test_without_a_country_the_feeder_is_told_no_location() -> None:
    pisa = make(kinds=["feeder"])[1].content
    assert pisa["openstack"][0]["regions"] == [{"name": "two"}]


def test_the_feeder_s_text_survives_yaml() -> None:
    """A UUID without letters would be a number, a day a date."""
    content = one("feeder")
    assert yaml.safe_load(yaml.safe_dump(content)) == content
    assert "&id" not in yaml.safe_dump(content)


def test_manager_makes_each_thing_once_and_before_it_is_named() -> None:
    requests = one("manager")["requests"]
    made: set[str] = set()
    for request in requests:
        wanted = re.findall(r"\$\{id:([^}]+)\}", request["path"] + str(request["body"]))
        assert set(wanted) <= made, request
        if "makes" in request:
            assert request["makes"] not in made
            made.add(request["makes"])
    assert len([name for name in made if name.startswith("idp ")]) == 1
    assert len([name for name in made if name.startswith("group ")]) == 2
    assert len([name for name in made if name.startswith("sla ")]) == 3
    assert [r["body"]["is_root"] for r in requests if "iaas_project_id" in r["body"]] == [
        True,
        False,
        True,
    ]


def test_manager_gets_the_day_after_the_last_and_each_site_s_own_names() -> None:
    requests = one("manager")["requests"]
    (sla,) = [r["body"] for r in requests if r.get("makes") == f"sla {PISA_DOCUMENT}"]
    assert (sla["start_date"], sla["end_date"]) == ("2026-01-01", "2027-01-01")
    assert sla["url"] == SLA_URL.replace("{doc_uuid}", PISA_DOCUMENT)
    overrides = [r["body"]["overrides"] for r in requests if "idp_id" in r["body"]]
    assert overrides[1] == {"groups_claim": "groups", "name": "iam", "protocol": "mapped"}
    passwords = [r["body"].get("rally_password") for r in requests if r["path"] == "/providers/"]
    assert passwords == ["${env:RALLY_PASSWORD_TORINO}", "${env:RALLY_PASSWORD_PISA}"]


def test_clouds_yaml_is_what_openstacksdk_logs_in_by(tmp_path: Path) -> None:
    loader = pytest.importorskip("openstack.config.loader", reason="openstacksdk is not installed")
    (tmp_path / "clouds.yaml").write_text(yaml.safe_dump(one("clouds", registration={})))
    (tmp_path / "secure.yaml").write_text(
        "clouds: {torino.catch-all: {auth: {access_token: it}}}", encoding="utf-8"
    )
    config = loader.OpenStackConfig(
        config_files=[str(tmp_path / "clouds.yaml")],
        secure_files=[str(tmp_path / "secure.yaml")],
        vendor_files=[],
        load_envvars=False,
    )
    cloud = config.get_one("torino.catch-all")
    auth = cloud.get_session().auth
    assert auth.federated_token_url == (
        "https://keystone.torino.example:5000/v3/OS-FEDERATION/identity_providers/infn-cloud"
        "/protocols/openid/auth"
    )
    assert (auth.project_name, auth.project_domain_name) == ("catch-all", "Default")
    assert auth.access_token == "it"
    assert cloud.region_name == "RegionOne"


def test_clouds_names_a_project_by_its_id_where_it_is_known() -> None:
    clouds = one("clouds")["clouds"]
    assert clouds["torino.catch-all"]["auth"]["project_id"].startswith("5f1d")
    assert "project_name" not in clouds["torino.catch-all"]["auth"]
    assert clouds["torino.catch-all"]["cacert"] == "ca.pem"
    assert list(clouds) == [
        "torino.catch-all",
        "torino.8f1d3c0a9e6b4c1f8a7d2e3b4c5d6e7f",
        "pisa.catch-all",
    ]


def test_im_lines() -> None:
    lines = one("im", registration={}).splitlines()
    assert lines[0] == "type = InfrastructureManager; token = ${ACCESS_TOKEN}"
    assert lines[1] == (
        "id = torino.catch-all; type = OpenStack; host = https://keystone.torino.example:5000/v3;"
        " username = infn-cloud; tenant = openid; password = ${ACCESS_TOKEN}; domain = catch-all;"
        " service_region = RegionOne; auth_version = 3.x_oidc_access_token"
    )
    assert len(lines) == 4


@pytest.mark.parametrize("value", ["a;b", "a=b", "it's", 'say "a"', "a b", "é", "it's;=", '";='])
def test_a_value_is_quoted_so_that_it_is_read_as_it_was(value: str) -> None:
    entry = {"id": "x", "domain": value, "last": "y"}
    assert read_lines(authorization_line(entry)) == [entry]


@pytest.mark.parametrize("value", [" a", "a ", "a\\nb", "a\nb", "file(/etc/passwd)", "'\""])
def test_a_value_that_would_be_read_as_another_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match="use the project's id"):
        authorization_line({"domain": value})


def test_a_project_that_im_cannot_be_told_is_named_with_its_site() -> None:
    data = example()
    data["sites"][1]["sla"][0]["project"] = 'it\'s "it"'
    (problem,) = problems(data, kinds=["im"])
    assert problem.startswith("site pisa, sla of users/catch-all, project: ")


def test_names_of_entries() -> None:
    assert entry_name("bari", "web") == "bari.web"
    assert entry_name("4th", "a b/c") == "_4th.a-b-c"


@pytest.mark.parametrize(
    "token", ["eyJhbGciOiJSUzI1NiJ9.e30.c2ln", "${ACCESS_TOKEN}x", "command(a; b)", "", "$TOKEN"]
)
def test_a_token_itself_is_refused_and_not_repeated(token: str) -> None:
    (problem,) = problems(token_from=token, kinds=["im"])
    assert problem.startswith("token_from: name where the token comes from")
    assert not token or token not in problem


def test_a_command_may_give_the_token() -> None:
    assert "password = command(oidc-token it);" in one("im", token_from="command(oidc-token it)")


def test_passwords_and_tokens_are_references() -> None:
    found = re.findall(r"(?:password|token)'?(?: =|:) '?([^',;\n]+)", _text())
    assert set(found) == {
        "${ACCESS_TOKEN}",
        "${env:RALLY_PASSWORD_TORINO}",
        "${env:RALLY_PASSWORD_PISA}",
    }


def _text() -> str:
    return "\n".join(str(document.content) for document in make())


@pytest.mark.parametrize(
    ("path", "kinds", "site", "key", "says"),
    [
        (("options", "auth_url"), ["im"], "pisa", "options, auth_url", "Infrastructure Manager"),
        (("options", "region"), ["feeder"], "pisa", "options, region", "often RegionOne"),
        (("support_emails",), ["manager"], "pisa", "support_emails", "federation-manager"),
        (("sla",), ["clouds"], "pisa", "sla", "add the agreement, or leave the site out"),
    ],
)
def test_what_is_missing_is_told_with_site_and_key(
    path: tuple[str, ...], kinds: list[str], site: str, key: str, says: str
) -> None:
    found = problems(without(example(), ("sites", 1, *path)), kinds=kinds)
    assert len(found) == 1
    assert found[0].startswith(f"site {site}, {key}: missing")
    assert says in found[0]


def test_all_that_is_missing_is_told_at_once() -> None:
    data = example()
    del data["sites"][0]["options"]
    for key in ("sla", "identity_provider", "support_emails"):
        del data["sites"][1][key]
    found = problems(data, registration={}, sla_url=None)
    keys = [problem.split(": ", 1)[0] for problem in found]
    assert keys == [
        "sla_url",
        "site torino, options, auth_url",
        "site torino, options, region",
        "site torino, registration, site_admins",
        "site torino, registration, rally_username",
        "site torino, registration, root_project",
        "site torino, registration, project_ids, catch-all",
        "site pisa, identity_provider",
        "site pisa, sla",
        "site pisa, support_emails",
        "site pisa, registration, site_admins",
        "site pisa, registration, rally_username",
    ]


def _agreement(**changes: Any) -> dict[str, Any]:
    return {
        "group": "users/more",
        "issuer": ISSUER,
        "project": "9" * 32,
        "doc_uuid": "33333333-3333-3333-3333-333333333333",
        "start_date": "2026-01-01",
        "end_date": "2026-12-31",
        **changes,
    }


@pytest.mark.parametrize(
    ("agreement", "kind", "says"),
    [
        (
            {"group": "users/catch-all", "doc_uuid": PISA_DOCUMENT},
            "feeder",
            "takes one project for each at a site",
        ),
        ({"group": "users/catch-all"}, "feeder", "would drop 33333333-"),
        ({"end_date": "2026-01-01"}, "feeder", "none that is the start_date"),
        ({"doc_uuid": "11111111-1111-1111-1111-111111111111"}, "manager", "at site torino"),
        ({"project": "catch all"}, "clouds", "would both be called pisa.catch-all"),
    ],
)
def test_agreements_that_others_refuse_or_drop(
    agreement: dict[str, Any], kind: str, says: str
) -> None:
    data = example()
    data["sites"][1]["sla"].append(_agreement(**agreement))
    (problem,) = problems(data, kinds=[kind])
    assert problem.startswith("site pisa, sla of ")
    assert says in problem


def test_one_keystone_is_one_provider_of_the_manager() -> None:
    data = example()
    data["sites"][1]["options"]["auth_url"] = data["sites"][0]["options"]["auth_url"]
    (problem,) = problems(data, kinds=["manager"])
    assert problem.startswith("site pisa, options, auth_url: ")
    assert "site torino" in problem


def test_im_reads_no_address_of_ipv6() -> None:
    data = example()
    data["sites"][1]["options"]["auth_url"] = "https://[2001:db8::1]:5000/v3"
    (problem,) = problems(data, kinds=["im"])
    assert problem.startswith("site pisa, options, auth_url: ")


def test_sites_are_chosen_by_name() -> None:
    made = make(kinds=["feeder"], sites=["pisa"])
    assert [document.path for document in made] == ["feeder/pisa.config.yaml"]
    assert problems(sites=["pisa", "rome", "lab"]) == (
        "sites: there is no site rome; name one of torino, pisa, lab",
        "site lab, provider: containers is not described by these documents; leave lab out of"
        " sites",
    )


def test_a_federation_without_openstack_has_nothing_to_tell() -> None:
    data = example()
    del data["sites"][:2]
    assert problems(data, registration={}, kinds=["im"]) == (
        "sites: none has provider openstack, so there is nothing to write",
    )


@pytest.mark.parametrize(
    ("registration", "says"),
    [
        ({"rome": {}}, "registration: there is no site rome"),
        ({"pisa": {"contry": "Italy"}}, "did you mean country?"),
        ({"pisa": {"project_ids": {"catch-all": "web"}}}, "32 hexadecimal digits"),
        ({"pisa": {"site_admins": ["me"]}}, "use the UUID"),
        ({"pisa": []}, "expected a mapping"),
    ],
)
def test_a_registration_is_checked(registration: dict[str, Any], says: str) -> None:
    found = problems(kinds=["im"], registration=registration)
    assert len(found) == 1
    assert says in found[0]


@pytest.mark.parametrize("url", ["https://documents.example.org/sla", "sla/{doc_uuid}"])
def test_the_url_of_agreements_is_checked(url: str) -> None:
    (problem,) = problems(kinds=["manager"], sla_url=url)
    assert problem.startswith("sla_url: ")


def test_notes() -> None:
    federation = read_federation(example(), "federation.yml")
    today = datetime.date(2026, 6, 1)
    assert notes(federation, Wanted(), today) == [
        "site torino, sla of users/web: ended on 2025-12-31"
    ]
    assert notes(federation, Wanted(sites=["pisa"]), datetime.date(2025, 6, 1)) == [
        "site pisa, sla of users/catch-all: begins on 2026-01-01"
    ]
    data = yaml.safe_load(TEXT.replace(ISSUER, ISSUER.rstrip("/")))
    slash = notes(read_federation(data, "federation.yml"), Wanted(sites=["pisa"]), today)
    assert len(slash) == 1
    assert "another issuer" in slash[0]
