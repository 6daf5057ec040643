# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Swift's rings as one immutable bundle: all hosts switch all rings at once, and can switch back.

    /etc/swift/object.ring.gz -> rings/current/object.ring.gz
    /etc/swift/rings/current  -> 0123456789abcdef
    /etc/swift/rings/0123456789abcdef/{object.ring.gz,...,manifest.json}

Swift compares the modification time of a ring every 15 s and reloads what differs, so nothing is
restarted; for that reason files get the time they were written, never one from the archive.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import errno
import fcntl
import gzip
import hashlib
import io
import json
import os
import re
import shutil
import stat
import tarfile
import zlib
from dataclasses import dataclass, field
from typing import Any, Dict, Iterator, List, Mapping, Optional, Tuple

FORMAT = 1
RING = re.compile(r"(account|container|object(-[0-9]+)?)\.ring\.gz")
BUILDER = re.compile(r"(account|container|object(-[0-9]+)?)\.builder(\.id)?")
VERSION = re.compile(r"(before-)?[0-9a-f]{16}")
# Policy 0 always exists, and no Swift server starts without these three.
REQUIRED = ("account.ring.gz", "container.ring.gz", "object.ring.gz")
MANIFEST = "manifest.json"
TEMPORARY = ".new-"


class BundleError(Exception):
    """Rings cannot be published; the text names the ring and the remedy."""


# --- a bundle as bytes -------------------------------------------------------------------------


def version_of(rings: List[Dict[str, Any]]) -> str:
    """Name a bundle by what is in it: equal rings have equal names on all hosts."""
    text = "".join(
        f"{name} {sha}\n" for name, sha in sorted((r["name"], r["sha256"]) for r in rings)
    )
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def describe_ring(name: str, content: bytes) -> Dict[str, Any]:
    """Make the manifest's entry for a ring; the md5 is what Swift's recon reports."""
    return {
        "name": name,
        "size": len(content),
        "md5": hashlib.md5(content, usedforsecurity=False).hexdigest(),
        "sha256": hashlib.sha256(content).hexdigest(),
    }


def make_manifest(contents: Mapping[str, bytes], prefix: str = "") -> Dict[str, Any]:
    """Describe a bundle."""
    rings = [describe_ring(name, contents[name]) for name in sorted(contents)]
    return {"format": FORMAT, "version": prefix + version_of(rings), "rings": rings}


def check_manifest(manifest: Any) -> Dict[str, Any]:
    """Refuse a manifest that is not one of ours, before anything in it is used as a path."""
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise BundleError(f"manifest: not of format {FORMAT}: take it from swift_ring_bundle_info")
    rings = manifest.get("rings")
    if not isinstance(rings, list) or not rings:
        raise BundleError("manifest: lists no rings")
    for ring in rings:
        if not isinstance(ring, dict) or set(ring) != {"name", "size", "md5", "sha256"}:
            raise BundleError("manifest: a ring needs name, size, md5 and sha256, and no more")
        if not isinstance(ring["name"], str) or not RING.fullmatch(ring["name"]):
            raise BundleError(f"manifest: {ring['name']!r} is no name of a ring")
        if (
            not isinstance(ring["size"], int)
            or isinstance(ring["size"], bool)
            or not re.fullmatch(r"[0-9a-f]{32}", str(ring["md5"]))
            or not re.fullmatch(r"[0-9a-f]{64}", str(ring["sha256"]))
        ):
            raise BundleError(f"manifest: size or checksum of {ring['name']} is malformed")
    if len({ring["name"] for ring in rings}) != len(rings):
        raise BundleError("manifest: lists a ring twice")
    version = str(manifest.get("version"))
    prefix = "before-" if version.startswith("before-") else ""
    if version != prefix + version_of(rings):
        raise BundleError(f"manifest: version {version!r} does not belong to its rings")
    rings = sorted(rings, key=lambda ring: str(ring["name"]))
    return {"format": FORMAT, "version": version, "rings": rings}


def require_complete(manifest: Mapping[str, Any], where: str) -> None:
    """Refuse a bundle that Swift cannot run on."""
    missing = sorted(set(REQUIRED) - {ring["name"] for ring in manifest["rings"]})
    if missing:
        raise BundleError(
            f"{where}: {', '.join(missing)} missing: build the account, the container and the "
            "object ring before publishing"
        )


def verify(ring: Mapping[str, Any], content: bytes) -> Optional[str]:
    """Say how a content differs from what the manifest promises."""
    found = describe_ring(ring["name"], content)
    for what in ("size", "md5", "sha256"):
        if found[what] != ring[what]:
            return f"{ring['name']}: {what} is {found[what]}, the manifest says {ring[what]}"
    return None


def pack(contents: Mapping[str, bytes]) -> bytes:
    """Make a tar that depends on nothing but the rings. They are compressed already."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name in sorted(contents):
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(contents[name]), 0o644
            archive.addfile(member, io.BytesIO(contents[name]))
    return out.getvalue()


def unpack(archive: str, manifest: Mapping[str, Any]) -> Dict[str, bytes]:
    """Read all rings from an archive, or refuse it; nothing is ever extracted by tar itself."""
    again = "fetch it again with swift_ring_bundle_info"
    try:
        raw = base64.b64decode(archive, validate=True)
    except (binascii.Error, ValueError) as error:
        raise BundleError(f"archive: no base64 ({error}): {again}") from error
    promised = {ring["name"]: ring for ring in manifest["rings"]}
    contents: Dict[str, bytes] = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(raw), mode="r:") as tar:
            for member in tar:
                if not RING.fullmatch(member.name):
                    raise BundleError(f"archive: {member.name!r} is no name of a ring")
                if member.name not in promised:
                    raise BundleError(f"archive: {member.name} is not in the manifest")
                if member.name in contents:
                    raise BundleError(f"archive: {member.name} is in it twice")
                if member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) or member.issparse():
                    raise BundleError(f"archive: {member.name} is not a regular file")
                source = tar.extractfile(member)
                content = source.read() if source else b""
                fault = verify(promised[member.name], content)
                if fault:
                    raise BundleError(f"archive: {fault}: {again}")
                contents[member.name] = content
    except (tarfile.TarError, EOFError, ValueError) as error:
        raise BundleError(f"archive: no tar, or cut off ({error}): {again}") from error
    missing = sorted(set(promised) - set(contents))
    if missing:
        raise BundleError(f"archive: {', '.join(missing)} missing or cut off: {again}")
    return contents


def read_source(source: str) -> Dict[str, bytes]:
    """Read the rings beside the builders; refuse what Swift could not load."""
    contents = {}
    try:
        names = sorted(name for name in os.listdir(source) if name.endswith(".ring.gz"))
    except OSError as error:
        raise BundleError(f"{source}: {error.strerror}: build the rings first") from error
    for name in names:
        path = os.path.join(source, name)
        if not RING.fullmatch(name):
            raise BundleError(f"{path} is no name of a ring that Swift reads: move it away")
        with open(path, "rb") as handle:
            contents[name] = handle.read()
        try:
            is_ring = gzip.decompress(contents[name]).startswith(b"R1NG")
        except (OSError, EOFError, zlib.error):
            is_ring = False
        if not is_ring:
            raise BundleError(f"{path} is damaged or no ring: write it anew from its builder")
    require_complete({"rings": [{"name": name} for name in contents]}, source)
    return contents


def read_builders(source: str) -> Dict[str, bytes]:
    """Read the builders and the records of their ids."""
    contents = {}
    for name in sorted(os.listdir(source)):
        if BUILDER.fullmatch(name):
            with open(os.path.join(source, name), "rb") as handle:
                contents[name] = handle.read()
    return contents


# --- bundles on a host -------------------------------------------------------------------------


def _read(path: str) -> Optional[bytes]:
    try:
        with open(path, "rb") as handle:
            return handle.read()
    except (FileNotFoundError, NotADirectoryError):
        return None


def _link(path: str) -> Optional[str]:
    try:
        return os.readlink(path)
    except OSError:
        return None


def _remove(path: str) -> None:
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    else:
        os.unlink(path)


def _sync(directory: str) -> None:
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _wrong_attributes(path: str, mode: int) -> bool:
    status = os.lstat(path)
    # An unprivileged run (a test) cannot give files away.
    foreign = os.geteuid() == 0 and (status.st_uid, status.st_gid) != (0, 0)
    return foreign or stat.S_IMODE(status.st_mode) != mode


def _set_attributes(path: str, mode: int) -> None:
    if os.geteuid() == 0:
        os.chown(path, 0, 0)
    os.chmod(path, mode)


class RingDirectory:
    """The bundles in one host's swift_dir."""

    def __init__(self, swift_dir: str) -> None:
        self.swift_dir = swift_dir
        self.rings = os.path.join(swift_dir, "rings")
        self.current = os.path.join(self.rings, "current")

    def path(self, version: str, name: str = "") -> str:
        """Say where a version, or a file of it, is."""
        return (
            os.path.join(self.rings, version, name) if name else os.path.join(self.rings, version)
        )

    def link_target(self, name: str) -> str:
        """Say what the link of a ring points to."""
        return f"rings/current/{name}"

    def active(self) -> Optional[str]:
        """Say which version `current` points to, whether or not that is sound."""
        return _link(self.current)

    def activated(self) -> Optional[float]:
        """Say when `current` was switched last, by this host's clock."""
        try:
            return os.lstat(self.current).st_mtime
        except OSError:
            return None

    def manifest(self, version: Optional[str]) -> Optional[Dict[str, Any]]:
        """Read the manifest of a version; without a valid one it was never finished."""
        if version is None or not VERSION.fullmatch(version):
            return None
        raw = _read(self.path(version, MANIFEST))
        if raw is None:
            return None
        try:
            manifest = check_manifest(json.loads(raw.decode("utf-8")))
        except (BundleError, ValueError):
            return None
        return manifest if manifest["version"] == version else None

    def faults(self, manifest: Mapping[str, Any]) -> List[str]:
        """Say what of a version is not as its manifest promises."""
        faults = []
        for ring in manifest["rings"]:
            content = _read(self.path(manifest["version"], ring["name"]))
            fault = f"{ring['name']}: missing" if content is None else verify(ring, content)
            if fault:
                faults.append(fault)
        return faults

    def stored(self) -> List[str]:
        """List all that looks like a version, the latest first."""
        try:
            names = [name for name in os.listdir(self.rings) if VERSION.fullmatch(name)]
        except (FileNotFoundError, NotADirectoryError):
            return []

        def age(version: str) -> Tuple[int, str]:
            try:
                return -os.stat(self.path(version, MANIFEST)).st_mtime_ns, version
            except OSError:
                return 0, version

        return sorted(names, key=age)

    def links(self) -> Dict[str, str]:
        """List the rings in swift_dir that are links of ours."""
        return {
            name: self.link_target(name)
            for name in self.found_rings()
            if _link(os.path.join(self.swift_dir, name)) == self.link_target(name)
        }

    def found_rings(self) -> List[str]:
        """List the rings in swift_dir, of whatever kind."""
        try:
            return sorted(name for name in os.listdir(self.swift_dir) if RING.fullmatch(name))
        except (FileNotFoundError, NotADirectoryError):
            return []

    def leftovers(self) -> List[str]:
        """List what an interrupted run left."""
        found = []
        for directory in (self.swift_dir, self.rings):
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                found += [
                    os.path.join(directory, name)
                    for name in sorted(os.listdir(directory))
                    if name == TEMPORARY + "current"
                    or (name.startswith(TEMPORARY) and RING.fullmatch(name[len(TEMPORARY) :]))
                ]
        return found

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Keep two runs on one host apart."""
        handle = os.open(self.rings, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(handle)
            raise BundleError(f"{self.rings}: another run publishes rings: try again") from error
        try:
            yield
        finally:
            os.close(handle)

    # -- changing

    def write(self, manifest: Mapping[str, Any], contents: Mapping[str, bytes]) -> None:
        """Write or mend a version, file by file; the manifest comes last and makes it valid.

        A version in use is mended without a moment in which a ring is missing. If the disk is full,
        what was begun goes and what was there stays.
        """
        directory = self.path(manifest["version"])
        begun = not os.path.isdir(directory)
        try:
            if begun:
                os.mkdir(directory)
            _set_attributes(directory, 0o755)
            wanted = {ring["name"] for ring in manifest["rings"]} | {MANIFEST}
            for name in sorted(set(os.listdir(directory)) - wanted):
                _remove(os.path.join(directory, name))
            for ring in manifest["rings"]:
                path = os.path.join(directory, ring["name"])
                if os.path.islink(path) or _read(path) != contents[ring["name"]]:
                    self._write_file(path, contents[ring["name"]])
                _set_attributes(path, 0o644)
            _sync(directory)
            text = json.dumps(manifest, indent=2, sort_keys=True) + "\n"
            self._write_file(os.path.join(directory, MANIFEST), text.encode())
            _sync(directory)
            _sync(self.rings)
        except OSError:
            if begun:
                shutil.rmtree(directory, ignore_errors=True)
            raise

    @staticmethod
    def _write_file(path: str, content: bytes) -> None:
        directory, name = os.path.split(path)
        temporary = os.path.join(directory, TEMPORARY + name)
        try:
            with open(temporary, "wb") as out:
                out.write(content)
                out.flush()
                os.fsync(out.fileno())
            _set_attributes(temporary, 0o644)
            os.replace(temporary, path)
        except OSError:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)
            raise

    def point(self, path: str, target: str) -> None:
        """Make a symbolic link, or replace what is there, in one step."""
        directory, name = os.path.split(path)
        temporary = os.path.join(directory, TEMPORARY + name)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        os.symlink(target, temporary)
        try:
            os.replace(temporary, path)
        except OSError:
            os.unlink(temporary)
            raise
        _sync(directory)


@dataclass
class BundlePlan:
    """What a host needs to have a version active."""

    version: Optional[str]
    manifest: Optional[Dict[str, Any]] = None
    write: bool = False
    attributes: List[Tuple[str, int]] = field(default_factory=list)
    keep_before: Dict[str, bytes] = field(default_factory=dict)
    switch: bool = False
    links: List[str] = field(default_factory=list)
    unlink: List[str] = field(default_factory=list)
    remove: List[str] = field(default_factory=list)
    prune: List[str] = field(default_factory=list)

    @property
    def actions(self) -> List[str]:
        """List what is done, in order."""
        done = [f"remove {path}, left by an interrupted run" for path in self.remove]
        if self.keep_before:
            done.append(f"keep the rings that are there: {', '.join(sorted(self.keep_before))}")
        if self.write:
            done.append(f"write version {self.version}")
        done += [f"set owner and mode of {path}" for path, _mode in self.attributes]
        if self.switch:
            done.append(f"activate version {self.version}")
        done += [f"link {name}" for name in self.links]
        done += [f"remove {name}" for name in self.unlink]
        return done + [f"remove version {version}" for version in self.prune]


def _refuse_obstacles(there: RingDirectory) -> None:
    """Refuse things that have the place of ours and are of another kind."""
    for path in (there.rings, *(there.path(version) for version in there.stored())):
        if os.path.lexists(path) and (os.path.islink(path) or not os.path.isdir(path)):
            raise BundleError(f"{path} is not a directory: move it away")
    if os.path.lexists(there.current) and not os.path.islink(there.current):
        raise BundleError(f"{there.current} is not a symbolic link: move it away")
    for name in there.found_rings():
        path = os.path.join(there.swift_dir, name)
        if os.path.isdir(path):
            raise BundleError(f"{path} is a directory: move it away")


def plan_present(
    there: RingDirectory,
    manifest: Dict[str, Any],
    contents: Optional[Mapping[str, bytes]],
    keep: int,
) -> BundlePlan:
    """Decide what makes a version active. Without contents it has to be there already."""
    version = manifest["version"]
    plan = BundlePlan(version=version, manifest=manifest)
    _refuse_obstacles(there)
    plan.remove = there.leftovers()
    plan.write = there.manifest(version) != manifest or bool(there.faults(manifest))
    if plan.write and contents is None:
        raise BundleError(f"version {version} is damaged: publish it again with its archive")
    directory = there.path(version)
    names = [ring["name"] for ring in manifest["rings"]]
    if not plan.write:
        checked = [(there.rings, 0o755), (directory, 0o755)]
        checked += [(os.path.join(directory, name), 0o644) for name in [*names, MANIFEST]]
        plan.attributes = [pair for pair in checked if _wrong_attributes(*pair)]
    active = there.active()
    plan.switch = active != version
    ours = there.links()
    plan.links = [name for name in names if name not in ours]
    # A ring of a policy that is no more would be a dangling link.
    plan.unlink = sorted(set(ours) - set(names))
    for name in plan.links:
        content = _read(os.path.join(there.swift_dir, name))
        if content is not None:
            plan.keep_before[name] = content
    old = []
    for stored in there.stored():
        # What was there before us exists nowhere else, so it stays and does not count.
        if stored == version or stored.startswith("before-"):
            continue
        if there.manifest(stored) is not None:
            old.append(stored)
        elif stored == active:
            plan.prune.append(stored)
        else:
            plan.remove.append(there.path(stored))
    # The one that is active until now is the first to go back to.
    old.sort(key=lambda stored: stored != active)
    plan.prune += old[keep:]
    return plan


def apply_present(
    there: RingDirectory, plan: BundlePlan, contents: Optional[Mapping[str, bytes]]
) -> None:
    """Carry a plan out; up to the switch the rings in use are not touched."""
    if not os.path.isdir(there.swift_dir):
        raise BundleError(f"{there.swift_dir} does not exist: install Swift first")
    if not os.path.isdir(there.rings):
        os.mkdir(there.rings)
    _set_attributes(there.rings, 0o755)
    version, manifest = plan.version, plan.manifest
    if version is None or manifest is None:
        raise BundleError("no version is given")
    with there.lock():
        for path in plan.remove:
            _remove(path)
        if plan.write and contents is not None:
            there.write(manifest, contents)
        for path, mode in plan.attributes:
            _set_attributes(path, mode)
        if plan.keep_before:
            before = make_manifest(plan.keep_before, "before-")
            there.write(before, plan.keep_before)
            if there.active() is None:
                # First the same rings through links, then all of them in one step.
                there.point(there.current, before["version"])
                for name in plan.keep_before:
                    there.point(os.path.join(there.swift_dir, name), there.link_target(name))
        if plan.switch:
            there.point(there.current, version)
        for name in plan.links:
            there.point(os.path.join(there.swift_dir, name), there.link_target(name))
        for name in plan.unlink:
            os.unlink(os.path.join(there.swift_dir, name))
        for old in plan.prune:
            shutil.rmtree(there.path(old))
        _sync(there.swift_dir)
        _sync(there.rings)


def plan_absent(there: RingDirectory) -> BundlePlan:
    """Decide what goes: our links and bundles, not the rings that were there before us."""
    _refuse_obstacles(there)
    plan = BundlePlan(version=None, remove=there.leftovers(), unlink=sorted(there.links()))
    plan.prune = [version for version in there.stored() if not version.startswith("before-")]
    if os.path.islink(there.current):
        plan.remove.append(there.current)
    return plan


def apply_absent(there: RingDirectory, plan: BundlePlan) -> None:
    """Remove links, then what they pointed to."""
    for name in plan.unlink:
        os.unlink(os.path.join(there.swift_dir, name))
    for path in plan.remove:
        _remove(path)
    for version in plan.prune:
        shutil.rmtree(there.path(version))
    try:
        os.rmdir(there.rings)
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENOTEMPTY):
            raise


def _show(version: Optional[str], manifest: Optional[Mapping[str, Any]]) -> str:
    rings = manifest["rings"] if manifest else []
    return f"version: {version or 'none'}\n" + "".join(f"{r['name']}: {r['md5']}\n" for r in rings)


def ensure_bundle(params: Mapping[str, Any], *, commit: bool) -> Dict[str, Any]:
    """Do what the module is asked for; give back its result."""
    there = RingDirectory(params["swift_dir"])
    contents: Optional[Dict[str, bytes]] = None
    manifest: Optional[Dict[str, Any]] = None
    try:
        before = there.active()
        before_text = _show(before, there.manifest(before))
        if params["state"] == "absent":
            plan = plan_absent(there)
            if commit and plan.actions:
                apply_absent(there, plan)
        else:
            if params["keep"] < 0:
                raise BundleError("keep must be 0 or more")
            if params["archive"]:
                manifest = check_manifest(params["manifest"])
                require_complete(manifest, "manifest")
                if params["version"] not in (None, manifest["version"]):
                    raise BundleError(
                        f"version {params['version']} is not the archive's, which is "
                        f"{manifest['version']}: leave one of them out"
                    )
                contents = unpack(params["archive"], manifest)
            else:
                manifest = there.manifest(params["version"])
                if manifest is None:
                    raise BundleError(
                        f"version {params['version']} is not in {there.rings}: publish its "
                        f"archive, or take one of {', '.join(rollback(there)) or 'none'}"
                    )
                require_complete(manifest, f"version {manifest['version']}")
            plan = plan_present(there, manifest, contents, params["keep"])
            if commit and plan.actions:
                apply_present(there, plan, contents)
    except OSError as error:
        raise BundleError(
            f"{error.filename or there.rings}: {error.strerror}: the version that was active, "
            f"{there.active() or 'none'}, was not damaged; mend this and run again"
        ) from error
    return {
        "changed": bool(plan.actions),
        "version": plan.version,
        "previous": before,
        "manifest": manifest,
        "actions": plan.actions,
        "diff": {
            "before_header": there.current,
            "after_header": there.current,
            "before": before_text,
            "after": _show(plan.version, manifest),
        },
    }


def rollback(there: RingDirectory) -> List[str]:
    """List the versions that can be activated without an archive, the latest first."""
    found = []
    for version in there.stored():
        manifest = there.manifest(version)
        if manifest is None or version == there.active() or there.faults(manifest):
            continue
        if set(REQUIRED) <= {ring["name"] for ring in manifest["rings"]}:
            found.append(version)
    return found


def source_info(source: str, *, archive: bool) -> Dict[str, Any]:
    """Describe the rings beside the builders."""
    try:
        contents = read_source(source)
    except OSError as error:
        raise BundleError(f"{error.filename or source}: {error.strerror}") from error
    manifest = make_manifest(contents)
    result = {"version": manifest["version"], "manifest": manifest}
    if archive:
        result["archive"] = base64.b64encode(pack(contents)).decode()
        result["builders"] = base64.b64encode(pack(read_builders(source))).decode()
    return result


def installed_info(swift_dir: str) -> Dict[str, Any]:
    """Describe the rings that a host uses."""
    there = RingDirectory(swift_dir)
    active = there.active()
    manifest = there.manifest(active)
    ours = there.links()
    faults = there.faults(manifest) if manifest else []
    if active and not manifest:
        faults.append(f"version {active} has no valid manifest: publish the rings again")
    if manifest:
        names = {ring["name"] for ring in manifest["rings"]}
        faults += [f"{name}: not linked in {swift_dir}" for name in sorted(names - set(ours))]
    return {
        "version": active,
        "activated": there.activated(),
        "manifest": manifest,
        "verified": manifest is not None and not faults,
        "faults": faults,
        "rollback": rollback(there),
        "unmanaged": [name for name in there.found_rings() if name not in ours],
    }
