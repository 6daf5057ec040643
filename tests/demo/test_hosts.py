# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The demo's hosts from within, and from where nobody should get in."""

from __future__ import annotations

import concurrent.futures
import json
import re
import socket
from collections.abc import Iterable

import pytest

MESH_UNITS = {"wan-mesh-tunnel.service", "wan-mesh-routes.service", "wan-mesh-guard.service"}
GATEWAY = {
    "nftables.service",
    *MESH_UNITS,
    "haproxy.service",
    "memcached.service",
    "swift-proxy.service",
}
STORAGE = {
    "nftables.service",
    *MESH_UNITS,
    "rsync.service",
    "swift-account.service",
    "swift-account-auditor.service",
    "swift-account-reaper.service",
    "swift-replication-account@replicator.service",
    "swift-container.service",
    "swift-container-auditor.service",
    "swift-container-reconciler.service",
    "swift-replication-container@replicator.service",
    "swift-replication-container@sharder.service",
    "swift-container-sync.service",
    "swift-container-updater.service",
    "swift-object.service",
    "swift-object-auditor.service",
    "swift-object-expirer.service",
    "swift-replication-object@reconstructor.service",
    "swift-replication-object@replicator.service",
    "swift-object-updater.service",
    "swift-recon-cron.timer",
    "swift-replication-account@server.service",
    "swift-replication-container@server.service",
    "swift-replication-object@server.service",
}
KINDS = {"account": (6202, 6212), "container": (6201, 6211), "object": (6200, 6210)}
# Open to everyone, on each host; and on gateways besides.
SSH, PUBLIC = 22, (5000, 8080)
MESH = {("udp", "0.0.0.0:51820"), ("udp", "[::]:51820"), ("udp", "*:51820")}

# Runs on a host, or on this machine: which of address:port let one connect.
PROBE = """
import concurrent.futures, json, socket, sys
def probe(target):
    try:
        socket.create_connection(tuple(target), timeout=3).close()
        return "open"
    except TimeoutError:
        return "closed"
    except OSError as error:
        return error.strerror or str(error)
targets = json.loads(sys.argv[1])
with concurrent.futures.ThreadPoolExecutor(len(targets)) as pool:
    print(json.dumps(list(pool.map(probe, targets))))
"""


def units_of(demo, host: str) -> set[str]:
    wished = set(STORAGE if host in demo.storage else GATEWAY)
    for group, unit in (("keystone", "keystone.service"), ("database", "mariadb.service")):
        if host in demo.groups(group):
            wished.add(unit)
    return wished | names_of(demo, host) | logs_of(demo, host)


def names_of(demo, host: str) -> set[str]:
    """The units of a name server."""
    if host in demo.groups("dns_secondary"):
        make = demo.variables["_meta"]["hostvars"][host].get("dns_software", "bind")
        return {{"bind": "named.service", "knot": "knot.service"}[make], "dns-health.service"}
    if host in demo.groups("dns_primary"):
        return {"named.service", "dns-upkeep.timer"}
    return {"named.service"} if host in demo.groups("dns_standby") else set()


def logs_of(demo, host: str) -> set[str]:
    """Every host ships; some collect, some store."""
    wished = {"log-shipper.service", "log-shipper-gate.service", "log-shipper-rotated.path"}
    if host in demo.groups("log_collector"):
        wished.add("log-collector.service")
    if host in demo.groups("log_store"):
        wished |= {"opensearch.service", "elk-upkeep.timer"}
    return wished


# --- services


def test_units_run_and_are_enabled(demo) -> None:
    wrong = []
    for name in demo.hosts:
        host = demo.host(name)
        units = sorted(units_of(demo, name))
        active = host.run(f"systemctl is-active {' '.join(units)}").stdout.split()
        enabled = host.run(f"systemctl is-enabled {' '.join(units)}").stdout.split()
        wrong += [
            f"{name}: {unit} is {runs} and {starts}"
            for unit, runs, starts in zip(units, active, enabled, strict=True)
            if (runs, starts) != ("active", "enabled")
        ]
    assert not wrong, "\n".join(wrong)


def test_no_daemon_of_swift_runs_twice(demo) -> None:
    """Debian starts each daemon once more for every file below /etc/swift/<kind>-server/."""
    listing = (
        "systemctl list-units --plain --no-legend --state=active,failed 'swift*' | cut -d' ' -f1"
    )
    extra = {
        name: sorted(set(found.split()) - units_of(demo, name) - {"swift-recon-cron.service"})
        for name, found in demo.on(list(demo.hosts), listing).items()
    }
    assert not any(extra.values()), f"units that nobody asked for: {extra}"


def test_a_restart_would_start_no_other_daemon_of_swift(demo) -> None:
    listing = (
        "systemctl list-unit-files --plain --no-legend --state=enabled 'swift*' | cut -d' ' -f1"
    )
    extra = {
        name: sorted(set(found.split()) - units_of(demo, name))
        for name, found in demo.on(list(demo.hosts), listing).items()
    }
    assert not any(extra.values()), f"enabled, though nobody asked for them: {extra}"


def test_units_start_in_an_order_that_there_is(demo) -> None:
    """Of units that wait for each other in a circle, systemd leaves one out at the next boot."""
    circles = demo.on(
        list(demo.hosts), "systemd-analyze verify multi-user.target 2>&1 | grep -i cycle || true"
    )
    assert not any(circles.values()), circles


def test_no_unit_has_failed(demo) -> None:
    failed = demo.on(list(demo.hosts), "systemctl --failed --plain --no-legend")
    assert not any(failed.values()), failed


# --- network


def probe_from(demo, host: str, targets: Iterable[tuple[str, int]]) -> dict[tuple[str, int], str]:
    targets = list(targets)
    command = f"python3 - '{json.dumps(targets)}'"
    answers = json.loads(demo.shell(host, command, stdin=PROBE.encode()))
    return dict(zip(targets, answers))


def test_other_gateways_reach_the_servers_but_not_the_replication(demo) -> None:
    wished = {}
    for name in demo.storage:
        site = demo.site_of(name)
        address = demo.hosts[name]
        other = next(host for host in demo.gateways if host not in site.hosts)
        for port, replication in KINDS.values():
            wished |= {(other, address, port): "open", (other, address, replication): "closed"}
        wished[other, address, 873] = "closed"
    for gateway in {key[0] for key in wished}:
        mine = {key[1:]: state for key, state in wished.items() if key[0] == gateway}
        assert probe_from(demo, gateway, mine) == mine, f"from {gateway}"


def test_storage_hosts_reach_each_other_for_replication(demo) -> None:
    ports = (873, *(port for pair in KINDS.values() for port in pair))
    for name in demo.storage:
        others = [demo.hosts[other] for other in demo.storage if other != name]
        found = probe_from(demo, name, [(address, port) for address in others for port in ports])
        assert set(found.values()) == {"open"}, f"from {name}: {found}"


def test_hosts_of_the_federation_reach_memcached(demo) -> None:
    targets = [(demo.hosts[gateway], 11211) for gateway in demo.gateways]
    for name in demo.hosts:
        found = probe_from(demo, name, targets)
        assert set(found.values()) == {"open"}, f"from {name}: {found}"


def test_strangers_reach_only_what_is_public(demo) -> None:
    """This machine has an address in each site's network, and is no host of the federation."""
    own = [port for pair in KINDS.values() for port in pair]
    private = (*own, 873, 11211, 3306, 4444, 4567, 4568, 5001, 6515, 6516, 8081, 9200, 9300)
    wished = {}
    for name, address in demo.hosts.items():
        gates = PUBLIC if name in demo.gateways else ()
        wished |= {(address, port): "closed" for port in (*private, *PUBLIC)}
        wished |= {(address, port): "open" for port in (SSH, *gates)}
        wished[address, 53] = "open" if name in demo.groups("dns_secondary") else "closed"

    def probe(target: tuple[str, int]) -> str:
        try:
            socket.create_connection(target, timeout=3).close()
        except TimeoutError:
            return "closed"
        except OSError as error:
            return error.strerror or str(error)
        return "open"

    with concurrent.futures.ThreadPoolExecutor(len(wished)) as pool:
        found = dict(zip(wished, pool.map(probe, wished)))
    assert found == wished


def test_no_service_listens_where_it_should_not(demo) -> None:
    strange = []
    for name, address in demo.hosts.items():
        allowed = {"0.0.0.0:22", "[::]:22", "127.0.0.1:6516"}
        if name in demo.groups("log_collector"):
            allowed |= {f"{address}:6515"}
        if name in demo.groups("log_store"):
            allowed |= {f"[::ffff:{address}]:{port}" for port in (9200, 9300)}
        if name in demo.storage:
            allowed |= {f"{address}:{port}" for pair in KINDS.values() for port in pair}
            allowed |= {f"{address}:873"}
        if name in demo.gateways:
            allowed |= {f"0.0.0.0:{port}" for port in PUBLIC}
            allowed |= {f"{address}:11211", "127.0.0.1:11211", "127.0.0.1:8081"}
        if name in demo.groups("keystone"):
            allowed |= {"127.0.0.1:5001"}
        if name in demo.groups("database"):
            allowed |= {"127.0.0.1:3306", f"{address}:4567"}
        names = set()
        if names_of(demo, name):
            names = {f"{address}:53", "127.0.0.1:53"}
            allowed |= {"127.0.0.1:953", "[::1]:953"}
        if name in demo.groups("smtp_relay"):
            allowed |= {f"{at}:{port}" for at in (address, "127.0.0.1") for port in (465, 587)}
            allowed |= {"127.0.0.1:11332"}
            names |= {"127.0.0.2:53"}
        for line in demo.shell(name, "ss -H -ltnup").splitlines():
            fields = line.split()
            if (fields[0], fields[4]) in MESH or fields[4] in names:
                continue
            if fields[4] not in allowed or fields[0] != "tcp":
                strange.append(f"{name}: {fields[0]} {fields[4]} {fields[6:]}")
    assert not strange, "\n".join(strange)


# --- disks


def disks_of(demo, host: str) -> list[str]:
    disks = demo.variables["_meta"]["hostvars"][host]["swift_storage_disks"]
    return [disk["name"] for disk in disks]


def test_disks_are_mounted_by_uuid_and_may_be_missing_at_boot(demo) -> None:
    for name in demo.storage:
        host = demo.host(name)
        lines = [
            line.split()
            for line in host.file("/etc/fstab").content_string.splitlines()
            if line.strip() and not line.startswith("#")
        ]
        table = {line[1]: line for line in lines}
        assert sorted(table) == sorted(f"/srv/node/{disk}" for disk in disks_of(demo, name)), name
        for path, (spec, _path, kind, options, *_numbers) in table.items():
            assert spec.startswith("UUID=") and kind == "xfs", f"{name}: {spec} {kind}"
            assert {"nofail", "noatime"} <= set(options.split(",")), f"{name}: {options}"
            mount = host.mount_point(path)
            assert mount.exists and mount.filesystem == "xfs", f"{name}: {path} is not mounted"
            uuid = host.check_output("blkid -p -s UUID -o value %s", mount.device).strip()
            assert spec == f"UUID={uuid}", f"{name}: {path} is {mount.device}, {uuid}"


def test_nothing_could_write_to_the_place_of_a_disk_that_is_away(demo) -> None:
    # A second view of the root shows what lies below the mounts.
    script = (
        'unshare --mount sh -ec "mount --bind / /mnt; cd /mnt/srv/node; '
        "stat --format '%n %U:%G %a' *; find . -mindepth 2\""
    )
    for name, found in demo.on(demo.storage, script).items():
        assert found.splitlines() == [f"{disk} root:root 755" for disk in disks_of(demo, name)], (
            name
        )


def test_mounted_disks_belong_to_swift(demo) -> None:
    script = "stat --format '%n %U:%G %a' /srv/node/*"
    for name, found in demo.on(demo.storage, script).items():
        wished = [f"/srv/node/{disk} swift:swift 755" for disk in disks_of(demo, name)]
        assert found.splitlines() == wished, name


def test_rsync_has_a_module_for_each_disk(demo) -> None:
    for name in demo.storage:
        modules = re.findall(r"(?m)^\[(.*)\]$", demo.shell(name, "cat /etc/rsyncd.conf"))
        assert sorted(modules) == sorted(
            f"{kind}_{d}" for kind in KINDS for d in disks_of(demo, name)
        )
        other = next(host for host in demo.storage if host != name)
        for disk in disks_of(demo, name):
            source = f"rsync://{demo.hosts[name]}/object_{disk}/"
            listing = demo.shell(other, f"rsync --contimeout=5 --list-only {source}")
            seen = [line.split()[-1] for line in listing.splitlines()]
            assert sorted(seen) == [".", disk], f"{other} sees of {source}: {listing}"


# --- secrets


@pytest.mark.parametrize(
    ("group", "path", "owner", "mode"),
    [
        ("backbone", "/etc/swift/swift.conf", "root:swift", 0o640),
        ("swift_proxy", "/etc/swift/proxy-server.conf", "root:swift", 0o640),
        ("swift_proxy", "/etc/swift/container-sync-realms.conf", "root:swift", 0o640),
        ("keystone", "/etc/keystone/keystone.conf", "root:keystone", 0o640),
        ("database", "/etc/mysql/galera/key.pem", "root:mysql", 0o640),
        ("keystone", "/var/lib/keystone/keys", "keystone:keystone", 0o700),
        ("keystone", "/etc/keystone/fernet-keys", "keystone:keystone", 0o700),
        ("keystone", "/etc/keystone/credential-keys", "keystone:keystone", 0o700),
        ("gateway", "/etc/certificates/live/endpoint/combined.pem", "root:root", 0o640),
        ("dns_primary", "/etc/bind/keys.conf", "root:bind", 0o640),
        ("dns_primary", "/etc/bind/backup.secret", "root:bind", 0o640),
        ("dns_primary", "/var/lib/bind/keys", "bind:bind", 0o700),
        ("dns_standby", "/etc/bind/keys.conf", "root:bind", 0o640),
    ],
)
def test_secrets_have_narrow_modes(demo, group: str, path: str, owner: str, mode: int) -> None:
    assert demo.groups(group), f"the inventory has no group {group}"
    for name in demo.groups(group):
        found = demo.host(name).file(path)
        shown = f"{found.user}:{found.group} {found.mode:04o}"
        assert shown == f"{owner} {mode:04o}", f"{name}: {path}"


def secret_patterns(demo) -> bytes:
    """All that must stand nowhere, one per line: secrets, and tokens that were just used."""
    keys = {
        value
        for site in demo.sites.values()
        for name, value in site.settings.items()
        if name in ("OS_PASSWORD", "AWS_SECRET_ACCESS_KEY")
    }
    tokens = set()
    for name, session in demo.sessions.items():
        token = session.get_token()
        url = f"{demo.sites[name].object_storage}/v1/{demo.account}"
        assert demo.http("GET", url, token=token).status_code in (200, 204)
        # The end of a token is its own; all begin alike.
        tokens.add(token[-40:])
    patterns = {*demo.secrets.values(), *keys, *tokens}
    assert all(len(pattern) >= 12 for pattern in patterns), "a secret is too short to look for"
    return "".join(f"{pattern}\n" for pattern in patterns).encode()


def test_no_secret_stands_in_a_log(demo) -> None:
    # Says which program or file tells a secret, never the line itself.
    script = """
        patterns=$(cat)
        journalctl --quiet --no-pager --all --output short |
            grep -aFf <(printf '%s\\n' "$patterns") | awk '{print "journal: " $5}' | sort | uniq -c
        find /var/log -path /var/log/journal -prune -o -type f -print0 |
            xargs -0 -r grep -laFf <(printf '%s\\n' "$patterns") --
        true
    """
    found = demo.on(list(demo.hosts), script, stdin=secret_patterns(demo))
    assert not any(found.values()), "\n".join(
        f"{name}: {what}" for name, what in found.items() if what
    )


def test_no_secret_is_readable_by_everyone(demo) -> None:
    script = """
        patterns=$(cat)
        find /etc /run /tmp /var/tmp /srv -xdev -type f -perm /o=r -size -1024k -print0 |
            xargs -0 -r grep -laFf <(printf '%s\\n' "$patterns") --
        ps -eo args | grep -aFf <(printf '%s\\n' "$patterns") | cut -d ' ' -f 1
        true
    """
    found = demo.on(list(demo.hosts), script, stdin=secret_patterns(demo))
    assert not any(found.values()), "\n".join(
        f"{name}: {what}" for name, what in found.items() if what
    )


# --- what Swift says of itself


@pytest.mark.parametrize("kind", KINDS)
def test_rings_agree_everywhere(demo, kind: str) -> None:
    said = demo.host(demo.builder).run(f"swift-recon {kind} --md5").stdout
    number = len(demo.storage)
    assert said.count(f"{number}/{number} hosts matched, 0 error[s]") == 2, said


def test_services_raise_no_exceptions(demo) -> None:
    # A host that is away (a drill) is no fault of who looks for it.
    script = """
        journalctl --quiet --no-pager --boot --output cat --unit 'swift*' --unit keystone |
            grep -a -A 12 Traceback | tail -n 60
        true
    """
    found = demo.on(list(demo.hosts), script)
    assert not any(found.values()), "\n".join(
        f"{name}:\n{what}" for name, what in found.items() if what
    )
