# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What was declared of an account is compared with its headers; no key is ever shown."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.infn.cloud.plugins.module_utils._swift_account import (
    HIDDEN,
    AccountError,
    faults_of,
    plan_account,
    plan_container,
)


def headers(wish: dict[str, Any], **found: str) -> dict[str, str]:
    """The headers that would be sent."""
    changes = plan_account(wish, {name.replace("_", "-"): value for name, value in found.items()})
    return dict(changes[0].headers) if changes else {}


def test_what_is_not_declared_is_left_alone() -> None:
    assert headers({}, X_Account_Quota_Bytes="5", X_Account_Meta_Colour="red") == {}


def test_quotas() -> None:
    wish = {"quota_bytes": 10, "quota_count": -1, "policy_quota_bytes": {"two": 3}}
    assert headers(wish, X_Account_Quota_Count="7") == {
        "X-Account-Quota-Bytes": "10",
        "X-Account-Quota-Count": "",
        "X-Account-Quota-Bytes-Policy-two": "3",
    }
    there = {"X_Account_Quota_Bytes": "10", "X_Account_Quota_Bytes_Policy_Two": "3"}
    assert headers(wish, **there) == {}


def test_a_quota_set_in_the_old_way_goes_with_the_change() -> None:
    assert headers({"quota_bytes": 10}, X_Account_Meta_Quota_Bytes="10") == {}
    assert headers({"quota_bytes": -1}, X_Account_Meta_Quota_Bytes="10") == {
        "X-Account-Quota-Bytes": "",
        "X-Account-Meta-Quota-Bytes": "",
    }


def test_keys_follow_one_another_and_are_not_shown() -> None:
    first, second = "X-Account-Meta-Temp-URL-Key", "X-Account-Meta-Temp-URL-Key-2"
    found = {first: "old"}
    change = plan_account({"temp_url_keys": ["new", "old"]}, found)[0]
    assert change.headers == {first: "new", second: "old"}
    before, after = change.sides()
    assert (before, after) == ({first: HIDDEN, second: ""}, {first: HIDDEN, second: HIDDEN})
    assert plan_account({"temp_url_keys": []}, found)[0].headers == {first: ""}
    with pytest.raises(AccountError, match="at most 2 keys"):
        plan_account({"temp_url_keys": ["a", "b", "c"]}, {})


def test_a_container_is_made_as_declared() -> None:
    wish = {
        "name": "c",
        "policy": "two",
        "quota_count": 5,
        "versions": True,
        "cors_origins": ["https://a", "https://b"],
        "metadata": {"Colour": "red"},
    }
    (change,) = plan_container(wish, None)
    assert (change.method, change.container) == ("PUT", "c")
    assert change.headers == {
        "X-Container-Meta-Quota-Count": "5",
        "X-Versions-Enabled": "True",
        "X-Container-Meta-Access-Control-Allow-Origin": "https://a https://b",
        "X-Container-Meta-Colour": "red",
        "X-Storage-Policy": "two",
    }
    found = {**change.headers, "X-Storage-Policy": "Two"}
    assert plan_container(wish, found) == []
    (change,) = plan_container({**wish, "read": ".r:*", "versions": False}, found)
    assert change.headers == {"X-Container-Read": ".r:*", "X-Versions-Enabled": "False"}


def test_versions_that_never_were_need_no_change() -> None:
    assert plan_container({"name": "c", "versions": False}, {}) == []


def test_a_container_keeps_its_policy() -> None:
    with pytest.raises(AccountError, match="container c has the storage policy one"):
        plan_container({"name": "c", "policy": "two"}, {"X-Storage-Policy": "one"})


def test_removal() -> None:
    wish = {"name": "c", "state": "absent"}
    assert plan_container(wish, None) == []
    assert [change.method for change in plan_container(wish, {})] == ["DELETE"]


def test_containers_that_cannot_be() -> None:
    twice = [{"name": "a"}, {"name": "a"}]
    assert faults_of(twice) == ["container a is declared twice"]
    assert "no '/'" in faults_of([{"name": "a/b"}])[0]
    assert "sync_to needs a sync_key" in faults_of([{"name": "a", "sync_to": "//r/c/a/b"}])[0]
    assert faults_of([{"name": "a", "sync_to": "//r/c/a/b", "sync_key": "k"}]) == []
