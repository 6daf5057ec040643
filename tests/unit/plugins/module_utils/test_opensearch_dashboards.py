# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What can be said of dashboards without the program that shows them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import yaml
from ansible_collections.infn.cloud.plugins.module_utils._opensearch_dashboards import (
    COLUMNS,
    saved_objects,
)

OBJECTS = saved_objects("logs")
ROLE = Path(__file__).resolve().parents[4] / "roles" / "elk"


def fields() -> set[str]:
    """What the index template says that lines have."""
    found: set[str] = set()

    def walk(properties: dict[str, Any], before: str) -> None:
        for name, kind in properties.items():
            if isinstance(kind, dict) and "properties" in kind:
                walk(kind["properties"], f"{before}{name}.")
            else:
                found.add(before + name)

    variables = yaml.safe_load((ROLE / "vars/main.yml").read_text(encoding="utf-8"))
    walk(variables["__elk_template"]["template"]["mappings"]["properties"], "")
    return found


def test_each_refers_to_one_that_comes_before_it() -> None:
    seen: set[tuple[str, str]] = set()
    for one in OBJECTS:
        for reference in one["references"]:
            assert (reference["type"], reference["id"]) in seen, one["id"]
        assert (one["type"], one["id"]) not in seen
        seen.add((one["type"], one["id"]))
    titles = {one["attributes"]["title"] for one in OBJECTS if one["type"] == "dashboard"}
    assert titles >= {"Swift", "Names", "Mail of services"}


def test_each_name_that_is_used_is_referred_to() -> None:
    for one in OBJECTS:
        text = json.dumps(one["attributes"]).replace("\\", "")
        used = set(re.findall(r'"(?:panelRefName|indexRefName)": "([^"]+)"', text))
        assert used == {reference["name"] for reference in one["references"]}


def test_texts_of_json_are_json() -> None:
    for one in OBJECTS:
        for name, value in {**one["attributes"], **one["attributes"].get(
            "kibanaSavedObjectMeta", {}
        )}.items():  # fmt: skip
            if name.endswith("JSON") or name == "visState":
                json.loads(value)


def test_fields_are_those_of_the_lines() -> None:
    known = fields()
    assert set(COLUMNS) <= known
    for one in OBJECTS:
        meta = one["attributes"].get("kibanaSavedObjectMeta")
        query = json.loads(meta["searchSourceJSON"])["query"]["query"] if meta else ""
        assert set(re.findall(r"([a-z.@]+):", query)) <= known, query
        state = json.loads(one["attributes"].get("visState", "{}"))
        used = {agg["params"].get("field") for agg in state.get("aggs", ())} - {None}
        assert used <= known


def test_panels_do_not_lie_on_each_other() -> None:
    for one in OBJECTS:
        places = [
            panel["gridData"] for panel in json.loads(one["attributes"].get("panelsJSON", "[]"))
        ]
        cells = [(place["x"], place["y"]) for place in places]
        assert len(set(cells)) == len(cells)
        assert all(place["x"] + place["w"] <= 48 for place in places)
