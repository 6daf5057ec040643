# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""References to credentials, and what of them may be shown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.infn.cloud.plugins.module_utils._federation_cloud import Credentials
from ansible_collections.infn.cloud.plugins.plugin_utils._credentials import (
    CredentialReader,
    public_part,
    secrets_in,
)
from ansible_collections.infn.cloud.plugins.plugin_utils._provider import ProviderError

CLOUDS = """
clouds:
  bari:
    profile: infn
    auth: {username: me}
    region_name: RegionOne
"""
PUBLIC = "public-clouds: {infn: {auth: {auth_url: https://keystone.example.org, username: nobody}}}"
SECURE = "clouds: {bari: {auth: {password: hunter2}}}"


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "clouds.yaml").write_text(CLOUDS)
    (tmp_path / "clouds-public.yaml").write_text(PUBLIC)
    (tmp_path / "secure.yaml").write_text(SECURE)
    return tmp_path


def resolve(place: Path, provider: str = "openstack", **reference: str) -> Any:
    environment = {
        "OS_AUTH_URL": "https://k", "OS_PASSWORD": "hunter2", "OS_REGION_NAME": "R", "OS_": "x",
        "PARIS_AWS_PROFILE": "reader", "OS_IDENTITY_API_VERSION": "3",
    }  # fmt: skip
    reader = CredentialReader(place, environment, read)
    return reader.resolve(provider, Credentials(**reference))


def test_clouds_with_profile_and_secrets(place: Path) -> None:
    assert resolve(place, cloud="bari") == {
        "profile": "infn",
        "auth": {
            "auth_url": "https://keystone.example.org",
            "username": "me",
            "password": "hunter2",
        },
        "region_name": "RegionOne",
    }


def test_environment_as_an_entry_of_clouds_yaml(place: Path) -> None:
    assert resolve(place, env="OS") == {
        "auth": {"auth_url": "https://k", "password": "hunter2"},
        "region_name": "R",
    }


def test_environment_for_another_plugin(place: Path) -> None:
    assert resolve(place, "plugin", env="PARIS") == {"AWS_PROFILE": "reader"}


def test_a_file_of_its_own(place: Path) -> None:
    (place / "bari.yml").write_text("{auth: {password: hunter2}}")
    (place / "bari.yml").chmod(0o600)
    assert resolve(place, file="bari.yml") == {"auth": {"password": "hunter2"}}


@pytest.mark.parametrize(
    ("reference", "says"),
    [
        ({"cloud": "roma"}, "has no cloud roma; it has bari"),
        ({"env": "NONE"}, "no environment variable begins with NONE_"),
        ({"file": "none.yml"}, "No such file or directory; correct credentials, file"),
        ({"file": "clouds.yaml"}, "others may read it; chmod 600"),
    ],
)
def test_says_what_is_missing(place: Path, reference: dict[str, str], says: str) -> None:
    with pytest.raises(ProviderError, match=says):
        resolve(place, **reference)


def test_a_profile_that_is_elsewhere_is_named(place: Path) -> None:
    (place / "clouds-public.yaml").unlink()
    with pytest.raises(ProviderError, match=r"profile infn is not in clouds-public\.yaml"):
        resolve(place, cloud="bari")


def test_no_clouds_yaml_at_all(place: Path) -> None:
    (place / "clouds.yaml").unlink()
    with pytest.raises(ProviderError, match=r"there is no clouds\.yaml in the current directory"):
        resolve(place, cloud="bari")


def test_what_may_be_shown() -> None:
    secret = {"auth": {"username": "me", "password": "hunter2", "x": [{"access_token": "abcdef"}]}}
    assert public_part(secret) == {"auth": {"username": "me", "x": [{}]}}
    assert sorted(secrets_in(secret)) == ["abcdef", "hunter2"]
