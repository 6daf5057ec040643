# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Input that cannot work is refused with the remedy, and nothing has changed."""

from __future__ import annotations

import concurrent.futures
import contextlib
import gzip
import json
import re
import secrets
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

# Playbooks at once; each waits for its hosts most of the time.
AT_ONCE = 3
# Roles of which the first refusal is tried as an administrator would meet it, by the playbook.
BY_PLAYBOOK = ("swift_storage", "load_balancer", "keystone", "galera", "elk")


@dataclass(frozen=True)
class Refusal:
    """One bad input to playbooks/backbone.yml, and what has to be said about it."""

    name: str
    role: str
    host: str
    variables: Mapping[str, Any]
    says: tuple[str, ...] = field(default=())

    @property
    def owner(self) -> str:
        """The role that sees by itself what is wrong, without those before it; or none."""
        for role in (self.role, "swift_common"):
            if all(name.startswith(f"{role}_") for name in self.variables):
                return role
        return ""


def storage(name: str, *says: str, **variables: Any) -> Refusal:
    return Refusal(name, "swift_storage", "bari-st1", variables, says)


def gateway(name: str, role: str, *says: str, **variables: Any) -> Refusal:
    return Refusal(name, role, "bari-gw1", variables, says)


def central(name: str, role: str, *says: str, **variables: Any) -> Refusal:
    return Refusal(name, role, "cnaf-gw1", variables, says)


REFUSALS = [
    storage(
        "storage host without a disk",
        "bari-st1 has no disk: name them in swift_storage_disks",
        swift_storage_disks=[],
    ),
    storage(
        "disk that does not exist",
        "d1: /dev/disk/by-id/demo-never does not exist, but fstab mounts it on /srv/node/d1",
        "replace it, take it out of the list, or go on without it",
        swift_storage_disks=[{"name": "d1", "device": "/dev/disk/by-id/demo-never"}],
    ),
    storage(
        "new disk that does not exist",
        "d9: /dev/disk/by-id/demo-never does not exist",
        "check its name, see `ls -l /dev/disk/by-id`",
        swift_storage_disks=[{"name": "d9", "device": "/dev/disk/by-id/demo-never"}],
    ),
    storage(
        "storage host removed unasked",
        "drain them first (weight 0 in the rings",
        "swift_storage_allow_data_loss=true",
        swift_storage_state="absent",
    ),
    storage(
        "other hash value",
        "/etc/swift/swift.conf of bari-st1 holds another swift_hash_path_prefix or suffix",
        "Put the old values back",
        swift_common_hash_path_suffix="another-value-than-before",
    ),
    storage(
        "short hash value",
        "need at least 16 characters each, and must differ",
        swift_common_hash_path_suffix="short",
    ),
    storage(
        "policies without a default",
        "exactly one default",
        swift_common_policies=[{"index": 0, "name": "three-regions"}],
    ),
    storage(
        "policy taken away",
        "policy 2 (bari-coded) is there and is not declared any more",
        "declare it again with deprecated: true",
        swift_common_policies=[{"index": 0, "name": "three-regions", "default": True}],
    ),
    storage(
        "policy of another type",
        "policy 2 (bari-coded): its type is erasure_coding and cannot become replication",
        swift_common_policies=[
            {"index": 0, "name": "three-regions", "default": True},
            {"index": 1, "name": "two-regions"},
            {"index": 2, "name": "bari-coded"},
        ],
    ),
    storage(
        "policy in a region that is not there",
        "policy 1 (near): there is no region 'roma'; the federation has bari, cnaf, padova",
        backbone_policies=[
            {"index": 0, "name": "three-regions", "default": True},
            {"index": 1, "name": "near", "regions": ["roma"]},
        ],
    ),
    storage(
        "code with more fragments than disks",
        "6 fragments, each for a disk of its own, and bari has 3 disks for it",
        backbone_policies=[
            {"index": 0, "name": "three-regions", "default": True},
            {
                "index": 2,
                "name": "bari-coded",
                "type": "erasure_coding",
                "regions": ["bari"],
                "erasure_code": {"scheme": "isa_l_rs_cauchy", "data": 2, "parity": 4},
            },
        ],
    ),
    storage(
        "secret that cannot encrypt",
        "secret one: holds 5 bytes; it must be the base64 of at least 32 random bytes",
        swift_common_encryption_secrets={"one": "c2hvcnQ="},
        swift_common_encryption_active="one",
    ),
    storage(
        "Swift with known holes",
        "bari-st1 has Swift 2.35.1",
        "older than 2.99",
        "apt-get update",
        swift_common_minimum_version="2.99",
    ),
    Refusal(
        "hash values forgotten unasked",
        "swift_common",
        "bari-st1",
        {"swift_common_state": "absent"},
        ("would remove /etc/swift of bari-st1", "swift_common_allow_data_loss=true"),
    ),
    gateway(
        "firewall that locks everyone out",
        "firewall",
        "firewall_admin_sources is empty",
        "name at least the controller's network",
        firewall_admin_sources=[],
    ),
    gateway(
        "memcached on every address",
        "memcached",
        "memcached_bind_addresses names every address",
        memcached_bind_addresses=["0.0.0.0"],
    ),
    gateway(
        "endpoint without a certificate",
        "load_balancer",
        "Endpoints without TLS are not offered",
        load_balancer_certificate_files=[],
    ),
    gateway(
        "endpoint with a certificate that is none",
        "load_balancer",
        "load_balancer_certificate and load_balancer_private_key must hold PEM text",
        load_balancer_certificate="/etc/ssl/site.pem",
        load_balancer_private_key="/etc/ssl/site.key",
    ),
    gateway(
        "services on one port",
        "load_balancer",
        "load_balancer_services needs",
        "a port of its own",
        load_balancer_services=[
            {
                "name": name,
                "port": 5000,
                "servers": [{"name": "a", "address": "127.0.0.1", "port": 1}],
            }
            for name in ("one", "two")
        ],
    ),
    gateway(
        "short secrets of a proxy",
        "swift_proxy",
        "swift_proxy_service_password and swift_proxy_memcache_secret need at least 12 characters",
        swift_proxy_memcache_secret="short",
    ),
    central(
        "short password of Keystone",
        "keystone",
        "need at least 12 characters each, and must differ",
        keystone_admin_password="short",
    ),
    central(
        "Keystone that nobody finds",
        "keystone",
        "keystone_public_urls is empty; name the URL of at least one region",
        keystone_public_urls={},
    ),
    central(
        "database without a password",
        "mariadb",
        "Each entry of mariadb_databases needs a password",
        mariadb_databases=[{"name": "keystone", "user": "keystone", "password": ""}],
    ),
    central(
        "two voters",
        "galera",
        "2 votes (cnaf-gw1, bari-gw1) cannot always tell a majority",
        "an arbitrator, which holds no data",
        galera_members=[
            {"name": "cnaf-gw1", "address": "192.0.2.1", "segment": 1},
            {"name": "bari-gw1", "address": "192.0.2.2", "segment": 2},
        ],
    ),
    central(
        "replication in clear",
        "galera",
        "replication without TLS is not offered",
        galera_private_key="",
    ),
    central(
        "keys of Keystone that would pile up",
        "keystone",
        "keystone_key_rotation (60 s) must be an hour at least",
        keystone_key_rotation=60,
    ),
    central(
        "databases removed unasked",
        "mariadb",
        "would remove every database below /var/lib/mysql of cnaf-gw1",
        "mariadb_allow_data_loss=true",
        mariadb_state="absent",
    ),
    central(
        "keys of Keystone removed unasked",
        "keystone",
        "every token and every stored credential becomes unreadable",
        "keystone_allow_data_loss=true",
        keystone_state="absent",
    ),
    central(
        "rings without a host to plan them",
        "swift_rings",
        "swift_rings_builder must name a host of the inventory (it is 'nobody')",
        swift_rings_builder="nobody",
    ),
    Refusal(
        "logs that are kept for no day",
        "elk",
        "bari-st1",
        {"elk_retention_days": 0},
        ("elk_retention_days is from 1 on",),
    ),
    Refusal(
        "log store of two nodes",
        "elk",
        "bari-st1",
        {
            "elk_nodes": {
                f"{site}-st1": {"address": f"192.0.2.{number}", "subject": f"CN={site}-st1"}
                for number, site in enumerate(("bari", "cnaf"))
            }
        },
        ("elk_nodes has 2 nodes", "their number must be odd"),
    ),
    Refusal(
        "log store with the host's whole memory",
        "elk",
        "bari-st1",
        {"elk_heap_mb": 10**6},
        ("elk_heap_mb is 1000000: bari-st1 has", "the heap may have from 256 MiB to half of it"),
    ),
    Refusal(
        "log store removed unasked",
        "elk",
        "bari-st1",
        {"elk_state": "absent"},
        ("bari-st1 is a node of the log store", "elk_allow_data_loss=true"),
    ),
    gateway(
        "collector for nobody",
        "log_collector",
        "log_collector_peers must name the shippers",
        log_collector_peers=[],
    ),
    gateway(
        "shipper without a key",
        "log_shipper",
        "log_shipper_private_key must hold PEM text",
        log_shipper_private_key="",
    ),
    gateway(
        "secret that would be found again and again",
        "log_shipper",
        "log_shipper_more_secrets: 'badges'",
        "must not match '***'",
        log_shipper_more_secrets=[{"name": "badges", "before": "badge=", "secret": ".*"}],
    ),
    central(
        "rings forgotten unasked",
        "swift_rings",
        "would remove the builder files and rings of cnaf-gw1",
        "swift_rings_allow_data_loss=true",
        swift_rings_state="absent",
    ),
]


def apply(demo, refusal: Refusal) -> Any:
    """Apply one role to one host as an administrator would, who runs a part of the playbook."""
    return demo.ansible(
        "ansible-playbook",
        "playbooks/backbone.yml",
        "--limit",
        refusal.host,
        "--tags",
        refusal.owner or refusal.role,
        "--extra-vars",
        json.dumps(refusal.variables),
    )


def expect(run: Any, *says: str) -> None:
    assert run.rc != 0, "it was accepted"
    said = re.sub(r"\s+", " ", run.text)
    for text in says:
        assert text in said, f"'{text}' is not said; what is said: {said}"
    changed = {host: stats["changed"] for host, stats in run.stats.items() if stats["changed"]}
    assert not changed, f"changed before it refused: {changed}"


# Configuration, and when each service was started. What a timer starts is left out.
SNAPSHOT = """
    for path in /etc/swift /etc/nftables.conf /etc/haproxy /etc/keystone /etc/fstab \
        /etc/memcached.conf /etc/mysql /etc/rsyncd.conf /etc/opensearch /etc/log-collector \
        /etc/log-shipper; do
        [ ! -e "$path" ] || find "$path" -type f -exec sha256sum {} + -o -type l -printf '%p %l\\n'
    done | sort
    systemctl list-units --plain --no-legend --type=service --state=running |
        cut -d ' ' -f 1 | sort |
        grep -E 'swift|keystone|haproxy|memcached|mariadb|rsync|opensearch|log-' |
        xargs systemctl show --property Id,ActiveEnterTimestampMonotonic,MainPID
    findmnt --noheadings --output TARGET,SOURCE --types xfs
    nft list ruleset | sha256sum
"""


@pytest.fixture(scope="module", autouse=True)
def unchanged(demo) -> Iterator[None]:
    """Compare all hosts before and after all refusals; each run's own recap tells who it was."""
    before = demo.on(list(demo.hosts), SNAPSHOT)
    yield
    after = demo.on(list(demo.hosts), SNAPSHOT)
    for host, was in before.items():
        one, two = set(was.splitlines()), set(after[host].splitlines())
        assert one == two, f"{host}: gone {sorted(one - two)}, new {sorted(two - one)}"


@pytest.fixture(scope="module")
def runs(demo, request: pytest.FixtureRequest, unchanged) -> Iterator[Callable[[Refusal], Any]]:
    """The runs that this session selected, several at once; each test waits for its own."""
    chosen = [
        item.callspec.params["refusal"]
        for item in request.session.items
        if getattr(item, "originalname", "") == "test_refused"
    ]
    first = {one.role: one.name for one in reversed(chosen) if one.role in BY_PLAYBOOK}
    # The others by their roles alone, in one run.
    alone = {
        one.name: (one.owner, one.host, one.variables)
        for one in chosen
        if one.owner and one.name not in first.values()
    }
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        together = pool.submit(demo.attempts, alone)
        futures = {
            refusal.name: pool.submit(apply, demo, refusal)
            for refusal in chosen
            if refusal.name not in alone
        }

        def outcome(refusal: Refusal) -> Any:
            if refusal.name in alone:
                return together.result()[refusal.name]
            return futures[refusal.name].result()

        try:
            yield outcome
        finally:
            pool.shutdown(cancel_futures=True)


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda refusal: refusal.name)
def test_refused(runs, refusal: Refusal) -> None:
    expect(runs(refusal), *refusal.says)


def test_what_the_last_role_lacks_is_said_first(demo) -> None:
    """A host without a certificate for its logs, as an administrator forgets it for a new one."""
    run = demo.ansible(
        "ansible-playbook", "playbooks/backbone.yml", "-e", "log_shipper_certificate="
    )
    expect(run, "log_shipper_certificate and log_shipper_private_key must hold PEM text")
    assert len(run.report["plays"]) == 1


# --- the description of the federation


def second_region(federation: dict[str, Any]) -> None:
    federation["sites"][1]["region"] = federation["sites"][0]["region"]


def second_address(federation: dict[str, Any]) -> None:
    hosts = federation["sites"][0]["hosts"]
    hosts[1]["address"] = hosts[0]["address"]


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (second_region, ("site bari, region: 1 is taken by site cnaf", "give each its own")),
        (second_address, ("host cnaf-st1, address: 10.201.1.11 is taken by", "give each its own")),
    ],
)
def test_descriptions_that_cannot_be(demo, tmp_path: Path, spoil, says) -> None:
    source = Path(__file__).resolve().parents[2] / "inventories" / "demo" / "federation.yml"
    federation = yaml.safe_load(source.read_text())
    spoil(federation)
    copy = tmp_path / "federation.yml"
    copy.write_text(yaml.safe_dump(federation, sort_keys=False))
    expect(demo.ansible("ansible-playbook", "playbooks/backbone.yml", inventory=copy), *says)


def test_a_site_that_is_not_there(demo) -> None:
    run = demo.ansible("ansible-playbook", "playbooks/backbone.yml", "--limit", "site_atlantis")
    expect(run, "site_atlantis")


# --- disks


def detach(demo, host: str, image: str) -> None:
    script = f"""
        for device in $(losetup --noheadings --output NAME --associated {image}); do
            umount --quiet "$device" || true
            losetup --detach "$device"
        done
        rm -rf {image} {image}.d
    """
    demo.shell(host, script)


@pytest.fixture
def foreign_disk(demo, tmp_path: Path) -> Iterator[tuple[str, str]]:
    """A disk of bari-st1 with a file system that is somebody else's: host and device."""
    host = "bari-st1"
    mkfs = shutil.which("mkfs.ext4", path="/usr/sbin:/sbin:/usr/bin:/bin")
    assert mkfs, "mkfs.ext4 is not here: install e2fsprogs"
    local = tmp_path / "ext4.img"
    with local.open("wb") as file:
        file.truncate(400 * 1024 * 1024)
    subprocess.run([mkfs, "-q", "-L", "precious", local], check=True)
    image = f"/var/lib/demo/demo-test-{secrets.token_hex(4)}.img"
    script = f"""
        set -e
        gunzip | dd of={image} bs=1M conv=sparse status=none
        truncate --size=400M {image}
        device=$(losetup --find | cut -d" " -f1)
        # The kernel may know more loop devices than the host's /dev.
        [ -e "$device" ] || mknod "$device" b 7 "${{device#/dev/loop}}"
        losetup "$device" {image}
        echo "$device"
    """
    try:
        packed = gzip.compress(local.read_bytes(), 1)
        yield host, demo.shell(host, script, stdin=packed).strip()
    finally:
        detach(demo, host, image)


def with_disk(device: str) -> Refusal:
    return storage("", swift_storage_disks=[{"name": "d9", "device": device}])


def test_a_disk_with_somebody_elses_data(demo, foreign_disk) -> None:
    host, device = foreign_disk
    checksum = f"head -c 1048576 {device} | sha256sum"
    before = demo.shell(host, checksum)
    expect(
        apply(demo, with_disk(device)),
        f"d9: {device} holds a file system (ext4, label precious)",
        "empty it yourself, or set wipe: true on d9 and allow_data_loss: true",
    )
    assert demo.shell(host, checksum) == before
    assert not demo.host(host).file("/srv/node/d9").exists


def test_a_disk_that_is_mounted_elsewhere(demo, foreign_disk) -> None:
    host, device = foreign_disk
    path = f"/mnt/demo-test-{secrets.token_hex(4)}"
    demo.shell(host, f"mkdir {path} && mount {device} {path}")
    try:
        says = f"d9: {device} is mounted on {path}: unmount it there first"
        expect(apply(demo, with_disk(device)), says)
        assert demo.host(host).mount_point(path).exists
    finally:
        demo.shell(host, f"umount {path} && rmdir {path}")


# --- rings, planned in a directory of the test's own


@pytest.fixture
def plan(demo) -> Iterator[Callable[..., Any]]:
    directory = f"/var/tmp/demo-test-{secrets.token_hex(4)}"

    def run(weights: Mapping[int, float], disks: int) -> dict[str, Any]:
        devices = [
            {
                "region": region,
                "zone": 1,
                "ip": f"10.0.{region}.1",
                "port": 6200,
                "device": f"d{number}",
                "weight": weight,
                "meta": f"site{region}",
            }
            for region, weight in weights.items()
            for number in range(1, disks + 1)
        ]
        options = {"ring": "object", "builder_dir": directory, "part_power": 8, "replicas": 3}
        return demo.module(demo.builder, "swift_ring", devices=devices, **options)

    try:
        yield run
        assert not demo.shell(demo.builder, f"find {directory} -type f -name '*.builder' || true")
    finally:
        demo.shell(demo.builder, f"rm -rf {directory}")


def test_more_replicas_than_devices(plan) -> None:
    result = plan({1: 100, 2: 100}, disks=1)
    assert result.get("failed") and not result.get("changed"), result
    assert "3 replicas need at least 3 devices" in result["msg"]
    assert "add devices or lower replicas" in result["msg"]


def test_a_region_that_is_too_small_for_a_copy_of_everything(plan) -> None:
    result = plan({1: 100, 2: 100, 3: 60}, disks=2)
    assert result.get("failed") and not result.get("changed"), result
    assert "region 3: weight 120 against 200" in result["msg"], result["msg"]
    assert re.search(r"leaves .* without a copy there", result["msg"]), result["msg"]
    assert re.search(r"set overload to 0\.\d\d", result["msg"]), result["msg"]


# --- clocks


def test_clocks_that_differ(demo) -> None:
    """A fake: the hosts are containers and share the machine's clock, so `date` itself lies."""
    host = "padova-st1"
    liar = b'#!/bin/sh\nexec /usr/bin/date --date "+5 seconds" "$@"\n'
    script = """
        set -e
        [ ! -e /usr/local/bin/date ]
        cat >/usr/local/bin/date
        chmod 755 /usr/local/bin/date
    """
    try:
        demo.shell(host, script, stdin=liar)
        run = demo.ansible("ansible-playbook", "playbooks/backbone.yml", "--tags", "host_base")
    finally:
        with contextlib.suppress(subprocess.TimeoutExpired):
            demo.shell(host, "rm -f /usr/local/bin/date")
    expect(run, "The clocks of ", " and padova-st1 differ by at least 4.", "chrony")
    earliest = re.search(r"The clocks of (\S+) and", run.text)
    assert earliest and earliest[1] in demo.hosts, run.text
