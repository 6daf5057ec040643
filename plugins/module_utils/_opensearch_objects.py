# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an OpenSearch cluster shall hold besides data: compares, and says what has to be written.

PRIVATE to the collection: it may change without notice.

A pure core. What is declared must be there as declared; what else the server has, of its own or of
somebody else, stays.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

SECURITY = "/_plugins/_security/api"
# Where each kind lives, below which a name follows.
PATHS = {
    "role": SECURITY + "/roles/",
    "user": SECURITY + "/internalusers/",
    "role_mapping": SECURITY + "/rolesmapping/",
    "index_template": "/_index_template/",
    "repository": "/_snapshot/",
}
SETTINGS = "/_cluster/settings"
# Where a collector notes the names in a line.
FIELD = "labels.names"


class Item(NamedTuple):
    kind: str
    name: str
    # None: there shall be none.
    body: Mapping[str, Any] | None


class Change(NamedTuple):
    item: Item
    before: Mapping[str, Any] | None

    @property
    def path(self) -> str:
        return path(self.item)


def path(item: Item) -> str:
    return SETTINGS if item.kind == "settings" else PATHS[item.kind] + item.name


def views(wished: Sequence[Mapping[str, Any]], index: str) -> dict[str, list[dict[str, Any]]]:
    """Users who see some lines of the index and nothing else, and their roles.

    A view is of lines that have one of its domain names, or a name below one, or one of its words,
    in the field labels.names that collectors add: what has a dot or a hyphen in it.
    """
    users: list[dict[str, Any]] = []
    roles: list[dict[str, Any]] = []
    for view in wished:
        name = f"view-{view['name']}"
        if view.get("state") == "absent":
            users.append({"name": name, "state": "absent"})
            roles.append({"name": name, "state": "absent"})
            continue
        queries: list[dict[str, Any]] = [
            {"terms": {FIELD: [*(view.get("names") or ()), *(view.get("words") or ())]}},
            *({"wildcard": {FIELD: f"*.{domain}"}} for domain in view.get("names") or ()),
        ]
        permission = {
            "index_patterns": [f"{index}-*"],
            "allowed_actions": ["read"],
            "dls": {"bool": {"should": queries, "minimum_should_match": 1}},
        }
        users.append({"name": name, "password": view["password"]})
        roles.append({"name": name, "index_permissions": [permission], "users": [name]})
    return {"users": users, "roles": roles}


def wish(params: Mapping[str, Any]) -> list[Item]:
    """What is declared, in the order in which it can be made: roles before their users."""
    items = [_item("role", role, _role(role)) for role in params["roles"]]
    items += [_item("user", user, {"password": user["password"]}) for user in params["users"]]
    items += [
        _item("role_mapping", role, {"users": list(role["users"])}) for role in params["roles"]
    ]
    if params["settings"]:
        items.append(Item("settings", "persistent", {"persistent": dict(params["settings"])}))
    items += [Item("index_template", *entry) for entry in params["index_templates"].items()]
    items += [Item("repository", *entry) for entry in params["repositories"].items()]
    return items


def _item(kind: str, declared: Mapping[str, Any], body: Mapping[str, Any]) -> Item:
    return Item(kind, declared["name"], None if declared.get("state") == "absent" else body)


def _role(role: Mapping[str, Any]) -> dict[str, Any]:
    """As the server takes it. What documents it is limited to (dls) is a query, as text."""
    permissions = [
        {
            "index_patterns": list(entry["index_patterns"]),
            "allowed_actions": list(entry["allowed_actions"]),
            **({"dls": json.dumps(entry["dls"])} if entry.get("dls") else {}),
        }
        for entry in role["index_permissions"]
    ]
    return {
        "cluster_permissions": list(role["cluster_permissions"]),
        "index_permissions": permissions,
    }


def found(item: Item, answer: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The object itself, of what the server says to a GET of its path."""
    if item.kind == "settings":
        return {"persistent": answer.get("persistent", {})}
    if item.kind == "index_template":
        templates: Sequence[Mapping[str, Any]] = answer.get("index_templates", [])
        body: Mapping[str, Any] | None = templates[0]["index_template"] if templates else None
    else:
        body = answer.get(item.name)
    return body


def differs(item: Item, current: Mapping[str, Any] | None) -> bool:
    """Whether something declared is missing or other. A password cannot be read: see passwords."""
    if current is None or item.body is None:
        return (current is None) != (item.body is None)
    if item.kind == "user":
        return False
    return not _contains(current, item.body)


def _contains(current: Any, wanted: Any) -> bool:
    if isinstance(wanted, Mapping):
        flat = flatten(current) if isinstance(current, Mapping) else {}
        return all(
            key in flat and _contains(flat[key], value) for key, value in flatten(wanted).items()
        )
    if isinstance(wanted, (list, tuple)):
        return (
            isinstance(current, (list, tuple))
            and len(current) == len(wanted)
            and all(_contains(ours, theirs) for ours, theirs in zip(current, wanted))
        )
    return _scalar(current) == _scalar(wanted)


def flatten(body: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested and dotted keys are the same to the server, and here."""
    flat: dict[str, Any] = {}
    for key, value in body.items():
        if isinstance(value, Mapping) and value:
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _scalar(value: Any) -> str:
    """The server gives numbers and truths of settings back as texts."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def hidden(body: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """The same for a diff: without what is secret."""
    return {} if body is None else {k: v for k, v in body.items() if k not in ("password", "hash")}
