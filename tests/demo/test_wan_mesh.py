# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the sites say to each other is heard by nobody else, and said to nobody else."""

from __future__ import annotations

import concurrent.futures
import contextlib
import json
import secrets
from collections.abc import Iterator
from typing import Any

import pytest

INTERFACE, PORT = "mesh0", 51820
OBJECT_PORT, SSH = 6200, 22
UNITS = ("wan-mesh-tunnel", "wan-mesh-routes", "wan-mesh-guard")

# Runs on a host until /run/wan-mesh-test/stop exists. Counts on each interface the packets to and
# from the given addresses, by what they are, and those that hold the marker.
CAPTURE = """
import collections, ipaddress, json, os, select, socket, sys, time
given = json.loads(sys.argv[1])
marker, others = given["marker"].encode(), set(given["others"])
place, end = "/run/wan-mesh-test", time.monotonic() + 90
names = {}
for name in given["interfaces"]:
    # Without the link's header; all protocols.
    listener = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(3))
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 24)
    listener.bind((name, 3))
    names[listener] = name
found = {name: collections.Counter() for name in names.values()}
os.makedirs(place, exist_ok=True)
open(place + "/ready", "w").close()
while time.monotonic() < end and not os.path.exists(place + "/stop"):
    for listener in select.select(list(names), [], [], 0.2)[0]:
        packet = listener.recv(1 << 16)
        if packet[0] >> 4 != 4:
            continue
        count = found[names[listener]]
        count["marker"] += marker in packet
        if not others & {str(ipaddress.ip_address(packet[i:i + 4])) for i in (12, 16)}:
            continue
        protocol, header = packet[9], (packet[0] & 15) * 4
        ports = {int.from_bytes(packet[i:i + 2]) for i in (header, header + 2)}
        kind = {6: "tcp", 17: "udp", 1: "icmp"}.get(protocol, str(protocol))
        known = ports & set(given["ports"])
        count[f"{kind} {min(known) if known else 'other'}" if kind != "icmp" else kind] += 1
print(json.dumps(found))
"""

PROBE = """
import socket, sys
try:
    socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=4).close()
    print("open")
except TimeoutError:
    print("closed")
except OSError as error:
    print("refused")
"""


def probe(demo, host: str, address: str, port: int) -> str:
    return demo.shell(host, f"python3 - {address} {port}", stdin=PROBE.encode()).strip()


def others(demo, host: str) -> dict[str, str]:
    """The hosts of the other sites."""
    own = demo.site_of(host).hosts
    return {name: address for name, address in demo.hosts.items() if name not in own}


def handshakes(demo, host: str) -> dict[str, int]:
    """When each peer of a host last shook hands; 0 for never."""
    script = f"cat /etc/wireguard/{INTERFACE}.peers; wg show {INTERFACE} latest-handshakes"
    lines = [line.split() for line in demo.shell(host, script).splitlines()]
    names = {line[3]: line[0] for line in lines if len(line) == 4}
    return {names[line[0]]: int(line[1]) for line in lines if len(line) == 2 and line[0] in names}


@pytest.fixture
def capture(demo, wait):
    """Listens on hosts while the block runs; its result holds, per host, what was heard."""

    @contextlib.contextmanager
    def listen(hosts: list[str], marker: str) -> Iterator[dict[str, Any]]:
        heard: dict[str, Any] = {}
        place = "/run/wan-mesh-test"
        demo.on(hosts, f"rm -rf {place}")

        def run(host: str) -> str:
            given = {
                "marker": marker,
                "others": list(others(demo, host).values()),
                "interfaces": ["eth0", INTERFACE],
                "ports": [PORT, SSH, OBJECT_PORT],
            }
            command = f"python3 - '{json.dumps(given)}'"
            return demo.shell(host, command, stdin=CAPTURE.encode(), timeout=150)

        def ready() -> None:
            assert demo.on(hosts, f"ls {place}") == dict.fromkeys(hosts, "ready\n")

        with concurrent.futures.ThreadPoolExecutor(len(hosts)) as pool:
            running = {host: pool.submit(run, host) for host in hosts}
            try:
                wait(lambda: demo.on(hosts, f"test -e {place}/ready"), 60)
                ready()
                yield heard
            finally:
                demo.on(hosts, f"mkdir -p {place} && touch {place}/stop")
                heard.update({host: json.loads(run.result()) for host, run in running.items()})
                demo.on(hosts, f"rm -rf {place}")

    return listen


# --- what is said


def test_nobody_between_the_sites_reads_what_is_written(demo, container, capture) -> None:
    """The same listener finds the content inside the tunnel, so it would find it outside."""
    site = next(iter(demo.sites))
    marker = secrets.token_hex(8)
    gateway = demo.sites[site].gateways[0]
    far = [host for host in demo.storage if host not in demo.sites[site].hosts]
    swift = demo.swift(site)
    with capture([gateway, *far], marker) as heard:
        swift.put_container(container)
        for number in range(5):
            swift.put_object(container, f"object-{number}", marker.encode() * 8192)
    for host in [gateway, *far]:
        inside, outside = heard[host][INTERFACE], heard[host]["eth0"]
        assert inside["marker"] > 0, f"{host}: heard nothing inside the tunnel: {heard[host]}"
        assert outside.get(f"udp {PORT}", 0) > 0, f"{host}: no tunnel on the wire: {heard[host]}"
        # SSH and ICMP stay outside; nothing else does.
        plain = set(outside) - {"marker", f"udp {PORT}", f"tcp {SSH}", "icmp"}
        assert not plain, f"{host}: heard between the sites: {heard[host]}"
        if host in far:
            assert outside["marker"] == 0, f"{host}: read between the sites: {heard[host]}"


def test_every_peer_has_shaken_hands(demo) -> None:
    for host in demo.hosts:
        now = int(demo.shell(host, "date +%s"))
        ages = {name: now - moment for name, moment in handshakes(demo, host).items()}
        assert ages.keys() == others(demo, host).keys(), f"{host}: {ages}"
        assert max(ages.values()) <= 180, f"{host}: {ages}"


def test_the_way_to_other_sites_only_leads_through_the_mesh(demo) -> None:
    for host in demo.hosts:
        for address in demo.hosts.values():
            way = demo.shell(host, f"ip -o route get {address}")
            wished = address in others(demo, host).values()
            assert (f" dev {INTERFACE} " in way) == wished, f"{host}: {way}"


def test_private_keys_are_different_and_nobody_elses(demo) -> None:
    key = f"/etc/wireguard/{INTERFACE}.key"
    script = f"stat --format '%U:%G %a' {key}; sha256sum {key}"
    found = demo.on(list(demo.hosts), script)
    assert {said.splitlines()[0] for said in found.values()} == {"root:root 600"}
    assert len({said.splitlines()[1] for said in found.values()}) == len(found)


# --- what is not


@pytest.fixture
def outsider(demo) -> Iterator[str]:
    """A gateway whose mesh may be broken, and that is mended afterwards."""
    name = demo.gateways[-1]
    try:
        yield name
    finally:
        demo.shell(name, "systemctl start " + " ".join(UNITS))
        demo.shell(name, "wan-mesh wait 40 " + " ".join(others(demo, name)))


@pytest.mark.drill
def test_a_host_without_its_mesh_says_nothing_in_clear(demo, outsider, capture) -> None:
    peer = next(host for host in demo.storage if host in others(demo, outsider))
    assert probe(demo, outsider, demo.hosts[peer], OBJECT_PORT) == "open"
    demo.shell(outsider, "systemctl stop wan-mesh-tunnel")
    # The interface is gone; another one of that name is not there to listen on either.
    demo.shell(outsider, f"ip link add {INTERFACE} type bridge; ip link set {INTERFACE} up")
    try:
        with capture([outsider], "nothing") as heard:
            assert probe(demo, outsider, demo.hosts[peer], OBJECT_PORT) == "refused"
            assert probe(demo, outsider, demo.hosts[peer], SSH) == "open"
    finally:
        demo.shell(outsider, f"ip link del {INTERFACE}")
    outside = heard[outsider]["eth0"]
    assert outside[f"tcp {SSH}"] > 0
    assert set(outside) <= {"marker", f"tcp {SSH}", "icmp", f"udp {PORT}"}, outside


@pytest.mark.drill
def test_what_comes_outside_the_mesh_is_refused(demo, outsider, capture) -> None:
    """Also from an address that the firewall would let in."""
    peer = next(host for host in demo.storage if host in others(demo, outsider))
    demo.shell(outsider, "systemctl stop wan-mesh-guard wan-mesh-routes")
    with capture([peer], "nothing") as heard:
        assert probe(demo, outsider, demo.hosts[peer], OBJECT_PORT) == "closed"
        assert probe(demo, outsider, demo.hosts[peer], SSH) == "open"
    assert heard[peer]["eth0"][f"tcp {OBJECT_PORT}"] > 0, "nothing came, so nothing was refused"


@pytest.mark.drill
def test_a_host_that_was_away_is_in_the_mesh_again(demo, away, wait) -> None:
    away.stop()
    away.start()
    state = demo.shell(away.name, "systemctl is-active " + " ".join(UNITS))
    assert state.split() == ["active"] * len(UNITS)
    demo.shell(away.name, "wan-mesh wait 40 " + " ".join(others(demo, away.name)))
    for peer, address in others(demo, away.name).items():
        if peer in demo.storage:
            assert probe(demo, away.name, address, OBJECT_PORT) == "open", peer


# --- what changes


@pytest.mark.drill
@pytest.mark.settings
def test_a_peer_goes_and_comes_without_the_others_noticing(demo) -> None:
    host = demo.builder
    gone = others(demo, host).keys() & set(demo.storage)
    name = min(gone)
    peers = [
        {"name": peer, "address": address, "endpoint": f"{address}:{PORT}"}
        for peer, address in others(demo, host).items()
        if peer != name
    ]
    play = ("ansible-playbook", "playbooks/backbone.yml", "--tags", "wan_mesh", "--limit", host)
    before = handshakes(demo, host)
    run = demo.ansible(*play, "-e", json.dumps({"wan_mesh_peers": peers}), timeout=300)
    assert run.rc == 0 and run.stats[host]["changed"] > 0, run.text
    after = handshakes(demo, host)
    assert after.keys() == before.keys() - {name}
    assert all(after[peer] >= before[peer] > 0 for peer in after), (before, after)
    assert f" dev {INTERFACE} " not in demo.shell(host, f"ip -o route get {demo.hosts[name]}")
    # Alone it does not know the key any more; together with the peer it does.
    run = demo.ansible(*play, timeout=300)
    assert run.rc != 0 and f"{host} would be cut off from {name}" in run.text, run.text
    run = demo.ansible(*play[:-1], f"{host},{name}", timeout=300)
    assert run.rc == 0, run.text
    assert handshakes(demo, host)[name] > 0
    assert probe(demo, host, demo.hosts[name], OBJECT_PORT) == "open"


@pytest.mark.drill
def test_a_host_gets_a_new_key(demo) -> None:
    name = next(host for host in demo.storage if host in others(demo, demo.builder))
    old = demo.shell(name, f"wg show {INTERFACE} public-key").strip()
    play = ("ansible-playbook", "playbooks/operations/wan_mesh_rotate_keys.yml")
    run = demo.ansible(*play, "-e", json.dumps({"wan_mesh_rotate_hosts": [name]}), timeout=300)
    assert run.rc == 0, run.text
    new = demo.shell(name, f"wg show {INTERFACE} public-key").strip()
    assert new != old
    for peer in others(demo, name):
        assert new in demo.shell(peer, f"cat /etc/wireguard/{INTERFACE}.peers")
        assert handshakes(demo, peer)[name] > 0
        assert old not in demo.shell(peer, f"wg show {INTERFACE} peers")
