# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Secrets that cannot encrypt are named, those that did may not go, and none is ever shown."""

from __future__ import annotations

import base64
import hashlib

import pytest
from ansible_collections.infn.cloud.plugins.module_utils._swift_encryption import (
    checksums_of,
    faults_of,
)

GOOD = base64.b64encode(b"0123456789abcdef0123456789abcdef").decode()
OTHER = base64.b64encode(b"fedcba9876543210fedcba9876543210").decode()
UUID = "7a4f9c30-93b5-4b1c-8f0e-1d3c9b7e2a55"
OTHER_UUID = "c5d0a1f2-0f8e-4a57-b8a1-2f6f3f0f9d11"
KMS = {
    "auth_url": "https://cnaf.example.org:5000/v3",
    "endpoint": "https://keys.example.org:9311",
    "username": "swift-keys",
    "password": "pass % word",
    "project": "keys",
}


def found(keys: dict[str, str] | None = None, **secrets: str) -> str:
    lines = [
        f"{name} = {hashlib.sha256(base64.b64decode(each)).hexdigest()}"
        for name, each in secrets.items()
    ]
    there = [f"{name} = {uuid}" for name, uuid in (keys or {}).items()]
    policy = ["[storage-policy:0]", "name = a"]
    return "\n".join(["[keymaster]", *lines, "[kms_keymaster]", *there, *policy])


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


def test_keys_may_be_added_and_rotated() -> None:
    assert faults_of({}, "one", found(), {"one": UUID}, KMS) == []
    both = {"one": UUID, "two": OTHER_UUID}
    (said,) = faults_of({}, "two", found({"one": UUID}), both, KMS)
    assert "secret two is not there yet" in said
    assert faults_of({}, "one", found({"one": UUID}), both, KMS) == []
    assert faults_of({}, "two", found(both), both, KMS) == []
    assert faults_of({}, "two", found(both), {**both, "one": UUID.upper()}, KMS) == []


def test_a_secret_moves_into_the_key_manager_in_two_runs() -> None:
    keys = {"one": UUID}
    (early,) = faults_of({}, "one", found(one=GOOD), keys, KMS)
    assert "leave it in swift_common_encryption_secrets for the run that brings its key" in early
    assert faults_of({"one": GOOD}, "one", found(one=GOOD), keys, KMS) == []
    assert faults_of({}, "one", found(keys, one=GOOD), keys, KMS) == []
    # On a host that is new, or a run that was interrupted between the two.
    assert faults_of({"one": GOOD}, "one", found(keys, one=GOOD), keys, KMS) == []
    assert faults_of({}, "one", found(keys), keys, KMS) == []


def test_a_move_takes_every_secret_along_and_no_new_one() -> None:
    secrets = {"one": GOOD, "two": OTHER}
    (said,) = faults_of(secrets, "one", found(**secrets), {"one": UUID}, KMS)
    assert "secret two would not be read any more" in said
    assert "give that key the id two" in said
    both = {"one": UUID, "three": OTHER_UUID}
    (said,) = faults_of({"one": GOOD}, "three", found(one=GOOD), both, KMS)
    assert "secret three is not there yet" in said


@pytest.mark.parametrize(
    ("keys", "kms", "there", "says"),
    [
        ({}, {}, {"one": UUID}, f"put it back, its UUID is {UUID}"),
        ({"two": UUID}, KMS, {"one": UUID}, "key one of the key manager is there and would be"),
        ({"one": OTHER_UUID}, KMS, {"one": UUID}, f"has the UUID {UUID} there and {OTHER_UUID}"),
        ({"one": UUID}, {}, {}, "swift_common_encryption_kms and swift_common_encryption_kms_keys"),
        ({}, KMS, {}, "need each other"),
        ({"One": UUID}, KMS, {}, "id 'One' may only hold small letters"),
        ({"two": UUID}, KMS, {}, "swift_common_encryption_active is 'one'; name one of two"),
    ],
)
def test_faults_of_keys(
    keys: dict[str, str], kms: dict[str, str], there: dict[str, str], says: str
) -> None:
    said = faults_of({}, "one", found(there), keys, kms)
    assert any(says in sentence for sentence in said), said


@pytest.mark.parametrize("password", ["", " a", "a ", "a\nb", "a\rb", "a%(b)s"])
def test_what_cannot_stand_in_swifts_file_is_refused_unseen(password: str) -> None:
    kms = {**KMS, "password": password}
    (said,) = faults_of({}, "one", "", {"one": UUID}, kms)
    assert said.startswith("swift_common_encryption_kms.password cannot stand in Swift's file")
    assert "a%(b)s" not in said


def test_checksums_are_those_of_the_secrets() -> None:
    checksum = hashlib.sha256(base64.b64decode(GOOD)).hexdigest()
    assert checksums_of(found({"two": UUID}, one=GOOD)) == {"one": checksum}
    assert checksums_of("") == {}
