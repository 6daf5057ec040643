# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A role's interface: its argument specification, its defaults and its variable names agree."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tooling.tree import read_yaml

# Keys of a task whose variables belong to the role that is called.
CALLS = ("include_role", "import_role", "roles", "role")


def entry_points(role: Path) -> dict[str, dict[str, Any]]:
    content = read_yaml(role / "meta/argument_specs.yml") or {}
    return content.get("argument_specs") or {}


def problems(role: Path) -> list[str]:
    """Everything that is wrong with the interface of the role, one sentence each."""
    return [
        *_specification(role),
        *(
            f"{where}: variable '{name}' is neither {role.name}_… nor __{role.name}_…"
            for where, name in _variables(role)
            if not name.startswith((f"{role.name}_", f"__{role.name}_"))
        ),
    ]


def _specification(role: Path) -> Iterator[str]:
    points = entry_points(role)
    defaults: dict[str, Any] = read_yaml(role / "defaults/main.yml") or {}
    if "main" not in points:
        yield "meta/argument_specs.yml: no specification of the entry point 'main'"
    specified: set[str] = set()
    for point, content in points.items():
        if not content.get("short_description"):
            yield f"entry point {point}: no short_description"
        options = content.get("options") or {}
        specified |= set(options)
        yield from _documented(point, options)
        for name, option in options.items():
            yield from _compare(f"entry point {point}, {name}", name, option, defaults)
    for name in sorted(set(defaults) - specified):
        if not name.startswith("__"):
            yield f"defaults/main.yml: '{name}' is not in meta/argument_specs.yml"


def _compare(
    where: str, name: str, option: dict[str, Any], defaults: dict[str, Any]
) -> Iterator[str]:
    if option.get("required"):
        if "default" in option:
            yield f"{where}: required, yet it has a default"
        if name in defaults:
            yield f"{where}: required, yet defaults/main.yml has it"
    elif "default" not in option:
        # Without either: what only state=present needs, and a preflight asks for (secrets mostly).
        if name in defaults:
            yield f"{where}: not required, so it needs a default"
    elif name not in defaults:
        yield f"{where}: not in defaults/main.yml"
    elif _canonical(option["default"]) != _canonical(defaults[name]):
        yield (
            f"{where}: default {_canonical(option['default'])} in meta/argument_specs.yml, "
            f"{_canonical(defaults[name])} in defaults/main.yml"
        )


def _canonical(value: Any) -> str:
    """Tells true from 1 and "1" from 1, which == and YAML readers do not always."""
    return json.dumps(value, sort_keys=True, default=str)


def _documented(where: str, options: dict[str, Any]) -> Iterator[str]:
    for name, option in options.items():
        for key in ("type", "description"):
            if not option.get(key):
                yield f"entry point {where}, {name}: no {key}"
        yield from _documented(f"{where}, {name}", option.get("options") or {})


def _variables(role: Path) -> Iterator[tuple[str, str]]:
    for kind in ("defaults", "vars"):
        for path in sorted((role / kind).rglob("*.yml")):
            for name in read_yaml(path) or {}:
                yield path.relative_to(role).as_posix(), name
    for kind in ("tasks", "handlers"):
        for path in sorted((role / kind).rglob("*.yml")):
            for name in _set_by(read_yaml(path) or []):
                yield path.relative_to(role).as_posix(), name


def _set_by(tasks: list[dict[str, Any]]) -> Iterator[str]:
    for task in tasks:
        for block in ("block", "rescue", "always"):
            yield from _set_by(task.get(block) or [])
        actions = {key.rpartition(".")[2]: value for key, value in task.items()}
        if isinstance(actions.get("register"), str):
            yield actions["register"]
        if isinstance(actions.get("set_fact"), dict):
            yield from (name for name in actions["set_fact"] if name != "cacheable")
        if not set(CALLS) & set(actions):
            yield from task.get("vars") or {}
        control = task.get("loop_control") or {}
        yield from (control[key] for key in ("loop_var", "index_var") if key in control)
