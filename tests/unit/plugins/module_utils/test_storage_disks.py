# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from dataclasses import replace

import pytest
from ansible_collections.infn.cloud.plugins.module_utils._storage_disks import (
    MARKER,
    MIN_SIZE,
    Device,
    Directory,
    Disk,
    DiskError,
    Mount,
    Request,
    Snapshot,
    describe,
    fstab_drop,
    fstab_entries,
    fstab_set,
    make_plan,
    parse_blkid,
    parse_mountinfo,
    top_mount,
)

GIB = 2**30
FOREIGN = (
    "# /etc/fstab: static file system information.\n"
    "UUID=aaaa /               ext4    errors=remount-ro 0       1\n"
    "\n"
    "  # an indented comment\t\n"
    'LABEL="EFI" /boot/efi vfat\tumask=0077 0 1\n'
    "server:/export /mnt/my\\040files nfs defaults"
)


# --- parsing


def test_blkid_says_what_is_on_the_device_not_where_it_is_cut_from() -> None:
    text = (
        "DEVNAME=/dev/sdb1\nLABEL=my\\ disk\nUUID=1-2\nTYPE=xfs\nUSAGE=filesystem\n"
        "PART_ENTRY_SCHEME=gpt\nPART_ENTRY_NUMBER=1\n"
    )
    assert parse_blkid(text) == {
        "LABEL": "my disk",
        "UUID": "1-2",
        "TYPE": "xfs",
        "USAGE": "filesystem",
    }


def test_an_empty_partition_is_empty() -> None:
    assert parse_blkid("DEVNAME=/dev/sdb1\nPART_ENTRY_SCHEME=gpt\nPART_ENTRY_SIZE=8\n") == {}


@pytest.mark.parametrize(
    ("signature", "text"),
    [
        ({}, "nothing"),
        ({"PTTYPE": "gpt"}, "a partition table (gpt)"),
        ({"TYPE": "ext4", "USAGE": "filesystem", "LABEL": "x"}, "a file system (ext4, label x)"),
        ({"TYPE": "xfs", "USAGE": "filesystem"}, "a file system (xfs, no label)"),
        ({"TYPE": "LVM2_member", "USAGE": "raid"}, "a member of a RAID or volume group"),
        ({"TYPE": "crypto_LUKS", "USAGE": "crypto"}, "an encrypted volume (crypto_LUKS)"),
        ({"TYPE": "swap", "USAGE": "other"}, "swap (other)"),
        ({"AMBIVALENT": "yes"}, "signatures of more than one kind"),
    ],
)
def test_what_is_on_a_device_is_named(signature: dict[str, str], text: str) -> None:
    assert describe(signature).startswith(text)


def test_mountinfo_with_escapes_optional_fields_and_stacked_mounts() -> None:
    text = (
        "22 1 252:1 / / rw,relatime shared:1 master:2 - ext4 /dev/vda1 rw\n"
        "30 22 7:0 / /srv/my\\040node/a\\134b rw shared:5 - xfs /dev/loop0 rw\n"
        "31 22 7:1 /sub /mnt rw - xfs /dev/loop1 rw\n"
        "32 22 0:55 / /mnt rw - tmpfs - rw\n"
        "nonsense\n"
    )
    mounts = parse_mountinfo(text)
    assert [m.mountpoint for m in mounts] == ["/", "/srv/my node/a\\b", "/mnt", "/mnt"]
    assert mounts[1] == Mount("7:0", "/", "/srv/my node/a\\b", "xfs", "/dev/loop0")
    top = top_mount(mounts, "/mnt")
    assert top is not None and top.fstype == "tmpfs"
    assert top_mount(mounts, "/elsewhere") is None


# --- fstab


def test_fstab_keeps_foreign_lines_byte_for_byte() -> None:
    first = fstab_set(FOREIGN, "d1", "/srv/node/d1", "u1", "noatime,nofail")
    assert first.startswith(FOREIGN + "\n")
    both = fstab_set(first, "d2", "/srv/node/d2", "u2", "noatime,nofail")
    assert both == first + f"{MARKER}d2\nUUID=u2 /srv/node/d2 xfs noatime,nofail 0 0\n"
    assert fstab_set(both, "d1", "/srv/node/d1", "u1", "noatime,nofail") == both
    assert fstab_drop(both, "d1", "/srv/node/d1").startswith(FOREIGN + "\n")
    without = fstab_drop(fstab_drop(both, "d1", "/srv/node/d1"), "d2", "/srv/node/d2")
    assert without == FOREIGN + "\n"


def test_fstab_of_another_line_ending_is_left_alone() -> None:
    text = "UUID=a / ext4 defaults 0 1\r\n\udcff# latin-1\r\n"
    changed = fstab_set(text, "d1", "/srv/node/d1", "u", "nofail")
    assert changed.startswith(text)
    assert fstab_drop(changed, "d1", "/srv/node/d1") == text


def test_fstab_line_is_changed_in_its_place() -> None:
    text = fstab_set(FOREIGN + "\n", "d1", "/srv/node/d1", "old", "nofail") + "/dev/x /y ext4\n"
    changed = fstab_set(text, "d1", "/srv/node/d1", "new", "nofail")
    assert changed == text.replace("UUID=old", "UUID=new")


def test_fstab_heals_stray_markers_and_doubles() -> None:
    other = f"{MARKER}d2\nUUID=u2 /srv/node/d2 xfs nofail 0 0\n"
    ours = f"{MARKER}d1\nUUID=u1 /srv/node/d1 xfs nofail 0 0\n"
    text = f"{MARKER}d1\n{ours}{other}{ours}"
    assert fstab_set(text, "d1", "/srv/node/d1", "u1", "nofail") == ours + other
    # Our line was deleted by hand and a foreign one moved up to the marker: it is not ours.
    text = f"{MARKER}d1\n/dev/x /home ext4 defaults 0 2\n"
    assert fstab_drop(text, "d1", "/srv/node/d1") == "/dev/x /home ext4 defaults 0 2\n"


def test_fstab_escapes_spaces() -> None:
    text = fstab_set("", "d1", "/srv/my node/d1", "u", "nofail")
    assert "UUID=u /srv/my\\040node/d1 xfs" in text
    assert fstab_entries(text)[0].mountpoint == "/srv/my node/d1"
    assert fstab_set(text, "d1", "/srv/my node/d1", "u", "nofail") == text


# --- the request


def params(**changes: object) -> dict[str, object]:
    return {
        "disks": [{"name": "d1", "device": "/dev/a", "label": None, "wipe": False}],
        "mount_root": "/srv/node",
        "owner": "swift",
        "group": "swift",
        "mount_options": "noatime",
        "mkfs_options": [],
        "state": "present",
        "fstab": "/etc/fstab",
        "allow_data_loss": False,
        "missing": "fail",
        **changes,
    }


def test_request_defaults() -> None:
    request = Request.from_params(params())
    assert request.disks[0].label == "swift-d1"
    assert request.mount_options == "noatime,nofail"


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"disks": []}, "no disks are named"),
        ({"mount_root": "/"}, "mount_root is /"),
        ({"mount_options": "noatime, nofail"}, "white space"),
        ({"mkfs_options": ["-f"]}, "mkfs_options holds -f"),
        ({"mkfs_options": ["-Lx"]}, "mkfs_options holds -Lx"),
        ({"disks": [{"name": "../d1", "device": "/dev/a"}]}, "is no disk name"),
        ({"disks": [{"name": "d1\n", "device": "/dev/a"}]}, "is no disk name"),
        ({"disks": [{"name": "disk001", "device": "/dev/a"}]}, "'swift-disk001' is no XFS label"),
        (
            {"disks": [{"name": "d1", "device": "/dev/a"}, {"name": "d1", "device": "/dev/b"}]},
            "the name d1 is also that of /dev/a",
        ),
        (
            {
                "disks": [
                    {"name": "d1", "device": "/dev/a", "label": "x"},
                    {"name": "d2", "device": "/dev/b", "label": "x"},
                ]
            },
            "the label x is also that of /dev/a",
        ),
    ],
)
def test_request_that_cannot_work(changes: dict[str, object], text: str) -> None:
    with pytest.raises(DiskError) as caught:
        Request.from_params(params(**changes))
    assert text in str(caught.value)


def test_nothing_to_remove_is_fine() -> None:
    assert Request.from_params(params(disks=[], state="absent")).disks == ()


# --- decisions

OURS = {"TYPE": "xfs", "LABEL": "swift-d1", "UUID": "u1", "USAGE": "filesystem"}
EXT4 = {"TYPE": "ext4", "UUID": "e", "USAGE": "filesystem"}
D1 = Disk("d1", "/dev/a", "swift-d1")
D2 = Disk("d2", "/dev/b", "swift-d2")
LINE = f"{MARKER}d1\nUUID=u1 /srv/node/d1 xfs noatime,nofail 0 0\n"
HOME = Mount("8:0", "/", "/srv/node/d1", "xfs", "/dev/a")


def device(number: str = "8:0", **changes: object) -> Device:
    base = Device(number=number, related=frozenset({number}), size=GIB)
    return replace(base, **changes)  # type: ignore[arg-type]


BARE = Directory()


def scene(found: Device, directory: Directory = BARE, **changes: object) -> Snapshot:
    base = Snapshot(devices={"d1": found}, directories={"d1": directory}, uid=64, gid=64)
    return replace(base, **changes)  # type: ignore[arg-type]


def request(*disks: Disk, **changes: object) -> Request:
    return replace(Request(disks=disks or (D1,)), **changes)  # type: ignore[arg-type]


def refusal(wanted: Request, there: Snapshot) -> str:
    with pytest.raises(DiskError) as caught:
        make_plan(wanted, there)
    return str(caught.value)


def test_an_empty_disk_is_formatted_and_mounted() -> None:
    plan = make_plan(request(), scene(device()))
    item = plan.disks[0]
    assert (item.wipe, item.format, item.mount, item.guard, item.own) == (0, 1, 1, 1, 1)
    assert "/srv/node/d1 xfs noatime,nofail" in plan.fstab_after
    assert plan.actions[-1] == "write fstab"


def test_a_ready_disk_needs_nothing() -> None:
    there = scene(
        device(signature=OURS, busy=True),
        Directory(exists=True, uid=64, gid=64),
        mounts=(HOME,),
        fstab=LINE,
    )
    assert make_plan(request(), there).actions == []


def test_a_ready_disk_shown_elsewhere_too_needs_nothing() -> None:
    bind = Mount("8:0", "/", "/srv/export", "xfs", "/dev/a")
    there = scene(
        device(signature=OURS, busy=True),
        Directory(exists=True, uid=64, gid=64),
        mounts=(HOME, bind),
        fstab=LINE,
    )
    assert make_plan(request(), there).actions == []


def test_other_mount_options_are_written_and_remounted() -> None:
    there = scene(
        device(signature=OURS, busy=True),
        Directory(exists=True, uid=64, gid=64),
        mounts=(HOME,),
        fstab=LINE,
    )
    plan = make_plan(request(mount_options="noatime,logbsize=256k,nofail"), there)
    assert plan.disks[0].remount and not plan.disks[0].mount and not plan.disks[0].format


def test_our_file_system_is_taken_over_unmounted() -> None:
    plan = make_plan(request(), scene(device(signature=OURS), Directory(exists=True)))
    assert (plan.disks[0].format, plan.disks[0].mount, plan.disks[0].guard) == (0, 1, 0)
    assert "UUID=u1 " in plan.fstab_after


@pytest.mark.parametrize(
    ("found", "text"),
    [
        (Device(problem="does not exist", gone=True), "/dev/a does not exist: check its name"),
        (Device(problem="is not a block device"), "is not a block device"),
        (Device(problem="cannot be read (I/O error)", gone=True), "cannot be read"),
        (device(signature=EXT4), "holds a file system (ext4, no label)"),
        (device(signature={"PTTYPE": "gpt"}), "holds a partition table (gpt)"),
        (device(signature={"TYPE": "LVM2_member", "USAGE": "raid"}), "volume group"),
        (device(signature={"TYPE": "crypto_LUKS", "USAGE": "crypto"}), "encrypted"),
        (device(signature={"AMBIVALENT": "yes"}), "more than one kind"),
        (device(signature={**OURS, "LABEL": "old"}), "to keep its data set label: old"),
        (device(signature={"TYPE": "xfs"}), "`xfs_admin -L swift-d1`"),
        (device(size=MIN_SIZE - 1), f"has {MIN_SIZE - 1} bytes"),
        (device(read_only=True), "is read-only"),
        (device(swap=True), "is used as swap"),
        (device(holders=("dm-0",)), "is held by dm-0"),
        (device(busy=True), "is in use"),
    ],
)
def test_refused(found: Device, text: str) -> None:
    assert text in refusal(request(), scene(found))


def test_wipe_needs_both_words() -> None:
    wiping = replace(D1, wipe=True)
    there = scene(device(signature=EXT4))
    assert "allow_data_loss: true" in refusal(request(wiping), there)
    assert "wipe: true" in refusal(request(allow_data_loss=True), there)
    item = make_plan(request(wiping, allow_data_loss=True), there).disks[0]
    assert (item.wipe, item.format) == (True, True)


def test_wipe_never_touches_our_own_or_what_is_in_use() -> None:
    wiping = request(replace(D1, wipe=True), allow_data_loss=True)
    item = make_plan(wiping, scene(device(signature=OURS))).disks[0]
    assert (item.wipe, item.format) == (False, False)
    gpt = device(signature={"PTTYPE": "gpt"}, related=frozenset({"8:0", "8:1"}), busy=True)
    mounted = Mount("8:1", "/", "/home", "ext4", "/dev/a1")
    assert "is mounted on /home" in refusal(wiping, scene(gpt, mounts=(mounted,)))


def test_exchanged_cables_are_refused_even_with_wipe() -> None:
    wiping = request(replace(D1, wipe=True), D2, allow_data_loss=True)
    there = Snapshot(
        devices={
            "d1": device("8:0", signature={**OURS, "LABEL": "swift-d2"}),
            "d2": device("8:16"),
        },
        directories={"d1": Directory(), "d2": Directory()},
    )
    assert "carries the label swift-d2, which belongs to d2 (/dev/b)" in refusal(wiping, there)


@pytest.mark.parametrize(
    ("first", "second", "text"),
    [
        (device("8:0"), device("8:0"), "are one device (8:0)"),
        (device("8:0", related=frozenset({"8:0", "8:1"})), device("8:1"), "overlap"),
        (
            device("8:0", signature=OURS),
            device("8:16", signature={**OURS, "LABEL": "swift-d2"}),
            "carry the same UUID u1",
        ),
    ],
)
def test_disks_that_share_something(first: Device, second: Device, text: str) -> None:
    there = Snapshot(
        devices={"d1": first, "d2": second}, directories={"d1": Directory(), "d2": Directory()}
    )
    assert text in refusal(request(D1, D2), there)


def test_all_refusals_come_at_once() -> None:
    there = Snapshot(
        devices={"d1": device("8:0", signature=EXT4), "d2": device("8:16", swap=True)},
        directories={"d1": Directory(), "d2": Directory()},
    )
    text = refusal(request(D1, D2), there)
    assert "d1: /dev/a holds" in text and "d2: /dev/b is used as swap" in text


def test_mountpoints_that_are_occupied() -> None:
    other = Mount("9:9", "/", "/srv/node/d1", "xfs", "/dev/z")
    assert "is occupied by /dev/z (9:9)" in refusal(request(), scene(device(), mounts=(other,)))
    full = Directory(exists=True, entries=("accounts", "containers", "objects", "tmp"))
    text = refusal(request(), scene(device(), full))
    assert "/srv/node/d1, yet it holds accounts, containers, objects and 1 more" in text
    odd = Directory(exists=True, usable=False)
    assert "is not a directory" in refusal(request(), scene(device(), odd))


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("LABEL=x /srv/node/d1 xfs nofail 0 0\n", "mounts LABEL=x on /srv/node/d1: remove it"),
        ("UUID=u1 /mnt xfs nofail 0 0\n", "mounts /dev/a on /mnt"),
        ("LABEL=swift-d1 /mnt xfs nofail 0 0\n", "mounts /dev/a on /mnt"),
        ("/dev/alias /mnt xfs nofail 0 0\n", "mounts /dev/a on /mnt"),
    ],
)
def test_foreign_lines_of_fstab(line: str, text: str) -> None:
    there = scene(device(signature=OURS), fstab=line, fstab_numbers={"/dev/alias": "8:0"})
    assert text in refusal(request(), there)


GONE = Device(problem="does not exist", gone=True)


def test_a_dead_disk_is_named_or_skipped() -> None:
    bare = Directory(exists=True)
    text = refusal(request(), scene(GONE, bare, fstab=LINE))
    assert "d1: /dev/a does not exist, but fstab mounts it" in text and "missing: skip" in text
    plan = make_plan(request(missing="skip"), scene(GONE, bare, fstab=LINE))
    assert plan.missing == [{"name": "d1", "device": "/dev/a", "reason": "does not exist"}]
    assert plan.actions == [] and plan.disks == []


def test_the_bare_mountpoint_of_a_dead_disk_is_guarded() -> None:
    plan = make_plan(
        request(missing="skip"),
        scene(GONE, Directory(exists=True, uid=64, gid=64, entries=("objects",)), fstab=LINE),
    )
    assert plan.guards == ["/srv/node/d1"]
    assert "holds objects" in plan.warnings[0]


def test_a_disk_that_never_was_is_refused_in_any_case() -> None:
    assert "check its name" in refusal(request(missing="skip"), scene(GONE))


def test_a_mounted_disk_that_gives_errors_counts_as_dead() -> None:
    sick = Directory(exists=True, io_error="gives Input/output error on /srv/node/d1")
    there = scene(device(signature=OURS, busy=True), sick, mounts=(HOME,), fstab=LINE)
    assert "Input/output error" in refusal(request(), there)
    assert make_plan(request(missing="skip"), there).missing[0]["name"] == "d1"


def test_what_an_earlier_task_brings_is_needed_only_to_commit() -> None:
    plan = make_plan(request(), scene(device(), uid=None, gid=None, has_mkfs=False))
    assert [need.split(":")[0] for need in plan.needs] == [
        "mkfs.xfs is not installed",
        "the user swift does not exist",
        "the group swift does not exist",
    ]


def test_absent_unmounts_and_forgets_but_keeps_the_file_system() -> None:
    there = scene(
        device(signature=OURS, busy=True), Directory(exists=True), mounts=(HOME,), fstab=LINE
    )
    plan = make_plan(request(state="absent"), there)
    item = plan.disks[0]
    assert (item.unmount, item.wipe, plan.fstab_after) == (True, False, "")


def test_absent_works_on_a_dead_disk_and_twice() -> None:
    there = scene(GONE, Directory(exists=True), mounts=(HOME,), fstab=LINE)
    assert make_plan(request(state="absent"), there).disks[0].unmount
    assert make_plan(request(state="absent"), scene(GONE)).actions == []


def test_absent_refuses_what_is_not_ours() -> None:
    other = replace(HOME, number="9:9", source="/dev/z")
    assert "occupied" in refusal(request(state="absent"), scene(device(), mounts=(other,)))
    foreign = "LABEL=x /srv/node/d1 xfs nofail 0 0\n"
    assert "not ours" in refusal(request(state="absent"), scene(device(), fstab=foreign))


def test_absent_wipes_only_our_own_and_only_if_allowed() -> None:
    wiping = request(replace(D1, wipe=True), state="absent", allow_data_loss=True)
    assert make_plan(wiping, scene(device(signature=OURS))).disks[0].wipe
    assert "wipe it yourself" in refusal(wiping, scene(device(signature=EXT4)))
    careless = replace(wiping, allow_data_loss=False)
    assert "allow_data_loss" in refusal(careless, scene(device(signature=OURS)))
    assert make_plan(wiping, scene(device())).actions == []
