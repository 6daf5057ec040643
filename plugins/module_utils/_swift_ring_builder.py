# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A ring brought to a wish, through Swift's own RingBuilder.

`converge` plans on a builder in memory and, when asked to, saves that very builder: check mode
and a real run cannot disagree, and nothing is rebalanced twice. The builder's private methods
used here are those its own `rebalance` begins with; there is no public way to ask what a ring
still lacks without moving it.
"""

from __future__ import annotations

import time
from copy import deepcopy
from dataclasses import dataclass, field
from os.path import exists
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

from ansible_collections.infn.cloud.plugins.module_utils._swift_convergence import (
    leaving_regions,
    on_their_way,
    step_towards,
)
from ansible_collections.infn.cloud.plugins.module_utils._swift_ring_files import (
    Builder,
    Paths,
    builders_in,
    checksums,
    load_builder,
    locked,
    read_record,
    remove,
    ring_file_matches,
    stamp_of,
    write,
)
from ansible_collections.infn.cloud.plugins.module_utils._swift_ring_plan import (
    RING_NAME,
    Device,
    Edits,
    Gaps,
    Held,
    Moves,
    RingError,
    Rows,
    Wish,
    crowded,
    edits_for,
    excess_parts,
    gaps_ahead,
    gaps_in,
    moves_between,
    overload_to_set,
    planned_growth,
    refuse_multiple_moves,
    refuse_part_power,
    refuse_region_gaps,
    table_faults,
    wish_from,
    worth_writing,
)

try:
    from swift.common.exceptions import RingBuilderError
    from swift.common.ring import RingBuilder
except ImportError:
    # The modules say so: SWIFT_IMPORT_ERROR in _swift_ring_files.
    pass

SETTINGS = ("replicas", "min_part_hours", "overload")


@dataclass(frozen=True)
class Request:
    """One call of the module."""

    paths: Paths
    wish: Optional[Wish]
    seed: int = 0
    rebalance: bool = True
    weight_step: float = 100.0
    remove_drained: bool = True
    backups: int = 20
    allow_multiple_replica_moves: bool = False
    allow_device_removal: bool = False
    allow_missing_region: bool = False
    allow_data_loss: bool = False

    @classmethod
    def from_params(cls, params: Mapping[str, Any]) -> Request:
        """Read module parameters; the wish is None where the ring is to be absent."""
        if not RING_NAME.fullmatch(params["ring"]):
            raise RingError(
                f"ring {params['ring']!r}: use account, container, object, or object-N for storage "
                "policy N"
            )
        if params["backups"] < 0:
            raise RingError(f"{params['ring']}: backups must be at least 0")
        return cls(
            paths=Paths(params["builder_dir"], params["ring"]),
            wish=wish_from(params) if params["state"] == "present" else None,
            **{
                name: params[name]
                for name in (
                    "seed",
                    "rebalance",
                    "weight_step",
                    "remove_drained",
                    "backups",
                    "allow_multiple_replica_moves",
                    "allow_device_removal",
                    "allow_missing_region",
                    "allow_data_loss",
                )
            },
        )


@dataclass
class Plan:
    """A builder in memory as it should be, which of its files to write, and the report."""

    stamp: Tuple[Any, ...]
    builder: Optional[Builder] = None
    write_builder: bool = False
    write_ring: bool = False
    remove: Sequence[str] = ()
    result: Dict[str, Any] = field(default_factory=dict)

    @property
    def changes(self) -> bool:
        return bool(self.write_builder or self.write_ring or self.remove)


def converge(request: Request, *, commit: bool) -> Dict[str, Any]:
    """Bring a ring to the wish, or say what that would do; return the module's result.

    Planning takes no lock, so that a run with nothing to do leaves no trace. When there is
    something to write, the lock is taken, and the plan made anew if somebody was faster.
    """
    plan = _plan(request)
    if commit and plan.changes:
        try:
            with locked(request.paths):
                if stamp_of(request.paths) != plan.stamp:
                    plan = _plan(request)
                _commit(request, plan)
        except OSError as error:
            raise RingError(
                f"{request.paths.directory}: cannot be written, {error}; run as root, and check "
                "that the file system is neither full nor read-only"
            ) from error
    return dict(plan.result, changed=plan.changes)


def _commit(request: Request, plan: Plan) -> None:
    if plan.remove:
        remove(request.paths, plan.remove, backups=request.backups)
    elif plan.changes and plan.builder is not None:
        write(
            request.paths,
            plan.builder,
            write_builder=plan.write_builder,
            write_ring=plan.write_ring,
            backups=request.backups,
        )
        plan.result["id"] = plan.builder._id


# --- planning


def _plan(request: Request) -> Plan:
    plan = Plan(stamp=stamp_of(request.paths))
    builder = load_builder(request.paths)
    if request.wish is None:
        _plan_absence(request, builder, plan)
    else:
        _plan_ring(request, request.wish, builder, plan)
    return plan


def _refuse_other_builder(paths: Paths, builder: Builder) -> None:
    """Refuse a builder that is not the one this ring was built with.

    `swift-ring-builder … create` silently replaces a builder, and rings of policies share their
    devices, so neither the file's name nor its content shows whose it is; its id does.
    """
    recorded = read_record(paths.record)
    if recorded is None:
        for other in builders_in(paths.directory):
            theirs = Paths(paths.directory, other)
            same = builder._id is not None and read_record(theirs.record) == builder._id
            if other != paths.ring and same:
                raise RingError(
                    f"{paths.builder}: is a copy of {theirs.builder} (id {builder._id}); remove "
                    f"it to build a new ring, or restore the builder of {paths.ring} from "
                    f"{paths.backups}"
                )
    elif recorded != builder._id:
        raise RingError(
            f"{paths.builder}: has the id {builder._id}, the ring was built with {recorded}: "
            "another ring's builder, or created anew. Restore the builder from "
            f"{paths.backups}; if the new one is right, remove {paths.record}"
        )


def _refuse_lost_builder(request: Request) -> None:
    """Refuse to begin a ring anew whose builder is lost: it would move all data at once."""
    paths = request.paths
    left = [path for path in (paths.ring_file, paths.record) if exists(path)]
    if left and not request.allow_data_loss:
        raise RingError(
            f"{paths.builder}: is gone, but {' and '.join(left)} shows that the ring is in use; a "
            f"new builder would place all data anew. Restore the builder from {paths.backups}, or "
            f"make one with 'swift-ring-builder {paths.ring_file} write_builder'; to begin anew "
            "and lose what the ring held, set allow_data_loss"
        )


def _plan_absence(request: Request, builder: Optional[Builder], plan: Plan) -> None:
    paths = request.paths
    files = (paths.builder, paths.ring_file, paths.record)
    plan.remove = [path for path in files if exists(path)]
    if plan.remove and not request.allow_data_loss:
        held = sum(dev["parts"] for dev in builder._iter_devs()) if builder else 0
        raise RingError(
            f"{paths.ring}: removing {', '.join(plan.remove)} would lose where the data of "
            f"{held} partition-replicas is; set allow_data_loss"
        )
    plan.result = {
        "ring": paths.ring,
        "builder": paths.builder,
        "ring_file": paths.ring_file,
        "written": [],
        "removed": list(plan.remove),
        "diff": {"before": _lines(plan.remove), "after": ""},
    }


@dataclass(frozen=True)
class State:
    """What the report says of a builder before and after."""

    devices: Mapping[int, Device]
    parts: Mapping[int, int]
    rows: Rows
    settings: Mapping[str, Any]
    balance: float
    dispersion: float
    version: int


def _state(builder: Builder, *, keep_rows: bool) -> State:
    """Read a builder; with `keep_rows` the table is copied, for a rebalance writes into it."""
    devices = {dev["id"]: _device(dev) for dev in builder._iter_devs()}
    rows = builder._replica2part2dev or []
    weight = sum(device.weight for device in devices.values())
    return State(
        devices=devices,
        parts={dev["id"]: dev["parts"] for dev in builder._iter_devs()},
        rows=[row[:] for row in rows] if keep_rows else rows,
        settings={name: getattr(builder, name) for name in ("part_power",) + SETTINGS},
        balance=builder.get_balance() if rows and weight else 0.0,
        dispersion=builder.dispersion or 0.0,
        version=builder.version,
    )


def _device(dev: Mapping[str, Any]) -> Device:
    return Device(
        region=dev["region"],
        zone=dev["zone"],
        ip=dev["ip"],
        port=dev["port"],
        device=dev["device"],
        weight=float(dev["weight"]),
        meta=dev["meta"],
        replication_ip=dev["replication_ip"],
        replication_port=dev["replication_port"],
    )


NOTHING = State({}, {}, [], {}, 0.0, 0.0, 0)


def _plan_ring(request: Request, wish: Wish, builder: Optional[Builder], plan: Plan) -> None:
    paths = request.paths
    if builder is None:
        _refuse_lost_builder(request)
        before = NOTHING
        builder = RingBuilder(wish.part_power, wish.replicas, wish.min_part_hours)
        plan.write_builder = True
    else:
        _refuse_other_builder(paths, builder)
        refuse_part_power(paths.ring, builder.part_power, wish.part_power)
        before = _state(builder, keep_rows=True)
    leaving = {dev["id"] for dev in builder._remove_devs}
    weights = {device.identity: device.weight for device in before.devices.values()}
    # The weights of a new ring are no step: its creation moves nothing.
    step = step_towards(wish, weights, request.weight_step if builder.ever_rebalanced else 100.0)
    edits = edits_for(
        step,
        [
            Held(number, device, before.parts[number], number in leaving)
            for number, device in before.devices.items()
        ],
        {name: getattr(builder, name) for name in SETTINGS},
        allow_device_removal=request.allow_device_removal,
        remove_drained=request.remove_drained,
    )
    _refuse_power_increase(wish.ring, builder, edits)
    _apply(builder, edits)
    try:
        work = _Work(builder, before, edits, wish, hold=not request.weight_step)
        if request.rebalance and not builder.next_part_power:
            work.rebalance(request.seed)
        after = _state(builder, keep_rows=False)
        required = builder.get_required_overload()
        if work.written or edits.placing:
            _refuse_unsafe(request, work, required)
    except RingBuilderError as error:
        raise RingError(f"{wish.ring}: Swift cannot build this ring, {error}") from error
    if edits or work.written:
        plan.write_builder = True
    plan.builder = builder
    plan.write_ring = builder.ever_rebalanced and not ring_file_matches(paths.ring_file, builder)
    plan.result = _report(request, plan, work, after, required)


def _refuse_power_increase(ring: str, builder: Builder, edits: Edits) -> None:
    if builder.next_part_power and edits:
        raise RingError(
            f"{ring}: a partition power increase to {builder.next_part_power} is in progress, no "
            "device or setting may change; finish it with swift-object-relinker and "
            "'swift-ring-builder … finish_increase_partition_power' first"
        )


def _apply(builder: Builder, edits: Edits) -> None:
    """Edit the builder in memory; what moves nothing is written into the device itself."""
    setters = {
        "replicas": builder.set_replicas,
        "overload": builder.set_overload,
        "min_part_hours": builder.change_min_part_hours,
    }
    for name, change in edits.settings.items():
        setters[name](change.after)
    written = {dev["id"]: dev for dev in builder._iter_devs()}
    for edit in edits.change:
        number = edit.held.id
        for name, change in edit.changes.items():
            if name == "weight":
                builder.set_dev_weight(number, change.after)
            elif name == "zone":
                builder.set_dev_zone(number, change.after)
            else:
                written[number][name] = change.after
    for held in edits.remove:
        builder.remove_dev(held.id)
    for device in edits.add:
        builder.add_dev(
            {
                "region": device.region,
                "zone": device.zone,
                "ip": device.ip,
                "port": device.port,
                "device": device.device,
                "weight": device.weight,
                "meta": device.meta,
                "replication_ip": device.replication_ip,
                "replication_port": device.replication_port,
            }
        )


class _Work:
    """A builder whose edits are made, and what a rebalance makes of it."""

    def __init__(
        self, builder: Builder, before: State, edits: Edits, wish: Wish, *, hold: bool
    ) -> None:
        self.builder = builder
        self.before = before
        self.edits = edits
        self.wish = wish
        # True when no partition is to move yet, whatever was edited.
        self.hold = hold
        self.creating = not builder.ever_rebalanced
        # True when the outcome of a rebalance is to be saved.
        self.written = False
        # Seconds until the next push, when something waits for it; 0: nothing does.
        self.retry_after = 0
        # The hours since each partition moved, as they were before a rebalance.
        self.ages: Sequence[int] = builder._last_part_moves[:]
        self.hours = self._hours()
        self.regions = {number: device.region for number, device in before.devices.items()}
        self.regions.update({dev["id"]: dev["region"] for dev in builder._iter_devs()})
        leaving = leaving_regions(wish)
        self.weights: Dict[int, float] = {}
        for dev in builder._iter_devs():
            if dev["weight"] and dev["region"] not in leaving:
                region = dev["region"]
                self.weights[region] = self.weights.get(region, 0.0) + dev["weight"]
        self.goal = builder._build_replica_plan()
        self.moves = Moves({0: builder.parts}, frozenset(), 0)

    def _hours(self) -> int:
        return max(0, int(time.time() - self.builder._last_part_moves_epoch) // 3600)

    def rebalance(self, seed: int) -> None:
        """Rebalance in memory, and put the builder back where that gains nothing."""
        builder = self.builder
        excess = self._excess()
        dispersion = builder.dispersion or 0.0
        if not self._due(excess, dispersion):
            # Edits that are held back are still owed.
            builder.devs_changed = builder.devs_changed or self.edits.placing
            self._find_waiting()
            return
        undisturbed = deepcopy(builder.to_dict())
        asked = builder.devs_changed
        removed = builder.rebalance(seed=seed)[2]
        rows = builder._replica2part2dev or []
        # At its creation a ring moves nothing.
        moves = moves_between(rows if self.creating else self.before.rows, rows, builder.parts)
        self.written = bool(
            self.creating
            or removed
            or [len(row) for row in self.before.rows] != [len(row) for row in rows]
            or (asked and moves.replicas)
            or (
                worth_writing(
                    moved=moves.replicas,
                    excess=(excess, excess_parts(builder._iter_devs())),
                    dispersion=(dispersion, builder.dispersion or 0.0),
                )
                and self._spreads(rows)
            )
        )
        if self.written:
            self.moves = moves
        else:
            spread = (builder._dispersion_graph, builder.dispersion)
            builder.copy_from(undisturbed)
            if not moves.replicas:
                # The table is the same; only its dispersion was of the devices before the edits.
                builder._dispersion_graph, builder.dispersion = spread
        self._find_waiting()
        if asked:
            # A rebalance that min_part_hours held back is still owed for the edits.
            builder.devs_changed = bool(self.retry_after) and not self.written

    def _excess(self) -> int:
        self.builder._set_parts_wanted(self.goal)
        return excess_parts(self.builder._iter_devs())

    def _spreads(self, rows: Rows) -> bool:
        """Whether a push nobody asked for keeps the regions as they are, or as the plan wants."""
        before = self.gaps(self.before.rows)
        return self.gaps(rows).short <= before.short or bool(
            planned_growth(before, self.gaps_ahead())
        )

    def _due(self, excess: int, dispersion: float) -> bool:
        """Whether to try a rebalance: for edits at once, otherwise min_part_hours after a push.

        So a second run finds nothing to do, although some partitions that the first one left
        where they were could move by themselves.
        """
        builder = self.builder
        if self.creating or builder._remove_devs:
            return True
        if self.hold or self.edits.placing:
            return not self.hold
        return not builder.min_part_seconds_left and bool(
            builder.devs_changed or excess or dispersion
        )

    def _find_waiting(self) -> None:
        """Find whether the ring is to be brought further when min_part_hours have passed."""
        builder = self.builder
        left = builder.min_part_seconds_left
        if not left or not builder.ever_rebalanced:
            return
        waiting = bool(self._excess())
        if not waiting and builder.dispersion:
            places = {
                dev["id"]: (dev["region"], dev["zone"], dev["ip"]) for dev in builder._iter_devs()
            }
            highest = {tier: goal["max"] for tier, goal in self.goal.items()}
            waiting = any(
                crowded(
                    builder._replica2part2dev or [],
                    {number: place[:depth] for number, place in places.items()},
                    highest,
                )
                for depth in (1, 2, 3)
            )
        self.retry_after = left if waiting else 0

    def moved_again(self) -> int:
        """Partitions that move although they moved less than min_part_hours ago."""
        limit = self.builder.min_part_hours - self.hours
        return sum(self.ages[part] < limit for part in self.moves.partitions)

    def gaps(self, rows: Rows) -> Gaps:
        return gaps_in(rows, self.regions, frozenset(self.weights))

    def gaps_ahead(self) -> Gaps:
        targets = {region: self.goal[(region,)]["target"] for region in self.weights}
        return gaps_ahead(targets, self.builder.replicas, self.builder.parts)


def _refuse_unsafe(request: Request, work: _Work, required: float) -> None:
    builder = work.builder
    if builder.ever_rebalanced and work.written:
        known = [dev["id"] for dev in builder._iter_devs()]
        faults = table_faults(
            builder._replica2part2dev or [], known, builder.parts, builder.replicas
        )
        if faults:
            raise RingError(
                f"{request.paths.ring}: Swift's rebalance gave {'; '.join(faults)}; nothing was "
                "written. Restore the builder from its backups, or use another seed"
            )
    if not request.allow_multiple_replica_moves:
        refuse_multiple_moves(request.paths.ring, work.moves, builder.parts)
    if not request.allow_missing_region:
        before = work.gaps(work.before.rows)
        refuse_region_gaps(
            request.paths.ring,
            before,
            work.gaps(builder._replica2part2dev or []) if work.written else before,
            work.gaps_ahead(),
            weights=work.weights,
            parts=builder.parts,
            required_overload=required,
            overload=builder.overload,
        )


# --- the report


def _lines(lines: Sequence[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def _report(
    request: Request, plan: Plan, work: _Work, after: State, required: float
) -> Dict[str, Any]:
    builder, before, edits, paths = work.builder, work.before, work.edits, request.paths
    moves = work.moves
    names = {n: device.name for n, device in {**before.devices, **after.devices}.items()}
    ids = {device.identity: number for number, device in after.devices.items()}
    carrying = {device.identity for device in work.wish.devices if device.weight}
    gone = sorted(set(before.devices) - set(after.devices))
    rows = builder._replica2part2dev or []
    written = [
        path
        for path, wanted in (
            (paths.builder, plan.write_builder),
            (paths.record, plan.changes and (before is NOTHING or not exists(paths.record))),
            (paths.ring_file, plan.write_ring),
        )
        if wanted
    ]
    return {
        "ring": paths.ring,
        "builder": paths.builder,
        "ring_file": paths.ring_file,
        "id": builder._id or "",
        "version": after.version,
        "written": written,
        "removed": [],
        "rebalanced": work.written,
        "devices": {
            "added": [_entry(ids[d.identity], d.name, weight=d.weight) for d in edits.add],
            "changed": [
                _entry(
                    edit.held.id,
                    edit.device.name,
                    changes={
                        name: {"before": change.before, "after": change.after}
                        for name, change in edit.changes.items()
                    },
                )
                for edit in edits.change
            ],
            "draining": [
                _entry(
                    number,
                    device.name,
                    partitions_before=before.parts.get(number, 0),
                    partitions_after=after.parts[number],
                )
                for number, device in after.devices.items()
                if not device.weight and (before.parts.get(number) or after.parts[number])
            ],
            "removed": [
                _entry(number, names[number], partitions_before=before.parts[number])
                for number in sorted({held.id for held in edits.remove}.union(gone))
            ],
        },
        "settings": {
            name: {"before": change.before, "after": change.after}
            for name, change in edits.settings.items()
        },
        "moves": {
            "replicas": moves.replicas,
            "percent": round(moves.percent, 2),
            "partitions": len(moves.partitions),
            "again": work.moved_again(),
            "histogram": {str(moved): number for moved, number in moves.histogram.items()},
        },
        "balance": {"before": round(before.balance, 2), "after": round(after.balance, 2)},
        "dispersion": {"before": round(before.dispersion, 2), "after": round(after.dispersion, 2)},
        "overload": builder.overload,
        "required_overload": overload_to_set(required),
        "regions": _regions(work, after, rows),
        "partitions": [
            _entry(
                number,
                device.name,
                ip=device.ip,
                device=device.device,
                drain=device.identity not in carrying,
                before=before.parts.get(number, 0),
                after=after.parts.get(number, 0),
            )
            for number, device in sorted({**before.devices, **after.devices}.items())
        ],
        "min_part_seconds_left": builder.min_part_seconds_left,
        "retry_after": work.retry_after,
        "on_their_way": [
            _entry(number, device.name, weight=device.weight, wished=wished)
            for number, device, wished in on_their_way(work.wish, after.devices)
        ],
        "diff": {
            "before": _text(before, {}) if before is not NOTHING else "",
            "after": _text(after, moves.histogram if work.written else {}),
        },
    }


def _entry(number: int, name: str, **values: object) -> Dict[str, Any]:
    return {"id": number, "name": name, **values}


def _regions(work: _Work, after: State, rows: Rows) -> List[Dict[str, Any]]:
    """The regions before and after; without a copy of what, counted over the regions in use."""
    old = work.gaps(work.before.rows)
    new = work.gaps(rows) if work.written else old
    regions: Dict[int, Dict[str, Any]] = {}
    for number, region in sorted(work.regions.items(), key=lambda item: (item[1], item[0])):
        entry = regions.setdefault(
            region,
            {
                "region": region,
                "devices": 0,
                "weight": sum(d.weight for d in after.devices.values() if d.region == region),
                "partitions": {"before": 0, "after": 0},
                "missing": {
                    "before": old.missing.get(region, 0),
                    "after": new.missing.get(region, 0),
                },
                "doubled": {
                    "before": old.doubled.get(region, 0),
                    "after": new.doubled.get(region, 0),
                },
            },
        )
        entry["devices"] += number in after.devices
        entry["partitions"]["before"] += work.before.parts.get(number, 0)
        entry["partitions"]["after"] += after.parts.get(number, 0)
    return list(regions.values())


def _text(state: State, histogram: Mapping[int, int]) -> str:
    """A builder as text, one device a line."""
    lines = [f"{name} {value}" for name, value in state.settings.items()]
    lines.append(f"balance {state.balance:.2f}")
    lines.append(f"dispersion {state.dispersion:.2f}")
    for moved, number in histogram.items():
        lines.append(f"partitions with {moved} replicas moved {number}")
    for number, device in sorted(state.devices.items()):
        line = f"{number} {device.name} weight {device.weight:g} partitions {state.parts[number]}"
        line += f" replication {device.replication_ip}:{device.replication_port}"
        lines.append(f"{line} {device.meta}".rstrip())
    return _lines(lines)


# --- looking


def describe(directory: str, ring: Optional[str]) -> List[Dict[str, Any]]:
    """Describe one ring or all of a directory; a ring that cannot be read says why."""
    if ring is not None and not RING_NAME.fullmatch(ring):
        raise RingError(
            f"ring {ring!r}: use account, container, object, or object-N for storage policy N"
        )
    rings = []
    for name in builders_in(directory):
        if ring in (None, name):
            paths = Paths(directory, name)
            try:
                rings.append(_describe(paths))
            except RingError as error:
                rings.append(_named(paths, str(error)))
    return rings


def _named(paths: Paths, error: str) -> Dict[str, Any]:
    return {
        "ring": paths.ring,
        "builder": paths.builder,
        "ring_file": paths.ring_file,
        "error": error,
    }


def _describe(paths: Paths) -> Dict[str, Any]:
    builder = load_builder(paths)
    if builder is None:
        raise RingError(f"{paths.builder}: was removed a moment ago; look again")
    state = _state(builder, keep_rows=False)
    recorded = read_record(paths.record)
    weights: Dict[int, float] = {}
    for device in state.devices.values():
        weights[device.region] = weights.get(device.region, 0.0) + device.weight
    active = frozenset(region for region, weight in weights.items() if weight)
    regions = {number: device.region for number, device in state.devices.items()}
    gaps = gaps_in(state.rows, regions, active)
    try:
        required = overload_to_set(builder.get_required_overload())
    except RingBuilderError:
        # Fewer devices than replicas: no overload mends that.
        required = 0.0
    return {
        **_named(paths, ""),
        "id": builder._id or "",
        "recorded_id": recorded or "",
        "version": builder.version,
        "part_power": builder.part_power,
        "next_part_power": builder.next_part_power,
        "replicas": float(builder.replicas),
        "min_part_hours": builder.min_part_hours,
        "min_part_seconds_left": builder.min_part_seconds_left,
        "overload": float(builder.overload),
        "required_overload": required,
        "rebalanced": builder.ever_rebalanced,
        "devices_changed": bool(builder.devs_changed),
        "balance": round(state.balance, 2),
        "dispersion": round(state.dispersion, 2),
        "regions": [
            {
                "region": region,
                "weight": weight,
                "devices": sum(number == region for number in regions.values()),
                "partitions": sum(
                    parts for number, parts in state.parts.items() if regions[number] == region
                ),
                "missing": gaps.missing.get(region, 0),
                "doubled": gaps.doubled.get(region, 0),
            }
            for region, weight in sorted(weights.items())
        ],
        "devices": [
            {
                "id": number,
                "name": device.name,
                "region": device.region,
                "zone": device.zone,
                "ip": device.ip,
                "port": device.port,
                "device": device.device,
                "weight": device.weight,
                "meta": device.meta,
                "replication_ip": device.replication_ip,
                "replication_port": device.replication_port,
                "partitions": state.parts[number],
            }
            for number, device in sorted(state.devices.items())
        ],
        **checksums(paths.ring_file),
        "ring_file_matches": builder.ever_rebalanced
        and ring_file_matches(paths.ring_file, builder),
    }
