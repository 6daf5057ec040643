# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""From weights as they are to weights as they are wished: how far a step goes, and when.

Pure: no files, no clock, no Swift. The inventory holds the wish, the builder holds how far it has
come; nothing else remembers anything, so every step can be interrupted and asked for again.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from typing import Any, Dict, FrozenSet, List, Mapping, Optional, Sequence, Tuple

from ansible_collections.infn.cloud.plugins.module_utils._swift_ring_plan import (
    Device,
    Identity,
    RingError,
    Wish,
)

# --- how far -----------------------------------------------------------------------------------


def next_weight(
    current: Optional[float], wished: float, step: float, *, full: float = 0.0
) -> float:
    """The weight one step nearer to what is wished.

    A step is `step` percent of the weight that the device has when it serves in full: what is
    wished, or `full` where nothing is wished any more. Without it, weight 0 is one step away,
    because a share of a falling weight never gets there.
    """
    here = 0.0 if current is None else current
    if step >= 100 or (not wished and not full):
        return here if step <= 0 else wished
    stride = max(wished, full) * step / 100
    if here < wished:
        return min(wished, here + stride)
    return max(wished, here - stride)


def step_towards(wish: Wish, current: Mapping[Identity, float], step: float) -> Wish:
    """The wish of one step: weights on their way, and no device that is only wished away.

    `current` are the weights of the builder's devices. A device that is to be drained and was never
    there, or was removed already, is not added.
    """
    if not 0 <= step <= 100:
        raise RingError(f"{wish.ring}: weight_step {step:g} must be between 0 and 100 percent")
    devices = []
    for device in wish.devices:
        if device.identity not in current and device.identity in wish.draining:
            continue
        weight = next_weight(
            current.get(device.identity),
            device.weight,
            step,
            full=wish.draining.get(device.identity, 0.0),
        )
        devices.append(replace(device, weight=weight))
    return replace(wish, devices=tuple(devices))


def leaving_regions(wish: Wish) -> FrozenSet[int]:
    """Regions of which nothing is to remain: that they miss copies is what is wanted."""
    staying = {device.region for device in wish.devices if device.weight}
    return frozenset(device.region for device in wish.devices) - staying


def on_their_way(wish: Wish, devices: Mapping[int, Device]) -> List[Tuple[int, Device, float]]:
    """The devices of a builder whose weight is not the wished one: id, device, wished weight."""
    wished = {device.identity: device.weight for device in wish.devices}
    return [
        (number, device, wished[device.identity])
        for number, device in sorted(devices.items())
        if device.identity in wished and device.weight != wished[device.identity]
    ]


# --- when --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Thresholds:
    """What still lets a step go."""

    unmounted: float = 0
    quarantined: float = 10
    dispersion: float = 99.9
    # Seconds in which every daemon has found new ring files; Swift looks every 15 s.
    reload: float = 15.0


@dataclass(frozen=True)
class Ring:
    """What the next step would do to one ring, as swift_ring says in check mode."""

    name: str
    # Whether the step changes anything.
    pending: bool
    # Seconds until min_part_hours have passed since the last push.
    seconds_left: int = 0
    # Whether partitions wait for that, though no weight has to change.
    waiting: bool = False


@dataclass(frozen=True)
class Place:
    """A device in a ring: the kind of its servers, their address, its name, and whether it goes."""

    kind: str
    ip: str
    disk: str
    drain: bool = False


@dataclass(frozen=True)
class Host:
    """A storage host: the rings it uses, since when, and what its servers said."""

    name: str
    # Whether nothing is to remain there: then the host may be dead, others have the copies.
    draining: bool = False
    # None where the host could not be asked.
    version: Optional[str] = None
    activated: Optional[float] = None
    # By kind of server: why it did not answer, or None.
    errors: Mapping[str, Optional[str]] = field(default_factory=dict)
    # By kind of server: when the replicator's last whole pass began; None if there was none.
    passes: Mapping[str, Optional[float]] = field(default_factory=dict)
    # By kind of server: the disks, as address/name, that this pass did not bring up to date.
    failures: Mapping[str, Sequence[str]] = field(default_factory=dict)
    # Disks that are not mounted, without those that are to be drained.
    unmounted: Sequence[str] = ()
    quarantined: int = 0


@dataclass(frozen=True)
class Decision:
    """What to do now: done, waiting (and for what), or step."""

    state: str
    reasons: Tuple[str, ...] = ()
    # Faults that do not concern what is reached already.
    remarks: Tuple[str, ...] = ()
    # The rings that the step changes.
    rings: Tuple[str, ...] = ()
    # The reasons to believe that some data is not where the published rings look for it.
    underway: Tuple[str, ...] = ()


def pass_began(kind: str, answer: Optional[Mapping[str, Any]]) -> Optional[float]:
    """When the last whole pass of a replicator began, by its host's clock.

    Recon tells when it ended and how long it took: in seconds for accounts and containers, in
    minutes for objects.
    """
    answer = answer or {}
    prefix, unit = ("object_", 60.0) if kind == "object" else ("", 1.0)
    ended = answer.get(f"{prefix}replication_last") or answer.get("replication_last")
    took = answer.get(f"{prefix}replication_time") or answer.get("replication_time") or 0.0
    return float(ended) - float(took) * unit if ended else None


def failed_in(
    answer: Optional[Mapping[str, Any]], drained: FrozenSet[Tuple[str, str]]
) -> List[str]:
    """The disks that the last pass did not reach, as address/name; those to be drained may fail."""
    stats = (answer or {}).get("replication_stats") or {}
    return [
        f"{address}/{disk}"
        for address, disks in sorted((stats.get("failure_nodes") or {}).items())
        for disk, number in sorted(disks.items())
        if number and (address, disk) not in drained
    ]


def quarantined_in(answer: Optional[Mapping[str, Any]]) -> int:
    """Quarantined accounts, containers and objects of a host; objects of all policies."""
    answer = answer or {}
    policies = answer.get("policies") or {}
    objects = sum(int(one.get("objects") or 0) for one in policies.values())
    number = sum(int(answer.get(name) or 0) for name in ("accounts", "containers"))
    return number + (objects if policies else int(answer.get("objects") or 0))


def hosts_from(
    bundles: Mapping[str, Mapping[str, Any]],
    answers: Sequence[Mapping[str, Any]],
    places: Sequence[Place],
) -> List[Host]:
    """Put together, for each host with a device in a ring, what it uses and what it said.

    Only servers of a kind that the host has devices of count: the others have nothing to
    replicate, and say nothing of a pass.
    """
    drained = frozenset((place.ip, place.disk) for place in places if place.drain)
    by_host: Dict[str, Dict[str, Mapping[str, Any]]] = {}
    for answer in answers:
        if any((answer["kind"], answer["address"]) == (one.kind, one.ip) for one in places):
            by_host.setdefault(answer["host"], {})[answer["kind"]] = answer
    hosts = []
    for name, kinds in by_host.items():
        bundle = bundles.get(name) or {}
        objects = kinds.get("object", {})
        addresses = {answer["address"] for answer in kinds.values()}
        replication = {kind: answer.get("replication") for kind, answer in kinds.items()}
        hosts.append(
            Host(
                name=name,
                version=bundle.get("version"),
                activated=bundle.get("activated"),
                draining=all(place.drain for place in places if place.ip in addresses),
                errors={kind: answer.get("error") for kind, answer in kinds.items()},
                passes={kind: pass_began(kind, found) for kind, found in replication.items()},
                failures={kind: failed_in(found, drained) for kind, found in replication.items()},
                unmounted=[
                    disk
                    for disk in objects.get("unmounted") or ()
                    if (objects.get("address"), disk) not in drained
                ],
                quarantined=quarantined_in(objects.get("quarantined")),
            )
        )
    return hosts


def bytes_to_move(percent: float, answers: Sequence[Mapping[str, Any]]) -> Optional[int]:
    """Estimate what a push sends: its share of all that the disks hold; None if that is unknown."""
    disks = {
        (answer["host"], disk.get("device")): disk.get("used")
        for answer in answers
        for disk in answer.get("diskusage") or ()
    }
    used = [number for number in disks.values() if isinstance(number, int)]
    return round(sum(used) * percent / 100) if used else None


def decide(
    rings: Sequence[Ring],
    hosts: Sequence[Host],
    *,
    version: str,
    dispersion: Mapping[str, float],
    thresholds: Thresholds,
    since: float = 0.0,
) -> Decision:
    """Decide whether the next step may go.

    `version` is the bundle that was published last, `dispersion` the percentage of copies in
    place, by what they are of. A step needs all data of the last one in its place: then at most
    one copy of anything is on its way, whatever happens meanwhile. `since` is another time after
    which a replication pass must begin: when a disk was replaced.
    """
    placing = _not_in_place(hosts, version, thresholds, since)
    health = _not_healthy(hosts, dispersion, thresholds)
    times = [
        f"{ring.name}: min_part_hours: {_duration(ring.seconds_left)} left"
        for ring in rings
        if ring.seconds_left > 0 and (ring.pending or ring.waiting)
    ]
    pending = tuple(ring.name for ring in rings if ring.pending)
    if not pending and not times:
        # Nothing more to move: the health of the cluster is worth a remark, not a wait.
        state = "waiting" if placing else "done"
        return Decision(state, tuple(placing), tuple(health), (), tuple(placing))
    reasons = tuple(times + placing + health)
    state = "waiting" if reasons else "step"
    return Decision(state, reasons, (), pending, tuple(placing))


def _not_in_place(
    hosts: Sequence[Host], version: str, thresholds: Thresholds, since: float
) -> List[str]:
    reasons = []
    for host in hosts:
        silent = {kind: error for kind, error in host.errors.items() if error}
        if host.activated is None or len(silent) == len(host.errors):
            why = min(silent.values(), default="Ansible does not reach it")
            if not host.draining:
                reasons.append(f"{host.name}: does not answer ({why})")
            continue
        reasons += [
            f"{host.name}: {kind} server does not answer ({error})"
            for kind, error in silent.items()
        ]
        if host.version != version:
            reasons.append(
                f"{host.name}: has the rings {host.version or 'of nobody'}, published are "
                f"{version}: run the playbook again when it is back"
            )
            continue
        loaded = max(host.activated + thresholds.reload, since)
        late = [
            kind
            for kind, error in host.errors.items()
            if not error and (host.passes.get(kind) or 0.0) < loaded
        ]
        if late:
            reasons.append(
                f"{host.name}: no whole replication pass of {_and(late)}s that began after "
                f"{_clock(loaded)}"
            )
        failed = {
            kind: disks for kind, disks in host.failures.items() if disks and kind not in late
        }
        for kind, disks in failed.items():
            more = f" and {len(disks) - 3} more" if len(disks) > 3 else ""
            reasons.append(
                f"{host.name}: the last pass of the {kind} replicator failed for "
                f"{', '.join(disks[:3])}{more}"
            )
    return reasons


def _not_healthy(
    hosts: Sequence[Host], dispersion: Mapping[str, float], thresholds: Thresholds
) -> List[str]:
    reasons = []
    unmounted = [f"{host.name}/{disk}" for host in hosts for disk in host.unmounted]
    if len(unmounted) > thresholds.unmounted:
        reasons.append(
            f"not mounted: {', '.join(unmounted)} (at most {thresholds.unmounted:g}): replace or "
            "drain it"
        )
    quarantined = {host.name: host.quarantined for host in hosts if host.quarantined}
    if sum(quarantined.values()) > thresholds.quarantined:
        counts = ", ".join(f"{number} on {name}" for name, number in quarantined.items())
        reasons.append(
            f"quarantined: {counts} (at most {thresholds.quarantined:g}): look at them below "
            "<disk>/quarantined and remove them there"
        )
    for what, percent in sorted(dispersion.items()):
        if percent < thresholds.dispersion:
            reasons.append(
                f"dispersion: {percent:.2f} % of the copies of {what} are in place (at least "
                f"{thresholds.dispersion:g} %)"
            )
    return reasons


def _and(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{'s, '.join(names[:-1])}s and {names[-1]}"


def _clock(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%d %H:%M:%S UTC")


def _duration(seconds: int) -> str:
    if seconds < 120:
        return f"{seconds} s"
    minutes = -(-seconds // 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


def message(decision: Mapping[str, Any], *, dry: bool = False) -> List[str]:
    """Say a decision to a person, one line each."""
    remarks = [f"remark: {remark}" for remark in decision["remarks"]]
    if decision["state"] == "done":
        return ["done: all weights are as wished, all data is in its place", *remarks]
    if decision["state"] == "waiting":
        return ["waiting, nothing was moved:", *decision["reasons"], *remarks]
    lines = ["would take one step:" if dry else "took one step:"]
    for ring in decision["rings"]:
        if not ring["step"]:
            continue
        size = "" if ring["bytes"] is None else f", about {_size(ring['bytes'])}"
        lines.append(
            f"{ring['ring']}: moves {ring['replicas']} partition-replicas "
            f"({ring['percent']:g} %{size}); {len(ring['on_their_way'])} devices go on from there"
        )
    return lines + remarks


def _size(number: int) -> str:
    size = float(number)
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"
