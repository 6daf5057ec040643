# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is done once for all sites, and what names a site's answer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible_collections.infn.cloud.plugins.module_utils._federation_model import (
    ANSIBLE_KEYS,
    read_federation,
)
from ansible_collections.infn.cloud.plugins.plugin_utils._site_plan import planner

SITES = ("bari", "cnaf", "padova")


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    auth = {"auth_url": "https://k.example/v3", "username": "u", "password": "wordpass"}
    clouds = {name: {"auth": auth, "region_name": name} for name in SITES}
    (tmp_path / "clouds.yaml").write_text(json.dumps({"clouds": clouds}), encoding="utf-8")
    monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(tmp_path / "clouds.yaml"))
    monkeypatch.chdir(tmp_path)
    given = {
        "plugin": "infn.cloud.federation",
        "federation": {"name": "demo", "domain": "demo.test"},
        "sites": [
            {"name": name, "coupling": "federated", "provider": "openstack",
             "credentials": {"cloud": name}}
            for name in SITES
        ],
    }  # fmt: skip
    federation = read_federation(given, "federation.yml", options=ANSIBLE_KEYS)
    loader = DataLoader()
    reads: list[str] = []
    load = loader.load_from_file

    def counted(name: str, *arguments: Any, **more: Any) -> Any:
        reads.append(Path(name).name)
        return load(name, *arguments, **more)

    monkeypatch.setattr(loader, "load_from_file", counted)
    make = planner(loader, tmp_path, federation)
    return {site.name: make(site) for site in federation.sites}, reads


def test_a_file_is_read_once_for_all_sites(plan: Any) -> None:
    """To parse clouds.yaml, and to copy what it says, takes longer than to ask a site."""
    assert plan[1].count("clouds.yaml") == 1


def test_secrets_are_hidden_and_name_nothing(plan: Any) -> None:
    for site, one in plan[0].items():
        assert one.question.site == site
        assert "wordpass" in one.question.secrets
        assert "wordpass" not in repr(one.key)
    assert len({repr(one.key) for one in plan[0].values()}) == len(SITES)
