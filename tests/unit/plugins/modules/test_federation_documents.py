# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The six sites of inventories/example, by the playbook, as docs/federation_documents.md says."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.infn.cloud.tests.unit.plugins.federation_shapes import faults

ROOT = Path(__file__).parents[4]
PLAYBOOK = Path(sys.executable).with_name("ansible-playbook")
TEXT = (ROOT / "docs/federation_documents.md").read_text(encoding="utf-8")
SITE, REGISTRATION, FEEDER = re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)[:3]
FEDERATION = (ROOT / "inventories/example/federation.yml").read_text(encoding="utf-8")

pytestmark = pytest.mark.skipif(
    not PLAYBOOK.exists(), reason=f"ansible-core is not installed beside {sys.executable}"
)


def run(
    directory: Path, *options: str, ok: bool = True, variables: str = REGISTRATION, **more: Any
) -> str:
    (directory / "registration.yml").write_text(variables, encoding="utf-8")
    (directory / "ansible.cfg").write_text("[defaults]\n", encoding="utf-8")
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")},
        "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".cache" / "collections"),
        "ANSIBLE_CONFIG": str(directory / "ansible.cfg"),
        "ANSIBLE_NOCOLOR": "true",
    }
    command = [
        str(PLAYBOOK), "-i", "localhost,", "infn.cloud.operations.federation_documents",
        "-e", "federation_documents_from=federation.yml", "-e", "@registration.yml",
        "-e", json.dumps(more), *options,
    ]  # fmt: skip
    done = subprocess.run(
        command, cwd=directory, env=environment, capture_output=True, text=True, check=False,
        timeout=120,
    )  # fmt: skip
    printed = done.stdout + done.stderr
    assert (done.returncode == 0) == ok, printed
    return printed


def files(directory: Path) -> dict[str, str]:
    base = directory / "federation-documents"
    return {
        str(path.relative_to(base)): path.read_text(encoding="utf-8")
        for path in sorted(base.rglob("*"))
        if path.is_file()
    }


def content(path: str, text: str) -> Any:
    """What a file's reader gets; authorization lines are read line by line."""
    if path.endswith(".txt"):
        return text
    return json.loads(text) if path.endswith(".json") else yaml.safe_load(text)


def test_the_example_makes_all_kinds_of_documents(tmp_path: Path) -> None:
    assert SITE in FEDERATION
    assert len(yaml.safe_load(FEDERATION)["sites"]) == 6
    # Values for Ansible alone are no hindrance.
    more = "compose: {x: !unsafe '{{ y }}'}\n"
    (tmp_path / "federation.yml").write_text(FEDERATION + more, encoding="utf-8")
    printed = run(tmp_path, "--check", "--diff")
    assert "+- issuer: https://iam.cloud.example/" in printed
    assert "changed=1" in printed
    assert files(tmp_path) == {}

    assert "changed=1" in run(tmp_path)
    written = files(tmp_path)
    assert set(written) == {
        "clouds.yaml",
        "feeder/torino.config.yaml",
        "federation-manager.json",
        "im-auth.txt",
    }
    for path, kind in (
        ("feeder/torino.config.yaml", "feeder"),
        ("federation-manager.json", "manager"),
        ("clouds.yaml", "clouds"),
        ("im-auth.txt", "im"),
    ):
        assert faults(kind, content(path, written[path])) == [], path
    feeder = written["feeder/torino.config.yaml"]
    assert "".join(line for line in feeder.splitlines(True) if line[0] != "#") == FEEDER
    assert list(yaml.safe_load(written["clouds.yaml"])["clouds"]) == ["torino.catch-all"]
    assert len(json.loads(written["federation-manager.json"])["requests"]) == 9

    # A second run changes nothing. A site that left is named, and its file left alone.
    left = tmp_path / "federation-documents/feeder/rome.config.yaml"
    left.write_text("x", encoding="utf-8")
    printed = run(tmp_path)
    assert "changed=0" in printed
    assert "rome.config.yaml is of no OpenStack site of" in " ".join(printed.split())
    assert files(tmp_path) == {**written, "feeder/rome.config.yaml": "x"}


def test_what_is_missing_stops_it_before_anything_is_written(tmp_path: Path) -> None:
    text = FEDERATION.replace("      region: RegionOne\n", "")
    assert text != FEDERATION
    (tmp_path / "federation.yml").write_text(text, encoding="utf-8")
    printed = " ".join(run(tmp_path, ok=False, variables="{}\n").split())
    for words in (
        f"{tmp_path}/federation.yml: 6 problems",
        "site torino, options, region: missing, but asked for by",
        "site torino, registration, project_ids, catch-all: missing",
        "sla_url: missing",
    ):
        assert words in printed
    assert files(tmp_path) == {}


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    assert "federation.yml: No such file" in run(tmp_path, ok=False)
    (tmp_path / "federation.yml").write_text("sites: [", encoding="utf-8")
    printed = " ".join(run(tmp_path, ok=False).split())
    assert f"{tmp_path}/federation.yml or a document is no YAML" in printed


def test_a_token_is_refused(tmp_path: Path) -> None:
    (tmp_path / "federation.yml").write_text(FEDERATION, encoding="utf-8")
    printed = run(tmp_path, ok=False, federation_documents_token_from="eyJhbGciOiJSUzI1NiJ9")
    assert "token_from: name where the token comes from" in " ".join(printed.split())
    assert files(tmp_path) == {}
