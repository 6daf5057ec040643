# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import base64
import copy
import fcntl
import gzip
import io
import os
import resource
import stat
import tarfile
from pathlib import Path

import pytest
from ansible_collections.infn.cloud.plugins.module_utils._swift_ring_bundle import (
    BundleError,
    check_manifest,
    ensure_bundle,
    installed_info,
    make_manifest,
    pack,
    source_info,
    unpack,
)

NAMES = ("account.ring.gz", "container.ring.gz", "object.ring.gz")


def rings(tag: str, *more: str) -> dict[str, bytes]:
    return {name: gzip.compress(f"R1NG {tag} {name}".encode(), mtime=0) for name in (*NAMES, *more)}


def bundle(tag: str, *more: str) -> dict[str, object]:
    contents = rings(tag, *more)
    return {
        "archive": base64.b64encode(pack(contents)).decode(),
        "manifest": make_manifest(contents),
    }


def version(tag: str, *more: str) -> str:
    return str(make_manifest(rings(tag, *more))["version"])


def run(swift: Path, commit: bool = True, **changes: object) -> dict:
    params = {
        "swift_dir": str(swift),
        "archive": None,
        "manifest": None,
        "version": None,
        "keep": 5,
        "state": "present",
        **changes,
    }
    return ensure_bundle(params, commit=commit)


def tree(top: Path) -> dict[str, object]:
    """Everything below a directory: a link's target, a file's bytes and times."""
    found: dict[str, object] = {}
    for path in sorted(top.rglob("*")):
        status = path.lstat()
        content = os.readlink(path) if path.is_symlink() else None
        if content is None and path.is_file():
            content = path.read_bytes()
        found[str(path.relative_to(top))] = (status.st_mode, status.st_mtime_ns, content)
    return found


def active(swift: Path, name: str = "object.ring.gz") -> bytes:
    return (swift / name).read_bytes()


@pytest.fixture
def swift(tmp_path: Path) -> Path:
    path = tmp_path / "etc swift"
    path.mkdir()
    return path


# --- the bundle as bytes


def test_equal_rings_have_equal_versions_and_archives() -> None:
    first, second = rings("a"), dict(reversed(list(rings("a").items())))
    assert make_manifest(first) == make_manifest(second)
    assert pack(first) == pack(second)
    assert version("a") != version("b") != version("b", "object-1.ring.gz")


def test_source(tmp_path: Path) -> None:
    for name, content in rings("a", "object-12.ring.gz").items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "object.builder").write_bytes(b"no ring")
    info = source_info(str(tmp_path), archive=True)
    assert info["version"] == info["manifest"]["version"] == version("a", "object-12.ring.gz")
    assert unpack(info["archive"], info["manifest"]) == rings("a", "object-12.ring.gz")
    assert "archive" not in source_info(str(tmp_path), archive=False)


@pytest.mark.parametrize(
    ("name", "content", "text"),
    [
        ("object.ring.gz", b"", "damaged or no ring"),
        ("object.ring.gz", rings("a")["object.ring.gz"][:-9], "damaged or no ring"),
        ("object.ring.gz", gzip.compress(b"hello"), "damaged or no ring"),
        ("object-x.ring.gz", b"", "no name of a ring"),
        ("account.ring.gz", None, "account.ring.gz missing"),
    ],
)
def test_source_that_cannot_be_published(
    tmp_path: Path, name: str, content: bytes | None, text: str
) -> None:
    for ring, data in rings("a").items():
        (tmp_path / ring).write_bytes(data)
    if content is None:
        (tmp_path / name).unlink()
    else:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(BundleError, match=text):
        source_info(str(tmp_path), archive=False)


def test_source_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="build the rings first"):
        source_info(str(tmp_path / "nowhere"), archive=False)


def tar(*members: tuple[tarfile.TarInfo, bytes]) -> str:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for member, content in members:
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return base64.b64encode(out.getvalue()).decode()


def files(contents: dict[str, bytes]) -> list[tuple[tarfile.TarInfo, bytes]]:
    return [(tarfile.TarInfo(name), content) for name, content in contents.items()]


def special(name: str, kind: bytes, target: str = "") -> tuple[tarfile.TarInfo, bytes]:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member, b""


def bad_archives() -> dict[str, tuple[str, str]]:
    good = files(rings("a"))
    raw = pack(rings("a"))
    return {
        "no base64": ("*", "no base64"),
        "no tar": (base64.b64encode(b"x" * 1024).decode(), "no tar"),
        "empty": (base64.b64encode(b"").decode() or "====", "no base64|no tar"),
        "cut in a ring": (base64.b64encode(raw[:520]).decode(), "cut off|size is"),
        "cut between rings": (base64.b64encode(raw[:1024]).decode(), "missing or cut off"),
        "wrong content": (tar(*files(rings("b"))), "the manifest says"),
        "traversal": (tar((tarfile.TarInfo("../account.ring.gz"), b"")), "no name of a ring"),
        "absolute": (tar((tarfile.TarInfo("/etc/account.ring.gz"), b"")), "no name of a ring"),
        "directory part": (tar((tarfile.TarInfo("./account.ring.gz"), b"")), "no name of a ring"),
        "foreign file": (tar((tarfile.TarInfo("swift.conf"), b"")), "no name of a ring"),
        "symlink": (
            tar(special("account.ring.gz", tarfile.SYMTYPE, "/etc/shadow"), *good[1:]),
            "not a regular file",
        ),
        "hard link": (
            tar(*good[1:], special("account.ring.gz", tarfile.LNKTYPE, "object.ring.gz")),
            "not a regular file",
        ),
        "device": (tar(special("account.ring.gz", tarfile.CHRTYPE)), "not a regular file"),
        "extra ring": (
            tar(*good, (tarfile.TarInfo("object-1.ring.gz"), b"x")),
            "not in the manifest",
        ),
        "missing ring": (tar(*good[:2]), "object.ring.gz missing"),
        "twice": (tar(*good, good[0]), "in it twice"),
    }


@pytest.mark.parametrize("case", bad_archives())
def test_bad_archive_changes_nothing(swift: Path, case: str) -> None:
    run(swift, **bundle("old"))
    before = tree(swift)
    archive, text = bad_archives()[case]
    with pytest.raises(BundleError, match=text):
        run(swift, archive=archive, manifest=make_manifest(rings("a")))
    assert tree(swift) == before


@pytest.mark.parametrize(
    ("path", "value", "text"),
    [
        (("format",), 2, "not of format 1"),
        (("version",), "../../etc", "does not belong"),
        (("version",), "0" * 16, "does not belong"),
        (("rings",), [], "lists no rings"),
        (("rings", 0, "name"), "../account.ring.gz", "no name of a ring"),
        (("rings", 0, "name"), "account.ring.gz\n", "no name of a ring"),
        (("rings", 0, "name"), "object-\u0661.ring.gz", "no name of a ring"),
        (("rings", 0, "name"), "object.ring.gz", "lists a ring twice"),
        (("rings", 0, "sha256"), "f" * 64, "does not belong"),
        (("rings", 0, "sha256"), "f", "malformed"),
        (("rings", 0, "size"), "3", "malformed"),
        (("rings", 0, "size"), True, "malformed"),
        (("rings", 0, "md5"), None, "malformed"),
        (("rings", 0, "mode"), 1, "and no more"),
    ],
)
def test_bad_manifest(path: tuple, value: object, text: str) -> None:
    manifest = copy.deepcopy(make_manifest(rings("a")))
    place = manifest
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    with pytest.raises(BundleError, match=text):
        check_manifest(manifest)


def test_incomplete_bundle_is_refused(swift: Path) -> None:
    contents = rings("a")
    del contents["account.ring.gz"]
    archive = base64.b64encode(pack(contents)).decode()
    with pytest.raises(BundleError, match=r"account\.ring\.gz missing: build"):
        run(swift, archive=archive, manifest=make_manifest(contents))


def test_wrong_md5_is_refused(swift: Path) -> None:
    new = bundle("a")
    new["manifest"]["rings"][0]["md5"] = "0" * 32  # type: ignore[index]
    with pytest.raises(BundleError, match="md5 is"):
        run(swift, **new)
    assert tree(swift) == {}


# --- on a host


def test_publish_switch_and_go_back(swift: Path) -> None:
    told = run(swift, commit=False, **bundle("a"))
    assert told["changed"] and tree(swift) == {}
    assert told["diff"]["before"] == "version: none\n"

    made = run(swift, **bundle("a"))
    assert made["changed"] and made["actions"] == told["actions"]
    assert made["version"] == version("a") and made["previous"] is None
    assert {name: active(swift, name) for name in NAMES} == rings("a")
    assert os.readlink(swift / "object.ring.gz") == "rings/current/object.ring.gz"
    assert os.readlink(swift / "rings" / "current") == version("a")
    for path, mode in {"": 0o755, "object.ring.gz": 0o644, "manifest.json": 0o644}.items():
        status = (swift / "rings" / version("a") / path).lstat()
        assert stat.S_IMODE(status.st_mode) == mode and status.st_uid == os.geteuid()

    before = tree(swift)
    assert not run(swift, **bundle("a"))["changed"]
    assert tree(swift) == before

    links = (swift / "object.ring.gz").lstat().st_mtime_ns
    moved = run(swift, **bundle("b"))
    assert moved["actions"] == [f"write version {version('b')}", f"activate version {version('b')}"]
    assert moved["previous"] == version("a") and active(swift) == rings("b")["object.ring.gz"]
    # The links were made once; the switch is the one rename.
    assert (swift / "object.ring.gz").lstat().st_mtime_ns == links

    # Swift notices by the modification time, which must be the time of writing.
    assert (swift / "object.ring.gz").stat().st_mtime > 1_000_000_000
    info = installed_info(str(swift))
    assert info["verified"] and info["rollback"] == [version("a")] and not info["unmanaged"]

    before = tree(swift)
    assert run(swift, commit=False, version=version("a"))["changed"]
    assert tree(swift) == before
    back = run(swift, version=version("a"))
    assert back["actions"] == [f"activate version {version('a')}"]
    assert back["diff"]["before"].startswith(f"version: {version('b')}\n")
    assert active(swift) == rings("a")["object.ring.gz"]
    assert not run(swift, version=version("a"))["changed"]


def test_unknown_version_names_what_there_is(swift: Path) -> None:
    run(swift, **bundle("a"))
    run(swift, **bundle("b"))
    for wanted in ("0" * 16, "../x", "current"):
        with pytest.raises(BundleError, match=f"take one of {version('a')}"):
            run(swift, version=wanted)
    with pytest.raises(BundleError, match="is not the archive's"):
        run(swift, version=version("a"), **bundle("b"))


def test_rings_that_were_there_are_kept(swift: Path) -> None:
    old = rings("old")
    for name in ("account.ring.gz", "object.ring.gz"):
        (swift / name).write_bytes(old[name])
    elsewhere = swift / "mine"
    elsewhere.write_bytes(old["container.ring.gz"])
    (swift / "container.ring.gz").symlink_to(elsewhere)
    (swift / "object-7.ring.gz").write_bytes(b"not in the bundle")
    run(swift, **bundle("a"))
    kept = swift / "rings" / str(make_manifest(old, "before-")["version"])
    assert {name: (kept / name).read_bytes() for name in NAMES} == old
    assert {name: active(swift, name) for name in NAMES} == rings("a")
    assert elsewhere.exists()
    info = installed_info(str(swift))
    assert info["unmanaged"] == ["object-7.ring.gz"] and info["rollback"] == [kept.name]
    assert not run(swift, **bundle("a"))["changed"]

    # It can be gone back to, and no pruning takes it.
    run(swift, keep=0, **bundle("b"))
    assert run(swift, version=kept.name)["changed"]
    assert active(swift) == old["object.ring.gz"]


def test_a_ring_copied_over_a_link_is_kept_too(swift: Path) -> None:
    run(swift, **bundle("a"))
    (swift / "object.ring.gz").unlink()
    (swift / "object.ring.gz").write_bytes(b"by hand")
    assert "object.ring.gz: not linked" in installed_info(str(swift))["faults"][0]
    assert run(swift, **bundle("a"))["changed"]
    assert active(swift) == rings("a")["object.ring.gz"]
    kept = [path.read_bytes() for path in (swift / "rings").glob("before-*/object.ring.gz")]
    assert kept == [b"by hand"]


def test_policies_come_and_go(swift: Path) -> None:
    run(swift, **bundle("a", "object-1.ring.gz"))
    gone = run(swift, **bundle("a"))
    assert "remove object-1.ring.gz" in gone["actions"]
    assert not (swift / "object-1.ring.gz").is_symlink()
    back = run(swift, version=version("a", "object-1.ring.gz"))
    assert "link object-1.ring.gz" in back["actions"]
    assert active(swift, "object-1.ring.gz")


def test_old_versions_are_pruned_but_never_the_current(swift: Path) -> None:
    for tag in "abcd":
        run(swift, keep=2, **bundle(tag))
    names = {path.name for path in (swift / "rings").iterdir()}
    assert names == {"current", version("b"), version("c"), version("d")}
    run(swift, keep=2, version=version("b"))
    run(swift, keep=1, **bundle("e"))
    names = {path.name for path in (swift / "rings").iterdir()}
    assert names == {"current", version("b"), version("e")}
    run(swift, keep=0, **bundle("e"))
    assert {path.name for path in (swift / "rings").iterdir()} == {"current", version("e")}
    assert not run(swift, keep=0, **bundle("e"))["changed"]
    with pytest.raises(BundleError, match="keep must be 0 or more"):
        run(swift, keep=-1, **bundle("e"))


def test_interrupted_unpacking_heals(swift: Path) -> None:
    run(swift, **bundle("a"))
    for tag in ("b", "c"):
        half = swift / "rings" / version(tag)
        half.mkdir()
        (half / "account.ring.gz").write_bytes(b"half")
        (half / ".new-object.ring.gz").write_bytes(b"")
        (half / "stray").mkdir()
    assert installed_info(str(swift))["rollback"] == []
    with pytest.raises(BundleError, match="is not in"):
        run(swift, version=version("b"))
    result = run(swift, **bundle("b"))
    assert f"remove {swift}/rings/{version('c')}, left by an interrupted run" in result["actions"]
    assert installed_info(str(swift))["verified"]
    assert {path.name for path in (swift / "rings" / version("b")).iterdir()} == {
        *NAMES,
        "manifest.json",
    }
    assert not run(swift, **bundle("b"))["changed"]


def test_interrupted_switch_heals(swift: Path) -> None:
    run(swift, **bundle("a"))
    (swift / "rings" / ".new-current").symlink_to(version("b"))
    (swift / ".new-object.ring.gz").symlink_to("rings/current/object.ring.gz")
    (swift / ".new-thing").write_text("of somebody else")
    (swift / "object.ring.gz").unlink()
    assert not installed_info(str(swift))["verified"]
    before = tree(swift)
    assert run(swift, commit=False, **bundle("b"))["changed"] and tree(swift) == before
    run(swift, **bundle("b"))
    assert installed_info(str(swift))["verified"]
    assert sorted(path.name for path in swift.glob(".new-*")) == [".new-thing"]
    assert not list((swift / "rings").glob(".new-*"))


def test_dangling_current_heals(swift: Path) -> None:
    (swift / "rings").mkdir()
    (swift / "rings" / "current").symlink_to("0" * 16)
    info = installed_info(str(swift))
    assert info["version"] == "0" * 16 and not info["verified"] and info["manifest"] is None
    run(swift, **bundle("a"))
    assert installed_info(str(swift))["verified"]


def test_damage_of_the_current_version_is_mended_in_place(swift: Path) -> None:
    run(swift, **bundle("a"))
    ring = swift / "rings" / "current" / "object.ring.gz"
    intact = ring.with_name("account.ring.gz").stat().st_ino
    ring.write_bytes(b"damaged")
    assert "object.ring.gz: size is 7" in installed_info(str(swift))["faults"][0]
    with pytest.raises(BundleError, match="is damaged: publish it again"):
        run(swift, version=version("a"))
    assert run(swift, **bundle("a"))["actions"] == [f"write version {version('a')}"]
    assert installed_info(str(swift))["verified"]
    assert ring.with_name("account.ring.gz").stat().st_ino == intact


def test_modes_are_mended(swift: Path) -> None:
    run(swift, **bundle("a"))
    ring = swift / "rings" / version("a") / "object.ring.gz"
    written = ring.stat().st_mtime_ns
    ring.chmod(0o600)
    assert run(swift, **bundle("a"))["changed"]
    assert stat.S_IMODE(ring.stat().st_mode) == 0o644 and ring.stat().st_mtime_ns == written


def test_full_disk_leaves_the_current_version_active(swift: Path) -> None:
    run(swift, **bundle("a"))
    before = tree(swift)
    contents = rings("b")
    contents["object.ring.gz"] = gzip.compress(b"R1NG" + os.urandom(100_000), mtime=0)
    new = {
        "archive": base64.b64encode(pack(contents)).decode(),
        "manifest": make_manifest(contents),
    }
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    # A real write that fails half-way: the kernel's limit stands for the full disk.
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        with pytest.raises(BundleError, match="was not damaged"):
            run(swift, **new)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    after = tree(swift)
    # Only the directory's own time may differ.
    assert after.keys() == before.keys()
    assert active(swift) == rings("a")["object.ring.gz"]
    assert run(swift, **new)["changed"] and installed_info(str(swift))["verified"]


def test_two_runs_do_not_meet(swift: Path) -> None:
    run(swift, **bundle("a"))
    handle = os.open(swift / "rings", os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        with pytest.raises(BundleError, match="another run publishes"):
            run(swift, **bundle("b"))
    finally:
        os.close(handle)
    assert active(swift) == rings("a")["object.ring.gz"]


def test_obstacles_are_named(swift: Path) -> None:
    (swift / "object.ring.gz").mkdir()
    with pytest.raises(BundleError, match="is a directory: move it away"):
        run(swift, **bundle("a"))
    (swift / "object.ring.gz").rmdir()
    (swift / "rings").mkdir()
    (swift / "rings" / "current").mkdir()
    with pytest.raises(BundleError, match="is not a symbolic link"):
        run(swift, **bundle("a"))
    (swift / "rings" / "current").rmdir()
    (swift / "rings" / version("a")).symlink_to("/tmp")
    with pytest.raises(BundleError, match="is not a directory"):
        run(swift, **bundle("a"))


def test_swift_must_be_installed_but_not_for_check_mode(tmp_path: Path) -> None:
    assert run(tmp_path / "nowhere", commit=False, **bundle("a"))["changed"]
    with pytest.raises(BundleError, match="install Swift first"):
        run(tmp_path / "nowhere", **bundle("a"))


def test_absent(swift: Path) -> None:
    (swift / "object.ring.gz").write_bytes(b"old")
    (swift / "swift.conf").write_text("keep me")
    run(swift, **bundle("a"))
    before = tree(swift)
    assert run(swift, commit=False, state="absent")["changed"] and tree(swift) == before
    assert run(swift, state="absent")["changed"]
    left = [path.name for path in sorted(swift.rglob("*")) if path.is_file()]
    assert sorted(left) == ["manifest.json", "object.ring.gz", "swift.conf"]
    assert not run(swift, state="absent")["changed"]
