# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What services have to do for projects, and which projects cannot be."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.infn.cloud.plugins.module_utils._dns_zones import faults as dns_faults
from ansible_collections.infn.cloud.plugins.module_utils._projects import faults, services

ZONE = "cloud.example.org"
SECRET = "YSBzZWNyZXQgb2YgMzMgYnl0ZXMgZm9yIHRoaXMgdGVzdA=="


def project(**more: Any) -> dict[str, Any]:
    return {
        "name": "cms", "owner": "cms@example.org", "acme_secret": SECRET,
        "zone": {"max_records": 50, "keys": [{"name": "deploy", "secret": SECRET,
                                              "grants": [{"name": "www", "types": {"A": 2}}]}]},
        "mail": [{"id": "cms-portal", "senders": [f"portal@cms.{ZONE}"], "secret": "s" * 32}],
        "certificates": [{"host": "web1", "names": ["", "*", "portal"], "group": "www-data"}],
        "objects": {"password": "p" * 12, "quota_bytes": 10, "containers": [{"name": "data"}]},
        "logs": {"password": "l" * 12},
        **more,
    }  # fmt: skip


def test_each_service_gets_its_part() -> None:
    found = services([project()], ZONE, "web1")
    (zone,) = found["zones"]
    assert [key["name"] for key in zone["keys"]] == ["deploy", "certificates"]
    assert [grant["name"] for grant in zone["keys"][1]["grants"]] == [
        "_acme-challenge", "_acme-challenge.portal",
    ]  # fmt: skip
    assert found["domains"] == [{"name": f"cms.{ZONE}", "policy": "reject"}]
    assert found["credentials"][0]["owner"] == "cms@example.org"
    (certificate,) = found["certificates"]
    assert certificate["domains"] == [f"cms.{ZONE}", f"*.cms.{ZONE}", f"portal.cms.{ZONE}"]
    assert certificate["dns_key"] == {"name": f"certificates.cms.{ZONE}", "secret": SECRET}
    assert found["accounts"] == [{"project": "cms", "quota_bytes": 10}]
    assert found["members"] == [{"user": "cms", "role": "member", "project": "cms"}]
    (view,) = found["views"]
    assert (view["names"], view["words"]) == ([f"cms.{ZONE}"], ["cms-portal"])
    assert not services([project()], ZONE, "web2")["certificates"]


def test_who_goes_keeps_nothing() -> None:
    other = project(name="atlas", mail=None, certificates=None, objects=None, logs=None)
    found = services([project(state="absent"), other], ZONE, "web1")
    assert [(zone["name"], zone.get("state")) for zone in found["zones"]] == [
        ("cms", "absent"), ("atlas", None),
    ]  # fmt: skip
    assert [(view["name"], view["state"]) for view in found["views"]] == [
        ("cms", "absent"), ("atlas", "absent"),
    ]  # fmt: skip
    assert found["leaving"] == [{"name": "cms", "state": "absent"}]
    for kind in ("domains", "credentials", "certificates", "accounts", "users", "containers"):
        assert not found[kind], kind


def test_what_is_right_is_right_for_the_name_servers_too() -> None:
    assert not faults([project(), project(name="cm", mail=None)], ZONE, ["web1"])
    zones = services([project()], ZONE, "web1")["zones"]
    assert not dns_faults(ZONE, zones)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"name": "No_Label"}, "the label of its zone"),
        ({"name": "admin"}, "the backbone's own"),
        ({"owner": " "}, "no owner"),
        ({"state": "gone"}, "present or absent"),
        ({"mail": [{"id": "cms-x", "senders": [f"a@{ZONE}"]}]}, f"not in its own cms.{ZONE}"),
        ({"mail": [{"id": "cms-x", "senders": [f"@atlas.{ZONE}"]}]}, "not in its own"),
        ({"mail": [{"id": "atlas-x", "senders": []}]}, "its id begins with cms"),
        ({"mail": [{"id": "cmsx", "senders": []}]}, "its id begins with cms"),
        ({"certificates": [{"host": "nobody", "names": ["a"]}]}, "which the inventory does not"),
        ({"certificates": [{"host": "web1", "names": []}]}, "without names"),
        ({"objects": {"password": "short"}}, "objects, password needs at least 12"),
        ({"logs": {"password": "short"}}, "logs, password needs at least 12"),
    ],
)
def test_what_cannot_be_is_said(more: dict[str, Any], said: str) -> None:
    assert said in "; ".join(faults([project(**more)], ZONE, ["web1"]))


def test_a_name_is_one_projects() -> None:
    assert "there twice" in "; ".join(faults([project(), project()], ZONE, ["web1"]))
