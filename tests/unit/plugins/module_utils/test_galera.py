# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""No second cluster beside one that may live, and the last write wins."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.infn.cloud.plugins.module_utils._galera import (
    GaleraError,
    Wish,
    describe,
    plan_cluster,
    read_grastate,
    read_position,
    user_databases,
)

HOSTS = ("cnaf-gw1", "bari-gw1", "padova-gw1")
CLUSTER = "880a95f9-e8a3-11f0-82da-5a5bd3a4f0a1"
OTHER = "12345678-e8a3-11f0-82da-5a5bd3a4f0a1"


def node(**more: Any) -> dict[str, Any]:
    """A host on which nothing is."""
    return {
        **describe({}), "running": False, "starting": False, "databases": [], "saved_uuid": "",
        "saved_seqno": -1, "safe_to_bootstrap": False, "recovered_uuid": "", "recovered_seqno": -1,
        **more,
    }  # fmt: skip


def member(size: int = 3, uuid: str = CLUSTER) -> dict[str, Any]:
    return node(
        running=True, wsrep=True, primary=True, synced=True, size=size, uuid=uuid,
        saved_uuid=uuid, databases=["keystone"],
    )  # fmt: skip


def stopped(seqno: int, *, uuid: str = CLUSTER, safe: bool = False) -> dict[str, Any]:
    return node(
        saved_uuid=uuid, recovered_uuid=uuid, recovered_seqno=seqno, safe_to_bootstrap=safe,
        databases=["keystone"],
    )  # fmt: skip


def plan(*nodes: dict[str, Any] | None, **more: Any):
    answers = {name: one for name, one in zip(HOSTS, nodes) if one is not None}
    return plan_cluster(answers, Wish(HOSTS, **more))


# --- reading


def test_grastate_of_a_server_that_stopped_last() -> None:
    text = (
        f"# GALERA saved state\nversion: 2.1\nuuid:    {CLUSTER}\nseqno:   42\n"
        "safe_to_bootstrap: 1\n"
    )
    wished = {"saved_uuid": CLUSTER, "saved_seqno": 42, "safe_to_bootstrap": True}
    assert read_grastate(text) == wished


@pytest.mark.parametrize("text", ["", "uuid: 00000000-0000-0000-0000-000000000000\nseqno: -1\n"])
def test_grastate_of_a_server_that_was_in_no_cluster(text: str) -> None:
    wished = {"saved_uuid": "", "saved_seqno": -1, "safe_to_bootstrap": False}
    assert read_grastate(text) == wished


def test_position_as_galera_recovery_prints_it() -> None:
    assert read_position(f"--wsrep_start_position={CLUSTER}:17\n") == (CLUSTER, 17)
    nothing = "--wsrep_start_position=00000000-0000-0000-0000-000000000000:-1"
    assert read_position(nothing) == ("", -1)
    with pytest.raises(GaleraError, match="no position in what galera_recovery printed"):
        read_position("WSREP: Failed to recover position\n")


def test_a_server_counts_as_synced_only_when_it_takes_questions() -> None:
    status = {
        "wsrep_on": "ON", "wsrep_cluster_status": "Primary", "wsrep_ready": "ON",
        "wsrep_local_state_comment": "Synced", "wsrep_cluster_size": "3",
    }  # fmt: skip
    assert describe(status)["synced"]
    for name, value in (
        ("wsrep_on", "OFF"),
        ("wsrep_cluster_status", "non-Primary"),
        ("wsrep_ready", "OFF"),
        ("wsrep_local_state_comment", "Donor/Desynced"),
    ):
        assert not describe(status | {name: value})["synced"], name


def test_the_servers_own_directories_are_no_databases() -> None:
    names = ["sys", "keystone", "mysql", "performance_schema"]
    assert user_databases(names) == ["keystone"]


# --- the first time


def test_the_server_with_data_begins_and_the_others_join() -> None:
    found = plan(node(), node(running=True, databases=["keystone"]), node())
    assert not found.problems
    assert (found.bootstrap, found.join) == ("bari-gw1", ["cnaf-gw1", "padova-gw1"])


def test_without_data_the_first_one_begins() -> None:
    assert plan(node(), node(), node()).bootstrap == "cnaf-gw1"


def test_two_servers_with_data_are_a_question() -> None:
    two = (node(databases=["keystone"]), node(databases=["designate"]), node())
    (problem,) = plan(*two).problems
    assert "cnaf-gw1, bari-gw1" in problem and "galera_bootstrap_host" in problem
    (problem,) = plan(*two, bootstrap_host="bari-gw1").problems
    assert "cnaf-gw1: keystone" in problem and "galera_allow_data_loss=true" in problem
    agreed = plan(*two, bootstrap_host="bari-gw1", allow_data_loss=True)
    assert (agreed.bootstrap, agreed.problems) == ("bari-gw1", [])


# --- never a second one


def test_a_silent_host_may_run_the_cluster() -> None:
    (problem,) = plan(node(), node(), None).problems
    assert "padova-gw1 could not be asked" in problem and "galera_lost_hosts" in problem
    found = plan(node(), node(), None, lost=["padova-gw1"])
    assert (found.bootstrap, found.join, found.problems) == ("cnaf-gw1", ["bari-gw1"], [])


def test_a_running_cluster_is_joined_whoever_is_silent() -> None:
    found = plan(None, member(2), stopped(5))
    assert (found.bootstrap, found.join, found.problems) == ("", ["padova-gw1"], [])


def test_after_an_outage_of_all_a_deployment_begins_nothing() -> None:
    (problem,) = plan(stopped(5), stopped(5), node()).problems
    assert "galera_recover" in problem


@pytest.mark.parametrize(
    "nodes",
    [
        (member(1), member(2), member(2)),
        (member(), member(uuid=OTHER), member()),
        (member(1), member(1, uuid=OTHER), stopped(3)),
    ],
)
@pytest.mark.parametrize("recover", [False, True])
def test_two_clusters_are_told_and_not_touched(nodes: Any, recover: bool) -> None:
    found = plan(*nodes, recover=recover)
    assert found.bootstrap == "" and "in different clusters" in found.problems[0]


def test_who_is_cut_off_is_not_restarted() -> None:
    found = plan(member(2), member(2), node(running=True, wsrep=True, saved_uuid=CLUSTER))
    assert "padova-gw1: cut off from the cluster" in found.problems[0]


def test_joining_costs_no_data_of_others() -> None:
    found = plan(member(2), member(2), node(databases=["wiki"]))
    assert "padova-gw1: wiki" in found.problems[0]
    assert plan(member(2), member(2), node(databases=["wiki"]), allow_data_loss=True).problems == []


# --- recovery


def test_the_last_write_is_elected() -> None:
    found = plan(stopped(41), stopped(43), stopped(42), recover=True)
    assert (found.bootstrap, found.problems) == ("bari-gw1", [])
    assert found.join == ["cnaf-gw1", "padova-gw1"]


def test_ties_go_to_the_last_to_stop() -> None:
    found = plan(stopped(43), stopped(43, safe=True), stopped(43), recover=True)
    assert found.bootstrap == "bari-gw1"
    assert plan(stopped(43), stopped(43), stopped(43), recover=True).bootstrap == "cnaf-gw1"


def test_recovery_asks_everyone_too() -> None:
    (problem,) = plan(stopped(9), stopped(7), None, recover=True).problems
    assert "padova-gw1 could not be asked" in problem
    found = plan(stopped(9), stopped(7), None, recover=True, lost=["padova-gw1"])
    assert (found.bootstrap, found.problems) == ("cnaf-gw1", [])


def test_recovery_begins_nothing_beside_a_living_part() -> None:
    found = plan(member(1), stopped(900), stopped(901), recover=True)
    assert (found.bootstrap, found.join) == ("", ["bari-gw1", "padova-gw1"])


def test_recovery_of_what_never_was() -> None:
    (problem,) = plan(node(), node(), node(), recover=True).problems
    assert "nothing to recover" in problem


def test_recovery_does_not_guess() -> None:
    unread = node(saved_uuid=CLUSTER, databases=["keystone"])
    (problem,) = plan(stopped(9), unread, stopped(7), recover=True).problems
    assert "bari-gw1: its last write cannot be read" in problem
    named = plan(stopped(9), unread, stopped(7), recover=True, bootstrap_host="cnaf-gw1")
    assert (named.bootstrap, named.problems) == ("cnaf-gw1", [])
    (problem,) = plan(stopped(9), stopped(9, uuid=OTHER), stopped(7), recover=True).problems
    assert "come from different clusters" in problem


def test_a_server_that_waits_for_the_others_is_stopped_before_it_is_judged() -> None:
    waiting = node(running=True, wsrep=True, saved_uuid=CLUSTER)
    assert plan(waiting, waiting, stopped(7), recover=True).problems == []
