# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rings through the years on Swift's own builder: steps, drains, lost builders, ways back."""

from __future__ import annotations

import base64
import io
import json
import shutil
import tarfile
import warnings

import pytest

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    pytest.importorskip("swift", reason="needs Swift's ring builder (pip install swift)")
    from swift.common.ring import RingBuilder

from ansible.module_utils.common.arg_spec import ModuleArgumentSpecValidator
from ansible_collections.infn.cloud.plugins.module_utils._swift_ring_builder import (
    Request,
    converge,
)
from ansible_collections.infn.cloud.plugins.module_utils._swift_ring_bundle import source_info
from ansible_collections.infn.cloud.plugins.module_utils._swift_ring_plan import RingError
from ansible_collections.infn.cloud.plugins.module_utils._swift_ring_restore import restore
from ansible_collections.infn.cloud.plugins.modules import swift_ring, swift_ring_restore


def disk(region, host=1, name="d1", **values):
    ip = f"10.{region}.0.{host}"
    port = values.pop("port", 6200)
    return {
        "region": region, "zone": 1, "ip": ip, "port": port, "device": name, "weight": 100.0,
        **values,
    }  # fmt: skip


def disks(regions=(1, 2, 3), hosts=(1,), **values):
    return [
        disk(region, host, name, **values)
        for region in regions
        for host in hosts
        for name in ("d1", "d2")
    ]


class Ring:
    """One ring, driven as the module drives it; its time can be let pass."""

    def __init__(self, place, name="object", **params):
        self.place, self.name = place, name
        self.params = {"part_power": 7, "replicas": 3, "min_part_hours": 1, "overload": 1.0}
        self.params.update(params)

    def run(self, devices, check=False, **params):
        given = {"ring": self.name, "builder_dir": str(self.place), "devices": devices}
        checked = ModuleArgumentSpecValidator(swift_ring.ARGUMENTS).validate(
            {**given, **self.params, **params}
        )
        assert not checked.error_messages
        result = converge(Request.from_params(checked.validated_parameters), commit=not check)
        assert json.loads(json.dumps(result)) == result
        return result

    def restore(self, ring_file, check=False, **params):
        given = {"ring": self.name, "builder_dir": str(self.place), "ring_file": str(ring_file)}
        checked = ModuleArgumentSpecValidator(swift_ring_restore.ARGUMENTS).validate(
            {**given, **params}
        )
        assert not checked.error_messages
        return restore(checked.validated_parameters, commit=not check)

    @property
    def path(self):
        return self.place / f"{self.name}.builder"

    @property
    def ring_path(self):
        return self.place / f"{self.name}.ring.gz"

    @property
    def builder(self):
        return RingBuilder.load(str(self.path))

    def let_pass(self, hours=1):
        builder = self.builder
        builder._last_part_moves_epoch -= hours * 3600
        builder.save(str(self.path))

    def weights(self, host=None):
        return [
            dev["weight"]
            for dev in self.builder._iter_devs()
            if host is None or dev["ip"].endswith(f".{host}")
        ]

    def steps(self, devices, step=25, limit=12):
        """Step by step until nothing is to be done; what each moved."""
        moved = []
        while len(moved) < limit:
            self.let_pass()
            result = self.run(devices, weight_step=step)
            if not result["changed"]:
                assert not result["on_their_way"]
                return moved
            assert max(map(int, result["moves"]["histogram"])) <= 1
            moved.append(result["moves"]["replicas"])
        raise AssertionError(f"no end after {limit} steps")


@pytest.fixture
def ring(tmp_path):
    made = Ring(tmp_path / "builders")
    made.run(disks())
    return made


GROWN = [*disks(), *disks(regions=[2], hosts=[2])]


class TestSteps:
    def test_a_new_ring_has_its_weights_at_once(self, tmp_path):
        made = Ring(tmp_path)
        assert made.run(disks(), weight_step=0)["rebalanced"]
        assert set(made.weights()) == {100.0}

    def test_no_step_moves_nothing_whatever_is_wished(self, ring):
        ring.let_pass()
        before = ring.builder._replica2part2dev
        wished = [*GROWN[:-1], {**GROWN[-1], "weight": 50.0}]
        wished[0] = {**wished[0], "weight": 300.0}
        result = ring.run(wished, weight_step=0, overload=0.5)
        assert result["changed"] and not result["rebalanced"]
        assert result["moves"]["replicas"] == 0
        assert ring.builder._replica2part2dev == before
        assert ring.weights(host=2) == [0.0, 0.0]
        assert [(one["weight"], one["wished"]) for one in result["on_their_way"]] == [
            (100.0, 300.0), (0.0, 100.0), (0.0, 50.0),
        ]  # fmt: skip
        assert not ring.run(wished, weight_step=0, overload=0.5)["changed"], "a second run"

    def test_an_ordinary_run_between_two_steps_neither_undoes_nor_jumps_ahead(self, ring):
        ring.run(GROWN, weight_step=0)
        ring.let_pass()
        ring.run(GROWN, weight_step=25)
        assert ring.weights(host=2) == [25.0, 25.0]
        ring.let_pass(5)
        assert not ring.run(GROWN, weight_step=0)["changed"]
        assert ring.weights(host=2) == [25.0, 25.0]

    def test_a_node_is_added_in_four_steps(self, ring):
        ring.run(GROWN, weight_step=0)
        moved = ring.steps(GROWN)
        assert len(moved) == 4 and all(moved), moved
        assert set(ring.weights()) == {100.0}
        regions = {dev["id"]: dev["region"] for dev in ring.builder._iter_devs()}
        for replicas in zip(*ring.builder._replica2part2dev):
            assert {regions[number] for number in replicas} == {1, 2, 3}

    def test_check_mode_says_what_the_step_moves(self, ring):
        ring.let_pass()
        said = ring.run(GROWN, check=True, weight_step=25)
        done = ring.run(GROWN, weight_step=25)
        assert said["moves"] == done["moves"] and said["moves"]["replicas"] > 0

    def test_a_node_is_drained_and_does_not_come_back(self, ring):
        ring.run(GROWN)
        drained = [*disks(), *disks(regions=[2], hosts=[2], drain=True)]
        assert len(ring.steps(drained)) >= 4
        assert ring.weights(host=2) == [0.0, 0.0]
        assert [dev["parts"] for dev in ring.builder._iter_devs() if not dev["weight"]] == [0, 0]
        with pytest.raises(RingError, match="swift_decommission_device look and remove them"):
            ring.run(disks(), weight_step=0, remove_drained=False)
        ring.run(disks(), weight_step=0)
        assert ring.weights(host=2) == []
        result = ring.run(drained, weight_step=0, remove_drained=False)
        assert not result["changed"], "drained disks that are gone are not added again"

    def test_a_region_is_added_and_drained_without_asking_for_gaps(self, ring):
        four = [*disks(), *disks(regions=[4])]
        ring.run(four, weight_step=0)
        assert len(ring.steps(four)) >= 4
        three = [*disks(), *disks(regions=[4], drain=True)]
        assert len(ring.steps(three)) >= 4
        gone = [dev for dev in ring.builder._iter_devs() if dev["region"] == 4]
        assert [(dev["weight"], dev["parts"]) for dev in gone] == [(0.0, 0), (0.0, 0)]

    def test_one_of_three_regions_is_drained(self, ring):
        two = [*disks(regions=[1, 2]), *disks(regions=[3], drain=True)]
        assert len(ring.steps(two)) >= 4
        held = {dev["region"]: dev["parts"] for dev in ring.builder._iter_devs() if dev["parts"]}
        assert set(held) == {1, 2}

    def test_a_step_that_is_none_is_refused(self, ring):
        with pytest.raises(RingError, match="weight_step 150"):
            ring.run(disks(), weight_step=150)


def archive(**contents):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, content in contents.items():
            member = tarfile.TarInfo(name.replace("_", "."))
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return base64.b64encode(out.getvalue()).decode()


class TestRestore:
    @pytest.fixture
    def published(self, ring, tmp_path):
        """The ring as hosts use it, outside of the builders' directory."""
        path = tmp_path / "object.ring.gz"
        shutil.copy(ring.ring_path, path)
        return path

    def test_a_builder_that_is_there_is_left_alone(self, ring, published):
        before = ring.path.read_bytes()
        result = ring.restore(published)
        assert (result["changed"], result["source"]) == (False, str(ring.path))
        assert ring.path.read_bytes() == before

    def test_a_lost_builder_comes_from_a_backup(self, ring, published):
        before = ring.builder.to_dict()
        ring.path.unlink()
        result = ring.restore(published)
        assert result["changed"] and "/backups/" in result["source"]
        assert ring.builder.to_dict() == before
        assert not ring.restore(published)["changed"], "a second run"
        assert not ring.run(disks())["changed"], "the plan goes on as if nothing had happened"

    def test_a_lost_directory_comes_from_another_region(self, ring, published):
        kept = archive(object_builder=ring.path.read_bytes())
        before = ring.builder.to_dict()
        shutil.rmtree(ring.place)
        result = ring.restore(published, archives=["no archive", archive(), kept])
        assert result["source"] == "archive 2"
        assert ring.builder.to_dict() == before
        assert ring.ring_path.read_bytes() == published.read_bytes()
        assert not ring.run(disks())["changed"]

    def test_an_archive_of_the_bundle_is_one(self, ring, published):
        for name in ("account", "container"):
            Ring(ring.place, name).run(disks(port=6202 if name == "account" else 6201))
        kept = source_info(str(ring.place), archive=True)["builders"]
        shutil.rmtree(ring.place)
        assert ring.restore(published, archives=[kept])["source"] == "archive 0"

    def test_an_older_builder_is_no_builder_of_this_ring(self, ring, tmp_path):
        old = archive(object_builder=ring.path.read_bytes())
        ring.let_pass()
        ring.run(GROWN)
        published = tmp_path / "object.ring.gz"
        shutil.copy(ring.ring_path, published)
        shutil.rmtree(ring.place)
        assert ring.restore(published, archives=[old])["source"] == str(published)

    def test_without_any_copy_the_ring_gives_a_builder(self, ring, published):
        before = ring.builder
        shutil.rmtree(ring.place)
        assert ring.restore(published, check=True)["changed"]
        assert not ring.place.exists(), "check mode touches nothing"
        settings = {"min_part_hours": 1, "overload": 1.0}
        result = ring.restore(published, **settings)
        assert (result["changed"], result["source"]) == (True, str(published))
        after = ring.builder
        assert after._replica2part2dev == before._replica2part2dev
        assert after.version == before.version
        assert [dev["parts"] for dev in after._iter_devs()] == [
            dev["parts"] for dev in before._iter_devs()
        ]
        assert after.min_part_seconds_left > 3500, "when partitions moved is lost"
        assert ring.ring_path.read_bytes() == published.read_bytes()
        assert not ring.restore(published, **settings)["changed"]
        assert not ring.run(disks())["changed"], "the next plan finds nothing to set"

    def test_a_damaged_builder_is_one_that_is_lost(self, ring, published):
        ring.path.write_bytes(b"\x80\x02}q")
        assert "/backups/" in ring.restore(published)["source"]
        assert not ring.run(disks())["changed"]

    def test_the_way_back_moves_what_it_says_and_then_rests(self, ring, published):
        ring.let_pass()
        moved = ring.run(GROWN, weight_step=50)["moves"]
        said = ring.restore(published, check=True)
        assert said["moves"]["replicas"] == moved["replicas"]
        result = ring.restore(published)
        assert result["moves"] == said["moves"] and "/backups/" in result["source"]
        assert ring.ring_path.read_bytes() == published.read_bytes()
        assert ring.builder.min_part_seconds_left > 3500
        assert not ring.restore(published)["changed"]

    def test_a_way_back_over_two_moves_of_a_partition_is_refused(self, ring, published):
        ring.let_pass()
        ring.run([*disks(regions=[4, 5, 6]), *disks(drain=True)], weight_step=100,
                 allow_multiple_replica_moves=True, allow_missing_region=True)  # fmt: skip
        for _count in range(3):
            ring.let_pass()
            ring.run([*disks(regions=[4, 5, 6]), *disks(drain=True)],
                     allow_missing_region=True)  # fmt: skip
        before = ring.path.read_bytes()
        with pytest.raises(RingError, match="replicas of one partition at once"):
            ring.restore(published)
        assert ring.path.read_bytes() == before
        assert ring.restore(published, allow_multiple_replica_moves=True)["changed"]

    def test_a_ring_that_is_not_there_is_named(self, ring, tmp_path):
        with pytest.raises(RingError, match=r"none\.ring\.gz: is missing, damaged or no ring"):
            ring.restore(tmp_path / "none.ring.gz")
