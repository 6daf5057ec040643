# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The shapes of tests/schemas that documents about a federation must have."""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import Any

import jsonschema
import yaml

SCHEMAS = Path(__file__).parents[2] / "schemas"


def read_lines(text: str) -> list[dict[str, str]]:
    """Authorization lines as the Infrastructure Manager understands them; see IM/auth.py.

    Quotes of one kind hide ; = and the other kind; there are no escapes.
    """
    read = []
    for line in text.splitlines():
        if line and not line.startswith("#"):
            pairs = re.findall(r"""((?:"[^"]*"|'[^']*'|[^;"'])+)""", line)
            entry = {}
            for pair in pairs:
                key, value = pair.split("=", 1)
                quoted = re.fullmatch(r"""\s*(?:"([^"]*)"|'([^']*)')\s*""", value)
                value = next(v for v in quoted.groups() if v is not None) if quoted else value
                assert quoted or not set("=;\"'") & set(value), line
                entry[key.strip()] = value.strip()
            read.append(entry)
    return read


@functools.cache
def validator(kind: str) -> Any:
    schema = yaml.safe_load((SCHEMAS / f"{kind}.yml").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def faults(kind: str, content: Any) -> list[str]:
    """What is wrong with a document: data, or the text of authorization lines."""
    if kind == "im":
        content = read_lines(content)
    return [f"{error.json_path}: {error.message}" for error in validator(kind).iter_errors(content)]
