# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names, groups and variables of what a cloud lists."""

from __future__ import annotations

import random
from typing import Any

import pytest
from ansible_collections.infn.cloud.plugins.plugin_utils._provider import Answer, Instance
from ansible_collections.infn.cloud.plugins.plugin_utils._site_hosts import (
    groups,
    host_names,
    variables,
)


def one(id_: str = "i1", name: str = "web", **more: Any) -> Instance:
    return Instance(id_, name, **more)


def test_a_name_is_the_machines_own_below_its_site() -> None:
    assert host_names("bari", [one(), one("i2", "db.prod")]) == ["web.bari", "db.prod.bari"]


def test_machines_of_one_name_go_by_their_ids_and_the_others_keep_theirs() -> None:
    found = host_names("bari", [one("i1", "web"), one("i2", "web"), one("i3", "db")])
    assert found == ["i1.bari", "i2.bari", "db.bari"]


def test_names_that_become_one_by_cleaning_go_by_their_ids() -> None:
    assert host_names("bari", [one("i1", "a b"), one("i2", "a/b")]) == ["i1.bari", "i2.bari"]


@pytest.mark.parametrize(
    "name", ["{{ 7*7 }}", "all", "*", "~.*", "a,b", "!x", "web[0:3]", "日本", ""]
)
def test_a_name_never_means_anything_to_ansible(name: str) -> None:
    (found,) = host_names("bari", [one("i1", name)])
    assert not set(found) & set("{}*~,![]:; \n")
    assert found.endswith(".bari")
    assert len(found) > len(".bari")


def test_nobody_takes_another_ones_id_for_a_name() -> None:
    instances = [one("i1", "web"), one("i2", "web"), one("i3", "i1")]
    assert host_names("bari", instances) == ["i1.bari", "i2.bari", "i3.bari"]


def test_ids_that_cannot_be_told_apart_get_numbers_whatever_the_order() -> None:
    instances = [one("a/1", "x"), one("a 1", "x"), one("b", "y")]
    expected = dict(zip([i.id for i in instances], host_names("bari", instances)))
    assert len(set(expected.values())) == 3
    random.Random(1).shuffle(instances)
    assert dict(zip([i.id for i in instances], host_names("bari", instances))) == expected


def test_every_fact_makes_a_group_of_its_own_kind() -> None:
    found = groups(
        one(
            project="my-project", zone="nova", image="Debian 13", flavor="m1.large",
            networks=["net-a", "net-b"], groups=["tag_Name_x"],
            metadata={"role": "web, db"},
        )
    )  # fmt: skip
    assert list(found) == [
        "project_my_project", "az_nova", "image_Debian_13", "flavor_m1_large",
        "network_net_a", "network_net_b", "plugin_tag_Name_x", "metadata_role_web",
        "metadata_role_db",
    ]  # fmt: skip


def test_no_fact_reaches_a_group_of_the_inventory() -> None:
    evil = "x}}, swift_storage"
    found = list(groups(one(project=evil, groups=["swift_storage"], metadata={"a": evil})))
    assert all(name.startswith(("project_", "plugin_", "metadata_")) for name in found)
    assert all(name.replace("_", "").isalnum() for name in found)


def test_a_fact_of_nothing_but_punctuation_makes_no_group() -> None:
    assert list(groups(one(project="---", image="日本"))) == []


@pytest.mark.parametrize(
    ("address", "taken"),
    [
        ("192.0.2.1", True),
        ("2001:db8::1", True),
        ("::1", True),
        ("fe80::1%eth0", True),
        ("web.example.org", True),
        ("-oProxyCommand=id", False),
        ("a b", False),
        ("{{ x }}", False),
        ("", False),
    ],
)
def test_only_what_looks_like_an_address_is_connected_to(address: str, taken: bool) -> None:
    found = variables("bari", one(address=address), details=False)
    assert ("ansible_host" in found) is taken


@pytest.mark.parametrize(
    ("name", "value", "taken"),
    [
        ("ansible_port", "2222", True),
        ("ansible_port", "0", False),
        ("ansible_port", "22 -o x", False),
        ("ansible_user", "debian", True),
        ("ansible_user", "-oProxyCommand=id", False),
        ("ansible_user", 5, False),
    ],
)
def test_a_login_is_taken_when_it_looks_like_one(name: str, value: Any, taken: bool) -> None:
    found = variables("bari", one(variables={name: value}), details=False)
    assert (name in found) is taken


def test_another_plugin_never_wins_over_ours() -> None:
    instance = one(variables={"federation_instance_id": "x"}, state="ACTIVE")
    assert variables("bari", instance, details=False) == {
        "federation_instance_id": "bari/i1",
        "federation_instance_name": "web",
        "federation_instance_state": "ACTIVE",
    }


def test_details_are_one_variable_and_only_on_request() -> None:
    instance = one(zone="nova", details={"created": "now"})
    found = variables("bari", instance, details=True)["federation_instance"]
    assert (found["zone"], found["details"]) == ("nova", {"created": "now"})


def test_an_answer_survives_the_way_through_json() -> None:
    instance = one(
        address="192.0.2.1", networks=["a"], metadata={"a": "b"}, details={"x": [1]}, zone="nova"
    )
    plain = Answer([instance, one("i2")], 7).plain()
    assert Answer.of_plain(plain) == Answer([instance, one("i2")], 7)


@pytest.mark.parametrize(
    "plain",
    [
        None,
        [],
        {},
        {"schema": 0, "requests": 1, "instances": []},
        {"schema": 1, "requests": "1", "instances": []},
        {"schema": 1, "requests": 1, "instances": [["a"]]},
        {"schema": 1, "requests": 1, "instances": [[*["a"] * 8, [], {}, [], {}, 5]]},
        {"schema": 1, "requests": 1, "instances": [["", *["a"] * 7, [], {}, [], {}, {}]]},
        {"schema": 1, "requests": 1, "instances": [["a", "b", 7, *["a"] * 5, [], {}, [], {}, {}]]},
        {"schema": 1, "requests": 1, "instances": [["a", *["a"] * 7, [], {}, [], {}, {}]] * 2},
    ],
)
def test_what_is_no_answer_is_not_taken_for_one(plain: Any) -> None:
    with pytest.raises(ValueError, match=r"."):
        Answer.of_plain(plain)
