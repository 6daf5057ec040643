# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Configuration files of one service, compared and written together.

PRIVATE to the collection: it may change without notice.

The controller describes every file (`parse_files`) and sends the description (`encode_payload`);
the target looks at what is there (`look_at`), decides (`plan`, which touches nothing) and writes
(`Writer`). Nothing is written until every entry has been looked at, decided and validated.
"""

from __future__ import annotations

import base64
import binascii
import grp
import json
import os
import pwd
import re
import shlex
import shutil
import stat
import tempfile
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Iterator, Optional

STATES = ("file", "directory", "absent")
ENTRY_KEYS = frozenset(
    [
        "path",
        "state",
        "template",
        "content",
        "vars",
        "owner",
        "group",
        "mode",
        "secret",
        "validate",
        "force",
    ]
)
DEFAULT_KEYS = frozenset(("owner", "group", "mode", "directory_mode"))
# Only a file has these; on a directory they would be a misunderstanding.
FILE_KEYS = ("template", "content", "vars", "secret", "validate", "force")
# Ansible's own limit for a file in a diff.
MAX_DIFF_BYTES = 104448
_MODE = re.compile(r"[0-7]{3,5}\Z")


class ConfigTreeError(Exception):
    """A request that cannot be fulfilled; the message names the path and the remedy."""


# --- what is wanted ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Wanted:
    """One path as it shall be; None keeps what is there."""

    path: str
    state: str = "file"
    content: Optional[str] = None
    owner: Optional[str] = None
    group: Optional[str] = None
    mode: Optional[int] = None
    secret: bool = False
    validate: Optional[str] = None
    force: bool = True


@dataclass(frozen=True)
class Source:
    """A wanted path and where its content comes from: a template, or the text itself."""

    wanted: Wanted
    template: Optional[str] = None
    variables: Mapping[str, Any] = field(default_factory=dict)


def parse_files(
    files: Sequence[Any],
    defaults: Mapping[str, Any],
    to_bool: Callable[[Any], bool],
) -> list[Source]:
    """Turn the entries of a task into sources, refusing whatever is not clearly meant."""
    unknown = sorted(set(defaults) - DEFAULT_KEYS)
    if unknown:
        known = ", ".join(sorted(DEFAULT_KEYS))
        raise ConfigTreeError(f"defaults: unknown key {', '.join(unknown)}; known are {known}")
    sources = [_parse_entry(entry, defaults, to_bool) for entry in files]
    seen: set[str] = set()
    for source in sources:
        path = source.wanted.path
        if path in seen:
            raise ConfigTreeError(f"{path}: listed twice; keep one entry per path")
        seen.add(path)
    return sources


def _parse_entry(entry: Any, defaults: Mapping[str, Any], to_bool: Callable[[Any], bool]) -> Source:
    if isinstance(entry, str):
        entry = {"path": entry}
    if not isinstance(entry, Mapping) or not isinstance(entry.get("path"), str):
        raise ConfigTreeError(
            f"files: {entry!r} is neither a path nor a dictionary with a path"
            if not isinstance(entry, Mapping)
            else "files: an entry has no path; every entry needs one"
        )
    path = _parse_path(entry["path"])
    given = {key: value for key, value in entry.items() if value is not None}
    unknown = sorted(str(key) for key in set(given) - ENTRY_KEYS)
    if unknown:
        raise ConfigTreeError(
            f"{path}: unknown key {', '.join(unknown)}; known are {', '.join(sorted(ENTRY_KEYS))}"
        )
    state = given.get("state", "file")
    if state not in STATES:
        raise ConfigTreeError(f"{path}: state {state!r} is not one of {', '.join(STATES)}")
    if state == "absent":
        # The rest may stay, so that a variable can choose between a file and none.
        return Source(Wanted(path=path, state="absent"))
    misplaced = [key for key in FILE_KEYS if key in given and state == "directory"]
    if misplaced:
        raise ConfigTreeError(f"{path}: a directory has no {', '.join(misplaced)}")
    if "content" in given and ("template" in given or "vars" in given):
        raise ConfigTreeError(f"{path}: content excludes template and vars; keep one of them")

    secret = _parse_bool(path, "secret", given.get("secret", False), to_bool)
    mode_default = defaults.get("mode" if state == "file" else "directory_mode")
    mode = parse_mode(path, given.get("mode", mode_default))
    if secret and mode is None:
        mode = 0o600
    if secret and mode is not None and mode & 0o007:
        raise ConfigTreeError(
            f'{path}: secret, but mode {mode:04o} opens it to everyone; give it a mode like "0640"'
        )
    wanted = Wanted(
        path=path,
        state=state,
        content=_parse_content(given.get("content")),
        owner=_parse_name(given.get("owner", defaults.get("owner"))),
        group=_parse_name(given.get("group", defaults.get("group"))),
        mode=mode,
        secret=secret,
        validate=_parse_validate(path, given.get("validate")),
        force=_parse_bool(path, "force", given.get("force", True), to_bool),
    )
    variables = given.get("vars", {})
    if not isinstance(variables, Mapping):
        raise ConfigTreeError(f"{path}: vars is not a dictionary")
    template = None
    if state == "file" and "content" not in given:
        template = str(given.get("template", path.lstrip("/") + ".j2"))
    return Source(wanted, template, variables)


def _parse_path(path: str) -> str:
    """Only one spelling of a path: duplicates and parents are found by comparing strings."""
    trimmed = path.rstrip("/") if path != "/" else path
    if not path.startswith("/") or os.path.normpath(trimmed) != trimmed:
        raise ConfigTreeError(f"{path!r}: not an absolute path without '.', '..' and '//'")
    if trimmed == "/":
        raise ConfigTreeError("'/': the root directory is not configuration")
    return str(trimmed)


def _parse_bool(path: str, key: str, value: Any, to_bool: Callable[[Any], bool]) -> bool:
    try:
        return to_bool(value)
    except TypeError:
        raise ConfigTreeError(f"{path}: {key} is {value!r}, not true or false") from None


def _parse_name(value: Any) -> Optional[str]:
    return None if value is None else str(value)


def _parse_content(value: Any) -> Optional[str]:
    # Before ansible-core 2.19 a template of JSON arrives as the data it describes.
    if isinstance(value, (dict, list)):
        return json.dumps(value)
    return None if value is None else str(value)


def parse_mode(path: str, value: Any) -> Optional[int]:
    """Read an octal mode; a bare number is refused, since YAML may have read it as decimal."""
    if value is None:
        return None
    if not isinstance(value, str) or not _MODE.match(value):
        raise ConfigTreeError(f'{path}: mode {value!r} is not a quoted octal number like "0640"')
    return int(value, 8)


def _parse_validate(path: str, value: Any) -> Optional[str]:
    if value is None:
        return None
    try:
        words = shlex.split(str(value))
    except ValueError as error:
        raise ConfigTreeError(f"{path}: validate cannot be split into words: {error}") from error
    if sum(word.count("%s") for word in words) != 1:
        raise ConfigTreeError(f"{path}: validate needs exactly one %s, where the file's name goes")
    return str(value)


def encode_payload(wanted: Iterable[Wanted]) -> str:
    """Pack everything into one word, so that hiding it hides nothing else of the output."""
    text = json.dumps([asdict(item) for item in wanted])
    return base64.b64encode(zlib.compress(text.encode())).decode()


def decode_payload(payload: str) -> list[Wanted]:
    """Unpack what `encode_payload` packed."""
    try:
        return [Wanted(**item) for item in json.loads(zlib.decompress(base64.b64decode(payload)))]
    except (binascii.Error, zlib.error, ValueError, TypeError) as error:
        raise ConfigTreeError(
            "the list of files did not arrive whole; call infn.cloud.config_tree from a task"
        ) from error


# --- what is there ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Found:
    """What stands at a path: absent, file, directory, link (any symbolic link), special file."""

    kind: str = "absent"
    uid: int = -1
    gid: int = -1
    mode: int = 0
    content: bytes = b""
    link: str = ""
    # A link's own target decides whether it may stand for a directory.
    leads_to_directory: bool = False


def look_at(path: str) -> Found:
    """Read what stands at a path, following no symbolic link but one to a directory."""
    try:
        status = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return Found()
    except OSError as error:
        raise ConfigTreeError(f"{path}: cannot be looked at: {error.strerror}") from error
    link = ""
    if stat.S_ISLNK(status.st_mode):
        link = os.readlink(path)
        if not os.path.isdir(path):
            return Found(kind="link", link=link)
        status = os.stat(path)
    found = Found(
        kind="directory" if stat.S_ISDIR(status.st_mode) else "special file",
        uid=status.st_uid,
        gid=status.st_gid,
        mode=stat.S_IMODE(status.st_mode),
    )
    if link:
        return replace(found, kind="link", link=link, leads_to_directory=True)
    if not stat.S_ISREG(status.st_mode):
        return found
    try:
        with open(path, "rb") as stream:
            content = stream.read()
    except OSError as error:
        raise ConfigTreeError(f"{path}: cannot be read: {error.strerror}") from error
    return replace(found, kind="file", content=content)


@dataclass(frozen=True)
class Account:
    """An owner or group: its name as wanted and its number, None where the name is unknown."""

    name: str
    number: Optional[int]


def find_user(name: Optional[str]) -> Optional[Account]:
    """Look a user up by name or number; None asks for none."""
    if name is None:
        return None
    try:
        return Account(name, pwd.getpwnam(name).pw_uid)
    except KeyError:
        return Account(name, int(name) if name.isdigit() else None)


def find_group(name: Optional[str]) -> Optional[Account]:
    """Look a group up by name or number; None asks for none."""
    if name is None:
        return None
    try:
        return Account(name, grp.getgrnam(name).gr_gid)
    except KeyError:
        return Account(name, int(name) if name.isdigit() else None)


def user_name(uid: int) -> str:
    """Name a user for a person; a user without a name is its number."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def group_name(gid: int) -> str:
    """Name a group for a person; a group without a name is its number."""
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


# --- what has to be done ----------------------------------------------------------------------


@dataclass(frozen=True)
class Step:
    """One path's change; `writes` is false where only owner, group or mode differ."""

    wanted: Wanted
    found: Found
    user: Optional[Account]
    group: Optional[Account]
    writes: bool
    attributes: tuple[str, ...] = ()

    @property
    def data(self) -> bytes:
        """The wanted content as bytes; surrogates are bytes that were no UTF-8."""
        return (self.wanted.content or "").encode("utf-8", "surrogateescape")

    @property
    def keeps(self) -> bool:
        """Whether what is there stays in kind, so that it can keep what nobody set."""
        return self.found.kind == self.wanted.state or self.found.leads_to_directory

    @property
    def mode(self) -> int:
        """The mode the path will have."""
        if self.wanted.mode is not None:
            return self.wanted.mode
        if self.keeps:
            return self.found.mode
        return 0o755 if self.wanted.state == "directory" else 0o644


@dataclass(frozen=True)
class Surroundings:
    """What is known of a path besides itself."""

    found: Found
    parent_exists: bool
    user: Optional[Account] = None
    group: Optional[Account] = None


def plan(
    wanted: Sequence[Wanted], surroundings: Mapping[str, Surroundings], *, tolerant: bool
) -> list[Step]:
    """Decide what each path needs; refuse before anything is touched.

    A tolerant plan (check mode) takes an unknown owner or a missing parent for something that a
    package, not yet installed, will bring.
    """
    steps = []
    made: set[str] = set()
    for item in wanted:
        around = surroundings[item.path]
        if item.state != "absent":
            parent = os.path.dirname(item.path)
            if not (around.parent_exists or parent in made or tolerant):
                raise ConfigTreeError(
                    f"{item.path}: directory {parent} does not exist; list it before, "
                    "with state: directory"
                )
            if not tolerant:
                _refuse_unknown(item, around)
        if item.state == "directory":
            made.add(item.path)
        step = _plan_one(item, around)
        if step is not None:
            steps.append(step)
    return steps


def _refuse_unknown(item: Wanted, around: Surroundings) -> None:
    for kind, account in (("user", around.user), ("group", around.group)):
        if account is not None and account.number is None:
            raise ConfigTreeError(
                f"{item.path}: {kind} {account.name} does not exist on this host; "
                "install the package that brings it, or create it, first"
            )


def _plan_one(item: Wanted, around: Surroundings) -> Optional[Step]:
    found = around.found
    if item.state == "absent":
        if found.kind == "absent":
            return None
        if found.kind not in ("file", "link"):
            raise ConfigTreeError(
                f"{item.path}: is a {found.kind}; only files and links are removed here"
            )
        return Step(item, found, None, None, writes=True)
    if item.state == "directory":
        if found.kind not in ("absent", "directory") and not found.leads_to_directory:
            raise ConfigTreeError(f"{item.path}: a {found.kind} is in the directory's place")
        writes = found.kind == "absent"
    else:
        if found.kind in ("directory", "special file") or found.leads_to_directory:
            raise ConfigTreeError(f"{item.path}: a {found.kind} is in the file's place")
        if found.kind == "link" and not item.force:
            return None
        kept = found.kind == "file" and not item.force
        step = Step(item, found, around.user, around.group, writes=True)
        writes = not kept and (found.kind != "file" or found.content != step.data)
    step = Step(item, found, around.user, around.group, writes, _differing(item, around))
    return step if step.writes or step.attributes else None


def _differing(item: Wanted, around: Surroundings) -> tuple[str, ...]:
    """Which attributes of an existing path differ; a path to be made differs in none."""
    found = around.found
    if found.kind != item.state and not found.leads_to_directory:
        return ()
    names = []
    if around.user is not None and around.user.number != found.uid:
        names.append("owner")
    if around.group is not None and around.group.number != found.gid:
        names.append("group")
    if item.mode is not None and item.mode != found.mode:
        names.append("mode")
    return tuple(names)


# --- what a person sees -----------------------------------------------------------------------


def diff_of(step: Step) -> list[dict[str, Any]]:
    """Describe a step as Ansible's diffs: the content first, then owner, group and mode."""
    path, found = step.wanted.path, step.found
    diffs: list[dict[str, Any]] = []
    if step.writes:
        diffs.append(_diff_of_content(step))
    if step.attributes:
        before = {
            "owner": user_name(found.uid),
            "group": group_name(found.gid),
            "mode": f"{found.mode:04o}",
        }
        after = {
            "owner": step.user.name if step.user else "",
            "group": step.group.name if step.group else "",
            "mode": f"{step.mode:04o}",
        }
        diffs.append(
            {
                "before_header": f"{path} (attributes)",
                "after_header": f"{path} (attributes)",
                "before": "".join(f"{name}: {before[name]}\n" for name in step.attributes),
                "after": "".join(f"{name}: {after[name]}\n" for name in step.attributes),
            }
        )
    return diffs


def _diff_of_content(step: Step) -> dict[str, Any]:
    item, found = step.wanted, step.found
    headers = {
        "before_header": item.path + {"absent": " (absent)", "link": " (link)"}.get(found.kind, ""),
        "after_header": item.path + (" (absent)" if item.state == "absent" else ""),
    }
    if item.state == "directory":
        return {**headers, "before": "", "after": f"directory, mode {step.mode:04o}\n"}
    if item.state == "absent":
        # Nobody says any more whether it was secret.
        return {**headers, "before": f"{found.kind}, mode {found.mode:04o}\n", "after": ""}
    before = f"link to {found.link}\n".encode() if found.kind == "link" else found.content
    after = step.data
    if item.secret:
        hidden = "(secret content)\n"
        return {
            **headers,
            "before": hidden if found.kind == "file" else "",
            "after": f"(secret content, {'changed' if found.kind == 'file' else 'new'})\n",
        }
    for key, data in (("dst", before), ("src", after)):
        if len(data) > MAX_DIFF_BYTES:
            return {**headers, f"{key}_larger": MAX_DIFF_BYTES}
        if b"\0" in data:
            return {**headers, f"{key}_binary": 1}
    return {
        **headers,
        "before": before.decode("utf-8", "replace"),
        "after": after.decode("utf-8", "replace"),
    }


# --- doing it ---------------------------------------------------------------------------------


@contextmanager
def staged(step: Step, directory: str) -> Iterator[str]:
    """Lend the new content as a file for its validation.

    Not beside its destination, where a program that reads a whole directory would find it, but
    under its own name, since some programs tell formats apart by a name's end.
    """
    place = tempfile.mkdtemp(prefix="config-tree-", dir=directory)
    try:
        path = os.path.join(place, os.path.basename(step.wanted.path))
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as stream:
            stream.write(step.data)
        yield path
    finally:
        shutil.rmtree(place)


def validation_command(command: str, path: str) -> list[str]:
    """Words of the validation; the name is put in after splitting, so it cannot add words."""
    return [word.replace("%s", path) for word in shlex.split(command)]


class Writer:
    """Makes steps true, one atomic change each.

    `label` gives a new file the security label (SELinux) its final path should have; it is
    called with the temporary path and the final one.
    """

    def __init__(self, label: Callable[[str, str], None]) -> None:
        self._label = label

    def apply(self, step: Step) -> None:
        """Make one step true."""
        path = step.wanted.path
        try:
            if step.wanted.state == "absent":
                os.unlink(path)
                _sync_directory(os.path.dirname(path))
            elif step.wanted.state == "directory":
                self._make_directory(step)
            elif step.writes:
                self._write(step)
            else:
                self._set_attributes(step, os.O_NOFOLLOW)
        except OSError as error:
            raise ConfigTreeError(f"{path}: {error.strerror or error}") from error

    def _make_directory(self, step: Step) -> None:
        path = step.wanted.path
        if step.writes:
            # Closed to others until it has its owner.
            os.mkdir(path, 0o700)
            self._label(path, path)
        self._set_attributes(step, os.O_DIRECTORY)

    def _set_attributes(self, step: Step, flags: int) -> None:
        handle = os.open(step.wanted.path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | flags)
        try:
            _give(handle, step)
        finally:
            os.close(handle)

    def _write(self, step: Step) -> None:
        """Write beside the destination, for its owner's eyes only, and rename into place."""
        path = step.wanted.path
        directory = os.path.dirname(path)
        handle, temporary = tempfile.mkstemp(prefix=f".{os.path.basename(path)}.", dir=directory)
        try:
            with os.fdopen(handle, "wb") as stream:
                if step.found.kind == "file":
                    # Access lists and labels stay; the mode that comes along is closed again
                    # before the content goes in.
                    shutil.copystat(path, temporary)
                    os.fchmod(stream.fileno(), 0o600)
                else:
                    self._label(temporary, path)
                stream.write(step.data)
                stream.flush()
                _give(stream.fileno(), step)
                os.fsync(stream.fileno())
                # The time of the change is the time of the swap: a service that started while
                # this was being written has read the old file.
                os.utime(stream.fileno())
            os.rename(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise
        _sync_directory(directory)


def _give(handle: int, step: Step) -> None:
    """Set owner, group and mode of an open file; the owner first, which clears mode bits."""
    status = os.fstat(handle)
    uid = _number(step.user, step.found.uid if step.keeps else -1)
    gid = _number(step.group, step.found.gid if step.keeps else -1)
    if uid not in (-1, status.st_uid) or gid not in (-1, status.st_gid):
        os.fchown(handle, uid, gid)
    os.fchmod(handle, step.mode)


def _number(account: Optional[Account], otherwise: int) -> int:
    return otherwise if account is None or account.number is None else account.number


def _sync_directory(path: str) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
