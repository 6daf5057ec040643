# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes roles/<role>/README.md and docs/modules.md from the specifications beside the code."""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from tooling.examples import documentation
from tooling.interface import entry_points
from tooling.tree import COLLECTION, ROOT, roles

NOTE = "<!-- Written by scripts/generate-docs from {source}: change that, then run it. -->"
LONG = 60


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, exit 1 if stale")
    check = parser.parse_args().check
    stale = {path: text for path, text in pages(ROOT).items() if not _same(ROOT / path, text)}
    for path, text in stale.items():
        print(f"{path} is stale: run `make docs`" if check else f"wrote {path}")
        if not check:
            (ROOT / path).parent.mkdir(exist_ok=True)
            (ROOT / path).write_text(text, encoding="utf-8")
    return 1 if stale and check else 0


def _same(path: Path, text: str) -> bool:
    return path.exists() and path.read_text(encoding="utf-8") == text


def pages(root: Path) -> dict[str, str]:
    """Every generated page: its path and its text."""
    found = {f"roles/{role.name}/README.md": role_page(role) for role in roles(root)}
    return found | {"docs/modules.md": index_page(roles(root), documentation())}


def role_page(role: Path) -> str:
    blocks = [f"# {COLLECTION}.{role.name}", NOTE.format(source="meta/argument_specs.yml")]
    for point, content in entry_points(role).items():
        if point != "main":
            blocks.append(f"## Entry point `{point}`")
        blocks.append(_sentence(content.get("short_description", "")))
        blocks += [markdown(text) for text in _list(content.get("description"))]
        options = content.get("options") or {}
        if options:
            blocks.append("## Variables" if point == "main" else "### Variables")
            blocks.append(_table(("variable", "type", "default", "description"), _rows(options)))
    examples = sorted((role / "examples").glob("*.yml"))
    if examples:
        blocks.append("## Example" if len(examples) == 1 else "## Examples")
    blocks += [f"```yaml\n{_verbatim(path)}\n```" for path in examples]
    return "\n\n".join(block for block in blocks if block) + "\n"


def index_page(role_paths: Iterable[Path], kinds: dict[str, dict[str, Any]]) -> str:
    blocks = ["# Roles, modules and plugins", NOTE.format(source="the code")]
    rows = [
        (
            f"[`{COLLECTION}.{role.name}`](../roles/{role.name}/README.md)",
            _cell(entry_points(role).get("main", {}).get("short_description", "")),
        )
        for role in role_paths
    ]
    if rows:
        blocks += ["## Roles", _table(("role", "what it does"), rows)]
    for kind, plugins in kinds.items():
        rows = [
            (f"`{name}`", _cell(entry["doc"]["short_description"]))
            for name, entry in sorted(plugins.items())
        ]
        title = "Modules" if kind == "module" else f"{kind.capitalize()} plugins"
        blocks += [
            f"## {title}",
            _table((kind, "what it does"), rows),
            f"Read one: `ansible-doc -t {kind} {rows[0][0].strip('`')}`",
        ]
    return "\n\n".join(blocks) + "\n"


def markdown(text: str) -> str:
    """Ansible's markup as Markdown."""
    text = re.sub(r"\b(?:O|V|RV|E|C|M|P)\(((?:\\.|[^\\)])*)\)", r"`\1`", text)
    text = re.sub(r"\bL\(([^,)]*), *([^)]*)\)", r"[\1](\2)", text)
    text = re.sub(r"\bU\(([^)]*)\)", r"<\1>", text)
    text = re.sub(r"\bB\(([^)]*)\)", r"**\1**", text)
    return re.sub(r"\bI\(([^)]*)\)", r"*\1*", text).replace("\\)", ")").strip()


def _rows(options: dict[str, Any], parent: str = "") -> Iterator[tuple[str, ...]]:
    for name, option in options.items():
        kind = option.get("type", "str")
        full = f"{parent}{name}"
        yield (
            f"`{full}`",
            f"{kind} of {option['elements']}" if "elements" in option else kind,
            _default(option),
            "<br>".join(_description(option)),
        )
        inner = f"{full}[]." if kind == "list" else f"{full}."
        yield from _rows(option.get("options") or {}, inner)


def _default(option: dict[str, Any]) -> str:
    if option.get("required"):
        return "**required**"
    if option.get("default") is None:
        return ""
    value = option["default"]
    shown = value if isinstance(value, str) and value else json.dumps(value)
    if len(shown) > LONG or "\n" in shown:
        return "[long](defaults/main.yml)"
    return f"`{shown}`".replace("|", "\\|")


def _description(option: dict[str, Any]) -> Iterator[str]:
    yield from (_cell(text) for text in _list(option.get("description")))
    if option.get("choices"):
        yield "One of " + ", ".join(f"`{choice}`" for choice in option["choices"]) + "."


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _cell(text: str) -> str:
    return " ".join(markdown(text).split()).replace("|", "\\|")


def _sentence(text: str) -> str:
    return markdown(text).rstrip(".") + "." if text else ""


def _list(value: str | list[str] | None) -> list[str]:
    return [value] if isinstance(value, str) else value or []


def _verbatim(path: Path) -> str:
    lines = path.read_text(encoding="utf-8").splitlines()
    return "\n".join(line for line in lines if not line.startswith("# SPDX-")).strip()


if __name__ == "__main__":
    sys.exit(main())
