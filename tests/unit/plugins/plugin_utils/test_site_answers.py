# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""When a site contributes a new answer, its last good one, or nothing; and the files for that."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.infn.cloud.plugins.module_utils._federation_model import read_federation
from ansible_collections.infn.cloud.plugins.plugin_utils._provider import (
    Answer,
    Deadline,
    Instance,
    ProviderError,
)
from ansible_collections.infn.cloud.plugins.plugin_utils._site_answers import (
    Plan,
    SiteAnswer,
    SitesFailed,
    gather,
)
from ansible_collections.infn.cloud.plugins.plugin_utils._site_cache import Key, SiteCache
from ansible_collections.infn.cloud.plugins.plugin_utils._site_pool import Question

GOOD = Answer([Instance("i1", "web")], 3)


class World:
    """Sites a and b whose clouds do as told, a clock that is set, and a directory."""

    def __init__(self, directory: Path, **policy: Any) -> None:
        self.cache = SiteCache(directory)
        self.now = 1_000_000.0
        self.down: set[str] = set()
        self.unknown: set[str] = set()
        self.asked: list[str] = []
        self.parts = "endpoint"
        cloud = {"coupling": "federated", "provider": "openstack", "credentials": {"cloud": "x"}}
        self.federation = read_federation(
            {
                "federation": {"name": "demo", "domain": "demo.test"},
                "sites": [{"name": name, **cloud} for name in ("a", "b")],
                **policy,
            },
            "federation.yml",
        )

    def plan(self, site: Any) -> Plan:
        if site.name in self.unknown:
            raise ProviderError("there is no clouds.yaml")
        down = site.name in self.down

        def ask(_deadline: Deadline) -> Answer:
            if down:
                raise ProviderError("it is down")
            return GOOD

        self.asked.append(site.name)
        return Plan(Key("demo", site.name, [self.parts]), Question(site.name, 30, ask))

    def run(self, *, refresh: bool = False) -> list[SiteAnswer]:
        return gather(self.federation, self.plan, self.cache, now=lambda: self.now, refresh=refresh)


def test_both_sites_answer_in_the_order_of_the_file(tmp_path: Path) -> None:
    answers = World(tmp_path).run()
    assert [answer.site.name for answer in answers] == ["a", "b"]
    assert answers[0].report() | {"seconds": 0.0} == {
        "status": "ok", "provider": "openstack", "hosts": 1, "seconds": 0.0, "requests": 3,
        "age": 0, "message": None,
    }  # fmt: skip


def test_a_dead_site_contributes_its_last_good_answer(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.run()
    world.down, world.now = {"a"}, world.now + 3600
    first, second = world.run()
    assert (first.status, first.age, first.message) == ("stale", 3600, "it is down")
    assert first.instances == GOOD.instances
    assert second.status == "ok"


def test_a_last_answer_is_not_used_for_ever(tmp_path: Path) -> None:
    world = World(tmp_path, max_stale=60)
    world.run()
    world.down, world.now = {"a"}, world.now + 61
    first, second = world.run()
    assert (first.status, list(first.instances)) == ("failed", [])
    assert second.status == "ok"


def test_a_clock_that_was_set_back_loses_nothing(tmp_path: Path) -> None:
    world = World(tmp_path, refresh_after=600)
    world.run()
    world.down, world.now = {"a"}, world.now - 86400
    assert [(one.status, one.age) for one in world.run()] == [("stale", 0), ("ok", 0)]


def test_skip_leaves_the_site_out(tmp_path: Path) -> None:
    world = World(tmp_path, on_site_failure="skip")
    world.run()
    world.down = {"a"}
    assert [one.status for one in world.run()] == ["failed", "ok"]


def test_fail_ends_it_and_says_because_of_whom(tmp_path: Path) -> None:
    world = World(tmp_path, on_site_failure="fail")
    world.down = {"b"}
    with pytest.raises(SitesFailed, match=r"^site b: it is down \(on_site_failure: fail\)$"):
        world.run()


def test_a_required_site_will_do_with_its_last_answer_and_not_without(tmp_path: Path) -> None:
    world = World(tmp_path, require_sites=["a"])
    world.down = {"a"}
    with pytest.raises(SitesFailed, match=r"site a: it is down \(require_sites names it\)"):
        world.run()
    world.down = set()
    world.run()
    world.down = {"a"}
    assert [one.status for one in world.run()] == ["stale", "ok"]


def test_nobody_at_all_is_an_error(tmp_path: Path) -> None:
    world = World(tmp_path, on_site_failure="skip")
    world.down = {"a", "b"}
    with pytest.raises(SitesFailed, match="no site answered: site a: it is down; site b"):
        world.run()


def test_credentials_that_cannot_be_found_are_the_sites_failure(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.unknown = {"a"}
    first, second = world.run()
    assert (first.status, first.message) == ("failed", "there is no clouds.yaml")
    assert second.status == "ok"


def test_a_young_answer_is_used_again_unless_refreshed(tmp_path: Path) -> None:
    world = World(tmp_path, refresh_after=60)
    world.run()
    world.down, world.now = {"a", "b"}, world.now + 59
    assert [(one.status, one.age, one.requests) for one in world.run()] == [("ok", 59, 0)] * 2
    assert [one.status for one in world.run(refresh=True)] == ["stale", "stale"]
    world.now += 1
    assert [one.status for one in world.run()] == ["stale", "stale"]


def test_another_question_has_another_answer(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.run()
    world.parts, world.down = "another endpoint", {"a"}
    assert [one.status for one in world.run()] == ["failed", "ok"]


def test_only_the_owner_can_read_it(tmp_path: Path) -> None:
    world = World(tmp_path / "new" / "directory")
    world.run()
    files = list(world.cache.directory.iterdir())
    assert len(files) == 2
    assert stat.S_IMODE(world.cache.directory.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}


@pytest.mark.parametrize(
    "damage", ["", "{}", '{"fetched_at": 1}\n{"schema', "\x00", '{"fetched_at": 1}\n[]']
)
def test_a_damaged_entry_is_none_and_is_named(tmp_path: Path, damage: str) -> None:
    world = World(tmp_path, refresh_after=10**9)
    world.run()
    for file in tmp_path.iterdir():
        file.write_text(damage)
    world.down = {"a"}
    assert [one.status for one in world.run()] == ["failed", "ok"]
    assert any("the entry is not used" in problem for problem in world.cache.problems)


def test_a_directory_that_cannot_be_written_is_a_warning(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    world = World(tmp_path / "file")
    assert [one.status for one in world.run()] == ["ok", "ok"]
    assert "correct cache_directory" in world.cache.problems[0]


def test_entries_nobody_can_use_any_more_go_away(tmp_path: Path) -> None:
    world = World(tmp_path, max_stale=60)
    world.run()
    world.parts, world.now = "another endpoint", 4_000_000_000.0
    world.run()
    assert len(list(tmp_path.iterdir())) == 2
