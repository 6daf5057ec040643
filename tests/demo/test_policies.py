# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Storage policies as clients see them, and where their objects really lie."""

from __future__ import annotations

import concurrent.futures
import json
import random
import secrets
from collections.abc import Iterator
from typing import Any

import pytest
import swiftclient

MIB = 1024 * 1024
CODED, CODED_INDEX, CODED_SITE = "bari-coded", 2, "bari"
REDUCED, REDUCED_INDEX, REDUCED_SITES = "two-regions", 1, ("bari", "cnaf")


def content(size: int) -> bytes:
    return random.Random(size).randbytes(size)


def test_every_site_offers_the_same_policies(demo) -> None:
    for site in demo.sites.values():
        policies = demo.http("GET", f"{site.object_storage}/info").json()["swift"]["policies"]
        found = {each["name"]: (each["aliases"], each.get("default", False)) for each in policies}
        assert found == {
            "three-regions": ("three-regions, standard", True),
            REDUCED: (REDUCED, False),
            CODED: (CODED, False),
        }, site.name


def test_an_alias_is_the_policy(demo, container) -> None:
    swift = demo.swift("cnaf")
    swift.put_container(container, {"X-Storage-Policy": "standard"})
    assert swift.head_container(container)["x-storage-policy"] == "three-regions"


def test_a_policy_that_does_not_exist_is_refused(demo, container) -> None:
    with pytest.raises(swiftclient.ClientException) as error:
        demo.swift("cnaf").put_container(container, {"X-Storage-Policy": "four-regions"})
    assert error.value.http_status == 400


def test_two_copies_lie_in_two_regions_and_are_read_in_three(demo, container, wait) -> None:
    """Also through the site that keeps none of it."""
    data = content(300_000)
    away = next(site for site in demo.sites if site not in REDUCED_SITES)
    demo.swift(away).put_container(container, {"X-Storage-Policy": REDUCED})
    demo.swift(away).put_object(container, "o", data)
    regions = sorted(demo.sites[site].region for site in REDUCED_SITES)

    def check() -> None:
        (place,) = demo.places([(demo.account, container, "o")], policy=REDUCED_INDEX)
        assert (place["copies"], place["regions"]) == (2, regions), place

    wait(check, 60)
    for site in demo.sites:
        assert demo.swift(site).get_object(container, "o")[1] == data, site
    found = demo.on(demo.storage, f"find /srv/node -maxdepth 2 -name objects-{REDUCED_INDEX}")
    for host, directories in found.items():
        keeps = demo.site_of(host).name in REDUCED_SITES
        assert bool(directories) == keeps, f"{host}: {directories}"


# --- the erasure code


@pytest.fixture(scope="module")
def coded(demo) -> Iterator[tuple[str, bytes]]:
    """A container whose objects are coded in one site, with an object written through another."""
    name = f"demo-test-{secrets.token_hex(4)}"
    data = content(3 * MIB + 17)
    try:
        demo.swift("cnaf").put_container(name, {"X-Storage-Policy": CODED})
        demo.swift("cnaf").put_object(name, "o", data)
        yield name, data
    finally:
        demo.empty(name)


def fragments(demo, container: str) -> dict[str, Any]:
    (place,) = demo.places([(demo.account, container, "o")], policy=CODED_INDEX)
    return place


def test_fragments_lie_in_one_region_and_take_half_as_much_again(demo, coded, wait) -> None:
    container, data = coded

    def check() -> dict[str, Any]:
        place = fragments(demo, container)
        assert (place["copies"], place["regions"]) == (3, [demo.sites[CODED_SITE].region]), place
        return place

    place = wait(check, 60)
    sizes = [replica["bytes"] for replica in place["replicas"]]
    assert len({replica["device"] for replica in place["replicas"]}) == 3, place
    assert 1.5 * len(data) <= sum(sizes) < 1.6 * len(data), sizes
    found = demo.on(demo.storage, f"find /srv/node -maxdepth 2 -name objects-{CODED_INDEX}")
    keeping = [host for host, directories in found.items() if directories]
    assert keeping == list(demo.sites[CODED_SITE].storage), found


def test_coded_objects_read_equal_through_every_site(demo, coded) -> None:
    container, data = coded
    for site in demo.sites:
        headers, body = demo.swift(site).get_object(container, "o")
        assert body == data, site
        assert headers["content-length"] == str(len(data))
        part = demo.http(
            "GET",
            f"{demo.sites[site].object_storage}/v1/{demo.account}/{container}/o",
            token=demo.sessions[site].get_token(),
            headers={"Range": f"bytes={MIB - 5}-{MIB + 5}"},
        )
        assert (part.status_code, part.content) == (206, data[MIB - 5 : MIB + 6]), site


def test_a_lost_fragment_is_no_loss_and_is_made_again(demo, coded, wait) -> None:
    container, data = coded
    place = fragments(demo, container)
    lost = place["replicas"][0]
    path = f"/srv/node/{lost['device']}/objects-{CODED_INDEX}/{place['partition']}"
    look = f"find {path} -name '*.data' -printf '%i %s\\n'"
    before = demo.shell(lost["host"], f"{look} && rm -r {path}")
    assert before
    assert demo.swift("padova").get_object(container, "o")[1] == data

    def check() -> None:
        # Another file of the same size; the one from before is gone for certain.
        after = demo.shell(lost["host"], f"[ ! -e {path} ] || {look}")
        assert after and after.split()[0] != before.split()[0], after
        assert after.split()[1] == before.split()[1], (before, after)
        assert fragments(demo, container)["copies"] == 3

    # The reconstructor passes every 30 s and makes a fragment of the two others.
    wait(check, 120, every=5)


# --- affinity

# What a proxy has made of its file.
LOADED = """
import json, sys
from swift.common.storage_policy import POLICIES
from swift.common.wsgi import loadapp
app = loadapp("/etc/swift/proxy-server.conf")._pipeline_final_app
print(json.dumps({int(p): app.get_policy_options(p).read_affinity for p in POLICIES}))
"""


def test_each_proxy_reads_near_then_in_the_policys_order(demo) -> None:
    script = f"cd / && runuser -u swift -- python3 -c '{LOADED}' 2>/dev/null | tail -n 1"
    found = {
        gateway: json.loads(answer)
        for gateway, answer in demo.on(demo.gateways, script, timeout=90).items()
    }
    region = {site.name: site.region for site in demo.sites.values()}
    for gateway, loaded in found.items():
        own = demo.site_of(gateway)
        assert loaded["0"] == loaded["2"] == f"r{own.region}=100", gateway
        order = list(dict.fromkeys([own.region, region["bari"], region["cnaf"]]))
        wished = ", ".join(f"r{number}={100 * place}" for place, number in enumerate(order, 1))
        assert loaded["1"] == wished, gateway


def test_many_objects_of_all_policies_at_once(demo) -> None:
    """Containers of all policies side by side, written and read through chance sites."""
    chance = random.Random(1)
    names = {policy: f"demo-test-{secrets.token_hex(4)}" for policy in ("standard", REDUCED, CODED)}
    sites = list(demo.sites)
    try:
        for policy, name in names.items():
            demo.swift(chance.choice(sites)).put_container(name, {"X-Storage-Policy": policy})
        plan = [
            (name, f"o{number}", content(1000 * number + index), chance.sample(sites, 2))
            for number in range(6)
            for index, name in enumerate(names.values())
        ]

        def write_and_read(name: str, key: str, data: bytes, through: list[str]) -> bool:
            demo.swift(through[0]).put_object(name, key, data)
            return demo.swift(through[1]).get_object(name, key)[1] == data

        with concurrent.futures.ThreadPoolExecutor(3) as pool:
            assert all(pool.map(lambda entry: write_and_read(*entry), plan))
    finally:
        for name in names.values():
            demo.empty(name)
