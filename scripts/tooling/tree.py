# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where things are in the repository, and how they are read."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
COLLECTION = "infn.cloud"


class Loader(yaml.SafeLoader):
    """YAML as Ansible writes it: tags such as !unsafe and !vault keep their plain value."""


def _plain(loader: yaml.SafeLoader, _suffix: str, node: yaml.Node) -> Any:
    if isinstance(node, yaml.MappingNode):
        return loader.construct_mapping(node, deep=True)
    if isinstance(node, yaml.SequenceNode):
        return loader.construct_sequence(node, deep=True)
    return loader.construct_scalar(node)  # type: ignore[arg-type]


Loader.add_multi_constructor("!", _plain)


def parse_yaml(text: str) -> Any:
    return yaml.load(text, Loader)  # noqa: S506 (a SafeLoader)


def read_yaml(path: Path) -> Any:
    return parse_yaml(path.read_text(encoding="utf-8")) if path.exists() else None


def own_files(root: Path = ROOT) -> list[Path]:
    """Files of the project, relative."""
    return [path for path in own_paths(root) if (root / path).is_file()]


def own_paths(root: Path = ROOT) -> list[Path]:
    """What git tracks or would track, relative: files, and links to directories."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=root,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    names = {Path(name) for name in listed.split("\0") if name}
    return sorted(path for path in names if (root / path).is_file() or (root / path).is_symlink())


def roles(root: Path = ROOT) -> list[Path]:
    """Directories with something of a role in them."""
    return sorted(p for p in (root / "roles").glob("*") if any(p.glob("*/main.y*ml")))


def playbooks(root: Path = ROOT) -> Iterator[Path]:
    """Playbooks, relative to playbooks/; task and variable files beside them are not."""
    base = root / "playbooks"
    for path in sorted(base.rglob("*.yml")):
        content = read_yaml(path)
        if isinstance(content, list) and any(
            isinstance(play, dict) and ("hosts" in play or _imports_playbook(play))
            for play in content
        ):
            yield path.relative_to(base)


def _imports_playbook(play: dict[str, Any]) -> bool:
    return any(key.rpartition(".")[2] == "import_playbook" for key in play)


def environment(collections: Path = ROOT / ".cache/collections") -> dict[str, str]:
    """For Ansible's programs, whoever calls: this collection, the packaged ones, no colour."""
    keep = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("ANSIBLE_", "PYTHON", "MYPY", "RUFF_"))
    }
    return keep | {
        "ANSIBLE_COLLECTIONS_PATH": str(collections),
        "ANSIBLE_NOCOLOR": "1",
        "NO_COLOR": "1",
        "LC_ALL": "C.UTF-8",
        "PATH": f"{ROOT}/.venv/bin{os.pathsep}{os.environ.get('PATH', os.defpath)}",
    }
