# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a ring should become: wishes, edits, and what two partition tables differ in.

Pure: no files, no clock, no Swift. A partition table is what Swift's builder calls
replica2part2dev: one row per replica, in each row the device id of every partition; the last row
is shorter when the replica count has a fraction. Rows have up to 2^20 entries, so whole rows are
compared and counted in C, and Python looks only at the partitions that differ.
"""

from __future__ import annotations

import ipaddress
import math
import re
from collections import Counter
from dataclasses import dataclass, field, replace
from itertools import chain, combinations, compress, count
from operator import eq, ne
from typing import (
    Any,
    Dict,
    FrozenSet,
    Iterable,
    Iterator,
    List,
    Mapping,
    Optional,
    Sequence,
    Set,
    Tuple,
)

Identity = Tuple[int, str, int, str]
Rows = Sequence[Sequence[int]]
Tier = Tuple[Any, ...]

RING_NAME = re.compile(r"account|container|object(-[1-9][0-9]*)?")
# Swift counts the hours since a partition moved in one byte.
MAX_PART_HOURS = 255
# The builder's mark for "no device": the highest id it could store.
NO_DEVICE = 2**16 - 1
# Edits of these fields change where partitions belong; the others only what is written about it.
PLACING = frozenset({"zone", "weight"})


class RingError(Exception):
    """A ring that cannot or must not be built; the message names the object and the remedy."""


@dataclass(frozen=True)
class Device:
    """One disk as the ring knows it."""

    region: int
    zone: int
    ip: str
    port: int
    device: str
    weight: float
    meta: str
    replication_ip: str
    replication_port: int

    @property
    def identity(self) -> Identity:
        """What makes it this disk and no other; everything else may be edited."""
        return (self.region, self.ip, self.port, self.device)

    @property
    def name(self) -> str:
        """Its name in the notation of swift-ring-builder."""
        ip = f"[{self.ip}]" if ":" in self.ip else self.ip
        return f"r{self.region}z{self.zone}-{ip}:{self.port}/{self.device}"


@dataclass(frozen=True)
class Held:
    """A device of the existing builder."""

    id: int
    device: Device
    parts: int
    # Marked by `swift-ring-builder remove`, gone with the next rebalance.
    leaving: bool = False


@dataclass(frozen=True)
class Wish:
    """The ring somebody asked for."""

    ring: str
    part_power: int
    replicas: float
    min_part_hours: int
    overload: float
    devices: Tuple[Device, ...]
    # The own weight of each device that is to be drained, of which a step is a share.
    draining: Mapping[Identity, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Change:
    """One setting or field that differs."""

    before: Any
    after: Any


@dataclass(frozen=True)
class DeviceEdit:
    """A device that stays, and the fields in which it changes."""

    held: Held
    device: Device
    changes: Mapping[str, Change]


@dataclass(frozen=True)
class Edits:
    """The way from the builder's devices and settings to the wished ones."""

    add: Sequence[Device] = ()
    change: Sequence[DeviceEdit] = ()
    remove: Sequence[Held] = ()
    settings: Mapping[str, Change] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.add or self.change or self.remove or self.settings)

    @property
    def placing(self) -> bool:
        """True when the edits change where partitions belong; a device of weight 0 gets none."""
        return bool(
            any(device.weight for device in self.add)
            or self.remove
            or "replicas" in self.settings
            or "overload" in self.settings
            or any(PLACING & set(edit.changes) for edit in self.change)
        )


@dataclass(frozen=True)
class Moves:
    """What a push moves: partitions by the number of replicas that change their device."""

    histogram: Mapping[int, int]
    partitions: FrozenSet[int]
    slots: int

    @property
    def replicas(self) -> int:
        """Partition-replicas that get another device."""
        return sum(moved * partitions for moved, partitions in self.histogram.items())

    @property
    def percent(self) -> float:
        """The same of all partition-replicas, in percent."""
        return 100.0 * self.replicas / self.slots if self.slots else 0.0


@dataclass(frozen=True)
class Gaps:
    """Partitions whose replicas are not spread over the regions as they could be.

    With at least as many replicas as regions every region should hold a copy: `missing` counts
    the partitions each region has none of. With more regions than replicas no region should hold
    two: `doubled` counts the partitions each region holds more than once. `short` counts the
    partitions with either fault once.
    """

    missing: Mapping[int, int] = field(default_factory=dict)
    doubled: Mapping[int, int] = field(default_factory=dict)
    short: int = 0


# --- the wish


def wish_from(params: Mapping[str, Any]) -> Wish:
    """Read a wish from module parameters; refuse one that cannot be a ring, naming every fault."""
    faults: List[str] = []
    ring = str(params["ring"])
    if not RING_NAME.fullmatch(ring):
        faults.append(
            f"ring {ring!r}: use account, container, object, or object-N for storage policy N"
        )
    if not 1 <= params["part_power"] <= 32:
        faults.append(f"part_power {params['part_power']}: must be between 1 and 32")
    if not math.isfinite(params["replicas"]) or params["replicas"] < 1:
        faults.append(f"replicas {params['replicas']}: must be at least 1")
    if not 0 <= params["min_part_hours"] <= MAX_PART_HOURS:
        faults.append(
            f"min_part_hours {params['min_part_hours']}: must be between 0 and {MAX_PART_HOURS}, "
            "with more no partition would ever move again"
        )
    if not math.isfinite(params["overload"]) or params["overload"] < 0:
        faults.append(f"overload {params['overload']}: must be a factor of at least 0, 0.1 is 10 %")
    if len(params["devices"]) >= NO_DEVICE:
        faults.append(f"{len(params['devices'])} devices: a ring holds at most {NO_DEVICE - 1}")
    devices = []
    draining: Dict[Identity, float] = {}
    for entry in params["devices"]:
        device, wrong = _device_from(entry)
        faults += wrong
        if device is not None and entry.get("drain"):
            draining[device.identity] = device.weight
            device = replace(device, weight=0.0)
        if device is not None:
            devices.append(device)
    faults += _duplicates(devices)
    if faults:
        raise RingError(f"{ring}: " + "; ".join(faults))
    wish = Wish(
        ring=ring,
        part_power=int(params["part_power"]),
        replicas=float(params["replicas"]),
        min_part_hours=int(params["min_part_hours"]),
        overload=float(params["overload"]),
        devices=tuple(devices),
        draining=draining,
    )
    carrying = sum(device.weight > 0 for device in devices)
    if carrying < wish.replicas:
        raise RingError(
            f"{ring}: {wish.replicas:g} replicas need at least {math.ceil(wish.replicas)} devices "
            f"with a weight above 0, the wish has {carrying}; add devices or lower replicas"
        )
    return wish


def _device_from(entry: Mapping[str, Any]) -> Tuple[Optional[Device], List[str]]:
    faults = []
    name = f"device {entry['ip']}:{entry['port']}/{entry['device']}"
    port = int(entry["port"])
    replication_port = entry.get("replication_port")
    replication_port = port if replication_port is None else int(replication_port)
    addresses = {}
    for key in ("ip", "replication_ip"):
        text = entry.get(key) or entry["ip"]
        try:
            addresses[key] = str(ipaddress.ip_address(text.strip()))
        except ValueError:
            faults.append(f"{name}: {key} {text!r} is not an IP address")
    for key, number in (("port", port), ("replication_port", replication_port)):
        if not 1 <= number <= 65535:
            faults.append(f"{name}: {key} {number} is not between 1 and 65535")
    for key in ("region", "zone"):
        if entry[key] < 0:
            faults.append(f"{name}: {key} {entry[key]} is negative")
    if not math.isfinite(entry["weight"]) or entry["weight"] < 0:
        faults.append(f"{name}: weight {entry['weight']} must be a number of at least 0")
    disk = str(entry["device"])
    if not disk or disk in (".", "..") or re.search(r"[/\s]", disk):
        faults.append(f"{name}: device must be the name of a mount point, without '/' or blanks")
    if faults:
        return None, faults
    return Device(
        region=int(entry["region"]),
        zone=int(entry["zone"]),
        ip=addresses["ip"],
        port=port,
        device=disk,
        weight=float(entry["weight"]),
        meta=str(entry.get("meta") or ""),
        replication_ip=addresses["replication_ip"],
        replication_port=replication_port,
    ), []


def _duplicates(devices: Iterable[Device]) -> Iterator[str]:
    """One ip, port and device is one disk, whatever region two entries put it in."""
    seen: Dict[Tuple[str, int, str], Device] = {}
    for device in devices:
        first = seen.setdefault(device.identity[1:], device)
        if first is not device:
            yield (f"{device.name} is the same disk as {first.name}: name each once")


# --- from the builder to the wish


def refuse_part_power(ring: str, builder: int, wished: int) -> None:
    """The partition power is the length of every partition's number: data is filed under it."""
    if wished < builder:
        raise RingError(
            f"{ring}: the builder has part_power {builder}, the wish {wished}; Swift cannot lower "
            f"it. Set part_power back to {builder}, or build a ring for a new storage policy"
        )
    if wished > builder:
        raise RingError(
            f"{ring}: the builder has part_power {builder}, the wish {wished}; raising it means "
            "relinking the objects: follow Swift's 'Modifying Ring Partition Power' with "
            "swift-object-relinker (object rings only), then set part_power here"
        )


def edits_for(
    wish: Wish,
    current: Sequence[Held],
    settings: Mapping[str, Any],
    *,
    allow_device_removal: bool = False,
    remove_drained: bool = True,
) -> Edits:
    """Compare the wish with the builder's devices and its `settings`.

    Devices are matched by identity and keep their ids. One that is not wished any more is removed
    when it is empty; one that holds partitions is refused, because removing it moves all of them
    at once, whatever min_part_hours says. Without `remove_drained` an empty one is refused too:
    the ring does not know whether its data has left the disk, and replicators forget a disk that
    is in no ring.
    """
    held: Dict[Identity, Held] = {}
    for one in current:
        twin = held.setdefault(one.device.identity, one)
        if twin is not one:
            raise RingError(
                f"{wish.ring}: the builder holds {one.device.name} twice, as ids {twin.id} and "
                f"{one.id}; remove one of them with swift-ring-builder"
            )
    wished = {device.identity: device for device in wish.devices}
    _refuse_strange_builder(wish, current, wished.keys())
    _refuse_leaving(wish, current, wished.keys())
    remove = [one for one in current if not one.leaving and one.device.identity not in wished]
    going = remove + [one for one in current if one.leaving]
    if not allow_device_removal:
        _refuse_removal(wish.ring, [one for one in going if one.parts])
        if not remove_drained:
            _refuse_forgetting(wish.ring, going)
    change = []
    for one in current:
        device = wished.get(one.device.identity)
        if device is not None and device != one.device:
            changes = {
                name: Change(getattr(one.device, name), getattr(device, name))
                for name in ("zone", "weight", "meta", "replication_ip", "replication_port")
                if getattr(one.device, name) != getattr(device, name)
            }
            change.append(DeviceEdit(one, device, changes))
    # In an order of its own, so that ids do not depend on the order of the wish.
    add = sorted(
        (device for device in wish.devices if device.identity not in held),
        key=lambda device: (device.region, device.zone, device.ip, device.port, device.device),
    )
    return Edits(
        add=add,
        change=change,
        remove=remove,
        settings={
            name: Change(value, getattr(wish, name))
            for name, value in settings.items()
            if value != getattr(wish, name)
        },
    )


def _refuse_strange_builder(
    wish: Wish, current: Sequence[Held], wished: Iterable[Identity]
) -> None:
    """A builder that shares no device with the wish belongs to another ring."""
    known = {one.device.identity for one in current}
    if not known or not known.isdisjoint(wished) or not any(one.parts for one in current):
        return
    ports = ", ".join(str(port) for port in sorted({one.device.port for one in current}))
    raise RingError(
        f"{wish.ring}: the builder shares no device with the wish (its ports: {ports}), so it is "
        "another ring's builder, or the wish is another ring's. Check ring, builder_dir and the "
        "ports; to renumber a ring, add the new devices beside the old ones first"
    )


def _refuse_leaving(wish: Wish, current: Sequence[Held], wished: Iterable[Identity]) -> None:
    both = {one.device.identity for one in current if one.leaving}.intersection(wished)
    for one in current:
        if one.device.identity in both:
            raise RingError(
                f"{wish.ring}: {one.device.name} (id {one.id}) was marked for removal with "
                "swift-ring-builder and is wished here; take it from the wish and let a rebalance "
                "remove it, or restore the builder from its backups"
            )


def _refuse_removal(ring: str, full: Sequence[Held]) -> None:
    if not full:
        return
    names = ", ".join(
        f"{one.device.name} (id {one.id}, weight {one.device.weight:g}, {one.parts} partitions)"
        for one in full[:5]
    )
    more = f" and {len(full) - 5} more" if len(full) > 5 else ""
    raise RingError(
        f"{ring}: not wished any more but still holding partitions: {names}{more}. Set the weight "
        "to 0 first, wait until drained, then drop the device; if the disk is lost for good, set "
        "allow_device_removal"
    )


def _refuse_forgetting(ring: str, going: Sequence[Held]) -> None:
    if going:
        names = ", ".join(f"{one.device.name} (id {one.id})" for one in going[:5])
        more = f" and {len(going) - 5} more" if len(going) > 5 else ""
        raise RingError(
            f"{ring}: not wished any more but still in the ring: {names}{more}. It is not known "
            "here whether their data has reached other disks; wish them again, to be drained, and "
            "let swift_decommission_device look and remove them, or set remove_drained"
        )


# --- partition tables


def table_faults(
    rows: Rows, known: Iterable[int], parts: int, replicas: Optional[float] = None
) -> List[str]:
    """Say what is wrong with a partition table; with `replicas`, that it is complete as well."""
    faults = []
    strange = set(chain.from_iterable(rows)) - set(known)
    if strange:
        faults.append(f"partitions on unknown devices {sorted(strange)[:5]}")
    if any(len(row) != parts for row in rows[:-1]) or (rows and len(rows[-1]) > parts):
        faults.append(f"rows of {sorted({len(row) for row in rows})} partitions instead of {parts}")
    if replicas is not None:
        fraction, whole = math.modf(replicas)
        lengths = [parts] * int(whole) + ([int(parts * fraction)] if fraction else [])
        if [len(row) for row in rows] != lengths:
            faults.append(f"{sum(map(len, rows))} partition-replicas instead of {sum(lengths)}")
        for one, other in combinations(rows, 2):
            if any(map(eq, one, other)):
                faults.append("partitions with two replicas on one device")
                break
    return faults


def moves_between(old: Rows, new: Rows, parts: int) -> Moves:
    """Count for every partition how many of its replicas get another device.

    Replicas that are only dropped do not move. Where a replica moves and another one is dropped in
    the same push, both count: neither old copy serves the partition any more.
    """
    changed: Counter[int] = Counter()
    for before, after in zip(old, new):
        if before != after:
            common = min(len(before), len(after))
            changed.update(compress(count(), map(ne, before, after)))
            changed.update(range(common, max(len(before), len(after))))
    for row in chain(old[len(new) :], new[len(old) :]):
        changed.update(range(len(row)))
    same_shape = [len(row) for row in old] == [len(row) for row in new]
    moved: Counter[int] = Counter()
    partitions: Set[int] = set()
    for part, slots in changed.items():
        # One slot of a table whose shape stays: exactly one replica moves.
        moving = 1 if slots == 1 and same_shape else _moved_replicas(old, new, part)
        if moving:
            moved[moving] += 1
            partitions.add(part)
    histogram = {0: parts - len(partitions)}
    histogram.update(sorted(moved.items()))
    return Moves(histogram, frozenset(partitions), sum(map(len, new)))


def _moved_replicas(old: Rows, new: Rows, part: int) -> int:
    before = {row[part] for row in old if part < len(row)}
    after = {row[part] for row in new if part < len(row)}
    return max(len(after - before), len(before - after)) if after - before else 0


def refuse_multiple_moves(ring: str, moves: Moves, parts: int) -> None:
    """Refuse a push that moves more than one replica of a partition at once.

    Removing a device ignores min_part_hours, so removing a node in each of two regions can move
    two of three replicas in one push; until replication has finished, such data has one copy
    where it is looked for.
    """
    many = {moved: number for moved, number in moves.histogram.items() if moved > 1}
    if many:
        total = sum(many.values())
        raise RingError(
            f"{ring}: this push would move {max(many)} replicas of one partition at once, more "
            f"than one replica of {total} of {parts} partitions ({percent(total, parts)}). Do it "
            "in steps: one region or device at a time, with a replication pass between them; if "
            "the copies are lost anyway, set allow_multiple_replica_moves"
        )


def percent(number: int, of: int) -> str:
    """Write a share for a reader."""
    share = 100.0 * number / of
    return f"{share:.0f} %" if share >= 10 else f"{share:.2g} %"


# --- regions


def gaps_in(rows: Rows, region_of: Mapping[int, int], active: FrozenSet[int]) -> Gaps:
    """Count the partitions that are not spread over the `active` regions."""
    missing: Counter[int] = Counter()
    doubled: Counter[int] = Counter()
    short = 0
    for piece in _pieces(_translated(rows, region_of)):
        for regions, parts in Counter(zip(*piece)).items():
            copies = Counter(region for region in regions if region in active)
            if len(regions) >= len(active):
                without = active.difference(copies)
                missing.update(dict.fromkeys(without, parts))
                short += parts if without else 0
            else:
                twice = [region for region, number in copies.items() if number > 1]
                doubled.update(dict.fromkeys(twice, parts))
                short += parts if twice else 0
    return Gaps(missing, doubled, short)


def gaps_ahead(targets: Mapping[int, float], replicas: float, parts: int) -> Gaps:
    """The gaps that remain when every region holds its target share of replicas.

    `targets` maps a region to the mean number of replicas of a partition it is to hold. The plan
    says it before anything moves, so an edit is judged on the day it is made, and not when
    min_part_hours lets it take effect.
    """
    if replicas >= len(targets):
        return Gaps(missing={r: math.floor((1 - t) * parts + 1e-6) for r, t in targets.items()})
    return Gaps(doubled={r: math.floor((t - 1) * parts + 1e-6) for r, t in targets.items()})


def planned_growth(before: Gaps, ahead: Gaps) -> List[Tuple[int, str, int]]:
    """The gaps that end larger than they are: partitions, kind, region."""
    return [
        (number, kind, region)
        for kind in ("missing", "doubled")
        for region, number in getattr(ahead, kind).items()
        if number > max(0, getattr(before, kind).get(region, 0))
    ]


def refuse_region_gaps(
    ring: str,
    before: Gaps,
    after: Gaps,
    ahead: Gaps,
    *,
    weights: Mapping[int, float],
    parts: int,
    required_overload: float,
    overload: float,
) -> None:
    """Refuse a plan that leaves a region without a copy of partitions it has a copy of now.

    `before` and `after` are counted in the table as it is and as this push makes it, `ahead` is
    where the plan leads in the end; a new ring has nothing before. All count over the regions
    that have weight in the plan: a region on its way in is missing everything before its first
    step, so every step improves it, and a region whose weights are 0 is not counted, so it can
    be drained. A gap that is there and does not grow is no reason to refuse.

    No region may end with a larger gap than it has. On the way, where there are gaps, Swift may
    trade those of one region against those of another, and needs some slack to do it; a ring
    without gaps gets none.
    """
    grown = planned_growth(before, ahead)
    slack = parts // 100 if before.short else 0
    if not grown and after.short > before.short + slack:
        grown = [
            (number, kind, region)
            for kind in ("missing", "doubled")
            for region, number in getattr(after, kind).items()
            if number > getattr(before, kind).get(region, 0)
        ]
    if grown:
        number, kind, region = max(grown)
        raise RingError(
            f"{ring}: "
            + _gap(kind, region, number, weights, parts)
            + _mend(region, required_overload, overload)
        )


def _gap(kind: str, region: int, worst: int, weights: Mapping[int, float], parts: int) -> str:
    share = f"{worst} of {parts} partitions ({percent(worst, parts)})"
    others = ", ".join(
        f"{weight:g} in region {other}"
        for other, weight in sorted(weights.items())
        if other != region
    )
    against = f"region {region}: weight {weights[region]:g} against {others} "
    if kind == "missing":
        return against + f"leaves {share} without a copy there"
    return against + f"puts two or more copies of {share} there, with regions enough for each copy"


def _mend(region: int, required_overload: float, overload: float) -> str:
    wanted = overload_to_set(required_overload)
    ways = [f"set overload to {wanted:.2f}"] if wanted > overload else []
    ways += [f"even out the weights of region {region} and the others", "set allow_missing_region"]
    return "; " + ", or ".join(ways)


def overload_to_set(required: float) -> float:
    """The required overload, rounded up to two decimals."""
    return math.ceil(required * 100 - 1e-9) / 100


# --- what still waits


def excess_parts(devices: Iterable[Mapping[str, Any]]) -> int:
    """Partition-replicas on devices that should hold fewer, by the builder's `parts_wanted`.

    A device of weight 0 should hold none; Swift writes a large negative number there.
    """
    return sum(
        max(0, -device["parts_wanted"]) if device["weight"] else device["parts"]
        for device in devices
    )


def worth_writing(*, moved: int, excess: Tuple[int, int], dispersion: Tuple[float, float]) -> bool:
    """Whether a rebalance of unchanged devices brings the ring nearer to its plan.

    A ring that cannot reach its plan is shuffled by each rebalance. Only moves that take at least
    a tenth of themselves off overfull devices, or spread replicas better and overfill none, are
    worth the traffic; since one of both numbers falls each time and the first never rises, pushes
    come to an end.
    """
    gain = excess[0] - excess[1]
    if gain > 0 and gain * 10 >= moved:
        return True
    return moved > 0 and gain >= 0 and dispersion[1] < dispersion[0]


def crowded(rows: Rows, tier_of: Mapping[int, Tier], highest: Mapping[Tier, float]) -> bool:
    """Whether a tier holds more replicas of some partition than the plan allows it."""
    for piece in _pieces(_translated(rows, tier_of)):
        for tiers in set(zip(*piece)):
            if len(set(tiers)) < len(tiers) and any(
                number > highest.get(tier, 0) for tier, number in Counter(tiers).items()
            ):
                return True
    return False


def _translated(rows: Rows, of: Mapping[int, Any]) -> List[List[Any]]:
    return [list(map(of.__getitem__, row)) for row in rows]


def _pieces(rows: List[List[Any]]) -> Iterator[List[List[Any]]]:
    """Cut a table whose last row is short into two that are rectangular."""
    if not rows:
        return
    short = len(rows[-1])
    if short:
        yield [row[:short] for row in rows]
    if short < len(rows[0]):
        yield [row[short:] for row in rows[:-1]]
