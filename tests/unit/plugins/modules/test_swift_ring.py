# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""swift_ring and swift_ring_info on Swift's own builder and real files."""

from __future__ import annotations

import copy
import fcntl
import hashlib
import json
import os
import pickle
import random
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    pytest.importorskip("swift", reason="needs Swift's ring builder (pip install swift)")
    from swift.common.ring import RingBuilder, RingData

from ansible.module_utils.common.arg_spec import ModuleArgumentSpecValidator
from ansible_collections.infn.cloud.plugins.module_utils import _swift_ring_files as files
from ansible_collections.infn.cloud.plugins.module_utils._swift_ring_builder import (
    Request,
    converge,
    describe,
)
from ansible_collections.infn.cloud.plugins.module_utils._swift_ring_plan import RingError
from ansible_collections.infn.cloud.plugins.modules import swift_ring

COLLECTIONS = str(Path(__file__).resolve().parents[4] / ".cache" / "collections")
PORTS = {"account": 6202, "container": 6201}


def disk(region, zone=1, host=1, name="d0", weight=100.0, port=6200, **values):
    return {
        "region": region,
        "zone": zone,
        "ip": f"10.{region}.{zone}.{host}",
        "port": port,
        "device": name,
        "weight": weight,
        **values,
    }


def topology(weights, zones=1, hosts=2, disks=2, port=6200):
    return [
        disk(region, zone, host, f"d{number}", weight, port)
        for region, weight in weights.items()
        for zone in range(1, zones + 1)
        for host in range(1, hosts + 1)
        for number in range(disks)
    ]


EQUAL = {1: 100.0, 2: 100.0, 3: 100.0}


class Ring:
    """One ring in a directory, driven as the module drives it."""

    def __init__(self, directory, ring="object", **params):
        self.directory = directory
        self.ring = ring
        self.params = {"part_power": 8, "replicas": 3, **params}

    def run(self, devices=None, check=False, **params):
        given = {
            "ring": self.ring,
            "builder_dir": str(self.directory),
            "devices": copy.deepcopy(devices),
            **self.params,
            **params,
        }
        given = {name: value for name, value in given.items() if value is not None}
        checked = ModuleArgumentSpecValidator(
            swift_ring.ARGUMENTS,
            required_if=[("state", "present", ("part_power", "replicas", "devices"))],
        ).validate(given)
        assert not checked.error_messages
        result = converge(Request.from_params(checked.validated_parameters), commit=not check)
        # Plain JSON types only, and no key that JSON would turn into another.
        assert json.loads(json.dumps(result)) == result
        return result

    @property
    def path(self):
        return self.directory / f"{self.ring}.builder"

    @property
    def ring_path(self):
        return self.directory / f"{self.ring}.ring.gz"

    @property
    def record(self):
        return self.directory / f"{self.ring}.builder.id"

    @property
    def builder(self):
        return RingBuilder.load(str(self.path))

    def info(self):
        (ring,) = describe(str(self.directory), self.ring)
        return ring

    def let_pass(self, hours):
        """Let time pass, keeping the ring file what the builder gives."""
        builder = self.builder
        builder._last_part_moves_epoch -= hours * 3600
        builder.save(str(self.path))

    def backups(self):
        return sorted(path.name for path in (self.directory / "backups").glob("*"))


@pytest.fixture
def ring(tmp_path):
    return Ring(tmp_path / "builders")


@pytest.fixture
def built(ring):
    ring.run(topology(EQUAL))
    return ring


def snapshot(directory):
    """Every path below a directory with its content, inode and times."""
    state = {}
    for path in [directory, *directory.rglob("*")] if directory.exists() else []:
        status = path.stat()
        content = path.read_bytes() if path.is_file() else None
        state[str(path)] = (content, status.st_ino, status.st_mtime_ns, status.st_mode)
    return state


def refused(ring, devices, message, **params):
    """The run is refused, in check mode and for real, and leaves no trace."""
    before = snapshot(ring.directory)
    for check in (True, False):
        with pytest.raises(RingError, match=message):
            ring.run(devices, check=check, **params)
    assert snapshot(ring.directory) == before


def unchanged(ring, devices, **params):
    """The run changes nothing, not even a time."""
    before = snapshot(ring.directory)
    result = ring.run(devices, **params)
    assert not result["changed"]
    assert result["written"] == []
    assert snapshot(ring.directory) == before
    return result


class TestCreation:
    def test_creates_a_ring(self, ring):
        result = ring.run(topology(EQUAL))
        assert result["changed"]
        assert result["rebalanced"]
        assert result["written"] == [str(ring.path), str(ring.record), str(ring.ring_path)]
        assert result["moves"] == {
            "replicas": 0,
            "percent": 0.0,
            "partitions": 0,
            "again": 0,
            "histogram": {"0": 256},
        }
        assert result["id"] == ring.builder.id == ring.record.read_text().strip()
        assert len(result["devices"]["added"]) == 12
        assert [region["partitions"] for region in result["regions"]] == [
            {"before": 0, "after": 256}
        ] * 3
        ring.builder.validate()
        loaded = RingData.load(str(ring.ring_path))
        assert loaded.replica_count == 3
        assert loaded.version == result["version"] == ring.builder.version
        for path in (ring.path, ring.ring_path, ring.record):
            assert path.stat().st_mode & 0o777 == 0o644

    def test_check_mode_creates_nothing(self, ring):
        result = ring.run(topology(EQUAL), check=True)
        assert result["changed"]
        assert result["id"] == ""
        assert not ring.directory.exists()

    def test_second_run_changes_nothing(self, built):
        assert unchanged(built, topology(EQUAL))["retry_after"] == 0

    def test_second_run_does_not_create_anew(self, built):
        first = built.builder.id
        built.run(topology({**EQUAL, 3: 101.0}), overload=0.1)
        assert built.builder.id == first

    def test_equal_wishes_give_equal_ring_files(self, tmp_path):
        sums = set()
        for number in range(3):
            devices = topology(EQUAL, zones=2)
            random.Random(number).shuffle(devices)
            ring = Ring(tmp_path / str(number))
            ring.run(devices)
            sums.add(hashlib.sha256(ring.ring_path.read_bytes()).hexdigest())
        assert len(sums) == 1

    def test_other_seeds_give_other_ring_files(self, tmp_path):
        for seed in (1, 2):
            Ring(tmp_path / str(seed)).run(topology(EQUAL), seed=seed)
        one, other = (tmp_path / seed / "object.ring.gz" for seed in "12")
        assert one.read_bytes() != other.read_bytes()

    def test_ring_files_do_not_depend_on_hash_randomization(self, tmp_path):
        sums = set()
        for seed in ("1", "2", "3"):
            directory = tmp_path / seed
            run_module("swift_ring", directory, PYTHONHASHSEED=seed)
            sums.add((directory / "object.ring.gz").read_bytes())
        assert len(sums) == 1

    def test_without_rebalance_there_is_no_ring_file(self, ring):
        result = ring.run(topology(EQUAL), rebalance=False)
        assert result["changed"]
        assert not ring.ring_path.exists()
        unchanged(ring, topology(EQUAL), rebalance=False)
        assert ring.run(topology(EQUAL))["rebalanced"]
        assert ring.ring_path.exists()

    def test_a_fraction_of_a_replica(self, ring):
        ring.run(topology(EQUAL), replicas=2.5)
        assert ring.info()["replicas"] == 2.5
        unchanged(ring, topology(EQUAL), replicas=2.5)


class TestEdits:
    @pytest.mark.parametrize(
        "edit", [{"meta": "moved"}, {"replication_ip": "10.9.9.9"}, {"replication_port": 6300}]
    )
    def test_edits_that_move_nothing_reach_the_ring_file(self, built, edit):
        built.let_pass(48)
        devices = topology(EQUAL)
        devices[3].update(edit)
        before = built.builder
        result = built.run(devices)
        assert result["changed"]
        assert not result["rebalanced"]
        assert result["moves"]["replicas"] == 0
        assert str(built.ring_path) in result["written"]
        ((field, value),) = edit.items()
        assert [list(one["changes"]) for one in result["devices"]["changed"]] == [[field]]
        assert RingData.load(str(built.ring_path)).devs[3][field] == value
        after = built.builder
        assert after._replica2part2dev == before._replica2part2dev
        assert after.min_part_seconds_left == before.min_part_seconds_left
        assert f"{value}" in result["diff"]["after"]
        unchanged(built, devices)

    def test_ids_are_kept(self, built):
        ids = {one["name"]: one["id"] for one in built.info()["devices"]}
        built.let_pass(25)
        built.run(topology(EQUAL, disks=3), overload=0.5)
        after = {one["name"]: one["id"] for one in built.info()["devices"]}
        assert {name: after[name] for name in ids} == ids
        assert len(after) == 18

    def test_min_part_hours_are_saved_without_a_new_ring(self, built):
        before = built.ring_path.stat()
        result = built.run(topology(EQUAL), min_part_hours=6)
        assert result["written"] == [str(built.path)]
        assert result["settings"] == {"min_part_hours": {"before": 24, "after": 6}}
        assert built.ring_path.stat() == before
        assert built.info()["min_part_hours"] == 6
        assert built.info()["replicas"] == 3

    def test_a_weight_of_a_policy_ring(self, tmp_path):
        ring = Ring(tmp_path, ring="object-1")
        ring.run(topology(EQUAL))
        ring.let_pass(25)
        devices = topology(EQUAL)
        devices[0]["weight"] = 50.0
        devices[1]["weight"] = 150.0
        result = ring.run(devices)
        assert result["moves"]["replicas"] > 0
        assert ring.info()["devices"][0]["weight"] == 50.0

    def test_replicas_can_grow_one_at_a_time(self, tmp_path):
        ring = Ring(tmp_path, replicas=1)
        ring.run(topology(EQUAL))
        refused(ring, topology(EQUAL), "2 replicas of one partition", replicas=3)
        result = ring.run(topology(EQUAL), replicas=2)
        assert result["moves"]["histogram"]["1"] == 256
        unchanged(ring, topology(EQUAL), replicas=2)


class TestMinPartHours:
    def test_edits_are_saved_and_moves_wait(self, built):
        devices = topology(EQUAL)
        devices[0]["weight"], devices[1]["weight"] = 50.0, 150.0
        result = built.run(devices)
        assert result["changed"]
        assert not result["rebalanced"]
        assert result["moves"]["replicas"] == 0
        assert 0 < result["retry_after"] <= 24 * 3600
        assert built.builder.devs[0]["weight"] == 50.0
        again = unchanged(built, devices)
        assert 0 < again["retry_after"] <= result["retry_after"]
        built.let_pass(25)
        late = built.run(devices)
        assert late["changed"]
        assert late["moves"]["replicas"] > 0
        assert late["moves"]["again"] == 0
        assert late["retry_after"] == 0
        unchanged(built, devices)
        built.let_pass(25)
        unchanged(built, devices)

    def test_the_builder_knows_what_is_owed(self, built):
        devices = topology(EQUAL)
        devices[0]["weight"], devices[1]["weight"] = 50.0, 150.0
        built.run(devices)
        assert built.info()["devices_changed"]
        built.let_pass(25)
        built.run(devices)
        assert not built.info()["devices_changed"]
        # Twice all weights is the same ring.
        for device in devices:
            device["weight"] *= 2
        result = built.run(devices)
        assert result["changed"]
        assert (result["rebalanced"], result["retry_after"]) == (False, 0)
        assert not built.info()["devices_changed"]

    def test_the_dispersion_is_of_the_edited_devices(self, tmp_path):
        ring = Ring(tmp_path)
        ring.run(topology({1: 100.0}, zones=3))
        devices = topology({1: 100.0}, zones=3)
        for device in devices:
            device["zone"] = min(device["zone"], 2)
        result = ring.run(devices)
        assert not result["rebalanced"]
        fresh = ring.builder
        fresh._build_dispersion_graph()
        assert ring.builder.dispersion == fresh.dispersion
        assert ring.builder._dispersion_graph == fresh._dispersion_graph

    def test_a_new_overload_is_remembered(self, built):
        unequal = {**EQUAL, 3: 60.0}
        built.run(topology(unequal), allow_missing_region=True)
        built.let_pass(25)
        assert built.run(topology(unequal), allow_missing_region=True)["regions"][2]["missing"]
        result = built.run(topology(unequal), overload=0.45)
        while result["retry_after"]:
            built.let_pass(25)
            result = built.run(topology(unequal), overload=0.45)
        assert [region["missing"]["after"] for region in result["regions"]] == [0, 0, 0]
        built.let_pass(25)
        unchanged(built, topology(unequal), overload=0.45)

    def test_a_ring_that_cannot_be_balanced_is_left_in_peace(self, tmp_path):
        ring = Ring(tmp_path, part_power=5)
        devices = topology({1: 100.0, 2: 73.0}, hosts=3, disks=3)
        for number, device in enumerate(devices):
            device["weight"] += number * 7
        ring.run(devices, allow_missing_region=True)
        for _push in range(20):
            ring.let_pass(25)
            result = ring.run(devices)
            if not result["changed"]:
                break
        for _day in range(5):
            ring.let_pass(25)
            assert unchanged(ring, devices)["retry_after"] == 0

    def test_no_hours(self, tmp_path):
        ring = Ring(tmp_path, min_part_hours=0)
        ring.run(topology(EQUAL))
        ring.run(topology({**EQUAL, 1: 0.0}))
        for _push in range(9):
            if not ring.run(topology({**EQUAL, 1: 0.0}))["changed"]:
                break
        assert unchanged(ring, topology({**EQUAL, 1: 0.0}))["retry_after"] == 0


class TestDraining:
    def test_a_full_device_is_refused(self, built):
        built.let_pass(25)
        refused(built, topology(EQUAL)[1:], "Set the weight to 0 first, wait until drained")

    def test_drain_then_drop(self, built):
        devices = topology(EQUAL)
        devices[0]["weight"] = 0.0
        # The region keeps its share: its other disks take what this one gives.
        result = built.run(devices, overload=0.5)
        assert result["devices"]["draining"] == [
            {
                "id": 0,
                "name": "r1z1-10.1.1.1:6200/d0",
                "partitions_before": 64,
                "partitions_after": 64,
            }
        ]
        refused(built, devices[1:], "still holding partitions", overload=0.5)
        built.let_pass(25)
        result = built.run(devices, overload=0.5)
        assert result["devices"]["draining"][0]["partitions_after"] == 0
        assert result["moves"]["histogram"]["1"] >= 64
        assert result["balance"]["before"] == 999.99
        result = built.run(devices[1:], overload=0.5)
        assert [one["id"] for one in result["devices"]["removed"]] == [0]
        assert built.builder.devs[0] is None
        assert RingData.load(str(built.ring_path)).devs[0] is None
        unchanged(built, devices[1:], overload=0.5)

    def test_lost_disk(self, built):
        result = built.run(topology(EQUAL)[1:], allow_device_removal=True, overload=0.5)
        assert result["devices"]["removed"][0]["partitions_before"] == 64
        assert result["moves"]["histogram"] == {"0": 192, "1": 64}
        # Removal ignores min_part_hours: the ring was created a moment ago.
        assert result["moves"]["again"] == 64
        unchanged(built, topology(EQUAL)[1:], allow_device_removal=True, overload=0.5)

    def test_nodes_of_two_regions_at_once(self, built):
        built.let_pass(25)
        left = [d for d in topology(EQUAL) if d["ip"] not in ("10.1.1.1", "10.2.1.2")]
        flags = {"allow_device_removal": True, "overload": 5.0}
        refused(built, left, "more than one replica of [0-9]+ of 256 partitions", **flags)
        result = built.run(left, allow_multiple_replica_moves=True, **flags)
        assert result["moves"]["histogram"]["2"] > 0

    def test_a_region_drains_and_comes_back(self, built):
        built.let_pass(25)
        away = topology({**EQUAL, 3: 0.0})
        result = built.run(away)
        while result["retry_after"]:
            built.let_pass(25)
            result = built.run(away)
        assert result["regions"][2]["partitions"]["after"] == 0
        assert result["regions"][2]["weight"] == 0.0
        built.let_pass(25)
        back = built.run(topology(EQUAL))
        assert back["regions"][2]["missing"] == {"before": 256, "after": 0}
        assert built.run(topology({1: 100.0, 2: 100.0}), check=True, allow_device_removal=True)

    def test_marked_for_removal_with_the_command_line(self, built):
        builder = built.builder
        builder.remove_dev(0)
        builder.save(str(built.path))
        refused(built, topology(EQUAL), "marked for removal with swift-ring-builder")
        refused(built, topology(EQUAL)[1:], "still holding partitions")


class TestRegions:
    def test_unequal_regions(self, ring):
        unequal = topology({**EQUAL, 3: 60.0})
        message = "leaves 78 of 256 partitions .30 %. without a copy there; set overload to 0.45"
        refused(ring, unequal, message)
        result = ring.run(unequal, overload=0.45)
        assert result["required_overload"] == 0.45
        assert [region["missing"]["after"] for region in result["regions"]] == [0, 0, 0]

    def test_asked_by_name(self, ring):
        unequal = topology({**EQUAL, 3: 60.0})
        result = ring.run(unequal, allow_missing_region=True)
        assert result["regions"][2]["missing"]["after"] >= 78
        # What is there already is no reason to refuse.
        unchanged(ring, unequal)
        unequal[0]["meta"] = "edited"
        assert ring.run(unequal)["changed"]

    def test_refused_when_edited_not_when_it_moves(self, built):
        assert built.builder.min_part_seconds_left
        refused(built, topology({**EQUAL, 3: 60.0}), "region 3: weight 240 against 400")

    def test_also_without_rebalance(self, built):
        refused(built, topology({**EQUAL, 3: 60.0}), "region 3", rebalance=False)

    def test_the_overload_cannot_be_taken_away(self, ring):
        ring.run(topology({**EQUAL, 3: 60.0}), overload=0.45)
        refused(ring, topology({**EQUAL, 3: 60.0}), "set overload to 0.45")

    def test_a_region_comes_in_steps(self, tmp_path):
        ring = Ring(tmp_path, part_power=10)
        ring.run(topology({1: 100.0, 2: 100.0}))
        missing = 1024
        for weight in (5.0, 25.0, 50.0, 100.0):
            ring.let_pass(25)
            result = ring.run(topology({1: 100.0, 2: 100.0, 3: weight}))
            assert set(result["moves"]["histogram"]) == {"0", "1"}
            assert result["regions"][2]["missing"]["after"] < missing
            missing = result["regions"][2]["missing"]["after"]
            unchanged(ring, topology({1: 100.0, 2: 100.0, 3: weight}))
        assert missing == 0

    def test_another_region_may_not_lose_meanwhile(self, tmp_path):
        ring = Ring(tmp_path)
        ring.run(topology({1: 100.0, 2: 100.0}))
        refused(ring, topology({1: 100.0, 2: 10.0, 3: 5.0}), "region 2")

    def test_a_push_nobody_asked_for_opens_no_gaps(self, tmp_path):
        ring = Ring(tmp_path, part_power=9)
        ring.run(topology(EQUAL, zones=2, disks=3))
        unequal = topology({**EQUAL, 3: 50.0}, zones=2, disks=3)
        ring.run(unequal, allow_missing_region=True)
        ring.let_pass(25)
        assert ring.run(unequal, allow_missing_region=True)["rebalanced"]
        for _day in range(3):
            ring.let_pass(25)
            unchanged(ring, unequal)

    def test_where_there_are_gaps_swift_may_trade_them(self, tmp_path):
        ring = Ring(tmp_path, part_power=10)
        ring.run(topology(EQUAL, zones=2, disks=3))
        unequal = topology({**EQUAL, 3: 80.0}, zones=2, disks=3)
        ring.run(unequal, allow_missing_region=True)
        for _push in range(2):
            ring.let_pass(25)
            ring.run(unequal, allow_missing_region=True)
        unequal[3]["weight"] += 10
        unequal[4]["weight"] -= 10
        unequal[27]["zone"] = 3
        ring.let_pass(25)
        regions = ring.run(unequal)["regions"]
        missing = [
            sum(region["missing"][when] for region in regions) for when in ("before", "after")
        ]
        assert missing[0] < missing[1] <= missing[0] + 10

    def test_more_regions_than_replicas(self, ring):
        heavy = topology({1: 300.0, 2: 100.0, 3: 100.0, 4: 100.0})
        refused(ring, heavy, "region 1: weight 1200 .* puts two or more copies of 128 of 256")
        assert ring.run(topology({1: 100.0, 2: 100.0, 3: 100.0, 4: 100.0}))["changed"]

    def test_one_region_is_enough(self, ring):
        assert ring.run(topology({1: 100.0}))["changed"]

    def test_too_few_devices(self, ring):
        refused(ring, [disk(1), disk(2)], "3 replicas need at least 3 devices")


class TestBuilders:
    @pytest.mark.parametrize(("power", "message"), [(7, "cannot lower it"), (9, "relink")])
    def test_the_partition_power_stays(self, built, power, message):
        refused(built, topology(EQUAL), message, part_power=power)

    def test_a_partition_power_increase_is_not_disturbed(self, built):
        builder = built.builder
        builder.prepare_increase_partition_power()
        builder.save(str(built.path))
        builder.get_ring().save(str(built.ring_path))
        built.let_pass(25)
        unchanged(built, topology(EQUAL))
        refused(built, topology(EQUAL), "increase to 9 is in progress", overload=0.1)

    @pytest.mark.parametrize(
        "content",
        [b"", b"no pickle", pickle.dumps([1, 2]), pickle.dumps({"devs": []}), b'{"components": 1}'],
    )
    def test_a_damaged_builder_is_refused(self, built, content):
        built.path.write_bytes(content)
        refused(built, topology(EQUAL), "object.builder: damaged.*restore it from")

    def test_a_truncated_builder_is_refused(self, built):
        built.path.write_bytes(built.path.read_bytes()[:-100])
        refused(built, topology(EQUAL), "damaged")

    def test_a_builder_with_strange_ids_is_refused(self, built):
        builder = built.builder
        builder._replica2part2dev[1][7] = 99
        builder.save(str(built.path))
        refused(built, topology(EQUAL), r"damaged .partitions on unknown devices \[99\]")

    def test_the_builder_of_a_ring_with_other_ports(self, tmp_path):
        Ring(tmp_path, "container").run(topology(EQUAL, port=6201))
        os.rename(tmp_path / "container.builder", tmp_path / "account.builder")
        refused(Ring(tmp_path, "account"), topology(EQUAL, port=6202), "shares no device.*6201")

    def test_the_builder_of_another_policy(self, built):
        policy = Ring(built.directory, "object-1")
        policy.path.write_bytes(built.path.read_bytes())
        refused(policy, topology(EQUAL), "is a copy of .*/object.builder")

    def test_a_builder_moved_over_another(self, built):
        policy = Ring(built.directory, "object-1")
        policy.run(topology(EQUAL))
        os.rename(built.path, policy.path)
        refused(policy, topology(EQUAL), "the ring was built with")

    def test_a_builder_created_anew(self, built):
        anew = RingBuilder(8, 3, 24)
        anew.save(str(built.path))
        refused(built, topology(EQUAL), "created anew. Restore")

    def test_a_lost_builder(self, built):
        built.path.unlink()
        refused(built, topology(EQUAL), "is gone, but .*write_builder.*allow_data_loss")
        built.record.unlink()
        refused(built, topology(EQUAL), "is gone")
        assert built.run(topology(EQUAL), allow_data_loss=True)["changed"]
        unchanged(built, topology(EQUAL))

    def test_a_record_never_stays_beside_another_builder(self, built, monkeypatch):
        class Killed(BaseException):
            pass

        def kill(path, real=files._temporary):
            if path == str(built.record):
                raise Killed
            return real(path)

        built.path.unlink()
        with monkeypatch.context() as patch, pytest.raises(Killed):
            patch.setattr(files, "_temporary", kill)
            built.run(topology(EQUAL), allow_data_loss=True)
        assert not built.record.exists()
        # It is written with the next change.
        built.run(topology(EQUAL), min_part_hours=9)
        assert built.record.read_text().strip() == built.builder.id

    def test_a_builder_of_the_command_line_is_taken_over(self, tmp_path):
        ring = Ring(tmp_path)
        builder = RingBuilder(8, 3.0, 24)
        for device in reversed(topology(EQUAL)):
            builder.add_dev(
                {**device, "replication_ip": device["ip"], "replication_port": device["port"]}
            )
        builder.rebalance(seed=9)
        builder.save(str(ring.path))
        builder.get_ring().save(str(ring.ring_path))
        unchanged(ring, topology(EQUAL))
        devices = topology(EQUAL)
        devices[0]["meta"] = "ours"
        assert ring.run(devices)["written"] == [
            str(path) for path in (ring.path, ring.record, ring.ring_path)
        ]
        assert ring.builder.id == builder.id
        # What it was is kept as well as what it became.
        assert len([name for name in ring.backups() if name.endswith(".builder")]) == 2

    def test_absent(self, built):
        refused(built, None, "set allow_data_loss", state="absent", part_power=None, replicas=None)
        result = built.run(state="absent", allow_data_loss=True, check=True)
        assert len(result["removed"]) == 3
        assert built.path.exists()
        assert built.run(state="absent", allow_data_loss=True)["changed"]
        assert not (built.path.exists() or built.ring_path.exists() or built.record.exists())
        assert built.backups()
        assert not built.run(state="absent")["changed"]


DAMAGES = ("missing", "older", "table", "power", "truncated", "text", "pickle", "empty")


class TestFiles:
    def test_check_mode_touches_nothing(self, built):
        built.let_pass(25)
        before = snapshot(built.directory)
        devices = topology(EQUAL)
        devices[0]["weight"] = 0.0
        assert built.run(devices, check=True, overload=0.5)["changed"]
        assert snapshot(built.directory) == before

    @pytest.mark.parametrize("damage", DAMAGES)
    def test_the_ring_file_is_written_again(self, built, damage):
        good = built.ring_path.read_bytes()
        builder = built.path.read_bytes()
        if damage == "missing":
            built.ring_path.unlink()
        elif damage == "older":
            # Killed between the builder and the ring file.
            older = built.builder
            older.version -= 1
            older.get_ring().save(str(built.ring_path))
        elif damage in ("table", "power"):
            other = built.builder
            if damage == "table":
                row = other._replica2part2dev[0]
                row[0] = (row[0] + 1) % 12
            else:
                other.next_part_power = 9
            other.get_ring().save(str(built.ring_path))
        else:
            contents = {"truncated": good[:-50], "text": b"no ring", "empty": b""}
            built.ring_path.write_bytes(contents.get(damage, pickle.dumps(None)))
        result = built.run(topology(EQUAL))
        assert result["written"] == [str(built.ring_path)]
        assert built.ring_path.read_bytes() == good
        assert built.path.read_bytes() == builder
        unchanged(built, topology(EQUAL))

    def test_killed_before_the_ring_file(self, built, monkeypatch):
        class Killed(BaseException):
            pass

        def kill(*_args):
            raise Killed

        built.let_pass(25)
        devices = topology(EQUAL)
        devices[0]["weight"], devices[1]["weight"] = 50.0, 150.0
        with monkeypatch.context() as patch, pytest.raises(Killed):
            patch.setattr(RingData, "save", kill)
            built.run(devices)
        assert not built.info()["ring_file_matches"]
        result = built.run(devices)
        assert result["written"] == [str(built.ring_path)]
        assert result["moves"]["replicas"] == 0
        assert built.info()["ring_file_matches"]
        unchanged(built, devices)

    def test_killed_before_the_builder(self, built, monkeypatch):
        def fail(*_args):
            raise OSError(28, "No space left on device")

        before = built.path.read_bytes(), built.ring_path.read_bytes()
        devices = topology(EQUAL)
        devices[0]["meta"] = "edited"
        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", fail)
            with pytest.raises(RingError, match=r"cannot be written.*No space left"):
                built.run(devices)
        assert (built.path.read_bytes(), built.ring_path.read_bytes()) == before
        left = [path.name for path in built.directory.glob(".object.builder.*")]
        assert left
        assert built.run(devices)["changed"]
        assert not list(built.directory.glob(".object.builder.*"))

    def test_half_written_files_are_removed(self, built):
        stale = [
            built.directory / name
            for name in (".object.builder.abcd1234", "object.ring.gzabcd1234")
        ]
        others = [
            built.directory / name for name in (".object-1.builder.abcd1234", "object.ring.gz.old")
        ]
        for path in stale + others:
            path.write_bytes(b"half")
        unchanged(built, topology(EQUAL))
        built.run(topology(EQUAL), min_part_hours=12)
        assert not any(path.exists() for path in stale)
        assert all(path.exists() for path in others)

    def test_backups(self, built):
        assert len(built.backups()) == 2
        for hours in range(1, 6):
            built.run(topology(EQUAL), min_part_hours=hours, backups=3)
        names = built.backups()
        assert len(names) == 6
        newest = built.directory / "backups" / max(n for n in names if n.endswith("builder"))
        assert newest.read_bytes() == built.path.read_bytes()
        other = built.directory / "backups" / "1.object-1.builder"
        other.write_bytes(b"another ring's")
        built.run(topology(EQUAL), min_part_hours=9, backups=0)
        assert built.backups() == [other.name]

    def test_the_lock_is_respected(self, built, monkeypatch):
        monkeypatch.setattr(files, "LOCK_TIMEOUT", 0.2)
        with open(built.directory / ".lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            unchanged(built, topology(EQUAL))
            with pytest.raises(RingError, match="locked by another program"):
                built.run(topology(EQUAL), min_part_hours=9)
        assert built.run(topology(EQUAL), min_part_hours=9)["changed"]

    def test_a_change_made_meanwhile_is_not_lost(self, built, monkeypatch):
        devices = topology(EQUAL)
        devices[0]["meta"] = "ours"
        real = files.lock_parent_directory

        def slow(*args):
            builder = built.builder
            builder.change_min_part_hours(7)
            builder.devs[1]["meta"] = "theirs"
            builder.save(str(built.path))
            return real(*args)

        monkeypatch.setattr(files, "lock_parent_directory", slow)
        result = built.run(devices)
        assert result["settings"] == {"min_part_hours": {"before": 7, "after": 24}}
        assert [one["id"] for one in result["devices"]["changed"]] == [0, 1]

    def test_refuses_backups_below_zero(self, ring):
        refused(ring, topology(EQUAL), "backups must be at least 0", backups=-1)


class TestRandomTopologies:
    """What holds for every ring, on rings nobody thought of."""

    @pytest.mark.parametrize("seed", range(25))
    def test_life_of_a_ring(self, tmp_path, seed):
        dice = random.Random(seed)
        weights = {n: dice.choice([50.0, 100.0, 200.0]) for n in range(1, dice.randint(2, 5))}
        devices = topology(
            weights, zones=dice.randint(1, 2), hosts=dice.randint(1, 3), disks=dice.randint(3, 4)
        )
        params = {"allow_missing_region": True, "overload": dice.choice([0.0, 0.1, 1.0])}
        ring = Ring(tmp_path, part_power=dice.randint(5, 8), replicas=dice.choice([2, 3, 2.5]))
        ring.run(devices, **params)
        for _year in range(6):
            self.edit(dice, devices)
            self.drop_drained(ring, devices)
            ring.let_pass(dice.choice([0, 3, 25, 300]))
            self.push(ring, devices, params)

    def edit(self, dice, devices):
        deed = dice.choice(["weight", "add", "drain", "zone", "meta"])
        device = dice.choice(devices)
        if deed == "weight":
            device["weight"] = dice.choice([40.0, 120.0])
        elif deed == "add":
            devices.append({**device, "device": f"n{dice.randrange(10**9)}", "weight": 90.0})
        elif deed == "drain" and sum(d["weight"] > 0 for d in devices) > 4:
            device["weight"] = 0.0
        elif deed == "zone":
            device["zone"] = dice.choice([1, 2, 3])
        elif deed == "meta":
            device["meta"] = f"{dice.random()}"

    def drop_drained(self, ring, devices):
        full = {d["name"][4:]: d["partitions"] for d in ring.info()["devices"]}
        for device in list(devices):
            name = f"-{device['ip']}:{device['port']}/{device['device']}"
            if not device["weight"] and not full.get(name, 1):
                devices.remove(device)

    def push(self, ring, devices, params):
        before = ring.builder
        ids = {(d["ip"], d["port"], d["device"]): d["id"] for d in before.devs if d}
        there = snapshot(ring.directory)
        told = ring.run(devices, check=True, **params)
        assert snapshot(ring.directory) == there
        done = ring.run(devices, **params)
        # The clock may tick between the two.
        clock = {"min_part_seconds_left", "retry_after"}
        assert {k: v for k, v in told.items() if k not in clock} == {
            k: v for k, v in done.items() if k not in clock
        }
        after = ring.builder
        after.validate()
        moved = [
            len(
                {row[part] for row in after._replica2part2dev if part < len(row)}
                - {row[part] for row in before._replica2part2dev if part < len(row)}
            )
            for part in range(after.parts)
        ]
        assert max(moved) <= 1
        assert sum(moved) == done["moves"]["replicas"]
        for dev in filter(None, after.devs):
            assert ids.get((dev["ip"], dev["port"], dev["device"]), dev["id"]) == dev["id"]
        assert ring.info()["ring_file_matches"]
        again = unchanged(ring, devices, **params)
        assert again["retry_after"] <= 24 * 3600
        assert bool(again["retry_after"]) == bool(done["retry_after"])

    @pytest.mark.parametrize("seed", range(8))
    def test_pushes_come_to_an_end(self, tmp_path, seed):
        dice = random.Random(seed)
        weights = {n: dice.choice([50.0, 100.0, 200.0]) for n in (1, 2, 3)}
        ring = Ring(tmp_path, part_power=7)
        params = {"allow_missing_region": True}
        devices = topology(weights, hosts=3)
        ring.run(devices, **params)
        for device in devices:
            device["weight"] = dice.choice([60.0, 100.0, 180.0])
        ring.run(devices, **params)
        for _push in range(20):
            ring.let_pass(25)
            if not ring.run(devices, **params)["changed"]:
                break
        else:
            pytest.fail("still moving after 20 pushes")
        ring.let_pass(25)
        assert unchanged(ring, devices, **params)["retry_after"] == 0


class TestInfo:
    def test_nothing_there(self, tmp_path):
        assert describe(str(tmp_path / "missing"), None) == []
        assert describe(str(tmp_path), "object") == []

    def test_rings(self, built):
        account = Ring(built.directory, "account")
        account.run(topology(EQUAL, port=6202))
        (built.directory / "unknown.builder").write_bytes(b"not a ring of Swift's")
        rings = describe(str(built.directory), None)
        assert json.loads(json.dumps(rings)) == rings
        assert [ring["ring"] for ring in rings] == ["account", "object"]
        ring = built.info()
        # The clock goes on between the two looks.
        left = "min_part_seconds_left"
        assert 0 <= rings[1][left] - ring[left] <= 60
        assert ring == {**rings[1], left: ring[left]}
        assert ring["error"] == ""
        assert ring["id"] == ring["recorded_id"] == built.builder.id
        assert ring["replicas"] == 3.0
        assert ring["min_part_hours"] == 24
        assert 0 < ring["min_part_seconds_left"] <= 24 * 3600
        assert ring["ring_file_matches"]
        assert ring["ring_file_md5"] == RingData.load(str(built.ring_path)).md5
        assert len(ring["devices"]) == 12
        assert sum(device["partitions"] for device in ring["devices"]) == 768
        assert [region["partitions"] for region in ring["regions"]] == [256] * 3
        assert ring["next_part_power"] is None

    def test_a_ring_file_that_is_gone(self, built):
        built.ring_path.unlink()
        ring = built.info()
        assert (ring["ring_file_md5"], ring["ring_file_sha256"]) == ("", "")
        assert ring["ring_file_matches"] is False

    def test_a_damaged_builder_hides_no_other(self, built):
        account = Ring(built.directory, "account")
        account.path.write_bytes(b"damaged")
        damaged, good = describe(str(built.directory), None)
        assert "damaged" in damaged["error"]
        assert good["error"] == ""

    def test_a_builder_without_devices(self, tmp_path):
        RingBuilder(8, 3, 24).save(str(tmp_path / "object.builder"))
        (ring,) = describe(str(tmp_path), None)
        assert ring["devices"] == ring["regions"] == []
        assert not ring["rebalanced"]

    def test_refuses_a_path(self, tmp_path):
        with pytest.raises(RingError, match="use account"):
            describe(str(tmp_path), "../object")


def run_module(name, directory, check=False, **environment):
    """Run a module as Ansible does, in a process of its own."""
    arguments = {"builder_dir": str(directory), "_ansible_check_mode": check}
    if name == "swift_ring":
        arguments.update(ring="object", part_power=8, replicas=3, devices=topology(EQUAL))
    run = subprocess.run(
        [sys.executable, "-m", f"ansible_collections.infn.cloud.plugins.modules.{name}"],
        input=json.dumps({"ANSIBLE_MODULE_ARGS": arguments}),
        env={**os.environ, "PYTHONPATH": COLLECTIONS, "PYTHONWARNINGS": "ignore", **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    return json.loads(run.stdout)


class TestModules:
    def test_as_ansible_runs_them(self, tmp_path):
        directory = tmp_path / "builders"
        assert run_module("swift_ring_info", directory)["rings"] == []
        assert run_module("swift_ring", directory, check=True)["changed"]
        assert not directory.exists()
        assert run_module("swift_ring", directory)["changed"]
        assert not run_module("swift_ring", directory)["changed"]
        (ring,) = run_module("swift_ring_info", directory)["rings"]
        assert ring["ring_file_matches"]
        (directory / "object.builder").write_bytes(b"damaged")
        failure = run_module("swift_ring", directory)
        assert failure["failed"]
        assert "object.builder: damaged" in failure["msg"]
