# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The repository keeps its own rules: interfaces, examples, generated pages, licences, words."""

from __future__ import annotations

import ast
import functools
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tooling import docs, examples, interface, text, tree


def _plugins(directory: str) -> list[str]:
    return sorted(
        path.stem
        for path in (tree.ROOT / "plugins" / directory).glob("*.py")
        if not path.name.startswith("_")
    )


@functools.lru_cache(maxsize=1)
def _documentation() -> dict[str, dict[str, Any]]:
    return examples.documentation()


def _documented(kind: str, name: str) -> tuple[dict[str, Any], str]:
    entry = _documentation()[kind][f"{tree.COLLECTION}.{name}"]
    return entry["doc"].get("options") or {}, entry.get("examples") or ""


def _report(problems: list[str]) -> None:
    if problems:
        pytest.fail("\n".join(problems), pytrace=False)


@pytest.mark.parametrize("role", tree.roles(), ids=lambda role: role.name)
def test_interface_of_the_role(role: Path) -> None:
    _report(interface.problems(role))


@pytest.mark.parametrize("name", _plugins("modules"))
def test_examples_of_the_module(name: str) -> None:
    _report(examples.module_problems(name, *_documented("module", name)))


@pytest.mark.parametrize("name", _plugins("filter"))
def test_file_of_filters_is_quick_to_load(name: str) -> None:
    """A process that runs a task with one filter loads the files of all: 0.1 s, with cores."""
    left: list[ast.AST] = [
        ast.parse((tree.ROOT / "plugins" / "filter" / f"{name}.py").read_text("utf-8"))
    ]
    imported: list[str] = []
    while left:
        node = left.pop()
        if isinstance(node, ast.ImportFrom):
            imported.append(node.module or "")
        elif isinstance(node, ast.Import):
            imported += [one.name for one in node.names]
        elif not isinstance(node, ast.FunctionDef):
            left += ast.iter_child_nodes(node)
    known = {*sys.stdlib_module_names, "ansible"}
    assert not [one for one in imported if one.partition(".")[0] not in known]


@pytest.mark.parametrize("role", tree.roles(), ids=lambda role: role.name)
def test_role_leaves_apt_alone(role: Path) -> None:
    """The module packages asks dpkg first; apt itself is for a file that is no archive's."""
    for path in sorted(role.glob("tasks/*.yml")):
        for line in path.read_text("utf-8").splitlines():
            assert "builtin.apt:" not in line or "{deb:" in line, f"{path}: {line.strip()}"


@pytest.mark.parametrize("role", tree.roles(), ids=lambda role: role.name)
def test_role_refuses_first_whichever_part_of_it_runs(role: Path) -> None:
    """And only then: who runs one role of a playbook does not wait for the others' refusals."""
    parts = yaml.safe_load((role / "tasks" / "main.yml").read_text("utf-8"))
    refusing = [part for part in parts if f"{role.name}_preflight" in part.get("tags", [])]
    if refusing:
        (first,) = refusing
        assert first is parts[0]
        others = {tag for part in parts[1:] for tag in part["tags"]} - {f"{role.name}_remove"}
        assert set(first["tags"]) == others | {f"{role.name}_preflight"}


@pytest.mark.parametrize("name", _plugins("inventory"))
def test_examples_of_the_inventory_plugin(name: str) -> None:
    _report(examples.plugin_problems(*_documented("inventory", name)))


def test_generated_pages() -> None:
    stale = [
        path
        for path, content in docs.pages(tree.ROOT).items()
        if not (tree.ROOT / path).exists() or (tree.ROOT / path).read_text() != content
    ]
    _report([f"{path} is stale: run `make docs`" for path in stale])


def test_licences_and_words() -> None:
    patterns = text.annotated()
    problems = []
    for path in tree.own_files():
        content = (tree.ROOT / path).read_bytes()
        if b"\0" not in content:
            problems += text.problems(path, content.decode(), patterns)
    _report(problems)


def test_playbooks_can_be_named() -> None:
    """`ansible-playbook infn.cloud.<name>` takes Python identifiers only."""
    parts = [part for path in tree.playbooks() for part in path.with_suffix("").parts]
    _report([f"playbooks: '{part}' is no identifier" for part in parts if not part.isidentifier()])


def test_no_inventory_hides_a_value_behind_the_playbooks() -> None:
    """Ansible prefers playbooks/group_vars/all to an inventory's group_vars/all, without a word."""
    connected = set()
    for path in (tree.ROOT / "playbooks" / "group_vars" / "all").glob("*.yml"):
        connected |= set(yaml.safe_load(path.read_text(encoding="utf-8")))
    for path in (tree.ROOT / "inventories").glob("*/group_vars/all/*.yml"):
        hidden = connected & set(yaml.safe_load(path.read_text(encoding="utf-8")))
        assert not hidden, f"{path}: {sorted(hidden)} would have no effect; use group_vars/backbone"
