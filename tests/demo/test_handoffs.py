# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A storage host goes away and comes back: nothing is lost, and every copy finds its way home."""

from __future__ import annotations

import concurrent.futures
import os

import pytest

pytestmark = pytest.mark.drill

OBJECTS = 10
# Devices that are no primary ones of a partition: six disks, three copies.
HANDOFFS = 3


def mounts(demo, host: str) -> str:
    """The disks of a host, by what lasts: their UUIDs."""
    return demo.shell(
        host,
        "for path in /srv/node/*; do "
        'device=$(findmnt --noheadings --output SOURCE --mountpoint "$path") && '
        'echo "$path $(blkid -p -s UUID -o value "$device")"; done',
    )


@pytest.mark.settings
def test_a_storage_host_that_is_away_costs_no_data(demo, container, away, wait) -> None:
    home = demo.site_of(demo.builder).name
    gone = demo.site_of(away.name)
    regions = sorted(site.region for site in demo.sites.values())
    names = [(demo.account, container, f"o{number}") for number in range(OBJECTS)]
    content = {name: os.urandom(10_000) for _account, _container, name in names}
    mounted = mounts(demo, away.name)
    disks = demo.variables["_meta"]["hostvars"][away.name]["swift_storage_disks"]
    assert mounted.count("/srv/node/") == len(disks) >= 2, mounted
    demo.swift(home).put_container(container)

    def write(name: str) -> int:
        url = f"{demo.sites[home].object_storage}/v1/{demo.account}/{container}/{name}"
        token = demo.sessions[home].get_token()
        return demo.http("PUT", url, token=token, data=content[name]).status_code

    def read_everywhere() -> None:
        def read(question: tuple[str, str]) -> str:
            site, name = question
            _headers, body = demo.swift(site).get_object(container, name)
            return "" if body == content[name] else f"{name} has other bytes in {site}"

        questions = [(site, name) for site in demo.sites for name in content]
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            wrong = [text for text in pool.map(read, questions) if text]
        assert not wrong, wrong

    away.stop()
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        assert list(pool.map(write, content)) == [201] * OBJECTS
    read_everywhere()
    for place in demo.places(names, handoffs=HANDOFFS, timeout=3):
        lost = [replica for replica in place["replicas"] if replica["host"] == away.name]
        assert lost and all(replica["status"] is None for replica in lost), place
        holding = [replica for replica in place["replicas"] if replica["status"] == 200]
        assert place["copies"] == 3, f"three copies at once, in the regions that are left: {place}"
        assert [replica["handoff"] for replica in holding] == [False, False, True], place
        assert place["regions"] == [region for region in regions if region != gone.region], place

    away.start()

    def mounted_again() -> None:
        assert mounts(demo, away.name) == mounted, "the disks came back elsewhere"

    wait(mounted_again, 30)

    def home_again() -> None:
        for place in demo.places(names, handoffs=HANDOFFS):
            holding = [replica for replica in place["replicas"] if replica["status"] == 200]
            assert [replica["handoff"] for replica in holding] == [False] * 3, place
            assert place["regions"] == regions, place

    # Two passes of the replicators, whose interval is half a minute.
    wait(home_again, 180, every=5)
    read_everywhere()


def test_a_host_that_restarts_serves_again_by_itself(demo, away, wait) -> None:
    mounted = mounts(demo, away.name)
    units = "systemctl list-units --plain --no-legend --state=active 'swift*' rsync nftables"
    names = f"{units} | cut -d ' ' -f 1 | grep -v recon-cron.service | sort"
    before = demo.shell(away.name, names)
    away.stop()
    away.start()

    def serving() -> None:
        assert mounts(demo, away.name) == mounted
        assert demo.shell(away.name, names) == before
        rules = demo.shell(away.name, "nft list chain inet infn_cloud input")
        assert "policy drop" in rules, rules
        servers = [
            {"host": away.name, "address": demo.hosts[away.name], "port": port, "kind": kind}
            for kind, port in (("account", 6202), ("container", 6201), ("object", 6200))
        ]
        found = demo.module(
            demo.builder, "swift_recon_info", servers=servers, checks=["unmounted", "ringmd5"]
        )
        assert [server["unmounted"] for server in found["servers"] if server["ok"]] == [[]] * 3, (
            found
        )

    wait(serving, 60, every=3)
