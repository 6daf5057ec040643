# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files of Swift's rings in one directory: read, compare, replace, back up.

They are `<ring>.builder`, `<ring>.ring.gz`, `<ring>.builder.id` (the id of the builder this ring
was built with, so that a builder re-created or copied over another one is noticed) and
`backups/<seconds since 1970>.<file>`, named as swift-ring-builder does. Files are replaced by
rename, the builder first: a ring file that differs from what the builder gives is always the
older of the two, and is written again by the next run.
"""

from __future__ import annotations

import contextlib
import filecmp
import hashlib
import os
import re
import shutil
import struct
import tempfile
import time
import traceback
import zlib
from dataclasses import dataclass
from typing import Any, Dict, Iterator, List, Optional, Protocol, Sequence, Tuple

from ansible_collections.infn.cloud.plugins.module_utils._swift_ring_plan import (
    RING_NAME,
    RingError,
    Rows,
    table_faults,
)

SWIFT_IMPORT_ERROR: Optional[str] = None
try:
    from swift.common import exceptions
    from swift.common.ring import RingBuilder, RingData
    from swift.common.utils import lock_parent_directory
except ImportError:
    SWIFT_IMPORT_ERROR = traceback.format_exc()

# Seconds to wait for another program that holds the directory, as swift-ring-builder-safe does.
LOCK_TIMEOUT = 15
# What reading a damaged ring file can end in.
DAMAGED = (
    OSError,
    EOFError,
    ValueError,
    KeyError,
    IndexError,
    TypeError,
    AttributeError,
    struct.error,
    zlib.error,
)


class Builder(Protocol):
    """What is used here of swift.common.ring.RingBuilder."""

    part_power: int
    next_part_power: Optional[int]
    parts: int
    replicas: float
    min_part_hours: int
    min_part_seconds_left: int
    overload: float
    version: int
    devs: List[Optional[Dict[str, Any]]]
    devs_changed: bool
    ever_rebalanced: bool
    dispersion: Optional[float]
    _id: Optional[str]
    _dispersion_graph: Dict[Tuple[Any, ...], List[int]]
    _last_part_moves: Sequence[int]
    _last_part_moves_epoch: int
    _remove_devs: List[Dict[str, Any]]
    _replica2part2dev: Optional[Rows]

    def _iter_devs(self) -> Iterator[Dict[str, Any]]: ...

    def _build_replica_plan(self) -> Dict[Tuple[Any, ...], Dict[str, float]]: ...

    def _set_parts_wanted(self, replica_plan: Dict[Tuple[Any, ...], Dict[str, float]]) -> None: ...

    def add_dev(self, dev: Dict[str, Any]) -> int: ...

    def remove_dev(self, dev_id: int) -> None: ...

    def set_dev_weight(self, dev_id: int, weight: float) -> None: ...

    def set_dev_zone(self, dev_id: int, zone: int) -> None: ...

    def set_replicas(self, new_replica_count: float) -> None: ...

    def set_overload(self, overload: float) -> None: ...

    def change_min_part_hours(self, min_part_hours: int) -> None: ...

    def rebalance(self, seed: Optional[int] = None) -> Tuple[int, float, int]: ...

    def get_balance(self) -> float: ...

    def get_required_overload(self) -> float: ...

    def get_ring(self) -> Any: ...

    def to_dict(self) -> Dict[str, Any]: ...

    def copy_from(self, builder: Dict[str, Any]) -> None: ...

    def save(self, builder_file: str) -> None: ...


@dataclass(frozen=True)
class Paths:
    """The files of one ring."""

    directory: str
    ring: str

    @property
    def builder(self) -> str:
        return os.path.join(self.directory, f"{self.ring}.builder")

    @property
    def ring_file(self) -> str:
        return os.path.join(self.directory, f"{self.ring}.ring.gz")

    @property
    def record(self) -> str:
        return os.path.join(self.directory, f"{self.ring}.builder.id")

    @property
    def backups(self) -> str:
        return os.path.join(self.directory, "backups")


@contextlib.contextmanager
def locked(paths: Paths) -> Iterator[None]:
    try:
        with lock_parent_directory(paths.builder, LOCK_TIMEOUT):
            yield
    except exceptions.LockTimeout as error:
        raise RingError(
            f"{paths.directory}: locked by another program for {LOCK_TIMEOUT} s; wait for the "
            "other ring change to finish and run again"
        ) from error


def stamp_of(paths: Paths) -> Tuple[Any, ...]:
    """What tells two states of the files apart."""
    stamp: List[Any] = []
    for path in (paths.builder, paths.ring_file, paths.record):
        try:
            status = os.stat(path)
        except FileNotFoundError:
            stamp.append(None)
        else:
            stamp.append((status.st_ino, status.st_size, status.st_mtime_ns))
    return tuple(stamp)


def load_builder(paths: Paths) -> Optional[Builder]:
    """Load a ring's builder; None when there is none."""
    try:
        builder: Builder = RingBuilder.load(paths.builder)
        ids = [dev["id"] for dev in builder._iter_devs()]
        faults = table_faults(builder._replica2part2dev or [], ids, builder.parts)
    except exceptions.FileNotFoundError:
        return None
    except (exceptions.PermissionError, OSError) as error:
        raise RingError(f"{paths.builder}: cannot be read, {error}; run as root") from error
    except (exceptions.UnPicklingError, AttributeError, KeyError, IndexError, TypeError) as error:
        raise RingError(
            f"{paths.builder}: damaged, or a composite builder ({error}); restore it from "
            f"{paths.backups}, or from a copy on another host"
        ) from error
    if faults:
        raise RingError(
            f"{paths.builder}: damaged ({'; '.join(faults)}); restore it from {paths.backups}, or "
            "from a copy on another host"
        )
    return builder


def read_record(path: str) -> Optional[str]:
    try:
        with open(path, encoding="ascii") as stream:
            return stream.read().strip()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise RingError(f"{path}: cannot be read, {error}; remove it if it is damaged") from error


def ring_file_matches(path: str, builder: Builder) -> bool:
    """Whether a ring file says what the builder says; one that cannot be read does not."""
    ring = builder.get_ring()
    try:
        with open(path, "rb") as stream:
            head = zlib.decompressobj(32 + zlib.MAX_WBITS).decompress(stream.read(4096), 6)
        # Older files are pickles, which nobody should load to compare them, and newer formats
        # are refused by Swift with a bare Exception.
        if head[:4] != b"R1NG" or not hasattr(
            RingData, f"deserialize_v{int.from_bytes(head[4:], 'big')}"
        ):
            return False
        there = RingData.load(path)
    except FileNotFoundError:
        return False
    except DAMAGED:
        return False
    return bool(
        there.devs == ring.devs
        and there._part_shift == ring._part_shift
        and there.next_part_power == ring.next_part_power
        and there.version == ring.version
        and there._replica2part2dev_id == ring._replica2part2dev_id
    )


def load_ring(path: str) -> Any:
    """Load a ring file."""
    try:
        return RingData.load(path)
    except DAMAGED as error:
        raise RingError(
            f"{path}: is missing, damaged or no ring ({error}); take the one of another host"
        ) from error


# --- writing


def write(
    paths: Paths, builder: Builder, *, write_builder: bool, write_ring: bool, backups: int
) -> None:
    """Replace the files of a ring; call it under the lock."""
    _clean(paths)
    _back_up_unknown(paths, backups)
    if write_builder:
        temporary = _temporary(paths.builder)
        builder.save(temporary)
        if os.path.exists(paths.record) and read_record(paths.record) != builder._id:
            # Never leave the record of another builder beside this one.
            os.unlink(paths.record)
        _replace(temporary, paths.builder)
    if read_record(paths.record) != builder._id:
        temporary = _temporary(paths.record)
        with open(temporary, "w", encoding="ascii") as stream:
            stream.write(f"{builder._id}\n")
        _replace(temporary, paths.record)
    if write_ring:
        # Swift writes ring files by rename itself.
        builder.get_ring().save(paths.ring_file)
    _sync_directory(paths.directory)
    _back_up(paths, backups)


def remove(paths: Paths, files: Sequence[str], *, backups: int) -> None:
    """Remove files of a ring, the builder last, after a backup; call it under the lock."""
    _clean(paths)
    _back_up(paths, backups)
    for path in sorted(files, key=lambda path: path == paths.builder):
        os.unlink(path)
    _sync_directory(paths.directory)


def _temporary(path: str) -> str:
    directory, name = os.path.split(path)
    descriptor, temporary = tempfile.mkstemp(prefix=f".{name}.", dir=directory)
    os.close(descriptor)
    return temporary


def _replace(temporary: str, path: str) -> None:
    os.chmod(temporary, 0o644)
    with open(temporary, "rb") as stream:
        os.fsync(stream.fileno())
    os.replace(temporary, path)


def _sync_directory(directory: str) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _clean(paths: Paths) -> None:
    """Remove what an interrupted run left half-written."""
    ring = re.escape(paths.ring)
    half = re.compile(rf"(\.{ring}\.builder(\.id)?\.|{ring}\.ring\.gz)[a-z0-9_]{{8}}")
    for name in os.listdir(paths.directory):
        if half.fullmatch(name):
            os.unlink(os.path.join(paths.directory, name))


def _dated(paths: Paths) -> Dict[int, List[str]]:
    """The backups of a ring by their date."""
    name = re.compile(rf"([0-9]+)\.{re.escape(paths.ring)}\.(builder|ring\.gz)")
    dated: Dict[int, List[str]] = {}
    if os.path.isdir(paths.backups):
        for entry in os.listdir(paths.backups):
            match = name.fullmatch(entry)
            if match:
                dated.setdefault(int(match.group(1)), []).append(os.path.join(paths.backups, entry))
    return dated


def kept_builders(paths: Paths) -> List[str]:
    """The backups of a ring's builder, the latest first."""
    return [
        backup
        for _date, backups in sorted(_dated(paths).items(), reverse=True)
        for backup in backups
        if backup.endswith(".builder")
    ]


def _back_up_unknown(paths: Paths, keep: int) -> None:
    """Keep the builder that is about to be replaced, where no backup has it."""
    newest = max(_dated(paths).items(), default=(0, []))[1]
    builder = paths.builder
    if (
        keep
        and os.path.exists(builder)
        and not any(
            filecmp.cmp(builder, backup, shallow=False)
            for backup in newest
            if backup.endswith(".builder")
        )
    ):
        _back_up(paths, keep)


def _back_up(paths: Paths, keep: int) -> None:
    """Copy the files as they are now into a dated backup, and drop the oldest ones."""
    dated = _dated(paths)
    if keep:
        os.makedirs(paths.backups, mode=0o755, exist_ok=True)
        # One date for each state, also for two states within a second.
        date = max([int(time.time())] + [one + 1 for one in dated])
        for path in (paths.builder, paths.ring_file):
            if os.path.exists(path):
                backup = os.path.join(paths.backups, f"{date}.{os.path.basename(path)}")
                temporary = _temporary(backup)
                shutil.copyfile(path, temporary)
                _replace(temporary, backup)
                dated.setdefault(date, []).append(backup)
        _sync_directory(paths.backups)
    for date in sorted(dated, reverse=True)[keep:]:
        for backup in dated[date]:
            os.unlink(backup)


def builders_in(directory: str) -> List[str]:
    """The rings with a builder in a directory, which need not exist."""
    try:
        entries = os.listdir(directory)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise RingError(f"{directory}: cannot be read, {error}") from error
    names = (entry[: -len(".builder")] for entry in entries if entry.endswith(".builder"))
    return sorted(name for name in names if RING_NAME.fullmatch(name))


def checksums(path: str) -> Dict[str, str]:
    """The checksums by which servers compare rings; empty for a ring file that is not there."""
    try:
        with open(path, "rb") as stream:
            content = stream.read()
    except FileNotFoundError:
        return {"ring_file_md5": "", "ring_file_sha256": ""}
    except OSError as error:
        raise RingError(f"{path}: cannot be read, {error}; run as root") from error
    return {
        # swift-recon compares rings by md5; it protects nothing.
        "ring_file_md5": hashlib.md5(content, usedforsecurity=False).hexdigest(),
        "ring_file_sha256": hashlib.sha256(content).hexdigest(),
    }
