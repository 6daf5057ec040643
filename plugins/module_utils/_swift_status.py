# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The state of Swift in one picture: what rings, servers and samples say, put together and judged.

Everything here is pure. What was not asked or did not answer is None, and never looks like zero.
"""

from __future__ import annotations

import json
import time
from typing import Any, Dict, Iterable, Iterator, List, Mapping, Optional, Sequence, Tuple

KINDS = ("account", "container", "object")
# What a finding can be about, the gravest first.
ABOUT = (
    "not_reached",
    "dispersion",
    "rings",
    "disks",
    "quarantined",
    "fill",
    "replication",
    "async",
    "servers",
    "weights",
)

# What is shown for what is not known.
UNKNOWN = "-"

Facts = Mapping[str, Any]


# --- reading -----------------------------------------------------------------------------------


def number(value: Any) -> Optional[float]:
    """Read a figure that a server may not have yet."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return value


def host_names(sites: Mapping[str, Facts]) -> Dict[str, Tuple[str, str]]:
    """Give site and host by address."""
    return {
        host["address"]: (site_name, host_name)
        for site_name, site in sites.items()
        for host_name, host in site["hosts"].items()
    }


def replication_age(kind: str, facts: Any, now: float) -> Optional[float]:
    """Say how many seconds ago a server's last pass of replication ended; None if none did."""
    if not isinstance(facts, Mapping):
        return None
    last = number(facts.get("replication_last"))
    if last is None:
        last = number(facts.get(f"{kind}_replication_last"))
    return None if not last else round(max(0.0, now - last), 1)


def quarantined(facts: Any) -> Optional[Dict[str, int]]:
    """Count what an auditor took out, by kind and by storage policy."""
    if not isinstance(facts, Mapping):
        return None
    counts = {kind: int(number(facts.get(f"{kind}s")) or 0) for kind in KINDS}
    policies = facts.get("policies")
    for index, of in policies.items() if isinstance(policies, Mapping) else ():
        counts[f"policy {index}"] = int(number(of.get("objects")) or 0)
    return counts


def read_hosts(recon: Facts, sites: Mapping[str, Facts], now: float) -> Dict[str, Dict[str, Any]]:
    """Put together what the servers of each host said."""
    by_address = host_names(sites)
    hosts: Dict[str, Dict[str, Any]] = {}
    for server in recon.get("servers") or []:
        site, _name = by_address.get(server["address"], (None, None))
        host = hosts.setdefault(
            server["host"],
            {
                "host": server["host"],
                "site": site,
                "address": server["address"],
                "reached": False,
                "errors": [],
                "version": None,
                "replication": {},
                "async_pending": None,
                "quarantined": None,
                "unmounted": [],
                "drive_errors": None,
                "disks": {},
            },
        )
        host["reached"] = host["reached"] or server["reached"]
        if server["error"]:
            host["errors"].append(f"{server['kind']}: {server['error']}")
        host["version"] = host["version"] or server.get("version")
        clock = number(server.get("time"))
        host["replication"][server["kind"]] = replication_age(
            server["kind"], server.get("replication"), now if clock is None else clock
        )
        for disk in server.get("diskusage") or []:
            host["disks"][str(disk.get("device"))] = disk
        host["unmounted"] = sorted({*host["unmounted"], *(server.get("unmounted") or [])})
        if server["kind"] == "object":
            pending = server.get("async")
            host["async_pending"] = number((pending or {}).get("async_pending"))
            host["quarantined"] = quarantined(server.get("quarantined"))
            host["drive_errors"] = number(
                (server.get("driveaudit") or {}).get("drive_audit_errors")
            )
    return hosts


def key_of(device: Facts) -> Tuple[str, str]:
    """Name a disk in all rings: its server's address and its directory."""
    return device["ip"], device["device"]


def read_devices(
    rings: Sequence[Facts],
    wished: Sequence[Facts],
    hosts: Mapping[str, Facts],
    sites: Mapping[str, Facts],
) -> List[Dict[str, Any]]:
    """Describe each disk: its shares of the rings, and how full it is."""
    by_address = host_names(sites)
    devices: Dict[Tuple[str, str], Dict[str, Any]] = {}

    def entry(device: Facts) -> Dict[str, Any]:
        key = key_of(device)
        if key not in devices:
            site, host = by_address.get(key[0], (None, device.get("meta") or key[0]))
            disk = (hosts.get(host) or {"disks": {}})["disks"].get(key[1]) or {}
            size, used = number(disk.get("size")), number(disk.get("used"))
            devices[key] = {
                "site": site,
                "host": host,
                "device": key[1],
                "region": device["region"],
                "zone": device["zone"],
                "mounted": disk.get("mounted"),
                "size": size,
                "used": used,
                "fill_percent": round(100 * used / size, 1) if size and used is not None else None,
                "rings": {},
            }
        return devices[key]

    def share(ring: str, device: Facts) -> Dict[str, Any]:
        empty = {"weight": None, "weight_wished": None, "partitions": 0, "fair": None}
        shares: Dict[str, Dict[str, Any]] = entry(device)["rings"]
        return shares.setdefault(ring, empty)

    for ring in rings:
        if ring.get("error"):
            continue
        total = sum(device["weight"] for device in ring["devices"])
        replicas = 2 ** ring["part_power"] * ring["replicas"]
        for device in ring["devices"]:
            fair = replicas * device["weight"] / total if total else 0.0
            share(ring["ring"], device).update(
                weight=device["weight"],
                partitions=device["partitions"],
                fair=round(fair, 1),
            )
    for wish in wished:
        for device in wish["devices"]:
            weight = device.get("target_weight")
            share(wish["name"], device)["weight_wished"] = (
                device["weight"] if weight is None else weight
            )
    return sorted(devices.values(), key=lambda one: (one["region"], one["host"], one["device"]))


def off_balance(share: Facts) -> Optional[float]:
    """Say how far a disk is from its fair share of a ring, in percent."""
    if not share["fair"]:
        return None
    return round(100 * (int(share["partitions"]) / float(share["fair"]) - 1), 1)


def regional(dispersion: Optional[Facts], region: Any) -> Dict[str, Optional[float]]:
    """Give what is in place in a region, in percent, of containers and of each policy's objects."""
    if not dispersion:
        return {}
    parts = {"containers": dispersion.get("container") or {}}
    parts.update(dispersion.get("object") or {})
    return {
        name: (figures.get("regions", {}).get(str(region)) or {}).get("copies_found_percent")
        for name, figures in parts.items()
    }


def read_regions(
    sites: Mapping[str, Facts],
    devices: Sequence[Facts],
    hosts: Mapping[str, Facts],
    dispersion: Optional[Facts],
) -> List[Dict[str, Any]]:
    """Add up each region, also one that has no disk, or that only the rings know."""
    names = {site["region"]: name for name, site in sites.items() if site["region"] is not None}
    regions = []
    for region in sorted({*names, *(device["region"] for device in devices)}):
        own = [device for device in devices if device["region"] == region]
        sized = [one for one in own if one["fill_percent"] is not None]
        size = sum(one["size"] for one in sized)
        site = names.get(region)
        regions.append(
            {
                "region": region,
                "site": site,
                "devices": len(own),
                "hosts": sum(host["site"] == site for host in hosts.values()) if site else 0,
                "size": size or None,
                "fill_percent": round(100 * sum(one["used"] for one in sized) / size, 1)
                if size
                else None,
                "dispersion": regional(dispersion, region),
            }
        )
    return regions


def read_rings(rings: Sequence[Facts], recon: Facts) -> List[Dict[str, Any]]:
    """Compare each ring's builder with what the servers have loaded."""
    described = []
    for ring in rings:
        if ring.get("error"):
            described.append({"ring": ring["ring"], "error": ring["error"], "servers": {}})
            continue
        groups = (recon.get("ring_agreement") or {}).get(f"{ring['ring']}.ring.gz") or {}
        described.append(
            {
                "ring": ring["ring"],
                "error": "",
                "servers": groups,
                "md5": ring["ring_file_md5"],
                "agreed": list(groups) == [ring["ring_file_md5"]],
                "matches_builder": ring["ring_file_matches"],
                "partitions": 2 ** ring["part_power"],
                "replicas": ring["replicas"],
                "balance": ring["balance"],
                "dispersion": ring["dispersion"],
                "version": ring["version"],
                "min_part_seconds_left": ring["min_part_seconds_left"],
                "devices": len(ring["devices"]),
            }
        )
    return described


# --- judging -----------------------------------------------------------------------------------


def finding(about: str, text: str) -> Dict[str, str]:
    """Say one thing that wants a look."""
    return {"about": about, "text": text}


def judge(status: Facts, recon: Facts, limits: Mapping[str, float]) -> List[Dict[str, str]]:
    """List what wants a look, the gravest first."""
    found = [
        *judge_hosts(status, limits),
        *judge_dispersion(status, limits),
        *judge_rings(status, recon),
        *judge_devices(status, limits),
    ]
    return sorted(found, key=lambda one: ABOUT.index(one["about"]))


def judge_hosts(status: Facts, limits: Mapping[str, float]) -> Iterator[Dict[str, str]]:
    """Judge what each host said of itself."""
    for text in status["not_reached"]:
        yield finding("not_reached", text)
    for host in status["hosts"]:
        name = host["host"]
        if not host["reached"]:
            continue
        for text in host["errors"]:
            yield finding("servers", f"{name}: {text}")
        for device in host["unmounted"]:
            yield finding("disks", f"{name}: {device} is not mounted; replace or remount it")
        if host["drive_errors"]:
            yield finding("disks", f"{name}: drive audit counts {host['drive_errors']:g} errors")
        for kind in KINDS:
            count = (host["quarantined"] or {}).get(kind)
            if count:
                yield finding("quarantined", f"{name}: {count} {kind} copies in quarantine")
        if (host["async_pending"] or 0) > limits["async_pending"]:
            yield finding("async", f"{name}: {host['async_pending']:g} updates wait to be sent")
        for kind, age in host["replication"].items():
            if age is None:
                yield finding("replication", f"{name}: no {kind} replication pass has ended yet")
            elif age > limits["replication_seconds"]:
                yield finding(
                    "replication",
                    f"{name}: the last {kind} replication pass ended {duration(age)} ago",
                )
    versions: Dict[str, List[str]] = {}
    for host in status["hosts"]:
        if host["version"]:
            versions.setdefault(host["version"], []).append(host["host"])
    if len(versions) > 1:
        said = ", ".join(f"{one} on {' '.join(on)}" for one, on in sorted(versions.items()))
        yield finding("servers", f"different versions of Swift: {said}")


def judge_dispersion(status: Facts, limits: Mapping[str, float]) -> Iterator[Dict[str, str]]:
    """Judge whether copies are in their places."""
    for text in status["dispersion_problems"]:
        yield finding("dispersion", text)
    dispersion = status["dispersion"]
    if not dispersion:
        return
    parts = {"containers": dispersion.get("container") or {}}
    parts.update({f"policy {name}": of for name, of in (dispersion.get("object") or {}).items()})
    for name, figures in parts.items():
        if not figures.get("copies_expected"):
            continue
        if figures["copies_found_percent"] < limits["dispersion_percent"]:
            lacking = ", ".join(
                f"region {region} has {of['copies_found_percent']:g} %"
                for region, of in figures["regions"].items()
                if of["copies_found_percent"] < limits["dispersion_percent"]
            )
            yield finding(
                "dispersion",
                f"{name}: {figures['copies_found_percent']:g} % of the copies are in place"
                + (f"; {lacking}" if lacking else ""),
            )


def judge_rings(status: Facts, recon: Facts) -> Iterator[Dict[str, str]]:
    """Judge whether all servers have the rings that were built."""
    for ring in status["rings"]:
        if ring["error"]:
            yield finding("rings", ring["error"])
        elif not ring["matches_builder"]:
            yield finding("rings", f"{ring['ring']}: the ring file is older than its builder")
        elif ring["servers"] and not ring["agreed"]:
            stale = sorted(
                {h for md5, hosts in ring["servers"].items() if md5 != ring["md5"] for h in hosts}
            )
            yield finding(
                "rings", f"{ring['ring']}: {', '.join(stale)} have another ring: publish it again"
            )
    for name, groups in (recon.get("swiftconf_agreement") or {}).items():
        if len(groups) > 1:
            yield finding("rings", f"{name}: hosts have different files")
    for text in status["ring_problems"]:
        yield finding("rings", text)


def judge_devices(status: Facts, limits: Mapping[str, float]) -> Iterator[Dict[str, str]]:
    """Judge fill, and weights that are not yet what they shall be."""
    for device in status["devices"]:
        name = f"{device['host']}/{device['device']}"
        if (device["fill_percent"] or 0) > limits["fill_percent"]:
            yield finding("fill", f"{name}: {device['fill_percent']:g} % full")
        for ring, share in device["rings"].items():
            now, wished = share["weight"], share["weight_wished"]
            if now != wished and (status["rings_known"] and status["wished_known"]):
                there = "is not in the ring yet" if now is None else f"has weight {now:g}"
                shall = "shall leave it" if wished is None else f"shall have weight {wished:g}"
                yield finding("weights", f"{name}: {there} and {shall} ({ring})")


# --- putting together --------------------------------------------------------------------------


def put_together(
    *,
    federation: str,
    sites: Mapping[str, Facts],
    rings: Sequence[Facts],
    wished: Sequence[Facts],
    recon: Facts,
    dispersion: Optional[Facts],
    problems: Sequence[str],
    not_reached: Sequence[str],
    limits: Mapping[str, float],
    now: float,
) -> Dict[str, Any]:
    """Give the whole picture, which is what the page, the terminal and the history show."""
    hosts = read_hosts(recon, sites, now)
    devices = read_devices(rings, wished, hosts, sites)
    figures = (dispersion or {}).get("dispersion")
    status: Dict[str, Any] = {
        "format": 1,
        "federation": federation,
        "time": round(now),
        "taken": time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(now)),
        "sites": [
            {
                "site": name,
                "region": site["region"],
                "coupling": site["coupling"],
                "hosts": sorted(site["hosts"]),
                **{
                    key: (site.get("location") or {}).get(key)
                    for key in ("city", "latitude", "longitude")
                },
            }
            for name, site in sites.items()
        ],
        "regions": read_regions(sites, devices, hosts, figures),
        "devices": devices,
        "hosts": list(hosts.values()),
        "rings": read_rings(rings, recon),
        "rings_known": bool(rings),
        "wished_known": bool(wished),
        "dispersion": figures,
        "dispersion_problems": [
            *(
                [dispersion["msg"]]
                if dispersion and figures is None and "msg" in dispersion
                else []
            ),
            *((dispersion or {}).get("problems") or []),
            *((dispersion or {}).get("errors") or []),
        ],
        "ring_problems": list(problems),
        "not_reached": [*not_reached, *(recon.get("not_reached") or [])],
        "limits": dict(limits),
    }
    for host in status["hosts"]:
        del host["disks"]
    status["findings"] = judge(status, recon, limits)
    status["summary"] = summary(status)
    return status


def lowest(values: Iterable[Optional[float]]) -> Optional[float]:
    """Give the lowest figure that is known."""
    return min((value for value in values if value is not None), default=None)


def highest(values: Iterable[Optional[float]]) -> Optional[float]:
    """Give the highest figure that is known."""
    return max((value for value in values if value is not None), default=None)


def summary(status: Facts) -> Dict[str, Any]:
    """Give the few figures that are kept of each run."""
    dispersion = status["dispersion"] or {}
    parts = [dispersion.get("container") or {}, *(dispersion.get("object") or {}).values()]
    hosts = [host for host in status["hosts"] if host["reached"]]
    pending = [host["async_pending"] for host in hosts if host["async_pending"] is not None]
    taken = [
        sum(host["quarantined"][kind] for kind in KINDS) for host in hosts if host["quarantined"]
    ]
    return {
        "time": status["time"],
        "dispersion_percent": lowest(
            part["copies_found_percent"] for part in parts if part.get("copies_expected")
        ),
        "fill_percent": highest(device["fill_percent"] for device in status["devices"]),
        "replication_seconds": highest(
            age for host in hosts for age in host["replication"].values()
        ),
        "async_pending": sum(pending) if pending else None,
        "quarantined": sum(taken) if taken else None,
        "hosts": len(status["hosts"]),
        "hosts_not_reached": sum(not host["reached"] for host in status["hosts"]),
        "findings": len(status["findings"]),
        "regions": {
            str(region["region"]): lowest(region["dispersion"].values())
            for region in status["regions"]
        },
    }


def with_run(before: str, run: Facts, keep: int) -> List[Facts]:
    """Add a run to the history, a line of JSON for each; drop the oldest, and what is no run."""
    runs: List[Facts] = []
    for line in before.splitlines():
        try:
            past = json.loads(line)
        except json.JSONDecodeError:
            continue
        if isinstance(past, Mapping) and number(past.get("time")) is not None:
            runs.append(past)
    return [*runs, run][-max(1, keep) :]


# --- showing -----------------------------------------------------------------------------------


def duration(seconds: Optional[float]) -> str:
    """Say a time span as people do."""
    if seconds is None:
        return "never"
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


def figure(value: Optional[float], unit: str = "") -> str:
    """Say a figure, or that it is not known."""
    return UNKNOWN if value is None else f"{value:g}{unit}"


def columns(rows: Sequence[Sequence[str]]) -> List[str]:
    """Set rows in columns, the first to the left and the others to the right."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows)]
    return [
        "  "
        + "  ".join(
            cell.ljust(width) if index == 0 else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(row, widths))
        ).rstrip()
        for row in rows
    ]


def page_of_text(status: Facts) -> str:
    """Give the page for a terminal."""
    lines = [f"Swift of {status['federation']}, {status['taken']}", ""]
    parts = list(regional(status["dispersion"], 0))
    lines += ["Regions", *columns([
        ["", "disks", "fill", *(f"{part} in place" for part in parts)],
        *(
            [
                f"{region['region']} {region['site'] or ''}",
                str(region["devices"]),
                figure(region["fill_percent"], " %"),
                *(figure(region["dispersion"].get(part), " %") for part in parts),
            ]
            for region in status["regions"]
        ),
    ]), ""]  # fmt: skip
    lines += ["Hosts", *columns([
        ["", *(f"{kind} repl." for kind in KINDS), "async", "quarantined", "Swift"],
        *(
            [
                host["host"],
                *(duration(host["replication"].get(kind)) for kind in KINDS),
                figure(host["async_pending"]),
                figure(sum(host["quarantined"][kind] for kind in KINDS)
                       if host["quarantined"] else None),
                host["version"] or UNKNOWN,
            ]
            if host["reached"]
            else [host["host"], "no answer", *[""] * 5]
            for host in status["hosts"]
        ),
    ]), ""]  # fmt: skip
    names = [ring["ring"] for ring in status["rings"]]
    lines += ["Disks: weight now and wished, partitions", *columns([
        ["", "fill", *names],
        *(
            [
                f"{device['host']}/{device['device']}",
                figure(device["fill_percent"], " %"),
                *(share_in_words(device["rings"].get(name)) for name in names),
            ]
            for device in status["devices"]
        ),
    ]), ""]  # fmt: skip
    lines += ["Rings", *columns([
        ["", "partitions", "balance", "version", "servers"],
        *(
            [ring["ring"], "cannot be read", "", "", ""]
            if ring["error"]
            else [
                ring["ring"],
                str(ring["partitions"]),
                figure(ring["balance"], " %"),
                str(ring["version"]),
                "agree" if ring["agreed"] else "DIFFER",
            ]
            for ring in status["rings"]
        ),
    ]), ""]  # fmt: skip
    if status["findings"]:
        lines.append(f"{len(status['findings'])} findings")
        lines += [f"  {one['about']}: {one['text']}" for one in status["findings"]]
    else:
        lines.append("Nothing wants a look.")
    return "\n".join(line.rstrip() for line in lines)


def share_in_words(share: Optional[Facts]) -> str:
    """Say what a disk has of a ring."""
    if share is None:
        return UNKNOWN
    now, wished = figure(share["weight"]), figure(share["weight_wished"])
    weight = now if now == wished else f"{now} → {wished}"
    return f"{weight}, {share['partitions']}"
