# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""storage_disks on real loop devices, mounted in a mount namespace of the test's own."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
ANSIBLE = Path(sys.executable).parent / "ansible"
TOOLS = ("losetup", "unshare", "nsenter", "mkfs.xfs", "blkid", "mkswap", "mount", "umount")
MIB = 1024 * 1024

if os.geteuid() != 0:
    pytest.skip("needs root for loop devices and mounts", allow_module_level=True)
for tool in TOOLS:
    if shutil.which(tool) is None:
        pytest.skip(f"needs {tool}", allow_module_level=True)
if not ANSIBLE.exists():
    pytest.skip(f"needs {ANSIBLE}", allow_module_level=True)


def sh(*command: str | Path) -> str:
    return subprocess.run(
        [str(part) for part in command], check=True, text=True, capture_output=True
    ).stdout


def attach(image: Path) -> str:
    """Attach an image to the next free loop device; the kernel may know more than /dev has."""
    for _attempt in range(5):
        found = subprocess.run(["losetup", "-f"], check=False, text=True, capture_output=True)
        node = found.stdout.strip()
        if found.returncode or not node:
            pytest.skip(f"no loop device is free: {found.stderr.strip()}")
        if not os.path.exists(node):
            minor = int(node.removeprefix("/dev/loop"))
            os.mknod(node, 0o660 | stat.S_IFBLK, os.makedev(7, minor))
        if subprocess.run(["losetup", node, str(image)], check=False).returncode == 0:
            return node
    pytest.skip("loop devices are taken faster than this test can attach one")


class Host:
    """A mount namespace, a few disks, and an fstab."""

    def __init__(self, tmp: Path) -> None:
        self.tmp = tmp
        self.root = tmp / "srv node"
        self.fstab = tmp / "fstab"
        self.foreign = "# not ours\n/dev/nowhere /nowhere ext4 noauto 0 0\n"
        self.fstab.write_text(self.foreign)
        self.loops: list[str] = []
        # It ends with this file's standard input, also when the test itself is killed.
        self.holder = subprocess.Popen(
            ["unshare", "-m", "cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
        )
        mine = os.readlink("/proc/self/ns/mnt")
        for _attempt in range(100):
            if os.readlink(f"/proc/{self.holder.pid}/ns/mnt") != mine:
                return
            time.sleep(0.05)
        raise RuntimeError("unshare -m made no mount namespace")

    def close(self) -> None:
        self.holder.stdin.close()
        self.holder.wait(10)
        for loop in self.loops:
            with contextlib.suppress(subprocess.CalledProcessError):
                sh("losetup", "-d", loop)

    def disk(self, name: str, size: int = 320 * MIB) -> Path:
        """Make a disk; its name below by-id stays when the device goes."""
        image = self.tmp / f"{name}.img"
        with image.open("wb") as out:
            out.truncate(size)
        node = attach(image)
        self.loops.append(node)
        by_id = self.tmp / "by-id"
        by_id.mkdir(exist_ok=True)
        (by_id / name).symlink_to(node)
        return by_id / name

    def detach(self, device: Path) -> None:
        """Pull a disk out."""
        node = os.path.realpath(device)
        self.loops.remove(node)
        sh("losetup", "-d", node)

    def inside(self, *command: str | Path) -> str:
        return sh("nsenter", f"--mount=/proc/{self.holder.pid}/ns/mnt", "--", *command)

    def run(self, *disks: dict[str, object], flags: str = "", **options: object) -> dict:
        arguments = {
            "disks": list(disks),
            "mount_root": str(self.root),
            "fstab": str(self.fstab),
            "owner": "nobody",
            "group": "nogroup",
            **options,
        }
        command = [
            "nsenter", f"--mount=/proc/{self.holder.pid}/ns/mnt", "--",
            str(ANSIBLE), "localhost", "-i", "localhost,", "-c", "local",
            "-e", json.dumps({"ansible_python_interpreter": sys.executable}),
            "-m", "infn.cloud.storage_disks", "-a", json.dumps(arguments),
            *([flags] if flags else []),
        ]  # fmt: skip
        config = self.tmp / "ansible.cfg"
        config.write_text("[defaults]\n")
        done = subprocess.run(
            command,
            check=False,
            text=True,
            capture_output=True,
            env={
                **os.environ,
                "ANSIBLE_CONFIG": str(config),
                "ANSIBLE_COLLECTIONS_PATH": str(REPOSITORY / ".cache" / "collections"),
                "ANSIBLE_LOCAL_TEMP": str(self.tmp / "ansible"),
                "ANSIBLE_NOCOLOR": "1",
            },
        )
        text, _separator, reply = done.stdout.partition("localhost | ")
        assert reply, f"{done.stdout}\n{done.stderr}"
        result = json.loads(reply[reply.index("=> ") + 3 :])
        result["failed"] = reply.startswith("FAILED")
        result["shown"] = text
        assert "Traceback" not in done.stdout + done.stderr
        return result

    def mounted(self, name: str) -> bool:
        # The space in the path is an escape in mountinfo.
        table = self.inside("cat", "/proc/self/mountinfo")
        return f"{self.root}/{name}".replace(" ", "\\040") + " " in table


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    made = Host(tmp_path)
    try:
        yield made
    finally:
        made.close()


def head(device: Path) -> bytes:
    # Through the page cache of the device, which is what every program sees.
    with device.open("rb") as source:
        return source.read(MIB)


def named(name: str, device: Path, **more: object) -> dict[str, object]:
    return {"name": name, "device": str(device), **more}


def owner(host: Host, name: str) -> str:
    return host.inside("stat", "-c", "%U:%G %a", host.root / name).strip()


def test_the_life_of_two_disks(host: Host) -> None:
    first, second = host.disk("one"), host.disk("two")
    disks = named("d1", first), named("d2", second)

    # Check mode tells, and touches nothing.
    before = head(first), head(second)
    told = host.run(*disks, flags="-CD")
    assert told["changed"] and [item["created"] for item in told["disks"]] == [True, True]
    assert [item["mounted"] for item in told["disks"]] == [False, False]
    assert "+UUID=of-the-new-file-system" in told["shown"]
    assert "label swift-d2), mounted on" in told["shown"]
    assert (head(first), head(second)) == before
    assert host.fstab.read_text() == host.foreign
    assert not host.root.exists()

    made = host.run(*disks)
    assert made["changed"] and made["actions"] == told["actions"]
    assert [item["mounted"] for item in made["disks"]] == [True, True]
    uuids = [item["uuid"] for item in made["disks"]]
    assert made["disks"][0]["size_bytes"] == 320 * MIB and made["disks"][0]["weight"] == 0.31
    assert host.mounted("d1") and host.mounted("d2")
    assert owner(host, "d1") == "nobody:nogroup 755"
    # What is below the mount, seen from outside the namespace, is root's.
    bare = (host.root / "d1").stat()
    assert (bare.st_uid, bare.st_gid, stat.S_IMODE(bare.st_mode)) == (0, 0, 0o755)
    text = host.fstab.read_text()
    assert text.startswith(host.foreign)
    escaped = str(host.root).replace(" ", "\\040")
    assert f"UUID={uuids[0]} {escaped}/d1 xfs noatime,nofail 0 0\n" in text
    assert not re.search(r"^/dev/loop", text, re.MULTILINE)

    again = host.run(*disks)
    assert not again["changed"] and again["actions"] == []
    assert not host.run(*disks, flags="-C")["changed"]

    # A disk that lost its owner gets it back, and other options are mounted.
    host.inside("chown", "root", host.root / "d1")
    changed = host.run(*disks, mount_options="noatime,nodiratime,nosuid")
    assert changed["changed"]
    assert owner(host, "d1") == "nobody:nogroup 755"
    assert "noatime,nodiratime,nosuid,nofail" in host.fstab.read_text()
    assert "nosuid" in host.inside("findmnt", "-no", "OPTIONS", host.root / "d2")

    host.inside("touch", host.root / "d1" / "kept")
    told = host.run(*disks, state="absent", flags="-C")
    assert told["changed"] and host.mounted("d1")
    assert host.run(*disks, state="absent")["changed"]
    assert not host.mounted("d1") and not (host.root / "d1").exists()
    assert host.fstab.read_text() == host.foreign
    assert not host.run(*disks, state="absent")["changed"]

    # The file systems were left and are taken over.
    back = host.run(*disks)
    assert [item["created"] for item in back["disks"]] == [False, False]
    assert [item["uuid"] for item in back["disks"]] == uuids
    assert host.inside("ls", host.root / "d1").strip() == "kept"


def partition_table(device: Path) -> None:
    sector = bytearray(512)
    sector[446:462] = bytes((0, 0, 2, 0, 0x83, 0, 0, 0)) + (2048).to_bytes(4, "little") * 2
    sector[510:] = b"\x55\xaa"
    with device.open("r+b") as out:
        out.write(sector)


REFUSED: dict[str, tuple[Callable[[Path], object], str]] = {
    "partition table": (partition_table, "holds a partition table (dos)"),
    "swap area": (lambda device: sh("mkswap", device), "holds swap"),
    "foreign xfs": (
        lambda device: sh("mkfs.xfs", "-q", "-L", "other", device),
        "to keep its data set label: other",
    ),
    "nameless xfs": (lambda device: sh("mkfs.xfs", "-q", device), "xfs_admin -L swift-d1"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_empty_is_refused(host: Host, case: str) -> None:
    prepare, text = REFUSED[case]
    device, empty = host.disk("one"), host.disk("two")
    prepare(device)
    before = head(device), head(empty)
    for flags in ("", "-C"):
        result = host.run(named("d1", device, wipe=True), named("d2", empty), flags=flags)
        assert result["failed"] and text in result["msg"] and "allow_data_loss" in result["msg"]
    assert (head(device), head(empty)) == before
    assert host.fstab.read_text() == host.foreign and not host.root.exists()


def test_wipe_destroys_when_it_is_asked_to_twice_and_once_only(host: Host) -> None:
    device = host.disk("one")
    partition_table(device)
    disk = named("d1", device, wipe=True)
    told = host.run(disk, allow_data_loss=True, flags="-C")
    assert told["actions"][0] == "d1: wipe a partition table (dos)"
    made = host.run(disk, allow_data_loss=True)
    assert made["actions"] == told["actions"] and made["disks"][0]["mounted"]
    again = host.run(disk, allow_data_loss=True)
    assert not again["changed"] and again["disks"][0]["uuid"] == made["disks"][0]["uuid"]

    assert "allow_data_loss" in host.run(disk, state="absent")["msg"]
    assert host.run(disk, state="absent", allow_data_loss=True)["changed"]
    assert (
        "TYPE"
        not in subprocess.run(
            ["blkid", "-p", "-o", "export", device], check=False, text=True, capture_output=True
        ).stdout
    )
    assert not host.run(disk, state="absent", allow_data_loss=True)["changed"]


def test_devices_that_cannot_be_used(host: Host) -> None:
    small, plain = host.disk("small", 200 * MIB), host.tmp / "plain"
    plain.write_bytes(b"no device")
    second_name = host.tmp / "alias"
    second_name.symlink_to(small)
    before = head(small)
    result = host.run(
        named("d1", small),
        named("d2", second_name),
        named("d3", plain),
        named("d4", host.tmp / "nowhere"),
    )
    for text in (
        f"d1: {small} has {200 * MIB} bytes",
        f"d1 ({small}) and d2 ({second_name}) are one device",
        f"d3: {plain} is not a block device",
        f"d4: {host.tmp}/nowhere does not exist",
    ):
        assert text in result["msg"]
    assert head(small) == before and plain.read_bytes() == b"no device"


def test_mountpoints_and_devices_that_are_occupied(host: Host) -> None:
    first, second = host.disk("one"), host.disk("two")
    elsewhere = host.tmp / "elsewhere"
    elsewhere.mkdir()
    sh("mkfs.xfs", "-q", "-L", "swift-d1", first)
    host.inside("mount", first, elsewhere)
    (host.root / "d2").mkdir(parents=True)
    (host.root / "d2" / "objects").mkdir()
    before = head(second)
    result = host.run(named("d1", first), named("d2", second))
    assert f"d1: {first} is mounted on {elsewhere}: unmount it there first" in result["msg"]
    assert "d2: nothing is mounted on" in result["msg"] and "holds objects" in result["msg"]

    host.inside("umount", elsewhere)
    (host.root / "d2" / "objects").rmdir()
    host.inside("mount", first, host.root / "d2")
    result = host.run(named("d2", second))
    assert "is occupied by /dev/loop" in result["msg"]
    assert "is occupied" in host.run(named("d2", second), state="absent")["msg"]
    host.inside("umount", host.root / "d2")

    # Mounted in a namespace that the module does not see.
    (host.tmp / "other").mkdir()
    other = Host(host.tmp / "other")
    try:
        other.inside("mount", first, elsewhere)
        assert "is in use (mounted in another namespace" in host.run(named("d1", first))["msg"]
    finally:
        other.close()
    assert head(second) == before and host.fstab.read_text() == host.foreign


def test_a_dead_disk_does_not_hold_up_the_others(host: Host) -> None:
    first, second = host.disk("one"), host.disk("two")
    disks = named("d1", first), named("d2", second)
    host.run(named("d1", first))
    text = host.fstab.read_text()
    host.inside("umount", host.root / "d1")
    host.detach(first)

    refused = host.run(*disks)
    assert f"d1: {first} has no medium or size 0, but fstab mounts it" in refused["msg"]
    assert "missing: skip" in refused["msg"] and not host.mounted("d2")
    first.unlink()
    os.chmod(host.root / "d1", 0o777)
    result = host.run(*disks, missing="skip")
    assert result["missing"] == [{"name": "d1", "device": str(first), "reason": "does not exist"}]
    assert [item["name"] for item in result["disks"]] == ["d2"] and host.mounted("d2")
    assert host.fstab.read_text().startswith(text)
    assert stat.S_IMODE((host.root / "d1").stat().st_mode) == 0o755
    assert not host.run(*disks, missing="skip")["changed"]

    # The replacement comes empty and takes the place of the old one.
    third = host.disk("three")
    replaced = host.run(named("d1", third), named("d2", second))
    assert replaced["disks"][0]["created"] and replaced["disks"][0]["mounted"]
    after = host.fstab.read_text()
    assert after.count(" xfs ") == 2 and f"UUID={replaced['disks'][0]['uuid']} " in after


def test_disks_must_be_named(host: Host) -> None:
    result = host.run()
    assert result["failed"] and "no disks are named" in result["msg"]
    assert not host.run(state="absent")["changed"]
