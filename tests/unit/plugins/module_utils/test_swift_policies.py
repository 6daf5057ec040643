# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Policies that cannot be are named with their remedy, and those in use do not change."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.infn.cloud.plugins.module_utils._swift_policies import (
    Policy,
    affinity,
    changes_of,
    faults_of,
    read,
)

REGIONS = {"cnaf": 1, "bari": 2, "padova": 3}
DEFAULT: dict[str, Any] = {"index": 0, "name": "three-regions", "default": True}
CODE: dict[str, Any] = {"scheme": "isa_l_rs_cauchy", "data": 2, "parity": 1}
CODED: dict[str, Any] = {
    "index": 2,
    "name": "coded",
    "type": "erasure_coding",
    "regions": ["bari"],
    "erasure_code": CODE,
}
FOUND = """
[storage-policy:0]
name = three-regions
policy_type = replication
default = yes

[storage-policy:2]
name = coded
policy_type = erasure_coding
ec_type = isa_l_rs_cauchy
ec_num_data_fragments = 2
ec_num_parity_fragments = 1
ec_object_segment_size = 1048576
"""


def faults(*items: dict[str, Any]) -> list[str]:
    return faults_of(read(items), list(REGIONS))


def test_policies_that_can_be() -> None:
    two = {"index": 1, "name": "two", "regions": ["cnaf", "bari"], "replicas": 2}
    old = {"index": 7, "name": "old", "deprecated": True, "aliases": ["older"]}
    assert faults(DEFAULT, two, CODED, old) == []


@pytest.mark.parametrize(
    ("items", "says"),
    [
        ([DEFAULT, {"index": 0, "name": "b"}], "index 0 is taken by 2 policies: give each its own"),
        ([{"index": 1, "name": "a", "default": True}], "no policy has index 0"),
        ([{"index": 0, "name": "a"}], "needs exactly one default"),
        ([DEFAULT, {"index": 1, "name": "b", "default": True}], "needs exactly one default"),
        (
            [{"index": 0, "name": "a", "default": True, "deprecated": True}],
            "the default cannot be deprecated",
        ),
        (
            [DEFAULT, {"index": 1, "name": "Three-Regions"}],
            "policy 1 (Three-Regions): the name 'Three-Regions' is taken by policy 0",
        ),
        (
            [DEFAULT, {"index": 1, "name": "b", "aliases": ["b"]}],
            "the name 'b' is taken by policy 1 (b)",
        ),
        ([DEFAULT, {"index": 1, "name": "no_good"}], "may only hold letters, digits and dashes"),
        ([DEFAULT, {"index": 1, "name": "Policy-0"}], "keeps the name Policy-0 for index 0"),
        ([DEFAULT, {"index": -1, "name": "b"}], "an index is 0 or more"),
        (
            [DEFAULT, {"index": 1, "name": "b", "regions": ["roma"]}],
            "policy 1 (b): there is no region 'roma'; the federation has bari, cnaf, padova",
        ),
        ([DEFAULT, {"index": 1, "name": "b", "read_order": ["roma"]}], "no region 'roma'"),
        ([DEFAULT, {"index": 1, "name": "b", "replicas": 0}], "replicas is 0"),
        ([DEFAULT, {"index": 1, "name": "b", "type": "tape"}], "not 'tape'"),
        ([DEFAULT, {"index": 1, "name": "b", "erasure_code": CODE}], "set type: erasure_coding"),
        ([DEFAULT, {**CODED, "erasure_code": {"data": 2}}], "erasure_code needs scheme, parity"),
        ([DEFAULT, {**CODED, "replicas": 3}], "fragments instead of replicas"),
        ([DEFAULT, {**CODED, "erasure_code": {**CODE, "parity": -1}}], "erasure_code.parity is -1"),
        (
            [DEFAULT, {**CODED, "erasure_code": {**CODE, "scheme": "isa_l_rs_vand", "parity": 5}}],
            "isa_l_rs_vand can lose data with 5 parity fragments",
        ),
    ],
)
def test_policies_that_cannot_be(items: list[dict[str, Any]], says: str) -> None:
    said = faults(*items)
    assert len(said) == 1, said
    assert says in said[0]


def test_all_faults_are_named_at_once() -> None:
    assert len(faults({"index": 1, "name": "no_good", "regions": ["roma"]})) == 4


def test_names_default_and_aliases_may_change() -> None:
    renamed = {"index": 0, "name": "all", "aliases": ["three-regions"], "deprecated": True}
    new = {"index": 1, "name": "new", "default": True}
    assert changes_of(read([renamed, new, CODED]), FOUND) == []


def test_a_host_without_policies_takes_any() -> None:
    assert changes_of(read([DEFAULT, CODED]), "") == []


@pytest.mark.parametrize(
    ("items", "says"),
    [
        ([DEFAULT], "policy 2 (coded) is there and is not declared any more"),
        (
            [DEFAULT, {"index": 2, "name": "coded"}],
            "its type is erasure_coding and cannot become replication",
        ),
        (
            [{**CODED, "index": 0}, CODED],
            "policy 0 (coded): its type is replication and cannot become erasure_coding",
        ),
        (
            [DEFAULT, {**CODED, "erasure_code": {**CODE, "parity": 2}}],
            "policy 2 (coded): erasure_code.parity is 1 and cannot become 2",
        ),
        (
            [DEFAULT, {**CODED, "erasure_code": {**CODE, "segment_size": 65536}}],
            "erasure_code.segment_size is 1048576 and cannot become 65536",
        ),
    ],
)
def test_what_hides_objects_is_named(items: list[dict[str, Any]], says: str) -> None:
    said = changes_of(read(items), FOUND)
    assert len(said) == 1, said
    assert says in said[0]


def test_policies_that_cannot_be_read_are_a_fault() -> None:
    assert "cannot be read" in changes_of(read([DEFAULT]), "name = nowhere")[0]


def test_a_ring_has_a_place_per_fragment_or_replica() -> None:
    default, coded = read([CODED, DEFAULT])
    assert (default.ring, default.copies, default.fragments) == ("object", 3, 0)
    assert (coded.ring, coded.copies, coded.fragments) == ("object-2", 3, 3)


def test_a_proxy_reads_near_then_in_the_policys_order() -> None:
    two = Policy.of({"index": 1, "name": "two", "read_order": ["bari", "cnaf"]})
    read_affinity = {
        here: affinity(two, here, REGIONS)["read_affinity"] for here in ("cnaf", "padova")
    }
    assert read_affinity == {"cnaf": "r1=100, r2=200", "padova": "r3=100, r2=200, r1=300"}


def test_a_proxy_writes_near_only_where_the_policy_is() -> None:
    two = Policy.of({"index": 1, "name": "two", "regions": ["bari"], "write_local": True})
    assert affinity(two, "bari", REGIONS) == {
        "index": 1,
        "write_affinity": "r2",
        "write_affinity_handoff_delete_count": "auto",
    }
    assert affinity(two, "cnaf", REGIONS) == {}
