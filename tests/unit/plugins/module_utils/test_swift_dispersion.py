# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import hashlib
import socket
import time

import pytest
from ansible_collections.infn.cloud.plugins.module_utils._swift_dispersion import (
    GIVE_UP,
    Sampled,
    Servers,
    ask_all,
    count,
    dispersion,
    names_to_add,
    one_each,
    percent,
    populate,
    samples_wanted,
)
from ansible_collections.infn.cloud.plugins.module_utils._swift_objects import (
    Answer,
    Node,
    Place,
    RequestError,
    Target,
)

FOUND, GONE, DOWN = Answer(200), Answer(404), Answer(error="Connection refused")


def node(region: int, port: int = 6200, device: str = "d1") -> Node:
    return Node(region, 1, "127.0.0.1", port, device, f"st{region}", False)


def place(partition: int, *nodes: Node) -> Place:
    return Place(Target(".dispersion", "c", f"o{partition}"), partition, nodes)


def partition_of(power: int, name: str) -> int:
    """Put names into partitions as a ring does: by the first bits of a checksum."""
    return int.from_bytes(
        hashlib.md5(name.encode(), usedforsecurity=False).digest()[:4], "big"
    ) >> (32 - power)


# --- planning


@pytest.mark.parametrize(
    ("partitions", "coverage", "least", "wanted"),
    [
        (2**18, 1, 100, 2622),
        (2**14, 1, 100, 164),
        (2**8, 1, 100, 100),
        (2**8, 100, 1, 256),
        (2**4, 1, 100, 16),
        (2**8, 0.001, 1, 1),
    ],
)
def test_a_share_of_the_ring_and_not_too_few(
    partitions: int, coverage: float, least: int, wanted: int
) -> None:
    assert samples_wanted(partitions, coverage, least) == wanted


def test_samples_lie_in_different_partitions_and_are_added_once() -> None:
    names = names_to_add([], lambda name: partition_of(8, name), "dispersion_", 100)
    assert len({partition_of(8, name) for name in names}) == len(names) == 100
    assert all(name.startswith("dispersion_") for name in names)
    assert names_to_add(names, lambda name: partition_of(8, name), "dispersion_", 100) == []
    # One was lost: a partition without a sample gets one, and the others stay.
    (again,) = names_to_add(names[1:], lambda name: partition_of(8, name), "dispersion_", 100)
    assert again == names[0]


def test_a_ring_with_twice_the_partitions_keeps_its_samples() -> None:
    names = names_to_add([], lambda name: partition_of(8, name), "dispersion_", 26)
    more = names_to_add(names, lambda name: partition_of(9, name), "dispersion_", 52)
    assert len(more) == 26 and not set(more) & set(names)
    assert len({partition_of(9, name) for name in [*names, *more]}) == 52


def test_every_partition_can_have_a_sample() -> None:
    names = names_to_add([], lambda name: partition_of(8, name), "", 256)
    assert sorted(partition_of(8, name) for name in names) == list(range(256))


def test_samples_have_the_names_that_swift_gives_them() -> None:
    containers, objects = Sampled("container", "gold", 0), Sampled("object", "gold", 3)
    assert containers.target("a", "dispersion_0_7").names == ("a", "dispersion_0_7")
    assert objects.target("a", "dispersion_7").names == (
        "a",
        "dispersion_objects_3",
        "dispersion_7",
    )
    assert (containers.prefix, objects.prefix) == ("dispersion_0_", "dispersion_")


# --- counting


def test_a_hundred_percent_is_said_of_all_only() -> None:
    assert percent(299999, 300000) == 99.99
    assert percent(300, 300) == 100.0
    assert percent(0, 300) == 0.0
    assert percent(0, 0) == 0.0


def test_copies_are_counted_by_region() -> None:
    nodes = (node(1), node(2), node(3))
    asked = [
        (place(0, *nodes), [FOUND, FOUND, FOUND]),
        (place(1, *nodes), [FOUND, GONE, FOUND]),
        (place(2, *nodes), [FOUND, DOWN, Answer(507)]),
        (place(3, *nodes), [GONE, GONE, GONE]),
    ]
    figures = count(asked, 5, 256)
    assert figures["copies_expected"] == 12
    assert figures["copies_found"] == 6
    assert figures["copies_found_percent"] == 50.0
    assert figures["missing"] == {"0": 1, "1": 1, "2": 1, "3": 1}
    assert {region: of["copies_found"] for region, of in figures["regions"].items()} == {
        "1": 3,
        "2": 1,
        "3": 2,
    }
    assert figures["regions"]["2"]["copies_found_percent"] == 25.0
    assert (figures["samples"], figures["overlapping"], figures["partitions"]) == (4, 1, 256)


def test_a_region_with_two_copies_and_one_without_devices() -> None:
    figures = count([(place(0, node(1), node(1, device="d2")), [FOUND, GONE])], 1, 16)
    assert figures["regions"] == {
        "1": {"copies_expected": 2, "copies_found": 1, "copies_found_percent": 50.0}
    }


def test_without_samples_nothing_is_found() -> None:
    figures = count([], 0, 256)
    assert figures["copies_found_percent"] == 0.0
    assert figures["samples"] == 0 and figures["regions"] == {} and figures["missing"] == {"0": 0}


def test_one_sample_of_each_partition_is_asked_for() -> None:
    first, second, again = place(0, node(1)), place(1, node(1)), place(0, node(2))
    assert one_each([first, second, again]) == [first, second]


# --- asking


def test_servers_that_never_answered_are_told_from_those_that_did() -> None:
    servers = Servers()
    servers.note(node(1), FOUND, again=False)
    servers.note(node(1), DOWN, again=False)
    servers.note(node(1), FOUND, again=True)
    servers.note(node(2), DOWN, again=False)
    servers.note(node(3, device="d2"), Answer(507), again=False)
    assert servers.lists() == {
        "not_reached": ["st2 (127.0.0.1:6200): Connection refused"],
        "errors": ["st1 (127.0.0.1:6200): Connection refused (1 of 3 questions)"],
        "unmounted": ["st3 (127.0.0.1:6200/d2)"],
        "retries": 1,
    }


def test_a_server_that_is_down_is_given_up_and_others_are_not() -> None:
    servers = Servers()
    for _attempt in range(GIVE_UP):
        assert servers.given_up(node(1)) is None
        servers.note(node(1), DOWN, again=False)
    assert servers.given_up(node(1, device="d2")) == "Connection refused"
    assert servers.given_up(node(2)) is None


def test_a_server_that_is_down_costs_few_questions() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        down = probe.getsockname()[1]
        servers = Servers()
        places = [place(number, node(1, down)) for number in range(500)]
        asked = ask_all(servers, places, 0, timeout=5, retries=1, until=time.monotonic() + 30)
    figures = count(asked, 500, 512)
    assert figures["copies_found"] == 0 and figures["copies_expected"] == 500
    # Those on their way when it was given up are asked to their end.
    assert sum(servers.failed.values()) < 100
    assert len(servers.lists()["not_reached"]) == 1


def test_what_was_not_asked_in_time_is_not_found() -> None:
    servers = Servers()
    (asked,) = ask_all(servers, [place(0, node(1))], 0, timeout=5, retries=3, until=0)
    assert "raise deadline" in str(asked[1][0].error)
    assert "raise deadline" in servers.lists()["not_reached"][0]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"timeout": 0.0}, "timeout must be more than 0"),
        ({"deadline": 0.0}, "deadline must be more than 0"),
        ({"retries": -1}, "retries is less than 0"),
    ],
)
def test_questions_that_are_wrong(change: dict[str, object], text: str) -> None:
    with pytest.raises(RequestError, match=text):
        dispersion({"timeout": 5.0, "deadline": 5.0, "retries": 1, **change})


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"coverage": 0.0}, "coverage is a share"),
        ({"coverage": 101.0}, "coverage is a share"),
        ({"samples_min": 0}, "samples_min is less than 1"),
    ],
)
def test_samples_that_cannot_be(change: dict[str, object], text: str) -> None:
    with pytest.raises(RequestError, match=text):
        populate({"coverage": 1.0, "samples_min": 1, **change}, write=True)
