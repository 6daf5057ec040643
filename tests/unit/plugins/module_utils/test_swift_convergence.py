# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How far a step goes, when it may go, and how the reasons to wait are put."""

from __future__ import annotations

from dataclasses import replace

import pytest
from ansible_collections.infn.cloud.plugins.module_utils._swift_convergence import (
    Decision,
    Host,
    Place,
    Ring,
    Thresholds,
    bytes_to_move,
    decide,
    failed_in,
    hosts_from,
    leaving_regions,
    message,
    next_weight,
    pass_began,
    quarantined_in,
    step_towards,
)
from ansible_collections.infn.cloud.plugins.module_utils._swift_ring_plan import (
    RingError,
    wish_from,
)


def wish(*devices, **values):
    return wish_from(
        {
            "ring": "object",
            "part_power": 8,
            "replicas": 1.0,
            "min_part_hours": 24,
            "overload": 0.0,
            "devices": [
                {"zone": 1, "ip": "10.0.0.1", "port": 6200, "weight": 100.0, **device}
                for device in devices
            ],
            **values,
        }
    )


def path_of(current, wished, step, full=0.0):
    """All weights on the way."""
    weights = []
    while current != wished and len(weights) < 50:
        current = next_weight(current, wished, step, full=full)
        weights.append(current)
    return weights


class TestWeights:
    def test_a_new_device_begins_with_one_step(self):
        assert path_of(None, 100.0, 25) == [25, 50, 75, 100]

    def test_the_last_step_is_what_is_left(self):
        assert path_of(None, 100.0, 40) == [40, 80, 100]
        assert path_of(90.0, 100.0, 25) == [100]

    def test_a_drained_device_goes_down_by_shares_of_its_full_weight(self):
        assert path_of(100.0, 0.0, 25, full=100.0) == [75, 50, 25, 0]

    def test_a_weight_of_zero_without_a_full_one_is_one_step_away(self):
        assert path_of(100.0, 0.0, 25) == [0]

    def test_a_device_that_shrinks_goes_down_to_its_weight(self):
        assert path_of(100.0, 40.0, 50) == [80, 60, 40]

    def test_a_drain_that_is_called_off_goes_back_up(self):
        assert path_of(50.0, 100.0, 25) == [75, 100]

    def test_whole_steps_jump(self):
        assert path_of(None, 100.0, 100) == [100]
        assert path_of(100.0, 0.0, 100, full=100.0) == [0]

    @pytest.mark.parametrize(("wished", "full"), [(100.0, 0.0), (0.0, 0.0), (0.0, 100.0)])
    @pytest.mark.parametrize("current", [None, 0.0, 30.0, 100.0])
    def test_no_step_moves_nothing(self, current, wished, full):
        assert next_weight(current, wished, 0, full=full) == (current or 0.0)

    def test_odd_steps_end(self):
        assert path_of(None, 7452.04, 33.3)[-1] == 7452.04
        assert len(path_of(None, 7452.04, 33.3)) == 4


class TestWish:
    def test_a_step_of_a_ring(self):
        asked = wish(
            {"region": 1, "device": "old"},
            {"region": 1, "device": "new"},
            {"region": 1, "device": "going", "drain": True},
        )
        here = {asked.devices[0].identity: 100.0, asked.devices[2].identity: 100.0}
        step = step_towards(asked, here, 25)
        assert [(one.device, one.weight) for one in step.devices] == [
            ("old", 100), ("new", 25), ("going", 75),
        ]  # fmt: skip
        held = step_towards(asked, here, 0)
        assert [(one.device, one.weight) for one in held.devices] == [
            ("old", 100), ("new", 0), ("going", 100),
        ]  # fmt: skip

    def test_a_removed_device_that_is_still_drained_does_not_come_back(self):
        asked = wish({"region": 1, "device": "a"}, {"region": 1, "device": "b", "drain": True})
        here = {asked.devices[0].identity: 100.0}
        assert [one.device for one in step_towards(asked, here, 25).devices] == ["a"]

    @pytest.mark.parametrize("step", [-1, 101, float("nan")])
    def test_refuses_a_step_that_is_none(self, step):
        with pytest.raises(RingError, match=r"weight_step .* between 0 and 100"):
            step_towards(wish({"region": 1, "device": "a"}), {}, step)

    def test_a_region_leaves_when_all_of_it_does(self):
        asked = wish(
            {"region": 1, "device": "a"},
            {"region": 2, "device": "b", "drain": True},
            {"region": 2, "device": "c"},
            {"region": 3, "device": "d", "drain": True},
        )
        assert leaving_regions(asked) == {3}


NOW = 1_795_450_000.0
GOOD = Host(
    "bari-st1",
    version="abc",
    activated=NOW,
    errors={"account": None, "container": None, "object": None},
    passes={"account": NOW + 20, "container": NOW + 20, "object": NOW + 20},
)
PENDING = Ring("object", pending=True)
STILL = Ring("account", pending=False)


def decision(rings=(PENDING,), hosts=(GOOD,), dispersion=None, **thresholds):
    return decide(
        rings,
        hosts,
        version="abc",
        dispersion=dispersion or {},
        thresholds=Thresholds(**thresholds),
    )


def waits_for(**values):
    found = decision(hosts=[replace(GOOD, **values)])
    assert found.state == "waiting"
    return list(found.reasons)


class TestGates:
    def test_a_step_goes_for_the_rings_that_have_one(self):
        assert decision([PENDING, STILL]) == Decision("step", rings=("object",))

    def test_nothing_to_move_is_done(self):
        assert decision([STILL]).state == "done"

    def test_the_last_step_is_done_when_its_data_is_in_place(self):
        late = replace(GOOD, passes={**GOOD.passes, "object": NOW - 1})
        found = decision([STILL], [late])
        assert (found.state, len(found.reasons)) == ("waiting", 1)

    def test_min_part_hours(self):
        found = decision([replace(PENDING, seconds_left=3600)])
        assert found.reasons == ("object: min_part_hours: 60 min left",)
        assert decision([replace(STILL, seconds_left=3600)]).state == "done"

    def test_partitions_that_wait_for_min_part_hours_are_not_done(self):
        found = decision([replace(STILL, seconds_left=86000, waiting=True)])
        assert found.reasons == ("account: min_part_hours: 23 h 54 min left",)

    def test_a_pass_must_begin_after_the_rings_were_loaded(self):
        assert waits_for(passes={**GOOD.passes, "object": NOW + 14}) == [
            "bari-st1: no whole replication pass of objects that began after "
            "2026-11-23 16:06:55 UTC"
        ]
        assert decision(hosts=[replace(GOOD, passes=dict.fromkeys(GOOD.passes, NOW + 15))]).rings
        early = replace(GOOD, passes=dict.fromkeys(GOOD.passes, NOW + 1))
        assert decision(hosts=[early], reload=1).rings

    def test_a_pass_must_begin_after_a_disk_was_replaced(self):
        found = decide(
            [STILL], [GOOD], version="abc", dispersion={}, thresholds=Thresholds(), since=NOW + 21
        )
        assert found.state == "waiting" and found.underway == found.reasons

    def test_no_pass_at_all(self):
        (reason,) = waits_for(passes={})
        assert "of accounts, containers and objects that" in reason

    def test_a_pass_that_failed_for_a_disk(self):
        disks = [f"10.0.0.1/d{number}" for number in range(5)]
        assert waits_for(failures={"object": disks}) == [
            "bari-st1: the last pass of the object replicator failed for 10.0.0.1/d0, "
            "10.0.0.1/d1, 10.0.0.1/d2 and 2 more"
        ]

    def test_a_host_that_is_away(self):
        refused = dict.fromkeys(GOOD.errors, "Connection refused")
        assert waits_for(errors=refused) == ["bari-st1: does not answer (Connection refused)"]
        assert waits_for(version=None, activated=None) == [
            "bari-st1: does not answer (Ansible does not reach it)"
        ]

    def test_a_host_that_is_away_and_to_be_drained_is_not_waited_for(self):
        gone = replace(GOOD, draining=True, version=None, activated=None)
        assert decision(hosts=[GOOD, gone]).state == "step"

    def test_a_host_that_is_drained_and_alive_must_give_its_data_away(self):
        (reason,) = waits_for(draining=True, passes={**GOOD.passes, "container": NOW})
        assert "no whole replication pass of containers that" in reason

    def test_one_server_that_is_away(self):
        (reason,) = waits_for(errors={**GOOD.errors, "object": "GET /recon: timed out"})
        assert reason == "bari-st1: object server does not answer (GET /recon: timed out)"

    def test_other_rings(self):
        (reason,) = waits_for(version="before-0123")
        assert reason.startswith("bari-st1: has the rings before-0123, published are abc:")

    def test_disks_that_are_not_mounted(self):
        (reason,) = waits_for(unmounted=["d2"])
        assert reason == "not mounted: bari-st1/d2 (at most 0): replace or drain it"
        assert decision(hosts=[replace(GOOD, unmounted=["d2"])], unmounted=1).state == "step"

    def test_quarantine(self):
        hosts = [replace(GOOD, quarantined=6), replace(GOOD, name="cnaf-st1", quarantined=5)]
        (reason,) = decision(hosts=hosts).reasons
        assert reason.startswith("quarantined: 6 on bari-st1, 5 on cnaf-st1 (at most 10)")
        assert decision(hosts=hosts, quarantined=11).state == "step"

    def test_dispersion(self):
        found = decision(dispersion={"containers": 99.95, "objects (gold)": 99.2})
        assert found.reasons == (
            "dispersion: 99.20 % of the copies of objects (gold) are in place (at least 99.9 %)",
        )
        assert decision(dispersion={"containers": 99.9}).state == "step"

    def test_bad_health_does_not_undo_what_is_done(self):
        found = decision([STILL], [replace(GOOD, unmounted=["d1"])], {"0": 90.0})
        assert (found.state, len(found.remarks)) == ("done", 2)

    def test_all_reasons_at_once(self):
        away = replace(GOOD, name="cnaf-st1", activated=None)
        found = decision([replace(PENDING, seconds_left=60)], [away], {"0": 50.0})
        assert len(found.reasons) == 3


class TestRecon:
    def test_a_pass_is_timed_in_minutes_for_objects_and_in_seconds_for_databases(self):
        objects = {"object_replication_last": NOW, "object_replication_time": 2.0}
        assert pass_began("object", objects) == NOW - 120
        databases = {"replication_last": NOW, "replication_time": 2.0}
        assert pass_began("account", databases) == NOW - 2

    @pytest.mark.parametrize(
        "answer", [None, {}, {"replication_last": None}, {"object_replication_last": 0}]
    )
    def test_no_pass_yet(self, answer):
        assert pass_began("object", answer) is None

    def test_failures_towards_disks_that_are_drained_do_not_count(self):
        answer = {"replication_stats": {"failure_nodes": {"10.0.0.1": {"d1": 3, "d2": 0, "d3": 1}}}}
        assert failed_in(answer, frozenset({("10.0.0.1", "d3")})) == ["10.0.0.1/d1"]
        assert failed_in({"replication_stats": None}, frozenset()) == []

    def test_quarantine_is_counted_once(self):
        answer = {
            "accounts": 1,
            "containers": 2,
            "objects": 7,
            "policies": {"0": {"objects": 3}, "1": {"objects": 4}},
        }
        assert quarantined_in(answer) == 10
        assert quarantined_in({"objects": 7}) == 7
        assert quarantined_in(None) == 0

    def test_a_host_counts_for_what_it_has_devices_of(self):
        answers = [
            {"host": name, "address": ip, "kind": kind, "error": None, "unmounted": ["d1", "d2"]}
            for name, ip in (("a", "10.0.0.1"), ("b", "10.0.0.2"))
            for kind in ("account", "object")
        ]
        places = [
            Place("object", "10.0.0.1", "d1", drain=True),
            Place("object", "10.0.0.1", "d2"),
        ]
        (host,) = hosts_from({"a": {"version": "abc", "activated": NOW}}, answers, places)
        assert (host.name, host.version, list(host.errors)) == ("a", "abc", ["object"])
        assert host.unmounted == ["d2"], "one that is drained may be dead"
        assert not host.draining
        (host,) = hosts_from({}, answers, [Place("object", "10.0.0.1", "d1", drain=True)])
        assert host.draining

    def test_bytes_to_move(self):
        answers = [
            {"host": "a", "kind": "account"},
            {
                "host": "a",
                "diskusage": [{"device": "d1", "used": 600}, {"device": "d2", "used": ""}],
            },
            {"host": "b", "diskusage": [{"device": "d1", "used": 400}]},
        ]
        assert bytes_to_move(25.0, answers) == 250
        assert bytes_to_move(25.0, []) is None


class TestMessage:
    DECISION = {
        "state": "step",
        "reasons": [],
        "remarks": [],
        "rings": [
            {
                "ring": "object", "step": True, "replicas": 96, "percent": 12.5,
                "bytes": 3 * 2**40, "on_their_way": [{}, {}],
            },
            {"ring": "account", "step": False, "replicas": 0, "percent": 0.0, "bytes": None,
             "on_their_way": []},
        ],
    }  # fmt: skip

    def test_a_step(self):
        assert message(self.DECISION) == [
            "took one step:",
            "object: moves 96 partition-replicas (12.5 %, about 3.0 TiB); "
            "2 devices go on from there",
        ]
        assert message(self.DECISION, dry=True)[0] == "would take one step:"

    def test_waiting_says_for_what(self):
        waiting = {**self.DECISION, "state": "waiting", "reasons": ["a: b"]}
        assert message(waiting) == ["waiting, nothing was moved:", "a: b"]

    def test_done(self):
        done = {**self.DECISION, "state": "done", "remarks": ["not mounted: a/d1"]}
        assert message(done)[1] == "remark: not mounted: a/d1"
