# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The examples in the documentation of the plugins would run: their options exist and fit."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any
from unittest import mock

import yaml
from ansible.module_utils import basic
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from tooling.tree import COLLECTION, ROOT, environment, parse_yaml

CONSTRAINTS = ("mutually_exclusive", "required_together", "required_one_of", "required_if")
STAND_IN: dict[Any, Any] = {"int": 1, "float": 1.0, "bool": True, "list": [], "dict": {}}


def documentation() -> dict[str, dict[str, Any]]:
    """Per kind of plugin, what `ansible-doc` knows of each, fragments merged."""
    dump = subprocess.run(
        [sys.executable, "-m", "ansible", "doc", "--metadata-dump", COLLECTION],
        cwd=ROOT,
        env=environment(),
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    kinds: dict[str, dict[str, Any]] = {}
    for kind, plugins in sorted(json.loads(dump)["all"].items()):
        own = {name: doc for name, doc in plugins.items() if name.startswith(f"{COLLECTION}.")}
        if own and kind != "role":
            kinds[kind] = own
        for name, entry in own.items():
            if kind != "role" and "doc" not in entry:
                raise ValueError(f"{kind} {name} has no documentation: {entry}")
    return kinds


class _CapturedError(Exception):
    """Carries what a module hands to AnsibleModule out of its main()."""


def module_interface(name: str, documented: dict[str, Any]) -> dict[str, Any]:
    """Arguments for a validator: the module's own, or its documentation where it has no code."""

    def capture(_self: object, argument_spec: dict[str, Any], **more: Any) -> None:
        constraints = {key: more[key] for key in (*CONSTRAINTS, "required_by") if key in more}
        raise _CapturedError({"argument_spec": argument_spec, **constraints})

    plugin = importlib.import_module(f"ansible_collections.{COLLECTION}.plugins.modules.{name}")
    if hasattr(plugin, "main"):
        with mock.patch.object(basic.AnsibleModule, "__init__", capture):
            try:
                plugin.main()
            except _CapturedError as captured:
                interface: dict[str, Any] = captured.args[0]
                return interface
    return {"argument_spec": from_documentation(documented)}


def from_documentation(options: dict[str, Any]) -> dict[str, Any]:
    keys = ("type", "elements", "required", "choices", "aliases", "default")
    spec = {}
    for name, option in options.items():
        spec[name] = {key: option[key] for key in keys if key in option}
        if isinstance(spec[name].get("choices"), dict):
            spec[name]["choices"] = list(spec[name]["choices"])
        if option.get("suboptions"):
            spec[name]["options"] = from_documentation(option["suboptions"])
    return spec


def module_problems(name: str, documented: dict[str, Any], examples: str) -> list[str]:
    """What a module would refuse in its own examples."""
    try:
        content = parse_yaml(examples)
    except yaml.YAMLError as error:
        return [f"the examples are not YAML: {error}"]
    interface = module_interface(name, documented)
    validator = ArgumentSpecValidator(**interface)
    found = []
    calls = 0
    for task, options in _calls(content, f"{COLLECTION}.{name}"):
        calls += 1
        filled = _without_templates(options or {}, interface["argument_spec"])
        result = validator.validate(filled)
        found += [f"example '{task}': {message}" for message in result.error_messages]
    return found if calls else [f"no example calls {COLLECTION}.{name}"]


def plugin_problems(documented: dict[str, Any], examples: str) -> list[str]:
    """The same for configuration of other plugins: the options of a YAML example exist."""
    known = {name for name, option in documented.items()} | {"plugin"}
    known |= {alias for option in documented.values() for alias in option.get("aliases") or []}
    try:
        documents = list(yaml.safe_load_all(examples))
    except yaml.YAMLError as error:
        return [f"the examples are not YAML: {error}"]
    return [
        f"option '{name}' is not documented"
        for document in documents
        if isinstance(document, dict) and "plugin" in document
        for name in sorted(set(document) - known)
    ]


def _calls(content: Any, module: str) -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(content, list):
        for item in content:
            yield from _calls(item, module)
    elif isinstance(content, dict):
        if module in content:
            yield content.get("name", "without a name"), content[module]
        for value in content.values():
            if isinstance(value, list):
                yield from _calls(value, module)


def _without_templates(options: dict[str, Any], spec: dict[str, Any]) -> dict[str, Any]:
    """The options with a value of the right kind wherever the example has a template."""
    names = {alias: name for name, option in spec.items() for alias in option.get("aliases") or []}
    filled = {}
    for name, value in options.items():
        option = spec.get(names.get(name, name), {})
        filled[name] = _fill(value, option)
    return filled


def _fill(value: Any, option: dict[str, Any]) -> Any:
    if isinstance(value, str) and "{{" in value:
        if option.get("choices"):
            return option["choices"][0]
        inner = option.get("options") or {}
        if option.get("type") == "dict" and inner:
            return {name: _fill(value, sub) for name, sub in inner.items() if sub.get("required")}
        return STAND_IN.get(option.get("type", "str"), "value")
    if isinstance(value, dict):
        if option.get("options"):
            return _without_templates(value, option["options"])
        return {key: _fill(item, {}) for key, item in value.items()}
    if isinstance(value, list):
        return [_fill(item, option | {"type": option.get("elements")}) for item in value]
    return value
