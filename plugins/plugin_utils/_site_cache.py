# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The last good answer of each site, in a file of its own.

PRIVATE to the collection: it may change without notice.

Ansible's own caches are not used: they keep all entries of a source together, rewrite them all
when one changes, which resets their age, are readable by everybody, and cannot give an expired
entry back. Here an entry is written whole or not at all, for its owner only, and says when it was
fetched.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import tempfile
import typing as t
from pathlib import Path

from ._provider import SCHEMA, Answer


@dataclasses.dataclass(frozen=True)
class Key:
    """What an answer is an answer to. parts has nothing secret, but is hashed all the same."""

    federation: str
    site: str
    parts: t.Any

    @property
    def file(self) -> str:
        text = json.dumps([SCHEMA, self.parts], sort_keys=True, default=str)
        digest = hashlib.sha256(text.encode()).hexdigest()
        return f"{self.federation}.{self.site}.{digest}.json"


class SiteCache:
    """Entries below one directory. problems collects what could not be written, for a warning."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.problems: list[str] = []

    def fetched_at(self, key: Key) -> float | None:
        """When the entry was fetched, in seconds since 1970; None if there is none."""
        try:
            with (self.directory / key.file).open(encoding="utf-8") as stream:
                return _fetched_at(stream.readline())
        except (OSError, ValueError):
            return None

    def load(self, key: Key) -> tuple[Answer, float] | None:
        """The answer and when it was fetched; None if there is none that can be read."""
        path = self.directory / key.file
        try:
            with path.open(encoding="utf-8") as stream:
                fetched_at = _fetched_at(stream.readline())
                return Answer.of_plain(json.loads(stream.read())), fetched_at
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            self.problems.append(f"{path}: {error}; the entry is not used")
            return None

    def store(self, key: Key, answer: Answer, now: float, keep: float) -> None:
        """Replace the entry, and remove those of the site that are older than keep seconds."""
        try:
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(dir=self.directory, prefix=".", suffix=".part")
            try:
                with os.fdopen(handle, "w", encoding="utf-8") as stream:  # mkstemp made it 0600
                    stream.write(json.dumps({"fetched_at": now}) + "\n")
                    stream.write(json.dumps(answer.plain(), separators=(",", ":")))
                os.replace(name, self.directory / key.file)
            except BaseException:
                with contextlib.suppress(OSError):
                    os.unlink(name)
                raise
            for old in self.directory.glob(f"{key.federation}.{key.site}.*.json"):
                if old.name != key.file and old.stat().st_mtime < now - keep:
                    old.unlink()
        except OSError as error:
            self.problems.append(
                f"{error.filename or self.directory}: {error.strerror}; if site {key.site} fails"
                " there will be no last answer of it; correct cache_directory"
            )


def _fetched_at(line: str) -> float:
    head = json.loads(line)
    if not isinstance(head, dict) or not isinstance(head.get("fetched_at"), (int, float)):
        raise ValueError("the entry does not say when it was fetched")
    return float(head["fetched_at"])
