# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A generation is made beside the old one; what cannot be changed is refused with the remedy."""

from __future__ import annotations

import stat
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.infn.cloud.plugins.module_utils._application_credential import (
    CredentialError,
    Wish,
    clouds_yaml,
    known_id,
    make_plan,
    read_time,
    read_wish,
    write,
)

NOW = datetime(2026, 11, 23, tzinfo=timezone.utc)
LATER = "2027-01-31T00:00:00.000000"


def credential(name: str, **more: Any) -> dict[str, Any]:
    found = {"id": f"id-of-{name}", "name": name, "roles": [{"name": "member"}]}
    return {**found, "expires_at": None, "access_rules": None, "unrestricted": False, **more}


def names(credentials: Any) -> list[str]:
    return [each["name"] for each in credentials]


def test_a_new_generation_is_made_beside_the_old_one() -> None:
    plan = make_plan(Wish("backup", "2"), [credential("backup-1")], None, NOW)
    assert (plan.create, names(plan.remove)) == (True, [])


def test_the_others_go_when_they_are_told_to() -> None:
    current = [credential(name) for name in ("backup-1", "backup-2", "backup-db-1", "other-1")]
    plan = make_plan(Wish("backup", "2", remove_others=True), current, "id-of-backup-2", NOW)
    assert (plan.create, names(plan.remove)) == (False, ["backup-1"])


def test_what_is_there_is_left_alone() -> None:
    found = credential("backup-1", expires_at=LATER)
    wish = Wish("backup", "1", roles=("member",), expires_at=read_time("2027-01-31T00:00:00Z"))
    assert not make_plan(wish, [found], "id-of-backup-1", NOW)
    assert not make_plan(wish, [found], None, NOW)


def test_roles_bring_others_with_them() -> None:
    found = credential("b-1", roles=[{"name": "member"}, {"name": "reader"}])
    assert not make_plan(Wish("b", "1", roles=("member",)), [found], None, NOW)
    with pytest.raises(CredentialError, match="it has the roles member, reader, not reader"):
        make_plan(Wish("b", "1", roles=("reader",)), [found], None, NOW)


def test_removal() -> None:
    current = [credential("backup-1"), credential("backup-2")]
    assert names(make_plan(Wish("backup", "2", present=False), current, "", NOW).remove) == [
        "backup-2"
    ]
    gone = make_plan(Wish("backup", "3", present=False), current, "", NOW)
    assert not gone


@pytest.mark.parametrize(
    ("wish", "found", "known", "says"),
    [
        (Wish("b", "1", roles=("reader",)), {}, None, "it has the roles member, not reader"),
        (Wish("b", "1", expires_at=read_time(LATER)), {}, None, "it expires at no time"),
        (Wish("b", "1"), {"expires_at": LATER}, None, f"it expires at {LATER}, not never"),
        (Wish("b", "1"), {"unrestricted": True}, None, "it is unrestricted"),
        (Wish("b", "1"), {}, "", "its secret is not in the file"),
        (Wish("b", "1"), {}, "another", "its secret is not in the file"),
        (
            Wish("b", "1", access_rules=({"service": "s", "method": "GET", "path": "/"},)),
            {},
            None,
            "its access rules are others",
        ),
        (
            Wish("b", "1", expires_at=read_time("2026-01-01T00:00:00")),
            {"expires_at": "2026-01-01T00:00:00.000000"},
            None,
            "is in the past",
        ),
    ],
)
def test_what_cannot_be_changed(
    wish: Wish, found: dict[str, Any], known: str | None, says: str
) -> None:
    with pytest.raises(CredentialError, match=says):
        make_plan(wish, [credential("b-1", **found)], known, NOW)


@pytest.mark.parametrize(
    ("params", "says"),
    [
        ({"generation": "a-b"}, "without a dash"),
        ({"generation": ""}, "without a dash"),
        ({"expires_at": "soon"}, "expires_at is 'soon'"),
    ],
)
def test_parameters_that_cannot_be(params: dict[str, Any], says: str) -> None:
    given = {"name": "b", "generation": "1", "state": "present", "remove_others": False}
    with pytest.raises(CredentialError, match=says):
        read_wish({**given, **params})


def test_times_are_utc() -> None:
    assert read_time("2027-01-31T02:00:00+02:00") == read_time("2027-01-31T00:00:00")


def test_the_file_is_its_owners_alone_and_tells_the_id(tmp_path: Path) -> None:
    path = tmp_path / "clouds.yaml"
    made = {"id": "abc", "secret": "s3cret"}
    write(str(path), clouds_yaml("backup", "https://k/v3", made, {"region_name": "cnaf"}))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert known_id(str(path), "backup") == "abc"
    assert known_id(str(path), "other") == ""
    assert [each.name for each in tmp_path.iterdir()] == ["clouds.yaml"]
