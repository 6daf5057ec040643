# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The pure core of the ring modules: wishes, edits, moves, gaps."""

from __future__ import annotations

import random
from array import array

import pytest
from ansible_collections.infn.cloud.plugins.module_utils import _swift_ring_plan as plan
from ansible_collections.infn.cloud.plugins.module_utils._swift_ring_plan import (
    Device,
    Gaps,
    Held,
    RingError,
    edits_for,
    gaps_ahead,
    gaps_in,
    moves_between,
    wish_from,
)


def entry(region=1, zone=1, host=1, device="sdb", **values):
    ip = f"10.{region}.{zone}.{host}"
    return {
        "region": region,
        "zone": zone,
        "ip": ip,
        "port": 6200,
        "device": device,
        "weight": 100.0,
        "meta": "",
        "replication_ip": None,
        "replication_port": None,
        **values,
    }


def wished(*devices, **values):
    return wish_from(
        {
            "ring": "object",
            "part_power": 8,
            "replicas": 1.0,
            "min_part_hours": 24,
            "overload": 0.0,
            "devices": list(devices),
            **values,
        }
    )


def held(number, parts=0, leaving=False, **values):
    (device,) = wished(entry(**{"weight": 100.0, **values}), entry(host=99)).devices[:1]
    return Held(number, device, parts, leaving)


def rows(*lists):
    return [array("H", row) for row in lists]


class TestWish:
    def test_devices_are_complete(self):
        (device,) = wished(entry(ip="FD00::0:1", replication_port=6300)).devices
        assert device == Device(1, 1, "fd00::1", 6200, "sdb", 100.0, "", "fd00::1", 6300)
        assert device.name == "r1z1-[fd00::1]:6200/sdb"
        assert device.identity == (1, "fd00::1", 6200, "sdb")

    @pytest.mark.parametrize(
        ("values", "message"),
        [
            ({"weight": -1.0}, "weight -1.0 must be"),
            ({"weight": float("nan")}, "weight nan must be"),
            ({"weight": float("inf")}, "weight inf must be"),
            ({"port": 0}, "port 0 is not between"),
            ({"port": 65536}, "port 65536 is not between"),
            ({"replication_port": 70000}, "replication_port 70000"),
            ({"ip": "10.0.0.256"}, "'10.0.0.256' is not an IP address"),
            ({"ip": ""}, "'' is not an IP address"),
            ({"replication_ip": "storage"}, "replication_ip 'storage' is not"),
            ({"device": ""}, "device must be the name"),
            ({"device": "sdb/1"}, "device must be the name"),
            ({"device": ".."}, "device must be the name"),
            ({"device": "sd b"}, "device must be the name"),
            ({"region": -1}, "region -1 is negative"),
            ({"zone": -1}, "zone -1 is negative"),
        ],
    )
    def test_refuses_a_bad_device(self, values, message):
        with pytest.raises(RingError, match=message):
            wished(entry(**values))

    @pytest.mark.parametrize(
        ("values", "message"),
        [
            ({"ring": "objects"}, "use account, container"),
            ({"ring": "object-0"}, "use account, container"),
            ({"ring": "../object"}, "use account, container"),
            ({"part_power": 0}, "part_power 0"),
            ({"part_power": 33}, "part_power 33"),
            ({"replicas": 0.5}, "replicas 0.5"),
            ({"replicas": float("nan")}, "replicas nan"),
            ({"min_part_hours": -1}, "min_part_hours -1"),
            ({"min_part_hours": 256}, "no partition would ever move again"),
            ({"overload": -0.1}, "overload -0.1"),
            ({"replicas": 3.0}, "3 replicas need at least 3 devices"),
            ({"replicas": 1.5}, "1.5 replicas need at least 2 devices"),
        ],
    )
    def test_refuses_a_bad_setting(self, values, message):
        with pytest.raises(RingError, match=message):
            wished(entry(), **values)

    def test_drained_devices_carry_no_replicas(self):
        with pytest.raises(RingError, match="the wish has 1"):
            wished(entry(), entry(host=2, weight=0.0), replicas=2.0)

    def test_names_every_fault(self):
        with pytest.raises(RingError, match=r"weight -1.*port 0"):
            wished(entry(weight=-1.0), entry(port=0))

    @pytest.mark.parametrize("region", [1, 2])
    def test_refuses_one_disk_twice(self, region):
        twin = entry(region, ip="10.1.1.1", zone=2)
        with pytest.raises(RingError, match=r"same disk as r1z1-10.1.1.1:6200/sdb"):
            wished(entry(), twin)

    def test_addresses_are_compared_not_their_spelling(self):
        with pytest.raises(RingError, match="same disk"):
            wished(entry(ip="fd00::1"), entry(ip="fd00:0::01"))


class TestEdits:
    def test_nothing_to_do(self):
        edits = edits_for(wished(entry()), [held(7, parts=256)], {"replicas": 1.0})
        assert not edits
        assert not edits.placing

    def test_new_devices_come_in_their_own_order(self):
        devices = [entry(host=host) for host in range(1, 9)]
        random.Random(1).shuffle(devices)
        edits = edits_for(wished(*devices), [], {})
        assert [device.ip for device in edits.add] == [f"10.1.1.{n}" for n in range(1, 9)]

    @pytest.mark.parametrize(
        ("field", "value", "placing"),
        [
            ("weight", 50.0, True),
            ("zone", 2, True),
            ("meta", "new", False),
            ("replication_ip", "10.9.9.9", False),
            ("replication_port", 6300, False),
        ],
    )
    def test_edits_of_fields(self, field, value, placing):
        one = entry(ip="10.1.1.1", **{field: value})
        edits = edits_for(wished(one, entry(host=2)), [held(3, 9), held(4, 9, host=2)], {})
        assert [(edit.held.id, list(edit.changes)) for edit in edits.change] == [(3, [field])]
        assert edits.change[0].changes[field].after == value
        assert edits.placing is placing

    @pytest.mark.parametrize("other", [{"ip": "10.1.1.9"}, {"port": 6300}, {"region": 2}])
    def test_another_identity_is_another_device(self, other):
        edits = edits_for(wished(entry(**{"ip": "10.1.1.1", **other})), [held(0)], {})
        assert [one.id for one in edits.remove] == [0]
        assert len(edits.add) == 1

    def test_settings(self):
        edits = edits_for(wished(entry(), overload=0.1), [held(0)], {"overload": 0, "replicas": 1})
        assert list(edits.settings) == ["overload"]
        assert edits.placing

    def test_an_empty_device_goes(self):
        edits = edits_for(wished(entry()), [held(0, 256), held(1, 0, host=2)], {})
        assert [one.id for one in edits.remove] == [1]

    def test_a_full_device_is_refused(self):
        current = [held(0, 200), held(1, 56, host=2)]
        message = r"r1z1-10.1.1.2:6200/sdb \(id 1, weight 100, 56 partitions\).*weight to 0 first"
        with pytest.raises(RingError, match=message):
            edits_for(wished(entry()), current, {})
        edits = edits_for(wished(entry()), current, {}, allow_device_removal=True)
        assert [one.id for one in edits.remove] == [1]

    def test_a_device_on_its_way_out_is_refused_while_full(self):
        current = [held(0, 200), held(1, 56, leaving=True, host=2)]
        with pytest.raises(RingError, match="still holding partitions"):
            edits_for(wished(entry()), current, {})
        assert not edits_for(wished(entry()), current, {}, allow_device_removal=True)

    def test_a_device_on_its_way_out_cannot_be_wished(self):
        with pytest.raises(RingError, match="marked for removal"):
            edits_for(wished(entry()), [held(0, 256, leaving=True)], {})

    def test_another_rings_builder_is_refused(self):
        with pytest.raises(RingError, match=r"shares no device with the wish .its ports: 6202"):
            edits_for(wished(entry()), [held(0, 256, port=6202)], {}, allow_device_removal=True)

    def test_a_doubled_builder_is_refused(self):
        with pytest.raises(RingError, match="twice, as ids 0 and 1"):
            edits_for(wished(entry()), [held(0, 1), held(1, 1)], {})

    @pytest.mark.parametrize(("power", "message"), [(7, "cannot lower"), (9, "relink")])
    def test_the_partition_power_stays(self, power, message):
        plan.refuse_part_power("object", 8, 8)
        with pytest.raises(RingError, match=message):
            plan.refuse_part_power("object", 8, power)


class TestTables:
    @pytest.mark.parametrize(
        ("old", "new", "histogram"),
        [
            (([0, 1], [1, 2]), ([0, 1], [1, 2]), {0: 2}),
            (([0, 1], [1, 2]), ([3, 1], [1, 2]), {0: 1, 1: 1}),
            (([0, 1], [1, 2]), ([3, 1], [4, 2]), {0: 1, 2: 1}),
            # An exchange of rows moves no data.
            (([0, 1], [1, 2]), ([1, 1], [0, 2]), {0: 2}),
            # A replica more is a copy to be made, a replica less is none.
            (([0, 1], [1, 2]), ([0, 1], [1, 2], [5, 5]), {0: 0, 1: 2}),
            (([0, 1], [1, 2], [5, 5]), ([0, 1], [1, 2]), {0: 2}),
            (([0, 1], [1, 2], [5]), ([0, 1], [1, 2], [5, 5]), {0: 1, 1: 1}),
            # One moves and one is dropped: two copies are not where they were.
            (([0, 1], [1, 2], [5, 5]), ([3, 1], [1, 2]), {0: 1, 2: 1}),
        ],
    )
    def test_moves(self, old, new, histogram):
        moves = moves_between(rows(*old), rows(*new), 2)
        assert {moved: number for moved, number in moves.histogram.items() if number} == {
            moved: number for moved, number in histogram.items() if number
        }
        assert moves.replicas == sum(k * v for k, v in histogram.items())

    def test_moves_agree_with_counting_by_hand(self):
        dice = random.Random(7)
        for _round in range(50):
            old = list(zip(*(dice.sample(range(9), 3) for _part in range(64))))
            new = [list(row) for row in old]
            for part in dice.sample(range(64), 20):
                for row, device in zip(new, dice.sample(range(9), 3)):
                    row[part] = device
            byhand = [
                len({row[part] for row in new} - {row[part] for row in old}) for part in range(64)
            ]
            moves = moves_between(rows(*old), rows(*new), 64)
            assert moves.replicas == sum(byhand)
            assert moves.partitions == {part for part, moved in enumerate(byhand) if moved}
            assert sum(moves.histogram.values()) == 64
            assert moves.percent == pytest.approx(100 * sum(byhand) / 192)

    def test_refuses_two_replicas_at_once(self):
        moves = moves_between(rows([0, 1], [1, 2]), rows([3, 1], [4, 2]), 2)
        with pytest.raises(RingError, match=r"2 replicas of one partition.*1 of 2 .*50 %"):
            plan.refuse_multiple_moves("object", moves, 2)
        plan.refuse_multiple_moves("object", moves_between(rows([0]), rows([1]), 1), 1)

    def test_faults(self):
        good = rows([0, 1], [1, 0])
        assert plan.table_faults(good, [0, 1], 2, 2.0) == []
        assert plan.table_faults([], [], 2) == []
        assert plan.table_faults(rows([0, 1], [1]), [0, 1], 2, 1.5) == []
        assert "unknown devices [65535]" in plan.table_faults(rows([0, 65535]), [0], 2)[0]
        assert "rows of" in plan.table_faults(rows([0], [0, 0]), [0], 2)[0]
        assert "one device" in plan.table_faults(rows([0, 1], [0, 0]), [0, 1], 2, 2.0)[0]
        assert "instead of 4" in plan.table_faults(rows([0, 1]), [0, 1], 2, 2.0)[0]


class TestRegions:
    REGION = {0: 1, 1: 1, 2: 2, 3: 3, 4: 4}

    def gaps(self, table, *active):
        return gaps_in(rows(*table), self.REGION, frozenset(active))

    def test_as_many_regions_as_replicas(self):
        assert self.gaps(([0, 0], [2, 2], [3, 1]), 1, 2, 3) == Gaps({3: 1}, {}, 1)

    def test_fewer_regions_than_replicas(self):
        assert self.gaps(([0, 0], [1, 1], [2, 1]), 1, 2) == Gaps({2: 1}, {}, 1)

    def test_more_regions_than_replicas(self):
        assert self.gaps(([0, 0], [2, 1]), 1, 2, 3, 4) == Gaps({}, {1: 1}, 1)

    def test_a_fraction_of_a_replica(self):
        # Two replicas in three regions must differ; three must be in all.
        assert self.gaps(([0, 0], [2, 2], [3]), 1, 2, 3) == Gaps()
        assert self.gaps(([0, 0], [2, 1], [1]), 1, 2, 3) == Gaps({3: 1}, {1: 1}, 2)

    def test_a_region_being_drained_does_not_count(self):
        assert self.gaps(([0], [2], [3]), 1, 2) == Gaps()
        assert self.gaps(([0], [3], [3]), 1, 2) == Gaps({2: 1}, {}, 1)

    def test_no_table(self):
        assert self.gaps((), 1, 2) == Gaps()

    def test_ahead(self):
        assert gaps_ahead({1: 1.0, 2: 1.0, 3: 1.0}, 3, 4096).missing == {1: 0, 2: 0, 3: 0}
        assert gaps_ahead({1: 1.154, 2: 1.154, 3: 0.692}, 3, 1000).missing[3] == 308
        assert gaps_ahead({1: 1.5, 2: 0.5, 3: 0.5, 4: 0.5}, 3, 1000).doubled[1] == 500

    def refuse(self, before, after, ahead, **values):
        plan.refuse_region_gaps(
            "object",
            before,
            after,
            ahead,
            **{
                "weights": {1: 100.0, 2: 100.0, 3: 60.0},
                "parts": 1000,
                "required_overload": 0.4441,
                "overload": 0.0,
                **values,
            },
        )

    def test_refuses_a_gap_and_says_what_mends_it(self):
        message = (
            r"region 3: weight 60 against 100 in region 1, 100 in region 2 leaves 308 of 1000 "
            r"partitions \(31 %\) without a copy there; set overload to 0.45, or even out"
        )
        with pytest.raises(RingError, match=message):
            self.refuse(Gaps(), Gaps(), Gaps({3: 308}))

    def test_names_no_overload_that_is_set(self):
        with pytest.raises(RingError, match="there; even out the weights"):
            self.refuse(Gaps(), Gaps(), Gaps({3: 308}), overload=0.45)

    def test_refuses_doubled_copies(self):
        with pytest.raises(RingError, match="two or more copies of 500 of 1000 partitions"):
            self.refuse(Gaps(), Gaps(), Gaps({}, {1: 500}))

    def test_a_gap_that_does_not_grow_is_no_reason(self):
        self.refuse(Gaps({3: 308}, {}, 308), Gaps({3: 300}, {}, 300), Gaps({3: 308}))

    def test_swift_may_trade_gaps_while_they_shrink(self):
        self.refuse(Gaps({3: 1000}, {}, 1000), Gaps({1: 9, 3: 950}, {}, 959), Gaps({3: 930}))

    def test_a_second_region_may_not_lose_while_one_comes_in(self):
        with pytest.raises(RingError, match="region 2"):
            self.refuse(Gaps({3: 1000}, {}, 1000), Gaps({3: 9}, {}, 9), Gaps({2: 800, 3: 900}))

    def test_a_ring_without_gaps_gets_none_on_the_way(self):
        with pytest.raises(RingError, match=r"region 3.*leaves 1 of 1000"):
            self.refuse(Gaps(), Gaps({3: 1}, {}, 1), Gaps({3: 0}))

    @pytest.mark.parametrize(("required", "rounded"), [(0, 0), (0.44401, 0.45), (0.45, 0.45)])
    def test_overload_is_rounded_up(self, required, rounded):
        assert plan.overload_to_set(required) == rounded

    def test_crowded(self):
        tiers = {device: (region,) for device, region in self.REGION.items()}
        highest = {(1,): 1, (2,): 1}
        assert not plan.crowded(rows([0], [2]), tiers, highest)
        assert plan.crowded(rows([0], [1]), tiers, highest)
        assert not plan.crowded(rows([0], [1]), tiers, {(1,): 2})
        assert not plan.crowded([], tiers, highest)


class TestWorthWriting:
    def test_excess(self):
        devices = [
            {"weight": 1.0, "parts": 5, "parts_wanted": -2},
            {"weight": 1.0, "parts": 5, "parts_wanted": 4},
            {"weight": 0.0, "parts": 3, "parts_wanted": -768},
        ]
        assert plan.excess_parts(devices) == 5

    @pytest.mark.parametrize(
        ("moved", "excess", "dispersion", "worth"),
        [
            (0, (0, 0), (0.0, 0.0), False),
            (100, (100, 0), (0.0, 0.0), True),
            # Weights may ask for less dispersion.
            (100, (100, 0), (0.0, 9.0), True),
            (100, (50, 45), (0.0, 0.0), False),
            (100, (50, 50), (3.0, 3.0), False),
            (100, (50, 50), (3.0, 2.0), True),
            (100, (50, 51), (3.0, 2.0), False),
        ],
    )
    def test_only_what_brings_the_ring_nearer_to_its_plan(self, moved, excess, dispersion, worth):
        assert plan.worth_writing(moved=moved, excess=excess, dispersion=dispersion) is worth
