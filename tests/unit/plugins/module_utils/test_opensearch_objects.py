# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
from typing import Any

from ansible_collections.infn.cloud.plugins.module_utils._opensearch_objects import (
    Item,
    differs,
    found,
    hidden,
    views,
    wish,
)

NOTHING: dict[str, Any] = {
    "roles": [], "users": [], "settings": {}, "index_templates": {}, "repositories": {},
}  # fmt: skip
ROLE = {
    "name": "writer",
    "cluster_permissions": ["indices:data/write/bulk"],
    "index_permissions": [{"index_patterns": ["logs-*"], "allowed_actions": ["write"]}],
    "users": ["robot"],
}


def test_roles_come_before_their_users() -> None:
    items = wish({**NOTHING, "roles": [ROLE], "users": [{"name": "robot", "password": "x"}]})
    assert [item.kind for item in items] == ["role", "user", "role_mapping"]


def test_what_the_server_adds_is_no_difference() -> None:
    item, *_mapping = wish({**NOTHING, "roles": [ROLE]})
    served = {
        "reserved": False,
        "cluster_permissions": ["indices:data/write/bulk"],
        "index_permissions": [
            {"index_patterns": ["logs-*"], "fls": [], "allowed_actions": ["write"]}
        ],
    }
    assert not differs(item, served)
    served["cluster_permissions"] = ["*"]
    assert differs(item, served)


def test_settings_are_texts_and_nested() -> None:
    wanted = {"template": {"settings": {"index.number_of_replicas": 1, "index.hidden": True}}}
    item = Item("index_template", "logs", wanted)
    settings = {"index": {"number_of_replicas": "1", "hidden": "true"}}
    answer = {
        "index_templates": [
            {"name": "logs", "index_template": {"template": {"settings": settings}}}
        ]
    }
    assert not differs(item, found(item, answer))
    settings["index"]["number_of_replicas"] = "0"
    assert differs(item, found(item, answer))


def test_what_is_not_there_differs() -> None:
    assert differs(Item("user", "robot", {"password": "x"}), None)


def test_passwords_are_in_no_diff() -> None:
    assert hidden({"password": "x", "hash": "y", "description": "z"}) == {"description": "z"}


def test_who_shall_be_gone_differs_while_there() -> None:
    gone = {"name": "robot", "state": "absent"}
    items = wish({**NOTHING, "roles": [{**ROLE, **gone}], "users": [{**gone, "password": ""}]})
    assert {item.body for item in items} == {None}
    assert all(differs(item, {"users": []}) for item in items)
    assert not any(differs(item, None) for item in items)


def test_a_view_is_of_lines_with_its_names() -> None:
    made = views(
        [{"name": "cms", "password": "x", "names": ["cms.x.org"], "words": ["cms-a"]}], "l"
    )
    (role,) = made["roles"]
    (permission,) = role["index_permissions"]
    assert permission["allowed_actions"] == ["read"]
    assert permission["dls"]["bool"]["should"] == [
        {"terms": {"labels.names": ["cms.x.org", "cms-a"]}},
        {"wildcard": {"labels.names": "*.cms.x.org"}},
    ]
    item, *_mapping = wish({**NOTHING, "roles": [{"cluster_permissions": [], **role}]})
    assert json.loads(item.body["index_permissions"][0]["dls"]) == permission["dls"]
    assert views([{"name": "cms", "state": "absent"}], "l")["users"] == [
        {"name": "view-cms", "state": "absent"}
    ]
