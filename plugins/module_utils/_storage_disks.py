# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Swift's data disks: an XFS each, in fstab by UUID, mounted where Swift looks for it.

The upper part decides and is pure: a request and a snapshot of the host give a plan, or refusals.
The lower part (`DiskHost`) takes the snapshot and carries the plan out.
"""

from __future__ import annotations

import contextlib
import errno
import grp
import os
import pwd
import re
import stat
import tempfile
from dataclasses import dataclass, field
from typing import (
    Any,
    Callable,
    Dict,
    FrozenSet,
    List,
    Mapping,
    Optional,
    Protocol,
    Sequence,
    Set,
    Tuple,
)

MARKER = "# infn.cloud storage_disks: "
# mkfs.xfs refuses what is smaller since xfsprogs 6.0.
MIN_SIZE = 300 * 1024 * 1024
MAX_LABEL = 12
LABEL = re.compile(rf"[!-~]{{1,{MAX_LABEL}}}")
NAME = re.compile(r"[A-Za-z0-9_-]+")
NEW_UUID = "of-the-new-file-system"


class DiskError(Exception):
    """The request cannot be carried out; the text names the disks and the remedies."""


# --- what is asked for -------------------------------------------------------------------------


@dataclass(frozen=True)
class Disk:
    """One disk as the user names it."""

    name: str
    device: str
    label: str
    wipe: bool = False


@dataclass(frozen=True)
class Request:
    """All of a host's disks and how they are to be."""

    disks: Tuple[Disk, ...]
    mount_root: str = "/srv/node"
    owner: str = "swift"
    group: str = "swift"
    mount_options: str = "noatime,nofail"
    mkfs_options: Tuple[str, ...] = ()
    state: str = "present"
    fstab: str = "/etc/fstab"
    allow_data_loss: bool = False
    missing: str = "fail"

    @classmethod
    def from_params(cls, params: Mapping[str, Any]) -> Request:
        """Read the module's parameters; refuse what is wrong without looking at the host."""
        disks = tuple(
            Disk(
                name=item["name"],
                device=item["device"],
                label=item.get("label") or f"swift-{item['name']}",
                wipe=bool(item.get("wipe")),
            )
            for item in params["disks"]
        )
        options = [part for part in params["mount_options"].split(",") if part]
        # Without nofail one dead disk keeps the whole host from booting.
        if "nofail" not in options:
            options.append("nofail")
        root: str = os.path.realpath(params["mount_root"])
        request = cls(
            disks=disks,
            mount_root=root,
            owner=params["owner"],
            group=params["group"],
            mount_options=",".join(options),
            mkfs_options=tuple(params["mkfs_options"]),
            state=params["state"],
            fstab=os.path.realpath(params["fstab"]),
            allow_data_loss=params["allow_data_loss"],
            missing=params["missing"],
        )
        refuse(request.faults())
        return request

    def faults(self) -> List[str]:
        """Say what is wrong with the request itself."""
        faults = []
        if not self.disks and self.state == "present":
            faults.append("no disks are named: list the host's data disks, or use state: absent")
        if self.mount_root == "/":
            faults.append("mount_root is /: name a directory of its own, such as /srv/node")
        if re.search(r"\s", self.mount_options):
            faults.append(f"mount_options {self.mount_options!r} holds white space: use commas")
        for option in self.mkfs_options:
            if re.match(r"-[fLN]", option):
                faults.append(
                    f"mkfs_options holds {option}: the label has an option of its own, and what "
                    "is formatted by force or not at all is decided by wipe and check mode"
                )
        for disk in self.disks:
            if not NAME.fullmatch(disk.name):
                faults.append(f"{disk.name!r} is no disk name: use letters, digits, _ and - only")
            if not LABEL.fullmatch(disk.label):
                faults.append(
                    f"{disk.name}: {disk.label!r} is no XFS label: set label to 1 to {MAX_LABEL} "
                    "printable characters without spaces"
                )
        for what in ("name", "label"):
            seen: Dict[str, Disk] = {}
            for disk in self.disks:
                value = getattr(disk, what)
                if value in seen:
                    faults.append(
                        f"{disk.device}: the {what} {value} is also that of "
                        f"{seen[value].device}: give each disk a {what} of its own"
                    )
                seen.setdefault(value, disk)
        return faults

    def mountpoint(self, disk: Disk) -> str:
        """Say where a disk is mounted."""
        return f"{self.mount_root}/{disk.name}"


def refuse(reasons: Sequence[str]) -> None:
    """Raise all reasons at once: an admin mends them in one go."""
    if reasons:
        raise DiskError("; ".join(reasons))


# --- what is there -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Mount:
    """One line of mountinfo. `number` is major:minor."""

    number: str
    root: str
    mountpoint: str
    fstype: str
    source: str


@dataclass(frozen=True)
class Device:
    """A block device: what it is, what is on it, who uses it."""

    problem: str = ""  # why it cannot be used at all: it does not exist, cannot be read, ...
    gone: bool = False  # the problem is one of the hardware: missing or unreadable
    number: str = ""
    related: FrozenSet[str] = frozenset()  # its number and those of its partitions
    size: int = 0
    read_only: bool = False
    signature: Mapping[str, str] = field(default_factory=dict)
    holders: Tuple[str, ...] = ()
    swap: bool = False
    busy: bool = False  # the kernel does not give it away exclusively


@dataclass(frozen=True)
class Directory:
    """A mountpoint as it looks now; `entries` only when nothing is mounted on it."""

    exists: bool = False
    usable: bool = True  # a directory, or nothing yet
    uid: int = 0
    gid: int = 0
    mode: int = 0o755
    entries: Tuple[str, ...] = ()
    io_error: str = ""


@dataclass(frozen=True)
class Snapshot:
    """All of the host that decisions are made from; keyed by disk name."""

    devices: Mapping[str, Device]
    directories: Mapping[str, Directory]
    mounts: Tuple[Mount, ...] = ()
    fstab: str = ""
    fstab_numbers: Mapping[str, str] = field(default_factory=dict)  # /dev/... in fstab: major:minor
    uid: Optional[int] = 0
    gid: Optional[int] = 0
    has_mkfs: bool = True


def unescape(text: str) -> str:
    r"""Undo the octal escapes (\040 for a space) of mountinfo and fstab."""
    raw = re.sub(
        rb"\\([0-7]{3})",
        lambda match: bytes([int(match.group(1), 8) & 0xFF]),
        text.encode("utf-8", "surrogateescape"),
    )
    return raw.decode("utf-8", "surrogateescape")


def escape(text: str) -> str:
    """Write a path as fstab wants it."""
    return re.sub(r"[\s\\#]", lambda match: f"\\{ord(match.group()):03o}", text)


def parse_mountinfo(text: str) -> Tuple[Mount, ...]:
    """Read /proc/self/mountinfo; optional fields end at a lone dash."""
    mounts = []
    for line in text.split("\n"):
        fields = line.split(" ")
        if len(fields) < 10 or "-" not in fields[6:]:
            continue
        tail = fields[fields.index("-", 6) + 1 :]
        mounts.append(
            Mount(
                number=fields[2],
                root=unescape(fields[3]),
                mountpoint=unescape(fields[4]),
                fstype=tail[0],
                source=unescape(tail[1]) if len(tail) > 1 else "",
            )
        )
    return tuple(mounts)


def parse_blkid(text: str) -> Dict[str, str]:
    """Read `blkid -p -o export`: what is on the device, not where the device is cut from."""
    found = {}
    for line in text.split("\n"):
        key, equals, value = line.partition("=")
        if equals and key != "DEVNAME" and not key.startswith("PART_ENTRY_"):
            # The export format is one for shells: it escapes what they would take apart.
            found[key] = re.sub(r"\\(.)", r"\1", value)
    return found


def describe(signature: Mapping[str, str]) -> str:
    """Say what is on a device in an administrator's words."""
    if not signature:
        return "nothing"
    if "AMBIVALENT" in signature:
        return "signatures of more than one kind"
    kind = signature.get("TYPE")
    if kind is None:
        return f"a partition table ({signature.get('PTTYPE', 'unknown')})"
    usage = signature.get("USAGE", "")
    label = signature.get("LABEL")
    if usage == "filesystem":
        return f"a file system ({kind}, " + (f"label {label})" if label else "no label)")
    if usage == "raid":
        return f"a member of a RAID or volume group ({kind})"
    if usage == "crypto":
        return f"an encrypted volume ({kind})"
    return f"{kind} ({usage or 'unknown use'})"


def is_ours(disk: Disk, signature: Mapping[str, str]) -> bool:
    """Tell whether the device carries this disk's own file system."""
    return signature.get("TYPE") == "xfs" and signature.get("LABEL") == disk.label


# --- fstab -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Entry:
    """One line of fstab that mounts something; `ours` when our marker stands right above it."""

    index: int
    spec: str
    mountpoint: str
    ours: bool


def fstab_entries(text: str) -> List[Entry]:
    """List what fstab mounts."""
    entries = []
    lines = text.split("\n")
    for index, line in enumerate(lines):
        fields = line.split()
        if len(fields) < 2 or fields[0].startswith("#"):
            continue
        entries.append(
            Entry(
                index=index,
                spec=unescape(fields[0]).replace('"', ""),
                mountpoint=os.path.normpath(unescape(fields[1])),
                ours=index > 0 and lines[index - 1].startswith(MARKER),
            )
        )
    return entries


def own_entry(text: str, mountpoint: str) -> Optional[Entry]:
    """Find our line for a mountpoint."""
    for entry in fstab_entries(text):
        if entry.ours and entry.mountpoint == mountpoint:
            return entry
    return None


def _own_lines(text: str, name: str, mountpoint: str) -> Set[int]:
    """Number our lines for a mountpoint, and the markers of ours that lost their line."""
    own = {index for index, line in enumerate(text.split("\n")) if line.rstrip() == MARKER + name}
    for entry in fstab_entries(text):
        if entry.ours and entry.mountpoint == mountpoint:
            own |= {entry.index - 1, entry.index}
    return own


def fstab_drop(text: str, name: str, mountpoint: str) -> str:
    """Take our lines for a mountpoint out."""
    own = _own_lines(text, name, mountpoint)
    return "\n".join(line for index, line in enumerate(text.split("\n")) if index not in own)


def fstab_set(text: str, name: str, mountpoint: str, uuid: str, options: str) -> str:
    """Make fstab mount the UUID; every line that is not ours stays byte for byte."""
    new = [MARKER + name, f"UUID={uuid} {escape(mountpoint)} xfs {options} 0 0"]
    own = _own_lines(text, name, mountpoint)
    if own_entry(text, mountpoint) is None:
        rest = fstab_drop(text, name, mountpoint)
        if rest and not rest.endswith("\n"):
            rest += "\n"
        return rest + "\n".join(new) + "\n"
    lines = text.split("\n")
    first = min(own)
    kept = [line for index, line in enumerate(lines) if index > first and index not in own]
    return "\n".join(lines[:first] + new + kept)


# --- decisions ---------------------------------------------------------------------------------


@dataclass
class DiskPlan:
    """What one disk needs."""

    disk: Disk
    mountpoint: str
    uuid: Optional[str] = None
    wipe: bool = False
    format: bool = False
    mount: bool = False
    remount: bool = False
    unmount: bool = False
    guard: bool = False  # the unmounted mountpoint is to become root:root 0755
    own: bool = False  # the mounted root directory is to become owner:group 0755
    remove: bool = False  # the mountpoint goes
    mounted: bool = False
    before: str = ""
    after: str = ""
    actions: List[str] = field(default_factory=list)


@dataclass
class Plan:
    """What the host needs."""

    disks: List[DiskPlan] = field(default_factory=list)
    missing: List[Dict[str, str]] = field(default_factory=list)
    guards: List[str] = field(default_factory=list)  # bare mountpoints of missing disks
    fstab_before: str = ""
    fstab_after: str = ""
    needs: List[str] = field(default_factory=list)  # what an earlier task would have brought
    warnings: List[str] = field(default_factory=list)

    @property
    def actions(self) -> List[str]:
        """List what is done, in order."""
        done = [action for item in self.disks for action in item.actions]
        done += [f"{path}: make the bare mountpoint root:root 0755" for path in self.guards]
        if self.fstab_after != self.fstab_before:
            done.append("write fstab")
        return done


def top_mount(mounts: Sequence[Mount], mountpoint: str) -> Optional[Mount]:
    """Find what a path shows: the last of the mounts stacked on it."""
    for mount in reversed(mounts):
        if mount.mountpoint == mountpoint:
            return mount
    return None


def users_of(device: Device, mounts: Sequence[Mount], mountpoint: str) -> List[str]:
    """List who else uses a device or a partition of it.

    A disk mounted where it belongs may be shown a second time elsewhere (a bind mount): that is
    its administrator's wish and harms nothing.
    """
    users = []
    top = top_mount(mounts, mountpoint)
    at_home = top is not None and top.number == device.number
    if not at_home:
        elsewhere = sorted({m.mountpoint for m in mounts if m.number in device.related})
        users += [f"is mounted on {path}: unmount it there first" for path in elsewhere]
    if device.swap:
        users.append("is used as swap: free it with swapoff")
    if device.holders:
        users.append(f"is held by {', '.join(device.holders)}: dissolve that volume or array first")
    if device.busy and not at_home and not users:
        users.append(
            "is in use (mounted in another namespace, or opened by a program): "
            "find the user with `lsof` or `grep` in /proc/*/mountinfo"
        )
    return users


def refuse_shared_devices(request: Request, snapshot: Snapshot) -> List[str]:
    """Refuse two names for one device, a disk beside its own partition, and cloned disks."""
    reasons = []
    disks = [disk for disk in request.disks if not snapshot.devices[disk.name].problem]
    for position, disk in enumerate(disks):
        mine = snapshot.devices[disk.name]
        for other in disks[:position]:
            theirs = snapshot.devices[other.name]
            both = f"{other.name} ({other.device}) and {disk.name} ({disk.device})"
            uuid = mine.signature.get("UUID")
            if mine.number == theirs.number:
                reasons.append(f"{both} are one device ({mine.number}): list it once")
            elif mine.related & theirs.related:
                reasons.append(f"{both} overlap: one is a partition of the other")
            elif uuid and uuid == theirs.signature.get("UUID"):
                reasons.append(
                    f"{both} carry the same UUID {uuid}, one is a copy of the other: "
                    "wipe the copy, or give it a UUID with `xfs_admin -U generate`"
                )
    return reasons


def refuse_foreign_fstab(disk: Disk, mountpoint: str, snapshot: Snapshot) -> List[str]:
    """Refuse a disk or mountpoint that a line which is not ours already mounts."""
    device = snapshot.devices[disk.name]
    uuid, label = device.signature.get("UUID"), device.signature.get("LABEL")
    reasons = []
    for entry in fstab_entries(snapshot.fstab):
        if entry.ours and entry.mountpoint == mountpoint:
            continue
        where = f"line {entry.index + 1} of fstab"
        if entry.mountpoint == mountpoint:
            reasons.append(f"{disk.name}: {where} mounts {entry.spec} on {mountpoint}: remove it")
        elif (
            (uuid and entry.spec == f"UUID={uuid}")
            or (label and entry.spec == f"LABEL={label}")
            or (device.number and snapshot.fstab_numbers.get(entry.spec) == device.number)
        ):
            reasons.append(
                f"{disk.name}: {where} mounts {disk.device} on {entry.mountpoint}: remove it"
            )
    return reasons


def refuse_content(disk: Disk, request: Request, snapshot: Snapshot, mounted: bool) -> List[str]:
    """Refuse to format what is not empty unless its loss was asked for by name, twice."""
    device = snapshot.devices[disk.name]
    signature = device.signature
    if is_ours(disk, signature):
        return []
    where = f"{disk.name}: {disk.device}"
    for other in request.disks:
        # Not even wipe may: a permanent wipe: true and two exchanged cables would destroy a disk.
        if is_ours(other, signature):
            return [
                f"{where} carries the label {other.label}, which belongs to {other.name} "
                f"({other.device}): exchange the two devices, or unplug the wrong disk"
            ]
    if signature and (mounted or not (disk.wipe and request.allow_data_loss)):
        remedy = f"empty it yourself, or set wipe: true on {disk.name} and allow_data_loss: true"
        if mounted:
            remedy = "unmount it and relabel it with `xfs_admin -L`"
        if signature.get("TYPE") == "xfs":
            label = signature.get("LABEL")
            known = f"set label: {label} on {disk.name}" if label else ""
            relabel = "" if mounted else f"label it with `xfs_admin -L {disk.label}`"
            keep = " or ".join(part for part in (known, relabel) if part)
            remedy = f"to keep its data {keep}; else {remedy}" if keep else remedy
        return [f"{where} holds {describe(signature)}: {remedy}"]
    reasons = []
    if device.read_only:
        reasons.append(f"{where} is read-only: it cannot be formatted")
    if device.size < MIN_SIZE:
        reasons.append(
            f"{where} has {device.size} bytes, XFS needs {MIN_SIZE}: name a larger device"
        )
    return reasons


def refuse_mountpoint(disk: Disk, path: str, directory: Directory) -> List[str]:
    """Refuse a bare mountpoint that holds something: mounting would hide it."""
    if not directory.usable:
        return [f"{disk.name}: {path} is not a directory: move it away"]
    if directory.entries:
        shown = ", ".join(directory.entries[:3])
        more = len(directory.entries) - 3
        return [
            f"{disk.name}: nothing is mounted on {path}, yet it holds {shown}"
            + (f" and {more} more" if more > 0 else "")
            + ": this was written to the disk below; move it away, it would be hidden"
        ]
    return []


def plan_present(request: Request, snapshot: Snapshot) -> Plan:
    """Decide what each disk needs, or refuse for all of them before anything changes."""
    plan = Plan(fstab_before=snapshot.fstab, fstab_after=snapshot.fstab)
    reasons = refuse_shared_devices(request, snapshot)
    for disk in request.disks:
        path = request.mountpoint(disk)
        device, directory = snapshot.devices[disk.name], snapshot.directories[disk.name]
        top = top_mount(snapshot.mounts, path)
        lost = device.problem if device.gone else directory.io_error
        if lost and own_entry(snapshot.fstab, path):
            if request.missing == "fail":
                reasons.append(
                    f"{disk.name}: {disk.device} {lost}, but fstab mounts it on {path}: the disk "
                    "is dead or unplugged; replace it, take it out of the list, or go on without "
                    "it with missing: skip"
                )
                continue
            plan.missing.append({"name": disk.name, "device": disk.device, "reason": lost})
            # Swift must not fill the disk below while this one is away.
            bare = top is None and directory.exists and directory.usable
            if bare and (directory.uid, directory.gid, directory.mode) != (0, 0, 0o755):
                plan.guards.append(path)
            if directory.entries:
                plan.warnings += refuse_mountpoint(disk, path, directory)
            continue
        if device.problem or directory.io_error:
            hint = "check its name, see `ls -l /dev/disk/by-id`" if device.gone else "name a disk"
            reasons.append(f"{disk.name}: {disk.device} {device.problem or lost}: {hint}")
            continue
        mounted = top is not None and top.number == device.number
        found = [
            f"{disk.name}: {disk.device} {use}" for use in users_of(device, snapshot.mounts, path)
        ]
        if top is not None and not mounted:
            found.append(
                f"{disk.name}: {path} is occupied by {top.source} ({top.number}), not by "
                f"{disk.device} ({device.number}): unmount it, or correct the list"
            )
        found += refuse_content(disk, request, snapshot, mounted)
        found += refuse_foreign_fstab(disk, path, snapshot)
        if top is None:
            found += refuse_mountpoint(disk, path, directory)
        reasons += found
        if not found:
            plan.disks.append(_plan_disk(disk, request, snapshot, mounted, plan))
    refuse(reasons)
    return plan


def _plan_disk(
    disk: Disk, request: Request, snapshot: Snapshot, mounted: bool, plan: Plan
) -> DiskPlan:
    path = request.mountpoint(disk)
    device, directory = snapshot.devices[disk.name], snapshot.directories[disk.name]
    item = DiskPlan(disk=disk, mountpoint=path, mounted=mounted)
    owned = (directory.uid, directory.gid, directory.mode) == (snapshot.uid, snapshot.gid, 0o755)
    item.before = (
        f"{disk.name}: {disk.device}: {describe(device.signature)}, "
        + (f"mounted on {path}" if mounted else "not mounted")
        + ("" if owned or not mounted else ", owner or mode differ")
    )
    item.after = (
        f"{disk.name}: {disk.device}: a file system (xfs, label {disk.label}), mounted on {path}"
    )
    if is_ours(disk, device.signature):
        item.uuid = device.signature["UUID"]
    else:
        item.wipe = bool(device.signature)
        item.format = True
        if item.wipe:
            item.actions.append(f"{disk.name}: wipe {describe(device.signature)}")
        item.actions.append(f"{disk.name}: format {disk.device} as xfs, label {disk.label}")
        if not snapshot.has_mkfs:
            plan.needs.append("mkfs.xfs is not installed: install xfsprogs")
    before = plan.fstab_after
    plan.fstab_after = fstab_set(
        before, disk.name, path, item.uuid or NEW_UUID, request.mount_options
    )
    if not mounted:
        item.mount = True
        item.guard = not directory.exists or (directory.uid, directory.gid, directory.mode) != (
            0,
            0,
            0o755,
        )
        if item.guard:
            item.actions.append(f"{disk.name}: make the bare {path} root:root 0755")
        item.actions.append(f"{disk.name}: mount on {path}")
    elif before != plan.fstab_after:
        item.remount = True
        item.actions.append(f"{disk.name}: remount {path} with {request.mount_options}")
    # Of an unmounted disk the root directory is seen only once it is mounted.
    item.own = item.format or (mounted and not owned)
    if item.own:
        item.actions.append(f"{disk.name}: give {path} to {request.owner}:{request.group}, 0755")
    for kind, name, number in (
        ("user", request.owner, snapshot.uid),
        ("group", request.group, snapshot.gid),
    ):
        need = f"the {kind} {name} does not exist: install Swift first, or set another"
        if number is None and need not in plan.needs:
            plan.needs.append(need)
    return item


def plan_absent(request: Request, snapshot: Snapshot) -> Plan:
    """Decide what is unmounted and forgotten; the file systems stay unless wipe is asked for."""
    plan = Plan(fstab_before=snapshot.fstab, fstab_after=snapshot.fstab)
    reasons: List[str] = []
    for disk in request.disks:
        path = request.mountpoint(disk)
        device, directory = snapshot.devices[disk.name], snapshot.directories[disk.name]
        top = top_mount(snapshot.mounts, path)
        item = DiskPlan(disk=disk, mountpoint=path, mounted=top is not None)
        item.uuid = device.signature.get("UUID")
        found: List[str] = []
        if top is not None:
            unknown = bool(device.problem) and own_entry(snapshot.fstab, path) is not None
            item.unmount = top.number == device.number or unknown
            if not item.unmount:
                found.append(
                    f"{disk.name}: {path} is occupied by {top.source} ({top.number}), not by "
                    f"{disk.device}: unmount it yourself"
                )
            else:
                item.actions.append(f"{disk.name}: unmount {path}")
        plan.fstab_after = fstab_drop(plan.fstab_after, disk.name, path)
        found += [
            f"{disk.name}: line {entry.index + 1} of fstab mounts {entry.spec} on {path} and is "
            "not ours: remove it yourself"
            for entry in fstab_entries(snapshot.fstab)
            if entry.mountpoint == path and not entry.ours
        ]
        if disk.wipe and not device.problem and device.signature:
            found += [
                f"{disk.name}: {disk.device} {use}"
                for use in users_of(device, snapshot.mounts, path)
            ]
            if not request.allow_data_loss:
                found.append(
                    f"{disk.name}: wipe destroys what is on {disk.device}: confirm it with "
                    "allow_data_loss: true, or take wipe away"
                )
            if not is_ours(disk, device.signature):
                found.append(
                    f"{disk.name}: {disk.device} holds {describe(device.signature)}, not the file "
                    f"system {disk.label}: wipe it yourself"
                )
            item.wipe = True
            item.actions.append(f"{disk.name}: wipe {disk.device}")
        if top is None and directory.exists and directory.usable:
            if directory.entries:
                plan.warnings += refuse_mountpoint(disk, path, directory)
            else:
                item.remove = True
                item.actions.append(f"{disk.name}: remove {path}")
        item.before = f"{disk.name}: {disk.device}: " + (
            f"mounted on {path}" if top else "not mounted"
        )
        item.after = f"{disk.name}: {disk.device}: not mounted" + (", wiped" if item.wipe else "")
        reasons += found
        plan.disks.append(item)
    if request.disks:
        reasons += refuse_shared_devices(request, snapshot)
    refuse(reasons)
    return plan


def make_plan(request: Request, snapshot: Snapshot) -> Plan:
    """Plan for the state asked for."""
    return (plan_present if request.state == "present" else plan_absent)(request, snapshot)


# --- the host ----------------------------------------------------------------------------------


class Module(Protocol):
    """What is used of AnsibleModule."""

    def run_command(self, args: List[str]) -> Tuple[int, str, str]: ...
    def get_bin_path(self, arg: str) -> Optional[str]: ...
    def atomic_move(self, src: str, dest: str) -> None: ...


def device_number(path: str) -> str:
    """Say major:minor of a block device, or nothing."""
    try:
        status = os.stat(path)
    except OSError:
        return ""
    if not stat.S_ISBLK(status.st_mode):
        return ""
    return f"{os.major(status.st_rdev)}:{os.minor(status.st_rdev)}"


def read_text(path: str, default: Optional[str] = None) -> str:
    """Read a file as it is: bytes that are no UTF-8 survive a round trip."""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape", newline="") as handle:
            return handle.read()
    except FileNotFoundError:
        if default is None:
            raise
        return default


class DiskHost:
    """Looks at a host and changes it."""

    def __init__(self, module: Module) -> None:
        self.module = module

    def run(self, *args: str) -> Tuple[int, str, str]:
        """Run a program of the system's."""
        program = self.module.get_bin_path(args[0])
        if not program:
            raise DiskError(f"{args[0]} is not installed: install util-linux and xfsprogs")
        code, out, err = self.module.run_command([program, *args[1:]])
        return code, out, err

    def must(self, doing: str, *args: str) -> str:
        """Run a program that has to succeed."""
        code, out, err = self.run(*args)
        if code:
            raise DiskError(f"{doing}: {args[0]} ended with {code}: {(err or out).strip()}")
        return out

    # -- looking

    def mounts(self) -> Tuple[Mount, ...]:
        """List the mounts of our namespace."""
        return parse_mountinfo(read_text("/proc/self/mountinfo"))

    def probe(self, path: str) -> Dict[str, str]:
        """Say what is on a device, read from the device: blkid's cache and udev may be old."""
        code, out, err = self.run("blkid", "-p", "-o", "export", path)
        if code == 0:
            return parse_blkid(out)
        if code == 8:
            return {"AMBIVALENT": "yes"}
        if code == 2 and not err.strip():
            return {}
        raise DiskError(f"{path}: blkid ended with {code}: {err.strip()}")

    def device(self, path: str, swaps: FrozenSet[str]) -> Device:
        """Look at one device."""
        try:
            status = os.stat(path)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR):
                return Device(problem="does not exist", gone=True)
            return Device(problem=f"cannot be examined ({error.strerror})", gone=True)
        if not stat.S_ISBLK(status.st_mode):
            return Device(problem="is not a block device")
        try:
            handle = os.open(path, os.O_RDONLY)
            try:
                size = os.lseek(handle, 0, os.SEEK_END)
                # blkid takes a device that it cannot read for an empty one.
                for offset in (0, max(0, size - 65536)):
                    os.pread(handle, 65536, offset)
            finally:
                os.close(handle)
        except OSError as error:
            return Device(problem=f"cannot be read ({error.strerror})", gone=True)
        if size == 0:
            return Device(problem="has no medium or size 0", gone=True)
        number = f"{os.major(status.st_rdev)}:{os.minor(status.st_rdev)}"
        system = f"/sys/dev/block/{number}"
        parts = []
        with contextlib.suppress(OSError):
            parts = [
                entry.path
                for entry in os.scandir(system)
                if os.path.exists(os.path.join(entry.path, "partition"))
            ]
        related = {number}
        holders = []
        for directory in [system, *parts]:
            with contextlib.suppress(OSError):
                related.add(read_text(f"{directory}/dev").strip())
            with contextlib.suppress(OSError):
                holders += os.listdir(f"{directory}/holders")
        return Device(
            number=number,
            related=frozenset(related),
            size=size,
            read_only=read_text(f"{system}/ro", "0").strip() == "1",
            signature=self.probe(path),
            holders=tuple(sorted(holders)),
            swap=bool(related & swaps),
            busy=self._busy(path),
        )

    @staticmethod
    def _busy(path: str) -> bool:
        # An exclusive open sees the users that this mount namespace does not show.
        try:
            os.close(os.open(path, os.O_RDONLY | os.O_EXCL))
        except OSError as error:
            return error.errno == errno.EBUSY
        return False

    @staticmethod
    def directory(path: str, mounted: bool) -> Directory:
        """Look at one mountpoint."""
        try:
            status = os.lstat(path)
            entries = () if mounted else tuple(sorted(os.listdir(path)))
            if mounted:
                os.statvfs(path)
        except FileNotFoundError:
            return Directory()
        except NotADirectoryError:
            return Directory(exists=True, usable=False)
        except OSError as error:
            return Directory(exists=True, io_error=f"gives {error.strerror} on {path}")
        return Directory(
            exists=True,
            usable=stat.S_ISDIR(status.st_mode),
            uid=status.st_uid,
            gid=status.st_gid,
            mode=stat.S_IMODE(status.st_mode),
            entries=entries,
        )

    def snapshot(self, request: Request) -> Snapshot:
        """Look at all that the request is about."""
        mounts = self.mounts()
        fstab = read_text(request.fstab, "")
        swaps = frozenset(
            device_number(unescape(line.split()[0]))
            for line in read_text("/proc/swaps", "").splitlines()[1:]
            if line.strip()
        ) - {""}
        paths = {disk.name: request.mountpoint(disk) for disk in request.disks}
        return Snapshot(
            devices={disk.name: self.device(disk.device, swaps) for disk in request.disks},
            directories={
                name: self.directory(path, top_mount(mounts, path) is not None)
                for name, path in paths.items()
            },
            mounts=mounts,
            fstab=fstab,
            fstab_numbers={
                entry.spec: device_number(entry.spec)
                for entry in fstab_entries(fstab)
                if entry.spec.startswith("/")
            },
            uid=_number(request.owner, lambda name: pwd.getpwnam(name).pw_uid),
            gid=_number(request.group, lambda name: grp.getgrnam(name).gr_gid),
            has_mkfs=self.module.get_bin_path("mkfs.xfs") is not None,
        )

    # -- changing

    def apply(self, request: Request, snapshot: Snapshot, plan: Plan) -> None:
        """Carry a plan out."""
        refuse(plan.needs)
        if request.state == "absent":
            self._apply_absent(request, plan)
            return
        for item in plan.disks:
            if item.wipe:
                self.must(f"{item.disk.name}: wipe", "wipefs", "--all", item.disk.device)
            if item.format:
                item.uuid = self._format(item.disk, request)
                plan.fstab_after = fstab_set(
                    plan.fstab_after,
                    item.disk.name,
                    item.mountpoint,
                    item.uuid,
                    request.mount_options,
                )
        self._write_fstab(request, plan)
        for path in plan.guards:
            self._guard(path)
        for item in plan.disks:
            if item.mount:
                self._guard(item.mountpoint)
                self._mount(item, request, snapshot)
            elif item.remount:
                self.must(
                    f"{item.disk.name}: remount (a new option may need the disk to be unmounted)",
                    "mount", "-T", request.fstab, "-o", "remount", item.mountpoint,
                )  # fmt: skip
            self._own(item, snapshot)

    def _format(self, disk: Disk, request: Request) -> str:
        # Without -f mkfs.xfs is a second pair of eyes: it refuses what it finds occupied.
        self.must(
            f"{disk.name}: format",
            "mkfs.xfs", "-q", "-L", disk.label, *request.mkfs_options, disk.device,
        )  # fmt: skip
        signature = self.probe(disk.device)
        if not is_ours(disk, signature):
            raise DiskError(
                f"{disk.name}: after mkfs.xfs {disk.device} holds {describe(signature)}: "
                "look for errors of the disk in the kernel's log"
            )
        return signature["UUID"]

    def _write_fstab(self, request: Request, plan: Plan) -> None:
        if plan.fstab_after == plan.fstab_before:
            return
        if read_text(request.fstab, "") != plan.fstab_before:
            raise DiskError(f"{request.fstab} was changed by somebody else meanwhile: run again")
        handle, path = tempfile.mkstemp(prefix=".fstab-", dir=os.path.dirname(request.fstab))
        try:
            with os.fdopen(handle, "wb") as out:
                out.write(plan.fstab_after.encode("utf-8", "surrogateescape"))
                out.flush()
                os.fsync(out.fileno())
            os.chmod(path, 0o644)
            self.module.atomic_move(path, request.fstab)
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
        # A mount unit made from the old line would unmount what we mount now.
        if os.path.isdir("/run/systemd/system") and request.fstab == "/etc/fstab":
            self.must("fstab", "systemctl", "daemon-reload")

    @staticmethod
    def _guard(path: str) -> None:
        """Make the bare mountpoint root's, so that Swift cannot fill the disk below."""
        if not os.path.isdir(os.path.dirname(path)):
            os.makedirs(os.path.dirname(path))
            os.chmod(os.path.dirname(path), 0o755)  # noqa: S103  readable, as /srv is
        if not os.path.isdir(path):
            os.mkdir(path)
        os.chown(path, 0, 0)
        os.chmod(path, 0o755)  # noqa: S103  what Swift's guide asks for

    def _mount(self, item: DiskPlan, request: Request, snapshot: Snapshot) -> None:
        # By mountpoint: this tries the very line that the next boot will use.
        self.must(f"{item.disk.name}: mount", "mount", "-T", request.fstab, item.mountpoint)
        wanted = snapshot.devices[item.disk.name].number
        top = top_mount(self.mounts(), item.mountpoint)
        if top is None or top.number != wanted:
            if top is not None:
                self.run("umount", item.mountpoint)
            raise DiskError(
                f"{item.disk.name}: UUID {item.uuid} mounted {top.source if top else 'nothing'}, "
                f"not {item.disk.device} ({wanted}): a copy of the disk is attached, unplug it"
            )
        item.mounted = True

    @staticmethod
    def _own(item: DiskPlan, snapshot: Snapshot) -> None:
        """Give the mounted root directory to Swift, never the bare mountpoint."""
        major, minor = snapshot.devices[item.disk.name].number.split(":")
        status = os.stat(item.mountpoint)
        if status.st_dev != os.makedev(int(major), int(minor)):
            raise DiskError(f"{item.disk.name}: {item.mountpoint} was unmounted meanwhile")
        if (status.st_uid, status.st_gid) != (snapshot.uid, snapshot.gid):
            os.chown(item.mountpoint, snapshot.uid or 0, snapshot.gid or 0)
        if stat.S_IMODE(status.st_mode) != 0o755:
            os.chmod(item.mountpoint, 0o755)  # noqa: S103  what Swift's guide asks for

    def _apply_absent(self, request: Request, plan: Plan) -> None:
        for item in plan.disks:
            if item.unmount:
                self.must(
                    f"{item.disk.name}: unmount (stop who uses it, see "
                    f"`fuser -vm {item.mountpoint}`)",
                    "umount", item.mountpoint,
                )  # fmt: skip
                item.mounted = False
        self._write_fstab(request, plan)
        for item in plan.disks:
            if item.wipe:
                self.must(f"{item.disk.name}: wipe", "wipefs", "--all", item.disk.device)
            if item.remove or item.unmount:
                # What lies below stays: it was written there by mistake and somebody wants it.
                with contextlib.suppress(OSError):
                    os.rmdir(item.mountpoint)


def _number(name: str, look_up: Callable[[str], int]) -> Optional[int]:
    if name.isdigit():
        return int(name)
    try:
        return look_up(name)
    except KeyError:
        return None


def ensure_disks(params: Mapping[str, Any], module: Module, *, commit: bool) -> Dict[str, Any]:
    """Bring all disks into the state asked for; give back the module's result."""
    request = Request.from_params(params)
    host = DiskHost(module)
    try:
        snapshot = host.snapshot(request)
        plan = make_plan(request, snapshot)
        actions = plan.actions
        if commit:
            host.apply(request, snapshot, plan)
    except OSError as error:
        raise DiskError(f"{error.filename or 'disk'}: {error.strerror}") from error
    touched = [item for item in plan.disks if item.actions]
    diff = []
    if plan.fstab_after != plan.fstab_before:
        diff.append(
            {
                "before_header": request.fstab,
                "after_header": request.fstab,
                "before": plan.fstab_before,
                "after": plan.fstab_after,
            }
        )
    if touched:
        diff.append(
            {
                "before_header": "disks",
                "after_header": "disks",
                "before": "".join(f"{item.before}\n" for item in touched),
                "after": "".join(f"{item.after}\n" for item in touched),
            }
        )
    return {
        "changed": bool(actions),
        "diff": diff,
        "actions": actions,
        "missing": plan.missing,
        "warnings": plan.warnings + ([] if commit else plan.needs),
        "disks": [
            {
                "name": item.disk.name,
                "device": item.disk.device,
                "label": item.disk.label,
                "mountpoint": item.mountpoint,
                "uuid": item.uuid,
                "size_bytes": snapshot.devices[item.disk.name].size,
                "weight": round(snapshot.devices[item.disk.name].size / 2**30, 2),
                "mounted": item.mounted,
                "created": item.format,
            }
            for item in plan.disks
        ],
    }
