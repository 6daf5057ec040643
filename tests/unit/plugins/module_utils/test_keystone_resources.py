# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""From a wish and what Keystone has to a plan, without a Keystone."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.infn.cloud.plugins.module_utils._keystone_resources import (
    Operation,
    PlanError,
    Ref,
    Snapshot,
    make_plan,
    passwords_to_try,
    read_wish,
)

SWIFT = Ref("user", ("Default", "swift"))


def user(**more: Any) -> dict[str, Any]:
    return {"name": "swift", "domain": "Default", **more}


def project(name: str, domain: str = "Default", **more: Any) -> dict[str, Any]:
    return {"name": name, "domain": domain, **more}


def assignment(**more: Any) -> dict[str, Any]:
    domains = dict.fromkeys(("user_domain", "group_domain", "project_domain"), "Default")
    return {"role": "admin", **domains, **more}


def endpoint(**more: Any) -> dict[str, Any]:
    return {"service_type": "object-store", "interface": "public", "region": "bari", **more}


def keystone() -> Snapshot:
    """A small one: a region, a service with an endpoint, a project, a user with a role."""
    current = Snapshot()
    region = {"id": "bari", "description": "", "parent_region_id": None}
    current.add("region", ("bari",), region)
    current.add("domain", ("Default",), {"id": "default", "name": "Default", "enabled": True})
    current.add("role", ("admin",), {"id": "r1", "name": "admin", "description": None})
    current.add("project", ("Default", "service"), {"id": "p1", "name": "service"})
    current.add("user", SWIFT.key, {"id": "u1", "name": "swift", "enabled": True})
    service = {"id": "s1", "type": "object-store", "name": "swift"}
    current.add("service", ("object-store",), service)
    key = ("object-store", "public", "bari")
    current.add("endpoint", key, {"id": "e1", "url": "http://old", "enabled": True})
    current.assignments.add(("user", "u1", "r1", "project", "p1"))
    return current


def plan(current: Snapshot, wrong: frozenset[Ref] = frozenset(), **wish: Any) -> list[Operation]:
    return make_plan(read_wish(wish), current, wrong)


def said(current: Snapshot, wrong: frozenset[Ref] = frozenset(), **wish: Any) -> list[str]:
    return [str(operation) for operation in plan(current, wrong, **wish)]


def refused(current: Snapshot, **wish: Any) -> str:
    with pytest.raises(PlanError) as caught:
        plan(current, **wish)
    (problem,) = caught.value.problems
    return problem


def test_what_is_there_needs_nothing() -> None:
    wish: dict[str, Any] = {
        "regions": [{"id": "bari", "description": ""}],
        "roles": [{"name": "admin", "description": ""}],
        "projects": [project("service")],
        "users": [user(password="x", enabled=True)],
        "services": [{"type": "object-store", "name": "swift"}],
        "endpoints": [endpoint(url="http://old")],
        "role_assignments": [assignment(user="swift", project="service")],
    }
    assert said(keystone(), **wish) == []


def test_what_is_absent_already_needs_nothing() -> None:
    gone = {"state": "absent"}
    wish: dict[str, Any] = {
        "regions": [{"id": "nowhere", **gone}],
        "projects": [project("p", "nowhere", **gone)],
        "endpoints": [endpoint(service_type="nothing", **gone)],
        "role_assignments": [
            assignment(user="swift", system="all", **gone),
            assignment(group="nobody", domain="nowhere", **gone),
        ],
    }
    assert said(keystone(), **wish) == []


def test_creates_in_the_order_of_the_dependencies() -> None:
    operations = said(
        Snapshot(),
        role_assignments=[assignment(user="swift", project="service")],
        endpoints=[endpoint(url="http://x")],
        services=[{"type": "object-store"}],
        users=[user(default_project="service")],
        projects=[project("service")],
        roles=[{"name": "admin"}],
        domains=[{"name": "Default"}],
        regions=[{"id": "bari", "parent": "italy"}, {"id": "italy"}],
    )
    assert operations == [
        "create region italy",
        "create region bari",
        "create domain Default",
        "create role admin",
        "create project service",
        "create user swift",
        "create service object-store",
        "create endpoint object-store public bari",
        "create role assignment admin for user swift on project service",
    ]


def test_deletes_the_other_way_round_and_after_all_else() -> None:
    gone = {"state": "absent"}
    current = keystone()
    for name, parent in (("italy", None), ("north", "italy")):
        region = {"id": name, "description": "", "parent_region_id": parent}
        current.add("region", (name,), region)
    operations = said(
        current,
        regions=[{"id": "north", **gone}, {"id": "italy", **gone}, {"id": "cnaf"}],
        services=[{"type": "object-store", **gone}],
        endpoints=[endpoint(**gone)],
        users=[user(**gone)],
        role_assignments=[assignment(user="swift", project="service", **gone)],
    )
    assert operations == [
        "create region cnaf",
        "delete role assignment admin for user swift on project service",
        "delete endpoint object-store public bari",
        "delete service object-store",
        "delete user swift",
        "delete region north",
        "delete region italy",
    ]


def test_updates_only_what_was_declared_and_differs() -> None:
    (operation,) = plan(keystone(), endpoints=[endpoint(url="http://new")])
    assert (operation.id, operation.body) == ("e1", {"url": "http://new"})
    assert operation.result() == {
        "action": "update",
        "kind": "endpoint",
        "name": "object-store public bari",
        "changes": {"url": {"before": "http://old", "after": "http://new"}},
    }


def test_a_reference_is_shown_by_its_name() -> None:
    current = keystone()
    current.get(SWIFT)["default_project_id"] = "p1"  # type: ignore[index]
    wish: dict[str, Any] = {
        "projects": [project("other")],
        "users": [user(default_project="other")],
    }
    _create, update = plan(current, **wish)
    shown = {"before": "service", "after": "other"}
    assert update.changes == {"default_project_id": shown}
    assert update.body == {"default_project_id": Ref("project", ("Default", "other"))}


def test_a_password_is_set_where_it_was_wrong_and_never_shown() -> None:
    wish: dict[str, Any] = {"users": [user(password="hidden")]}
    assert said(keystone(), **wish) == []
    (operation,) = plan(keystone(), frozenset({SWIFT}), **wish)
    assert operation.body == {"password": "hidden"}
    assert "hidden" not in repr(operation) + str(operation.result())
    (operation,) = plan(Snapshot(), domains=[{"name": "Default"}], **wish)[1:]
    assert operation.body["password"] == "hidden"
    assert "hidden" not in repr(operation) + str(operation.result())


def test_which_passwords_can_be_tried() -> None:
    def tried(current: Snapshot, **more: Any) -> list[str]:
        found = passwords_to_try(read_wish({"users": [user(**more)]}), current)
        return [user_id for _item, user_id in found]

    disabled = keystone()
    disabled.get(SWIFT)["enabled"] = False  # type: ignore[index]
    assert tried(keystone(), password="x") == ["u1"]
    assert tried(keystone(), password="x", update_password="on_create") == []
    assert tried(keystone()) == []
    assert tried(keystone(), password="x", state="absent") == []
    assert tried(Snapshot(), password="x") == []
    assert tried(disabled, password="x") == []


def test_a_user_that_is_enabled_gets_the_password_along_with_it() -> None:
    current = keystone()
    current.get(SWIFT)["enabled"] = False  # type: ignore[index]
    (operation,) = plan(current, users=[user(password="x", enabled=True)])
    assert operation.body == {"enabled": True, "password": "x"}
    assert plan(current, users=[user(password="x")]) == []


@pytest.mark.parametrize(
    ("wish", "scope"),
    [
        ({"user": "swift", "project": "service"}, ("project", "p1")),
        ({"user": "swift", "domain": "Default"}, ("domain", "default")),
        ({"user": "swift", "system": "all"}, ("system", "")),
    ],
)
def test_an_assignment_is_one_of_actor_role_and_scope(
    wish: dict[str, Any], scope: tuple[str, str]
) -> None:
    current = keystone()
    current.assignments = {("user", "u1", "r1", *scope)}
    assert plan(current, role_assignments=[assignment(**wish)]) == []
    (operation,) = plan(current, role_assignments=[assignment(**wish, state="absent")])
    assert operation.action == "delete"
    current.assignments = {("group", "u1", "r1", *scope), ("user", "u2", "r1", *scope)}
    (operation,) = plan(current, role_assignments=[assignment(**wish)])
    assert operation.action == "create"


def test_names_carry_a_domain_that_is_not_the_default() -> None:
    wish = [project("p"), project("p", "users")]
    current = keystone()
    current.add("domain", ("users",), {"id": "d2", "name": "users", "enabled": True})
    assert said(current, projects=wish) == ["create project p", "create project users/p"]


@pytest.mark.parametrize(
    ("wish", "says"),
    [
        ({"roles": [{"name": "a"}, {"name": "a"}]}, "role a is declared twice"),
        (
            {"endpoints": [endpoint(url="http://a"), endpoint(state="absent")]},
            "endpoint object-store public bari is declared twice",
        ),
        (
            {"projects": [project("p", "nowhere")]},
            "project nowhere/p needs domain nowhere, which neither exists nor is declared",
        ),
        (
            {"role_assignments": [assignment(user="nobody", project="service")]},
            "needs user nobody, which neither exists nor is declared",
        ),
        ({"regions": [{"id": "a", "parent": "b"}]}, "region a needs region b"),
        (
            {"regions": [{"id": "a", "parent": "b"}, {"id": "b", "parent": "a"}]},
            "region a is its own parent",
        ),
        (
            {
                "projects": [project("service", state="absent")],
                "role_assignments": [assignment(user="swift", project="service")],
            },
            "needs project service, which is declared absent",
        ),
        (
            {"domains": [{"name": "Default", "state": "absent"}]},
            "domain Default still has project service, user swift, which would be lost with it",
        ),
    ],
)
def test_refuses(wish: dict[str, Any], says: str) -> None:
    assert says in refused(keystone(), **wish)


def test_refuses_what_keystone_has_twice_if_it_is_meant() -> None:
    current = keystone()
    current.add("endpoint", ("object-store", "public", "bari"), {"id": "e0", "url": "http://b"})
    current.add("service", ("volume",), {"id": "s2"})
    current.add("service", ("volume",), {"id": "s3"})
    says = "Keystone has 2 of endpoint object-store public bari, with the ids e0, e1"
    assert says in refused(current, endpoints=[endpoint(url="http://old")])
    assert plan(current, services=[{"type": "object-store"}]) == []


def test_a_domain_goes_with_all_that_is_declared_absent_in_it() -> None:
    current = Snapshot()
    current.add("domain", ("d",), {"id": "d1", "name": "d", "enabled": True})
    current.add("project", ("d", "p"), {"id": "p1", "name": "p"})
    gone = {"state": "absent"}
    wish: dict[str, Any] = {
        "domains": [{"name": "d", **gone}],
        "projects": [project("p", "d", **gone)],
    }
    assert said(current, **wish) == ["delete project d/p", "delete domain d"]


def test_all_problems_are_told_at_once() -> None:
    with pytest.raises(PlanError) as caught:
        plan(Snapshot(), projects=[project("a"), project("b")])
    assert len(caught.value.problems) == 2
    assert str(caught.value).startswith("nothing was changed: ")


def test_federated_login_comes_in_the_order_that_keystone_needs() -> None:
    wish = read_wish(
        {
            "protocols": [{"id": "openid", "identity_provider": "idp", "mapping": "map"}],
            "identity_providers": [
                {"id": "idp", "domain": "Default", "remote_ids": ["https://iam/"]}
            ],
            "mappings": [{"id": "map", "rules": [{"local": [], "remote": []}]}],
        }
    )
    current = Snapshot()
    current.add("domain", ("Default",), {"id": "default", "name": "Default"})
    plan = make_plan(wish, current, set())
    assert [str(operation) for operation in plan] == [
        "create mapping map",
        "create identity provider idp",
        "create protocol openid of idp",
    ]


def test_issuers_have_no_order_and_every_letter_counts() -> None:
    given = {"id": "idp", "domain": "Default", "remote_ids": ["https://b/", "https://a/"]}
    wish = read_wish({"identity_providers": [given]})
    current = Snapshot()
    current.add("domain", ("Default",), {"id": "default", "name": "Default"})
    found = {"id": "idp", "domain_id": "default", "remote_ids": ["https://a/", "https://b/"]}
    current.add("identity_provider", ("idp",), found)
    assert make_plan(wish, current, set()) == []
    found["remote_ids"] = ["https://a", "https://b/"]
    assert [operation.action for operation in make_plan(wish, current, set())] == ["update"]
