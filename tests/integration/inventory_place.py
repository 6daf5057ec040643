# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A directory with a federation.yml, and Ansible's commands run there in a world of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from tooling.fake_openstack import PASSWORD, FakeCloud

ROOT = Path(__file__).resolve().parents[2]
LOGIN = {"username": "reader", "user_domain_name": "Default", "password": PASSWORD}
ANSIBLE_TIMEOUT = 300  # seconds; the machine may be busy


class Place:
    """A directory with a federation.yml and a world of its own."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.sites: list[dict[str, Any]] = []
        self.top: dict[str, Any] = {"deadline": 120}
        self.python = Path(sys.executable)
        (path / "login.yml").write_text(yaml.safe_dump({"auth": LOGIN}))
        (path / "login.yml").chmod(0o600)

    def static(self, name: str = "still") -> None:
        host = {"name": f"{name}-a", "address": "192.0.2.1"}
        self.sites.append(
            {"name": name, "coupling": "federated", "provider": "static", "hosts": [host]}
        )

    def openstack(self, name: str, cloud: FakeCloud, **more: Any) -> None:
        site = {
            "name": name,
            "coupling": "federated",
            "provider": "openstack",
            "credentials": {"file": "login.yml"},
            "options": {"auth_url": f"{cloud.url}/v3"},
        }
        self.sites.append(site | more)

    def plugin(self, name: str, options: dict[str, Any], **more: Any) -> None:
        site = {"name": name, "coupling": "federated", "provider": "plugin", "options": options}
        self.sites.append(site | more)

    def run(self, *arguments: str, command: str = "inventory", **variables: str) -> Any:
        (self.path / "federation.yml").write_text(
            yaml.safe_dump(
                {
                    "plugin": "infn.cloud.federation",
                    "federation": {"name": "demo", "domain": "demo.test"},
                    "cache_directory": "cache",
                    **self.top,
                    "sites": self.sites,
                }
            )
        )
        environment = {
            key: value
            for key, value in os.environ.items()
            if not key.startswith(("ANSIBLE_", "OS_", "AWS_", "AZURE_"))
        }
        collections = [str(ROOT / ".cache" / "collections")]
        if (self.path / "collections").exists():
            collections.append(str(self.path / "collections"))
        environment.update(
            ANSIBLE_CONFIG=str(self.path / "no-such-ansible.cfg"),
            ANSIBLE_HOME=str(self.path / "home"),
            ANSIBLE_COLLECTIONS_PATH=":".join(collections),
            ANSIBLE_NOCOLOR="true",
            ANSIBLE_VERBOSE_TO_STDERR="true",
            ANSIBLE_INVENTORY_UNPARSED_FAILED="true",
            ANSIBLE_LOCALHOST_WARNING="false",
            LC_ALL="C.UTF-8",
            **variables,
        )
        return subprocess.run(
            [
                *(str(self.python), "-W", "ignore", "-m", f"ansible.cli.{command}"),
                *("-i", str(self.path / "federation.yml"), *arguments),
            ],
            env=environment,
            capture_output=True,
            text=True,
            timeout=ANSIBLE_TIMEOUT,
            check=False,
        )

    def list(self, *arguments: str, **variables: str) -> Any:
        done = self.run("--list", *arguments, **variables)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)
