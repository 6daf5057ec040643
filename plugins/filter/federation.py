# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters that shape the federation's data for its roles; each is documented beside this file."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from ansible.errors import AnsibleFilterError


class _Place(NamedTuple):
    """Where a host is: its site and what the federation says of both."""

    site_name: str
    site: Mapping[str, Any]
    host: Mapping[str, Any]


def _places(sites: Mapping[str, Mapping[str, Any]], names: Iterable[str]) -> dict[str, _Place]:
    """The place of each named host."""
    known = {
        name: _Place(site_name, site, host)
        for site_name, site in sites.items()
        for name, host in site["hosts"].items()
    }
    if strangers := [name for name in names if name not in known]:
        raise AnsibleFilterError(
            f"{', '.join(strangers)}: in no site of the federation; add the host to a site, or "
            "take it out of the inventory's group"
        )
    return {name: known[name] for name in names}


def as_dicts(values: Sequence[Any], key: str) -> list[dict[str, Any]]:
    """Each value as a dictionary with one key."""
    return [{key: value} for value in values]


def by_family(addresses: Sequence[str]) -> list[tuple[str, str]]:
    """Pair each address or network with the nftables family that matches it."""
    pairs = []
    for text in addresses:
        try:
            network = ipaddress.ip_network(str(text), strict=False)
        except ValueError as error:
            raise AnsibleFilterError(f"'{text}' is no IP address or network: {error}") from error
        pairs.append((str(text), "ip" if network.version == 4 else "ip6"))
    return pairs


def clock_skew(clocks: Mapping[str, Mapping[str, float]]) -> dict[str, Any]:
    """Find the two hosts whose clocks provably differ most.

    Each measurement bounds a host's offset from the controller: it lies between ``earliest`` and
    ``latest``. Two hosts differ at least by the gap between their intervals.
    """
    usable = {name: clock for name, clock in clocks.items() if "earliest" in clock}
    if not usable:
        return {"seconds": 0.0, "earliest": "", "latest": ""}
    ahead = max(usable, key=lambda name: usable[name]["earliest"])
    behind = min(usable, key=lambda name: usable[name]["latest"])
    gap = usable[ahead]["earliest"] - usable[behind]["latest"]
    return {"seconds": round(max(0.0, gap), 3), "earliest": behind, "latest": ahead}


def keystone_endpoints(
    urls: Mapping[str, str], service_type: str, interfaces: Sequence[str] = ("public", "internal")
) -> list[dict[str, str]]:
    """One endpoint per region and interface, as the module keystone_resources takes them."""
    return [
        {"service_type": service_type, "interface": interface, "region": region, "url": url}
        for region, url in urls.items()
        for interface in interfaces
    ]


def host_names(sites: Mapping[str, Mapping[str, Any]], domain: str) -> list[dict[str, Any]]:
    """Address and names (full, short) of each host of the federation, for a hosts file."""
    return [
        {"address": host["address"], "names": [f"{name}.{domain}", name]}
        for site in sites.values()
        for name, host in site["hosts"].items()
    ]


def galera_members(
    sites: Mapping[str, Mapping[str, Any]], hosts: Sequence[str]
) -> list[dict[str, Any]]:
    """The members of a database cluster, a segment per region: between regions each write travels
    once."""
    place = _places(sites, hosts)
    return [
        {
            "name": name,
            "address": place[name].host["address"],
            "segment": place[name].site["region"] or 0,
        }
        for name in hosts
    ]


def site_urls(sites: Mapping[str, Mapping[str, Any]], pattern: str) -> dict[str, str]:
    """A URL per backbone region: the pattern with the site's endpoint in place of ``%s``."""
    return {
        site["region_name"]: pattern.replace("%s", site["endpoint"])
        for site in sites.values()
        if site["coupling"] == "backbone"
    }


def failover_servers(
    hosts: Sequence[str], sites: Mapping[str, Mapping[str, Any]], here: str, ports: Sequence[int]
) -> list[dict[str, Any]]:
    """The servers behind one service of a load balancer, the nearest first.

    A server on this host is reached in clear at ``ports[0]``; one on another host through the load
    balancer there, by TLS at ``ports[1]``. The first server's site serves; the servers of the
    others are backups.
    """
    place = _places(sites, [*hosts, here])
    nearest_first = sorted(
        hosts,
        key=lambda name: (name != here, place[name].site_name != place[here].site_name),
    )
    servers: list[dict[str, Any]] = []
    for name in nearest_first:
        if name == here:
            servers.append({"name": name, "address": "127.0.0.1", "port": ports[0]})
        else:
            address = place[name].host["address"]
            servers.append({"name": name, "address": address, "port": ports[1], "tls": True})
    for server in servers[1:]:
        first = servers[0]["name"]
        server["backup"] = place[server["name"]].site_name != place[first].site_name
    return servers


def swift_disks(
    disks: Mapping[str, Sequence[Mapping[str, Any]]],
    draining: Sequence[str] = (),
    leaving: Sequence[str] = (),
) -> dict[str, list[dict[str, Any]]]:
    """The disks that rings are made of, by host, each with what is wished of it.

    A disk is drained where it says so itself, or its host is ``draining``. What ``leaving`` names,
    a host or host/disk, is left out.
    """
    return {
        host: [
            {**disk, "drain": bool(disk.get("drain")) or host in draining}
            for disk in own
            if not {host, f"{host}/{disk['name']}"}.intersection(leaving)
        ]
        for host, own in disks.items()
    }


# What of a disk concerns the rings alone.
_OF_RINGS = frozenset(("weight", "drain", "policies"))


def disks_to_mount(disks: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Disks as the module storage_disks takes them: without what concerns the rings."""
    return [{key: value for key, value in disk.items() if key not in _OF_RINGS} for disk in disks]


def swift_devices(
    sites: Mapping[str, Mapping[str, Any]],
    disks: Mapping[str, Sequence[Mapping[str, Any]]],
    port: int,
    replication_port: int,
    policy: str = "",
    regions: Sequence[str] = (),
) -> list[dict[str, Any]]:
    """The devices of one ring: every disk of every host, at the ports of one kind of server.

    A disk with ``policies`` is in the rings of these policies only; ``regions`` leaves out the
    hosts of all others.
    """
    place = _places(sites, disks)
    devices: list[dict[str, Any]] = []
    for name, own in disks.items():
        site_name, site, host = place[name]
        if site["region"] is None:
            raise AnsibleFilterError(
                f"{name}: its site {site_name} has no region, so the rings cannot place its disks; "
                "give the site a region, or take the host out of the group swift_storage"
            )
        if regions and site["region_name"] not in regions:
            continue
        devices.extend(
            {
                "region": site["region"],
                "zone": host["zone"],
                "ip": host["address"],
                "port": port,
                "device": disk["name"],
                "weight": float(disk.get("weight", 100.0)),
                "replication_ip": host["address"],
                "replication_port": replication_port,
                "meta": name,
                "drain": bool(disk.get("drain")),
            }
            for disk in own
            if policy in disk.get("policies", [policy])
        )
    return devices


def _region_numbers(sites: Mapping[str, Mapping[str, Any]]) -> dict[str, int]:
    """The regions of the backbone: name and number in the rings."""
    return {
        site["region_name"]: site["region"] for site in sites.values() if site["region"] is not None
    }


def swift_encryption_faults(
    secrets: Mapping[str, str],
    active: str,
    found: str = "",
    keys: Mapping[str, str] | None = None,
    kms: Mapping[str, Any] | None = None,
) -> list[str]:
    """Everything that is wrong with the root secrets of an encryption at rest."""
    from ansible_collections.infn.cloud.plugins.module_utils._swift_encryption import faults_of

    return faults_of(
        {str(name): secret for name, secret in secrets.items()},
        str(active),
        found,
        {str(name): str(uuid) for name, uuid in (keys or {}).items()},
        kms,
    )


def swift_policy_faults(
    policies: Sequence[Mapping[str, Any]], regions: Sequence[str] = (), found: str = ""
) -> list[str]:
    """Everything that is wrong with storage policies, by themselves and beside a swift.conf."""
    from ansible_collections.infn.cloud.plugins.module_utils import (
        _swift_policies as swift_policies,
    )

    wished = swift_policies.read(policies)
    return [
        *swift_policies.faults_of(wished, regions),
        *swift_policies.changes_of(wished, found),
    ]


def swift_policy_rings(
    policies: Sequence[Mapping[str, Any]],
    sites: Mapping[str, Mapping[str, Any]],
    disks: Mapping[str, Sequence[Mapping[str, Any]]],
    part_power: int,
) -> list[dict[str, Any]]:
    """One object ring per policy, as the role swift_rings takes them."""
    from ansible_collections.infn.cloud.plugins.module_utils import (
        _swift_policies as swift_policies,
    )

    wished = swift_policies.read(policies)
    faults = swift_policies.faults_of(wished, list(_region_numbers(sites)))
    known = {policy.name for policy in wished}
    for host, own in disks.items():
        for disk in own:
            strangers = set(disk.get("policies", ())) - known
            faults += [
                f"{host}: disk {disk['name']} is for a policy '{name}' that is not declared"
                for name in sorted(strangers)
            ]
    rings = []
    for policy in wished:
        devices = swift_devices(sites, disks, 6200, 6210, policy.name, policy.regions)
        usable = sum(device["weight"] > 0 for device in devices)
        if usable < policy.fragments:
            faults.append(
                f"{policy}: its code makes {policy.fragments} fragments, each for a disk of its "
                f"own, and {', '.join(policy.regions) or 'the federation'} has {usable} disks for "
                "it; add disks, or take a smaller code"
            )
        rings.append(
            {
                "name": policy.ring,
                "part_power": int(policy.part_power or part_power),
                "replicas": policy.copies,
                "devices": devices,
            }
        )
    if faults:
        raise AnsibleFilterError("storage policies: " + "; ".join(faults))
    return rings


def swift_policy_affinity(
    policies: Sequence[Mapping[str, Any]], sites: Mapping[str, Mapping[str, Any]], region: str
) -> list[dict[str, Any]]:
    """What a region's proxies do otherwise for single policies, as swift_proxy takes it."""
    from ansible_collections.infn.cloud.plugins.module_utils import (
        _swift_policies as swift_policies,
    )

    numbers = _region_numbers(sites)
    settings = (
        swift_policies.affinity(policy, region, numbers) for policy in swift_policies.read(policies)
    )
    return [each for each in settings if each]


def swift_servers(
    sites: Mapping[str, Mapping[str, Any]], hosts: Sequence[str]
) -> list[dict[str, Any]]:
    """The account, container and object servers of the hosts, as swift_recon_info takes them."""
    ports = {"account": 6202, "container": 6201, "object": 6200}
    place = _places(sites, hosts)
    return [
        {"host": name, "address": place[name].host["address"], "port": port, "kind": kind}
        for name in hosts
        for kind, port in ports.items()
    ]


def wan_mesh_peers(
    sites: Mapping[str, Mapping[str, Any]],
    here: str,
    endpoints: Mapping[str, str],
    ports: Mapping[str, int],
) -> list[dict[str, str]]:
    """The hosts of the other backbone sites, as the role wan_mesh takes them."""
    own = _places(sites, [here])[here].site_name
    peers = []
    for site_name, site in sites.items():
        if site["coupling"] != "backbone" or site_name == own:
            continue
        for name, host in site["hosts"].items():
            endpoint = endpoints.get(name, host["address"])
            quoted = f"[{endpoint}]" if ":" in endpoint else endpoint
            peers.append(
                {
                    "name": name,
                    "address": host["address"],
                    "endpoint": f"{quoted}:{ports[name]}",
                }
            )
    return peers


def wan_mesh_keys(said: Mapping[str, str], here: str) -> dict[str, str]:
    """The public key of each host, from the lists of peers of several hosts.

    A host knows its own key best. Of a host that said nothing, what this host remembers counts
    before what the others do: its tunnel to there may be the one that works.
    """
    keys: dict[str, str] = {}
    own: dict[str, str] = {}
    for speaker in sorted(said, key=lambda name: name == here):
        for line in said[speaker].splitlines():
            fields = line.split()
            if line.startswith("#") or len(fields) != 4 or fields[3] == "-":
                continue
            (own if fields[0] == speaker else keys)[fields[0]] = fields[3]
    return keys | own


class FilterModule:
    """Ansible's entry point."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """The filters by name."""
        return {
            "as_dicts": as_dicts,
            "by_family": by_family,
            "clock_skew": clock_skew,
            "disks_to_mount": disks_to_mount,
            "failover_servers": failover_servers,
            "galera_members": galera_members,
            "host_names": host_names,
            "keystone_endpoints": keystone_endpoints,
            "site_urls": site_urls,
            "swift_devices": swift_devices,
            "swift_disks": swift_disks,
            "swift_encryption_faults": swift_encryption_faults,
            "swift_policy_affinity": swift_policy_affinity,
            "swift_policy_faults": swift_policy_faults,
            "swift_policy_rings": swift_policy_rings,
            "swift_servers": swift_servers,
            "wan_mesh_keys": wan_mesh_keys,
            "wan_mesh_peers": wan_mesh_peers,
        }
