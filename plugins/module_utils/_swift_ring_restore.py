# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A builder for a ring that is in use: one that was kept, or one made from the ring itself.

A ring file says where everything is; a builder says beside that when partitions moved, and its
overload. A kept builder is taken only if it gives that very ring: an older one would move data
back and forth.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import io
import os
import tarfile
import tempfile
import time
from array import array
from dataclasses import dataclass
from typing import Any, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple

from ansible_collections.infn.cloud.plugins.module_utils._swift_ring_files import (
    DAMAGED,
    Builder,
    Paths,
    kept_builders,
    load_builder,
    load_ring,
    locked,
    read_record,
    ring_file_matches,
    stamp_of,
    write,
)
from ansible_collections.infn.cloud.plugins.module_utils._swift_ring_plan import (
    RING_NAME,
    Moves,
    RingError,
    moves_between,
    refuse_multiple_moves,
)

# Where it is missing the module says so: SWIFT_IMPORT_ERROR in _swift_ring_files.
with contextlib.suppress(ImportError):
    from swift.common.ring import RingBuilder


@dataclass
class Restoration:
    """The builder that is to be, and where it comes from; no builder: nothing is to be done."""

    stamp: Tuple[Any, ...]
    builder: Optional[Builder]
    source: str
    moves: Moves


def restore(params: Mapping[str, Any], *, commit: bool) -> Dict[str, Any]:
    """Give a ring file its builder, or say what that would do; return the module's result."""
    if not RING_NAME.fullmatch(params["ring"]):
        raise RingError(
            f"ring {params['ring']!r}: use account, container, object, or object-N for storage "
            "policy N"
        )
    paths = Paths(params["builder_dir"], params["ring"])
    found = _look(paths, params)
    if commit and found.builder is not None:
        try:
            os.makedirs(paths.directory, mode=0o755, exist_ok=True)
            with locked(paths):
                if stamp_of(paths) != found.stamp:
                    found = _look(paths, params)
                if found.builder is not None:
                    write(
                        paths,
                        found.builder,
                        write_builder=True,
                        write_ring=not ring_file_matches(paths.ring_file, found.builder),
                        backups=params["backups"],
                    )
        except OSError as error:
            raise RingError(
                f"{paths.directory}: cannot be written, {error}; run as root, and check that the "
                "file system is neither full nor read-only"
            ) from error
    moves = found.moves
    return {
        "changed": found.builder is not None,
        "ring": paths.ring,
        "builder": paths.builder,
        "source": found.source,
        "moves": {
            "replicas": moves.replicas,
            "percent": round(moves.percent, 2),
            "partitions": len(moves.partitions),
            "histogram": {str(moved): number for moved, number in moves.histogram.items()},
        },
    }


def _look(paths: Paths, params: Mapping[str, Any]) -> Restoration:
    stamp = stamp_of(paths)
    ring = load_ring(params["ring_file"])
    try:
        current = load_builder(paths)
    except RingError:
        # Damaged: what it held is in the ring that was published last.
        current = None
    parts = 2 ** (32 - ring._part_shift)
    old = current._replica2part2dev if current else _rows_of(paths.ring_file)
    rows = ring._replica2part2dev_id
    moves = moves_between(old, rows, parts) if old else Moves({0: parts}, frozenset(), 0)
    if (
        current is not None
        and ring_file_matches(params["ring_file"], current)
        and read_record(paths.record) in (None, current._id)
        and ring_file_matches(paths.ring_file, current)
    ):
        return Restoration(stamp, None, paths.builder, moves)
    if not params["allow_multiple_replica_moves"]:
        refuse_multiple_moves(paths.ring, moves, parts)
    source, builder = _find(paths, params, current)
    if builder is None:
        source, builder = params["ring_file"], _rebuilt(ring, params)
    if moves.replicas or source == params["ring_file"]:
        # When partitions moved is not known, or now: they stay for min_part_hours.
        builder._last_part_moves = array("B", bytes(parts))
        builder._last_part_moves_epoch = int(time.time())
    return Restoration(stamp, builder, source, moves)


def _rows_of(path: str) -> Optional[Sequence[Sequence[int]]]:
    try:
        rows: Sequence[Sequence[int]] = load_ring(path)._replica2part2dev_id
    except RingError:
        return None
    return rows


def _find(
    paths: Paths, params: Mapping[str, Any], current: Optional[Builder]
) -> Tuple[str, Optional[Builder]]:
    """The first kept builder that gives the ring: here, in the backups, in the archives."""
    if current is not None and ring_file_matches(params["ring_file"], current):
        return paths.builder, current
    with tempfile.TemporaryDirectory() as place:
        scratch = Paths(place, paths.ring)
        for source, content in _candidates(paths, params["archives"]):
            with open(scratch.builder, "wb") as stream:
                stream.write(content)
            try:
                builder = load_builder(scratch)
            except RingError:
                continue
            if builder is not None and ring_file_matches(params["ring_file"], builder):
                return source, builder
    return "", None


def _candidates(paths: Paths, archives: Sequence[str]) -> Iterator[Tuple[str, bytes]]:
    for path in kept_builders(paths):
        with open(path, "rb") as stream:
            yield path, stream.read()
    for number, archive in enumerate(archives):
        yield from _unpacked(archive, f"{paths.ring}.builder", f"archive {number}")


def _unpacked(archive: str, name: str, source: str) -> List[Tuple[str, bytes]]:
    """The builder in an archive; one that cannot be read holds none."""
    try:
        raw = base64.b64decode("".join(archive.split()), validate=True)
        with tarfile.open(fileobj=io.BytesIO(raw), mode="r:") as tar:
            member = tar.extractfile(name)
            return [(source, member.read())] if member else []
    except (binascii.Error, ValueError, KeyError, EOFError, tarfile.TarError):
        return []


def _rebuilt(ring: Any, params: Mapping[str, Any]) -> Builder:
    """A builder from a ring, as `swift-ring-builder <ring.gz> write_builder` makes it.

    Lost are the times at which partitions moved, min_part_hours and the overload. The last two are
    given, so that the next plan finds nothing to set and nothing to rebalance for it.
    """
    devices = [dict(dev, parts=0, parts_wanted=0) if dev else None for dev in ring.devs]
    for row in ring._replica2part2dev_id:
        for number in row:
            device = devices[number]
            if device is not None:
                device["parts"] += 1
    try:
        builder: Builder = RingBuilder.from_dict(
            {
                "part_power": 32 - ring._part_shift,
                "replicas": sum(map(len, ring._replica2part2dev_id)) / 2 ** (32 - ring._part_shift),
                "min_part_hours": params["min_part_hours"],
                "overload": params["overload"],
                "parts": 2 ** (32 - ring._part_shift),
                "devs": devices,
                "devs_changed": False,
                "version": ring.version or 0,
                "_replica2part2dev": [array("H", row) for row in ring._replica2part2dev_id],
                "_last_part_moves_epoch": None,
                "_last_part_moves": None,
                "_last_part_gather_start": 0,
                "_remove_devs": [],
            }
        )
    except DAMAGED as error:
        raise RingError(f"a builder cannot be made from the ring: {error}") from error
    return builder
