# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What has to be done so that Keystone has what was declared.

PRIVATE to the collection: it may change without notice.

Pure: the wish and what Keystone has go in, an ordered list of operations comes out, or PlanError
with every reason why there is none. Nothing here knows HTTP or Ansible.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Optional, Union

Key = tuple[str, ...]

# What must exist first comes first; deletion goes the other way.
KINDS = (
    "region",
    "domain",
    "role",
    "project",
    "user",
    "group",
    "mapping",
    "identity_provider",
    "protocol",
    "service",
    "endpoint",
    "role_assignment",
)
# Kinds whose names are unique within a domain; their keys are (domain, name).
IN_A_DOMAIN = ("project", "user", "group")
DEFAULT_DOMAIN = "Default"
SECRET = "(not shown)"  # noqa: S105 - stands for a password, is none
NEW_SECRET = "(changed, not shown)"  # noqa: S105
# Keystone returns a missing text as null, as "" or not at all, depending on the kind.
TEXTS = ("description", "name", "email")
# Lists without an order: Keystone returns them in one of its own.
SETS = ("remote_ids",)


class PlanError(Exception):
    """Every reason why the wish cannot be carried out; nothing was changed."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("nothing was changed: " + "; ".join(problems))


class Ref(NamedTuple):
    """Another object, which may get its id only while the plan is carried out."""

    kind: str
    key: Key

    def __str__(self) -> str:
        return f"{self.kind} {display(self.kind, self.key)}"


Value = Union[str, bool, list[Any], Ref]


@dataclass(frozen=True)
class Item:
    """One declared object: what it is called, and the attributes that somebody cares about."""

    kind: str
    key: Key
    present: bool = True
    # What makes it that object: sent when it is created, never compared.
    identity: Mapping[str, Value] = field(default_factory=dict)
    # What was declared of it; the rest is left alone.
    attributes: Mapping[str, Value] = field(default_factory=dict)
    password: Optional[str] = field(default=None, repr=False)
    update_password: bool = True

    @property
    def ref(self) -> Ref:
        return Ref(self.kind, self.key)

    def needs(self) -> list[Ref]:
        values = (*self.identity.values(), *self.attributes.values())
        return [value for value in values if isinstance(value, Ref)]


@dataclass(frozen=True)
class Operation:
    action: str
    kind: str
    key: Key
    # The id of what is updated or deleted.
    id: Optional[str] = None
    # What is sent; a Ref in it is replaced by the id of what it names.
    body: Mapping[str, Value] = field(default_factory=dict, repr=False)
    # Attribute -> before and after, as shown to people.
    changes: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    references: Mapping[str, Ref] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return display(self.kind, self.key)

    def __str__(self) -> str:
        return f"{self.action} {self.kind.replace('_', ' ')} {self.name}"

    def result(self) -> dict[str, object]:
        return {
            "action": self.action,
            "kind": self.kind,
            "name": self.name,
            "changes": {name: dict(change) for name, change in self.changes.items()},
        }


@dataclass
class Snapshot:
    """What Keystone has, as far as the wish asks about it: (kind, key) -> objects of the API."""

    objects: dict[Ref, list[dict[str, Any]]] = field(default_factory=dict)
    # Kind and id of the actor, id of the role, kind and id of the scope ("" for the system).
    assignments: set[tuple[str, str, str, str, str]] = field(default_factory=set)

    def add(self, kind: str, key: Key, found: dict[str, Any]) -> None:
        self.objects.setdefault(Ref(kind, key), []).append(found)

    def get(self, ref: Ref) -> Optional[dict[str, Any]]:
        found = self.objects.get(ref)
        return found[0] if found else None

    def id(self, ref: Ref) -> Optional[str]:
        found = self.get(ref)
        return None if found is None else str(found["id"])

    def ref(self, kind: str, wanted_id: Optional[str]) -> Optional[Ref]:
        for ref, found in self.objects.items():
            if ref.kind == kind and any(one["id"] == wanted_id for one in found):
                return ref
        return None

    def content_of(self, domain: str) -> list[Ref]:
        return [ref for ref in self.objects if ref.kind in IN_A_DOMAIN and ref.key[0] == domain]


def display(kind: str, key: Key) -> str:
    """The name of an object for people and for results: as it is written in the wish."""
    if kind in IN_A_DOMAIN:
        return key[1] if key[0] == DEFAULT_DOMAIN else "/".join(key)
    if kind == "endpoint":
        return " ".join(key)
    if kind == "protocol":
        return f"{key[1]} of {key[0]}"
    if kind == "role_assignment":
        actor_kind, actor_domain, actor, role, scope_kind, scope_domain, scope = key
        actor_name = display(actor_kind, (actor_domain, actor))
        target = {
            "project": f"project {display('project', (scope_domain, scope))}",
            "domain": f"domain {scope}",
            "system": "the system",
        }[scope_kind]
        return f"{role} for {actor_kind} {actor_name} on {target}"
    return key[0]


def read_wish(params: Mapping[str, Any]) -> list[Item]:
    """Make items of the module's parameters; refuse what contradicts itself."""
    items = [
        *(
            _item("region", (raw["id"],), raw, identity={"id": raw["id"]})
            for raw in _of(params, "regions")
        ),
        *(_named("domain", raw) for raw in _of(params, "domains")),
        *(_named("role", raw) for raw in _of(params, "roles")),
        *(_in_a_domain("project", raw) for raw in _of(params, "projects")),
        *(_in_a_domain("user", raw) for raw in _of(params, "users")),
        *(_in_a_domain("group", raw) for raw in _of(params, "groups")),
        *(_item("mapping", (raw["id"],), raw, {}) for raw in _of(params, "mappings")),
        *(_identity_provider(raw) for raw in _of(params, "identity_providers")),
        *(_protocol(raw) for raw in _of(params, "protocols")),
        *(
            _item("service", (raw["type"],), raw, identity={"type": raw["type"]})
            for raw in _of(params, "services")
        ),
        *(_endpoint(raw) for raw in _of(params, "endpoints")),
        *(_assignment(raw) for raw in _of(params, "role_assignments")),
    ]
    seen: set[Ref] = set()
    problems = []
    for item in items:
        if item.ref in seen:
            problems.append(f"{item.ref} is declared twice; remove one")
        seen.add(item.ref)
    if problems:
        raise PlanError(problems)
    return items


def _of(params: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    return params.get(name) or []


def _item(kind: str, key: Key, raw: Mapping[str, Any], identity: Mapping[str, Value]) -> Item:
    attributes: dict[str, Value] = {
        name: raw[name]
        for name in ("description", "enabled", "email", "name", "url", "remote_ids", "rules")
        if raw.get(name) is not None and name not in identity
    }
    if raw.get("parent"):
        attributes["parent_region_id"] = Ref("region", (raw["parent"],))
    if raw.get("default_project"):
        attributes["default_project_id"] = Ref("project", (raw["domain"], raw["default_project"]))
    return Item(
        kind,
        key,
        present=raw.get("state", "present") == "present",
        identity=identity,
        attributes=attributes,
        password=raw.get("password"),
        update_password=raw.get("update_password", "always") == "always",
    )


def _named(kind: str, raw: Mapping[str, Any]) -> Item:
    return _item(kind, (raw["name"],), raw, {"name": raw["name"]})


def _in_a_domain(kind: str, raw: Mapping[str, Any]) -> Item:
    domain = Ref("domain", (raw["domain"],))
    return _item(
        kind, (raw["domain"], raw["name"]), raw, {"name": raw["name"], "domain_id": domain}
    )


def _identity_provider(raw: Mapping[str, Any]) -> Item:
    # Without a domain Keystone makes one with a random name, which nobody removes.
    identity = {"domain_id": Ref("domain", (raw["domain"],))}
    return _item("identity_provider", (raw["id"],), raw, identity)


def _protocol(raw: Mapping[str, Any]) -> Item:
    provider = raw["identity_provider"]
    identity = {"identity_provider": Ref("identity_provider", (provider,))}
    item = _item("protocol", (provider, raw["id"]), raw, identity)
    if not raw.get("mapping"):
        return item
    return replace(item, attributes={"mapping_id": Ref("mapping", (raw["mapping"],))})


def _endpoint(raw: Mapping[str, Any]) -> Item:
    identity = {
        "service_id": Ref("service", (raw["service_type"],)),
        "interface": raw["interface"],
        "region_id": Ref("region", (raw["region"],)),
    }
    key = (raw["service_type"], raw["interface"], raw["region"])
    return _item("endpoint", key, raw, identity)


def _assignment(raw: Mapping[str, Any]) -> Item:
    actor_kind = "user" if raw.get("user") else "group"
    actor = (raw[f"{actor_kind}_domain"], raw[actor_kind])
    identity = {"actor": Ref(actor_kind, actor), "role": Ref("role", (raw["role"],))}
    if raw.get("project"):
        scope = ("project", raw["project_domain"], raw["project"])
        identity["scope"] = Ref("project", scope[1:])
    elif raw.get("domain"):
        scope = ("domain", "", raw["domain"])
        identity["scope"] = Ref("domain", (raw["domain"],))
    else:
        scope = ("system", "", "all")
    key = (actor_kind, *actor, raw["role"], *scope)
    return _item("role_assignment", key, {"state": raw.get("state", "present")}, identity)


def passwords_to_try(wish: Iterable[Item], current: Snapshot) -> list[tuple[Item, str]]:
    """The users, with their ids, whose password can be compared only by logging in.

    Keystone lets no disabled user in, so with them there is nothing to learn.
    """
    found = []
    for item in wish:
        user = current.get(item.ref) if item.kind == "user" and item.present else None
        if user and item.password and item.update_password and user.get("enabled", True):
            found.append((item, str(user["id"])))
    return found


def make_plan(wish: Sequence[Item], current: Snapshot, wrong: Set[Ref]) -> list[Operation]:
    """The operations that lead from what Keystone has to the wish, in the order to do them.

    wrong are the users that their declared password did not let in.
    """
    problems = [*_ambiguous(wish, current), *_dangling(wish, current), *_lost(wish, current)]
    if problems:
        raise PlanError(problems)
    order = {kind: number for number, kind in enumerate(KINDS)}
    deletions: list[Operation] = []
    others: list[Operation] = []
    for item in _parents_first(wish, current):
        operation = _compare(item, current, wrong)
        if operation is not None:
            (deletions if operation.action == "delete" else others).append(operation)
    others.sort(key=lambda operation: order[operation.kind])
    # Children of regions that are deleted: the last of the parents' order goes first.
    deletions.reverse()
    deletions.sort(key=lambda operation: -order[operation.kind])
    return others + deletions


def _compare(item: Item, current: Snapshot, wrong: Set[Ref]) -> Optional[Operation]:
    if item.kind == "role_assignment":
        return _compare_assignment(item, current)
    found = current.get(item.ref)
    if found is None:
        return _create(item) if item.present else None
    if not item.present:
        return Operation("delete", item.kind, item.key, id=str(found["id"]))
    body: dict[str, Value] = {}
    changes: dict[str, Mapping[str, object]] = {}
    for name, value in item.attributes.items():
        before = found.get(name)
        if isinstance(value, Ref):
            same = before is not None and before == current.id(value)
            known = current.ref(value.kind, before)
            shown = before if known is None else display(known.kind, known.key)
            after: object = display(value.kind, value.key)
        else:
            same = _same(name, before, value)
            shown, after = before, value
        if not same:
            body[name] = value
            changes[name] = {"before": shown, "after": after}
    # A user that is enabled now could not be tried: the password is set along with it.
    if (
        item.password
        and item.update_password
        and (item.ref in wrong or body.get("enabled") is True)
    ):
        body["password"] = item.password
        changes["password"] = {"before": SECRET, "after": NEW_SECRET}
    if not body:
        return None
    return Operation("update", item.kind, item.key, str(found["id"]), body, changes)


def _same(name: str, before: Any, value: Value) -> bool:
    if name in TEXTS:
        return bool((before or "") == value)
    if name in SETS and isinstance(value, list):
        return set(before or ()) == set(value)
    return bool(before == value)


def _create(item: Item) -> Operation:
    body = {**item.identity, **item.attributes}
    changes: dict[str, Mapping[str, object]] = {
        name: {
            "before": None,
            "after": display(value.kind, value.key) if isinstance(value, Ref) else value,
        }
        for name, value in item.attributes.items()
    }
    if item.password:
        body["password"] = item.password
        changes["password"] = {"before": None, "after": SECRET}
    return Operation("create", item.kind, item.key, body=body, changes=changes)


def _compare_assignment(item: Item, current: Snapshot) -> Optional[Operation]:
    references = {name: ref for name, ref in item.identity.items() if isinstance(ref, Ref)}
    ids = {name: current.id(ref) for name, ref in references.items()}
    scope = "" if "scope" not in references else ids["scope"]
    wanted = (item.key[0], ids["actor"], ids["role"], item.key[4], scope)
    if (wanted in current.assignments) == item.present:
        return None
    return Operation(
        "create" if item.present else "delete", item.kind, item.key, references=references
    )


def _parents_first(wish: Sequence[Item], current: Snapshot) -> list[Item]:
    regions = {item.ref: item for item in wish if item.kind == "region"}
    done: dict[Ref, Item] = {}

    def visit(item: Item, below: tuple[Ref, ...]) -> None:
        if item.ref in below:
            raise PlanError([f"{item.ref} is its own parent; correct parent"])
        parent = item.attributes.get("parent_region_id")
        found = current.get(item.ref)
        if found is not None and parent is None and found["parent_region_id"]:
            parent = Ref("region", (found["parent_region_id"],))
        if isinstance(parent, Ref) and parent in regions:
            visit(regions[parent], (*below, item.ref))
        done.setdefault(item.ref, item)

    for region in regions.values():
        visit(region, ())
    return [*done.values(), *(item for item in wish if item.kind != "region")]


def _ambiguous(wish: Sequence[Item], current: Snapshot) -> list[str]:
    """Two services of a type, or two endpoints of a region: which is meant cannot be known."""
    wanted = {item.ref for item in wish}.union(*(item.needs() for item in wish))
    return [
        f"Keystone has {len(found)} of {ref}, with the ids"
        f" {', '.join(sorted(str(one['id']) for one in found))}; remove all but one by hand"
        for ref, found in current.objects.items()
        if len(found) > 1 and ref in wanted
    ]


def _dangling(wish: Sequence[Item], current: Snapshot) -> list[str]:
    """What refers to something that is not there, and will not be."""
    declared = {item.ref: item.present for item in wish}
    problems = []
    for item in wish:
        for ref in item.needs() if item.present else ():
            if declared.get(ref) is False:
                problems.append(f"{item.ref} needs {ref}, which is declared absent; decide")
            elif ref not in declared and current.get(ref) is None:
                problems.append(
                    f"{item.ref} needs {ref}, which neither exists nor is declared; declare it"
                    " or correct the name"
                )
    return problems


def _lost(wish: Sequence[Item], current: Snapshot) -> list[str]:
    """Domains that would take others with them: Keystone deletes their content without a word."""
    absent = {item.ref for item in wish if not item.present}
    problems = []
    for item in wish:
        if item.kind == "domain" and not item.present:
            kept = [str(ref) for ref in current.content_of(item.key[0]) if ref not in absent]
            if kept:
                more = f" and {len(kept) - 5} more" if len(kept) > 5 else ""
                problems.append(
                    f"{item.ref} still has {', '.join(kept[:5])}{more}, which would be lost with"
                    " it; declare them absent too"
                )
    return problems
