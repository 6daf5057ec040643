# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""keystone-keys: no site ever lacks a key that signs, nor loses one that verifies."""

from __future__ import annotations

import base64
import importlib.machinery
import importlib.util
import json
import os
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

SOURCE = Path(__file__).resolve().parents[2] / "roles/keystone/files/keystone_keys.py"
DAY = 86400


def _load() -> ModuleType:
    loader = importlib.machinery.SourceFileLoader("keystone_keys", str(SOURCE))
    spec = importlib.util.spec_from_loader("keystone_keys", loader)
    assert spec
    module = importlib.util.module_from_spec(spec)
    sys.modules["keystone_keys"] = module
    loader.exec_module(module)
    return module


keys_program = _load()
KeysError = keys_program.KeysError


def key(number: int) -> str:
    return base64.urlsafe_b64encode(bytes([number]) * 32).decode()


def keys(*numbers: int, made: float = 0.0) -> dict[int, tuple[str, float]]:
    """Keys 0 to n as a fresh repository has them; the content tells the number it was made as."""
    return {position: (key(number), made) for position, number in enumerate(numbers)}


class Site(keys_program.Host):
    """A host whose peers are hosts of the same test."""

    def __init__(self, name: str, place: Path, sites: dict[str, Site], **more: Any) -> None:
        names = ("cnaf", "bari", "padova")
        super().__init__(
            {
                "name": name, "holder": "cnaf", "port": 22, "place": str(place), "rotation": DAY,
                "lifetime": 2 * DAY, "keep": 5, **more,
                "peers": {other: "192.0.2.1" for other in names if other != name},
            }
        )  # fmt: skip
        self.repositories = {kind: place / f"{kind}-keys" for kind in keys_program.REPOSITORIES}
        self.sites, self.away = sites, False
        place.mkdir()

    def call(self, peer: str, verb: str, text: str = "") -> Any:
        there = self.sites[peer]
        if there.away:
            raise KeysError(f"{peer}: Connection timed out")
        if verb == "receive":
            return {"changed": there.accept(text), "status": there.status()}
        return json.loads(json.dumps(there.keys()))

    def put(self, found: dict[int, tuple[str, float]]) -> None:
        for directory in self.repositories.values():
            keys_program.install(directory, found)

    @property
    def fernet(self) -> dict[int, tuple[str, float]]:
        return keys_program.load(self.repositories["fernet"])


@pytest.fixture
def sites(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Site]:
    found: dict[str, Site] = {}
    for name in ("cnaf", "bari", "padova"):
        found[name] = Site(name, tmp_path / name, found)

    def rotate(words: list[str], **_options: Any) -> None:
        """What keystone-manage fernet_rotate does, at the holder."""
        assert words == ["keystone-manage", "fernet_rotate"]
        directory = found["cnaf"].repositories["fernet"]
        newest = max(found["cnaf"].fernet)
        (directory / "0").rename(directory / str(newest + 1))
        (directory / "0").write_text(key(newest + 100))

    monkeypatch.setattr(keys_program.subprocess, "run", rotate)
    return found


def test_new_sites_get_the_keys_and_keep_their_age(sites: dict[str, Site]) -> None:
    sites["cnaf"].put(keys(1, 2, made=1000.0))
    assert sites["cnaf"].push(["bari", "padova"]) == ["bari", "padova"]
    assert sites["bari"].fernet == keys(1, 2, made=1000.0)
    assert sites["cnaf"].push(["bari", "padova"]) == []
    mode = os.stat(sites["bari"].repositories["fernet"] / "0").st_mode & 0o777
    assert mode == 0o600


def test_every_site_has_the_staged_key_before_it_signs(sites: dict[str, Site]) -> None:
    sites["cnaf"].put(keys(1, 2))
    assert "key 2 signs" in sites["cnaf"].rotate("fernet", if_due=False)
    wished = {0: key(101), 1: key(2), 2: key(1)}
    for site in sites.values():
        assert {number: found for number, (found, _made) in site.fernet.items()} == wished


def test_nothing_rotates_while_a_site_is_away(sites: dict[str, Site]) -> None:
    sites["cnaf"].put(keys(1, 2))
    sites["padova"].away = True
    with pytest.raises(
        KeysError, match=r"nothing was rotated, all tokens stay valid.*padova: Conn"
    ):
        sites["cnaf"].rotate("fernet", if_due=False)
    assert sites["cnaf"].fernet == sites["bari"].fernet == keys(1, 2)


def test_the_timer_rotates_when_it_is_due_and_else_only_repairs(sites: dict[str, Site]) -> None:
    sites["cnaf"].put(keys(1, 2, made=time.time()))
    assert "not due; bari, padova took" in sites["cnaf"].rotate("fernet", if_due=True)
    sites["cnaf"].put(keys(1, 2, made=time.time() - DAY - 1))
    for number in (0, 1):
        os.utime(sites["cnaf"].repositories["fernet"] / str(number), (1000, 1000))
    assert "rotated" in sites["cnaf"].rotate("fernet", if_due=True)


def test_only_the_holder_rotates(sites: dict[str, Site]) -> None:
    with pytest.raises(KeysError, match="bari does not hold the keys, cnaf does"):
        sites["bari"].rotate("fernet", if_due=False)


def test_rotating_too_often_would_take_keys_from_living_tokens(sites: dict[str, Site]) -> None:
    sites["cnaf"].put(keys(1, 2, made=time.time()))
    for _round in range(3):
        sites["cnaf"].rotate("fernet", if_due=False)
    assert len(sites["cnaf"].fernet) == 5
    with pytest.raises(KeysError, match="the oldest key still verifies tokens"):
        sites["cnaf"].rotate("fernet", if_due=False)


def test_a_key_goes_when_no_token_of_it_lives() -> None:
    repository = {0: (key(9), 500.0), 4: (key(4), 100.0), 5: (key(5), 200.0), 6: (key(6), 300.0)}
    # 4 signed until its follower 5 did: from the moment in which 6 was made.
    assert keys_program.free_to_rotate(repository, 4, 1000) == 1300.0
    assert keys_program.free_to_rotate(repository, 5, 1000) == 0.0


@pytest.mark.parametrize(
    ("sent", "says"),
    [
        ({}, "no fernet keys were sent"),
        ({0: ("short", 0.0)}, "fernet key 0 is no key"),
        (keys(7, 8, 9), "not those of this federation"),
        (keys(1, 2), "are older"),
    ],
)
def test_a_site_refuses_keys_that_would_make_it_blind(
    sites: dict[str, Site], sent: dict[int, tuple[str, float]], says: str
) -> None:
    sites["bari"].put(keys(3, 1, 2))
    text = json.dumps({"fernet": sent, "credential": keys(3, 1, 2)})
    with pytest.raises(KeysError, match=says):
        sites["bari"].accept(text)
    assert sites["bari"].fernet == keys(3, 1, 2)


def test_a_reader_finds_every_key_at_every_moment(
    sites: dict[str, Site], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between two steps of an installation the old primary and the new one are both there."""
    directory = sites["bari"].repositories["fernet"]
    before = {0: (key(3), 0.0), 1: (key(1), 0.0), 2: (key(2), 0.0)}
    after = {0: (key(4), 0.0), 2: (key(2), 0.0), 3: (key(3), 0.0)}
    keys_program.install(directory, before)
    seen = []
    rename = Path.rename

    def watch(self: Path, target: Path) -> Path:
        moved = rename(self, target)
        seen.append({found for found, _made in keys_program.load(directory).values()})
        return moved

    monkeypatch.setattr(Path, "rename", watch)
    assert keys_program.install(directory, after)
    assert keys_program.load(directory) == after
    assert seen and all({key(2), key(3)} <= moment for moment in seen)


def test_what_ssh_asks_is_one_of_three_things(
    sites: dict[str, Site], monkeypatch: pytest.MonkeyPatch
) -> None:
    for asked in ("", "status; id", "rotate fernet", "/bin/sh"):
        monkeypatch.setenv("SSH_ORIGINAL_COMMAND", asked)
        with pytest.raises(KeysError, match="none of status, send, receive"):
            keys_program.serve(sites["bari"])
