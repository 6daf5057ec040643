# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What no file of the repository may lack or hold."""

from __future__ import annotations

import re
import tomllib
from fnmatch import fnmatch
from pathlib import Path

from tooling.tree import ROOT

LICENCE = re.compile(r"SPDX-License-Identifier: GPL-3\.0-or-later")

# Written so that this file does not match itself.
FORBIDDEN = {
    "an absolute home path": re.compile(r"/(?:home|Users)/[A-Za-z]"),
    "the host of a package registry": re.compile(
        r"pypi\.org|pythonhosted\.|deb\.debian\.org|repo1?\.maven|registry\.npmjs|proxy\.golang"
    ),
    "an error that is ignored": re.compile(r"\bignore_errors:\s*(?:true|yes)\b"),
    "an open end": re.compile(r"\b(?:TO[D]O|FIX[M]E|X[X]X)\b"),
}
# (path pattern, what it may hold, why): empty, and meant to stay so.
ALLOWED: tuple[tuple[str, str, str], ...] = ()


def annotated(root: Path = ROOT) -> list[str]:
    """Patterns of the files whose licence REUSE.toml states, having no place for it themselves."""
    content = tomllib.loads((root / "REUSE.toml").read_text(encoding="utf-8"))
    return [
        pattern
        for annotation in content["annotations"]
        if "SPDX-License-Identifier" in annotation
        for pattern in annotation["path"]
    ]


def problems(path: Path, text: str, patterns: list[str]) -> list[str]:
    """What is wrong with the text of the file at this (relative) path."""
    found = []
    name = path.as_posix()
    if text and not any(fnmatch(name, pattern) for pattern in patterns):
        head = "\n".join(text.splitlines()[:12])
        if not LICENCE.search(head):
            found.append(f"{name}: no SPDX-License-Identifier line at its top")
        if path.suffix == ".py" and "SPDX-FileCopyrightText: " not in head:
            found.append(f"{name}: no SPDX-FileCopyrightText line at its top")
    for number, line in enumerate(text.splitlines(), 1):
        for what, pattern in FORBIDDEN.items():
            if pattern.search(line) and not _allowed(name, what):
                found.append(f"{name}:{number}: {what}: {line.strip()[:100]}")
    return found


def _allowed(name: str, what: str) -> bool:
    return any(fnmatch(name, path) and what == allowed for path, allowed, _why in ALLOWED)
