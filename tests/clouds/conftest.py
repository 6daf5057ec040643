# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two real OpenStack clouds, made by `scripts/clouds up`, as their administrators see them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openstack
import pytest
import yaml

REPOSITORY = Path(__file__).resolve().parents[2]
DIRECTORY = REPOSITORY / ".clouds"
PODMAN = "/run/infn-cloud-clouds/podman"
ISSUER = "https://iam.cloud.example/"
# Seconds for one answer: two clouds share two cores with whatever else runs.
PATIENCE = 120


@dataclass(frozen=True)
class Cloud:
    """One cloud: how to log in, and its host."""

    name: str
    auth: dict[str, Any]

    @property
    def connection(self) -> openstack.connection.Connection:
        return openstack.connect(cloud=self.name, api_timeout=PATIENCE)

    def on_host(self, *command: str) -> str:
        """Run something on the host that carries the cloud."""
        done = subprocess.run(
            [PODMAN, "exec", self.name, *command],
            check=True, text=True, capture_output=True, timeout=PATIENCE,
        )  # fmt: skip
        return done.stdout


def environment(scratch: Path) -> dict[str, str]:
    return {
        **os.environ,
        "ANSIBLE_CONFIG": str(scratch / "no-such-ansible.cfg"),
        "ANSIBLE_COLLECTIONS_PATH": str(REPOSITORY / ".cache" / "collections"),
        "ANSIBLE_LOCALHOST_WARNING": "False",
        "ANSIBLE_NOCOLOR": "1",
        "LC_ALL": "C.UTF-8",
    }


@pytest.fixture(scope="session", autouse=True)
def _clouds() -> None:
    if not (DIRECTORY / "clouds.yaml").exists():
        pytest.exit("there are no clouds: run 'scripts/clouds up' first", returncode=2)
    os.environ["OS_CLIENT_CONFIG_FILE"] = str(DIRECTORY / "clouds.yaml")


def cloud(name: str) -> Cloud:
    content = yaml.safe_load((DIRECTORY / "clouds.yaml").read_text(encoding="utf-8"))
    found = content["clouds"][name]
    return Cloud(name, {**found["auth"], "cacert": found["cacert"]})


@pytest.fixture(scope="session")
def north() -> Cloud:
    return cloud("north")


@pytest.fixture(scope="session")
def south() -> Cloud:
    return cloud("south")


def module(name: str, scratch: Path, *options: str, **arguments: Any) -> dict[str, Any]:
    """Run a module of the collection as Ansible does; its result, failed or not."""
    given = scratch / "arguments.json"
    given.touch(0o600)
    given.write_text(json.dumps({"arguments": arguments}), encoding="utf-8")
    play = [{
        "hosts": "localhost", "connection": "local", "gather_facts": False,
        "tasks": [
            {"name": "call", f"infn.cloud.{name}": "{{ arguments }}", "register": "result",
             "ignore_errors": True},
            {"name": "keep", "check_mode": False, "ansible.builtin.copy": {
                "content": "{{ result | to_json }}", "mode": "0600",
                "dest": str(scratch / "result.json"),
            }},
        ],
    }]  # fmt: skip
    (scratch / "play.yml").write_text(yaml.safe_dump(play), encoding="utf-8")
    run(scratch, str(scratch / "play.yml"), "-e", f"@{given}", *options)
    return dict(json.loads((scratch / "result.json").read_text(encoding="utf-8")))


def run(scratch: Path, playbook: str, *options: str, fails: bool = False) -> str:
    """Run a playbook; its output."""
    command = [sys.executable, "-m", "ansible.cli.playbook", playbook, "--inventory", "localhost,"]
    interpreter = json.dumps({"ansible_python_interpreter": sys.executable})
    done = subprocess.run(
        [*command, "-e", interpreter, *options],
        env=environment(scratch), text=True, check=False, timeout=900,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert (done.returncode != 0) == fails, done.stdout
    return done.stdout


def changes(output: str) -> int:
    return sum(int(found) for found in re.findall(r"changed=(\d+)", output))


class Member:
    """The playbook of docs/federated_sites.md, for one cloud."""

    def __init__(self, site: Cloud, scratch: Path) -> None:
        self.scratch = scratch
        text = (REPOSITORY / "docs" / "federated_sites.md").read_text(encoding="utf-8")
        (block,) = re.findall(r"<!-- the tests run this block -->\n```yaml\n(.*?)```", text, re.S)
        self.playbook = scratch / "join.yml"
        self.playbook.write_text(block, encoding="utf-8")
        self.slas = yaml.safe_load(block)[0]["vars"]["slas"]
        self.settings = scratch / "site.json"
        self.settings.touch(0o600)
        self.settings.write_text(
            json.dumps({"site": site.auth, "federated_site_timeout": PATIENCE}), encoding="utf-8"
        )

    def run(self, *options: str, fails: bool = False, **variables: Any) -> str:
        more = ["-e", json.dumps(variables)] if variables else []
        return run(
            self.scratch,
            str(self.playbook),
            "-e",
            f"@{self.settings}",
            *more,
            *options,
            fails=fails,
        )
