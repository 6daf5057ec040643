# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Secrets that cannot encrypt are named, those that did may not go, and none is ever shown."""

from __future__ import annotations

import base64
import hashlib

import pytest
from ansible_collections.infn.cloud.plugins.module_utils._swift_encryption import faults_of

GOOD = base64.b64encode(b"0123456789abcdef0123456789abcdef").decode()
OTHER = base64.b64encode(b"fedcba9876543210fedcba9876543210").decode()


def found(**secrets: str) -> str:
    lines = [
        f"{name} = {hashlib.sha256(each.encode()).hexdigest()}" for name, each in secrets.items()
    ]
    return "\n".join(["[keymaster]", *lines, "[storage-policy:0]", "name = a"])


def test_no_encryption_has_no_faults() -> None:
    assert faults_of({}, "", found()) == []
    assert faults_of({}, "") == []


def test_a_secret_may_be_added_and_made_the_active_one() -> None:
    assert faults_of({"one": GOOD}, "one") == []
    both = {"one": GOOD, "two": OTHER}
    assert faults_of(both, "one", found(one=GOOD)) == []
    assert faults_of(both, "two", found(one=GOOD, two=OTHER)) == []


def test_a_secret_is_on_all_hosts_before_it_encrypts() -> None:
    (said,) = faults_of({"one": GOOD, "two": OTHER}, "two", found(one=GOOD))
    assert "secret two is not there yet" in said
    assert "still one of one" in said


@pytest.mark.parametrize(
    ("secrets", "active", "says"),
    [
        (
            {"one": "c2hvcnQ="},
            "one",
            "secret one: holds 5 bytes; it must be the base64 of at least",
        ),
        ({"one": "not base64!"}, "one", "secret one: is no base64"),
        ({"One_": GOOD}, "One_", "id 'One_' may only hold small letters"),
        ({"one": GOOD}, "two", "swift_common_encryption_active is 'two'; name one of one"),
        ({"two": OTHER}, "two", "secret two is not there yet"),
        ({}, "", "secret one is there and would be taken away"),
        ({"one": OTHER}, "one", "secret one has another value"),
    ],
)
def test_faults(secrets: dict[str, str], active: str, says: str) -> None:
    there = found(one=GOOD) if "there" in says or "another" in says else ""
    said = faults_of(secrets, active, there)
    assert says in said[0], said
    assert len(said) == 1 or "would be taken away" in said[1], said
    assert not any(secret in " ".join(said) for secret in secrets.values())
