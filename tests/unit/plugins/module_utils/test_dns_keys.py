# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Copies of keys say nothing without the secret; files of a zone that goes are that zone's only."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.infn.cloud.plugins.module_utils._dns_delegations import (
    member_name,
    purge,
)
from ansible_collections.infn.cloud.plugins.module_utils._dns_keys import (
    key_files,
    open_copies,
    seal,
    unseal,
)
from ansible_collections.infn.cloud.plugins.module_utils._dns_records import (
    RecordsError,
    Server,
    quoted,
)

NAMES = ("key", "private", "state")


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    for zone in ("cms.example", "x.cms.example", "example"):
        (tmp_path / f"{zone}.db").write_text("zone", encoding="ascii")
        (tmp_path / f"{zone}.db.jnl").write_text("journal", encoding="ascii")
        for name in NAMES:
            text = f"{zone} {name} private"
            (tmp_path / f"K{zone}.+013+12345.{name}").write_text(text, encoding="ascii")
    (tmp_path / "Kcms.example.+013+1.tmp").write_text("not yet", encoding="ascii")
    return tmp_path


def test_files_of_one_zone(directory: Path) -> None:
    assert list(key_files(directory, "cms.example")) == [
        f"Kcms.example.+013+12345.{name}" for name in NAMES
    ]


def test_copies_come_back(directory: Path) -> None:
    files = key_files(directory, "cms.example")
    text = seal(files, "secret")
    assert unseal(text, "secret") == files
    assert "private" not in text
    assert quoted(text).count('"') == 2 * -(-len(text) // 250)


def test_another_secret_or_a_changed_copy_is_refused(directory: Path) -> None:
    text = seal(key_files(directory, "cms.example"), "secret")
    for wrong, secret in (
        (text, "other"),
        (text[:-6] + "AAAAAA", "secret"),
        ("nonsense", "secret"),
    ):
        with pytest.raises(RecordsError, match="another secret, or changed"):
            unseal(wrong, secret)


def test_who_takes_over_goes_on_with_what_opens(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the midst of a change of the secret: what does not open is as good as lost, and said."""
    files = key_files(directory, "cms.example")
    copies = {"a": seal(files, "old"), "b": seal(files, "new")}
    where = "ansible_collections.infn.cloud.plugins.module_utils._dns_keys.sealed_copies"
    monkeypatch.setattr(where, lambda _server: copies)
    server = Server("192.0.2.1", 53, "backup.example")
    kept, trouble = open_copies(server, "new")
    assert kept == {"b": files}
    assert "another secret" in trouble
    assert open_copies(server, "never") == ({}, trouble)
    copies.pop("a")
    assert open_copies(server, "new") == ({"b": files}, "")


def test_a_zone_keeps_the_file_that_it_has_and_no_other(directory: Path) -> None:
    for name in ("0123abcd", "89abcdef", "89abcdef.jnl"):
        (directory / f"cms.example.db.{name}").write_text("of before", encoding="ascii")
    files = {"cms.example": "cms.example.db.0123abcd", "x.cms.example": "x.cms.example.db"}

    def all_of(check: bool) -> list[str]:
        gone = purge([], files, directory, directory, served=lambda _zone: True, check=check)
        return [Path(path).name for path in gone]

    former = ["db", "db.89abcdef", "db.89abcdef.jnl", "db.jnl"]
    assert all_of(check=True) == [f"cms.example.{name}" for name in former]
    assert all_of(check=False) == [f"cms.example.{name}" for name in former]
    assert all_of(check=False) == []
    left = sorted(path.name for path in directory.glob("*.db*"))
    assert left == [
        "cms.example.db.0123abcd", "example.db", "example.db.jnl",
        "x.cms.example.db", "x.cms.example.db.jnl",
    ]  # fmt: skip
    files["cms.example"] = "cms.example.db"
    assert all_of(check=False) == ["cms.example.db.0123abcd"]


def test_entries_have_names_of_their_own() -> None:
    names = {member_name(zone, "catalog.example") for zone in ("a.example", "b.example")}
    assert len(names) == 2
    assert all(name.endswith(".zones.catalog.example.") for name in names)


def test_a_zone_goes_with_its_files_and_no_others(directory: Path) -> None:
    asked: list[str] = []

    def served(zone: str) -> bool:
        asked.append(zone)
        return False

    kept = {"example.db", "x.cms.example.db", "Kexample.+013+12345.key"}
    predicted = purge(["cms.example"], {}, directory, directory, served=served, check=True)
    assert not asked
    gone = purge(
        ["cms.example", "never.example"], {}, directory, directory, served=served, check=False
    )
    assert gone == predicted
    assert asked == ["cms.example"]
    left = {path.name for path in directory.iterdir()}
    assert kept <= left
    assert not [name for name in left if name.startswith(("cms", "Kcms"))]


def test_a_zone_that_is_served_keeps_its_files(directory: Path) -> None:
    with pytest.raises(RecordsError, match="still served"):
        purge(["cms.example"], {}, directory, directory, served=lambda _zone: True, check=False)
    assert (directory / "cms.example.db").exists()
