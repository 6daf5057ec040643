# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Of SLAs comes what a site has to have; who leaves loses only what the role made."""

from __future__ import annotations

from typing import Any

from ansible_collections.infn.cloud.plugins.module_utils._federated_site import (
    MARK,
    describe,
    local_group,
    mapping_rules,
    plan_site,
)

ISSUER = "https://iam.example/"
SLA = {"group": "cms/it", "issuer": ISSUER, "project": "fed-cms", "doc_uuid": "u1"}


def settings(**more: Any) -> dict[str, Any]:
    return {
        "issuer": ISSUER,
        "slas": [SLA],
        "identity_provider": "idp",
        "protocol": "openid",
        "mapping": "map",
        "domain": "Default",
        "claims": {"subject": "SUB", "issuer": "ISS", "groups": "GROUPS"},
        "role": "member",
        "group_prefix": "fed-",
        "adopted_projects": [],
        "private_network": {},
        "security_rules": [],
        "images": [],
        **more,
    }


def made(**more: Any) -> dict[str, Any]:
    return {"fed-cms": {"id": "p", "enabled": True, "description": describe(SLA), **more}}


def test_a_group_of_a_tree_becomes_one_name() -> None:
    assert local_group(settings(), {"group": "/cms/it"}) == "fed-cms-it"


def test_the_mapping_asks_for_issuer_and_group() -> None:
    (rule,) = mapping_rules(settings())
    assert rule["remote"][1] == {"type": "ISS", "any_one_of": [ISSUER]}
    assert rule["remote"][2] == {"type": "GROUPS", "any_one_of": ["cms/it"]}
    assert rule["local"][0]["group"] == {"name": "fed-cms-it", "domain": {"name": "Default"}}


def test_joining() -> None:
    plan = plan_site(settings(private_network={"name": "n"}), {"fed-cms": None}, {}, leave=False)
    assert plan["refusals"] == []
    assert plan["identity"]["projects"][0]["description"].startswith(MARK)
    assert plan["resources"]["networks"] == [{"name": "n", "project": "fed-cms"}]
    assert plan["resources"]["quotas"] == [], "without agreed quotas the site's stay"


def test_refusals() -> None:
    foreign = made(description="of somebody")
    assert (
        "was not made by this role"
        in plan_site(settings(), foreign, {}, leave=False)["refusals"][0]
    )
    adopted = settings(adopted_projects=["fed-cms"])
    plan = plan_site(adopted, foreign, {}, leave=False)
    assert plan["refusals"] == []
    assert plan["identity"]["projects"] == [], "an adopted project is not described anew"
    twice = plan_site(settings(slas=[SLA, SLA]), made(), {}, leave=False)["refusals"]
    assert any("two SLAs have the project fed-cms" in text for text in twice)
    slash = plan_site(settings(issuer=ISSUER[:-1]), made(), {}, leave=False)["refusals"]
    assert "slash" in slash[0]


def leave(projects: dict[str, Any], contents: list[dict[str, str]], **more: Any) -> dict[str, Any]:
    return plan_site(settings(**more), projects, {"fed-cms": contents}, leave=True)


def test_leaving_removes_an_empty_project() -> None:
    plan = leave(made(), [{"kind": "security_group", "id": "1", "name": "default"}])
    assert plan["left"] == []
    assert [each["name"] for each in plan["identity"]["projects"]] == ["fed-cms"]
    assert plan["resources"]["quotas"] == [{"project": "fed-cms", "state": "absent"}]


def test_leaving_spares_what_users_have() -> None:
    server = {"kind": "server", "id": "1", "name": "mine"}
    plan = leave(made(), [server])
    assert plan["left"] == [{"project": "fed-cms", **server}]
    assert plan["identity"]["projects"] == []
    assert plan["resources"]["quotas"] == []
    assert plan["identity"]["identity_providers"] == [{"id": "idp", "state": "absent"}]


def test_leaving_spares_projects_of_others() -> None:
    assert leave(made(description="of somebody"), [])["identity"]["projects"] == []
    assert leave(made(), [], adopted_projects=["fed-cms"])["identity"]["projects"] == []
    assert leave({"fed-cms": None}, [])["identity"]["projects"] == []
