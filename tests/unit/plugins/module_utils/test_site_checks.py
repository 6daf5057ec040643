# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each check says what it found; one that failed says what to do."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.infn.cloud.plugins.module_utils._site_checks import (
    Check,
    Evidence,
    all_checks,
    groups_of,
    ready,
)

ISSUER = "https://iam.example/"
SERVICE = {"ok": True, "url": "https://x:1", "latency_ms": 5.0, "error": None, "remedy": None}
IMAGE = {
    "name": "debian",
    "status": "active",
    "tags": ["fed"],
    "os_type": "linux",
    "os_distro": "debian",
    "os_version": "13",
}
RULES = [
    {
        "local": [],
        "remote": [{"type": "SUB"}, {"type": "GROUPS", "any_one_of": ["cms"]}],
    }
]
WISH: dict[str, Any] = {
    "issuer": ISSUER,
    "identity_provider": "infn-cloud",
    "protocol": "openid",
    "role": "member",
    "slas": [{"group": "cms", "local_group": "fed-cms", "project": "p", "quotas": {"cores": 8}}],
    "public_network": "public",
    "private_network": "private",
    "image_tags": ["fed"],
    "flavors": ["small"],
}


def evidence(**more: Any) -> Evidence:
    names = ("identity", "compute", "image", "network")
    site = {
        "services": {name: dict(SERVICE) for name in names},
        "clock_offset": 0.0,
        "projects": {"p": {"id": "1"}},
        "quotas": {"p": {"cores": {"limit": 8, "used": 0}}},
        "networks": [
            {"id": "1", "name": "public", "external": True, "subnets": 1},
            {"id": "2", "name": "private", "external": False, "subnets": 1},
        ],
        "images": [IMAGE],
        "flavors": [{"name": "small", "gpu": None, "extra_specs": {}}],
    }
    site.update(more.pop("site", {}))
    given: dict[str, Any] = {
        "site": site,
        "auth_url": "https://x:5000",
        "identity_providers": [{"id": "infn-cloud", "remote_ids": [ISSUER], "enabled": True}],
        "mappings": [{"id": "map", "rules": RULES}],
        "protocols": {"infn-cloud": [{"id": "openid", "mapping_id": "map"}]},
        "groups": frozenset({"fed-cms"}),
        "assignments": frozenset({("fed-cms", "p", "member")}),
    }
    return Evidence(**{**given, **more})


def of(name: str, checks: list[Check]) -> Check:
    return next(check for check in checks if check.name == name)


def test_a_good_site() -> None:
    checks = all_checks(evidence(), WISH)
    assert [check for check in checks if check.status != "ok"] == []
    assert ready(checks)


@pytest.mark.parametrize(
    ("remote", "said"),
    [
        (["https://iam.example"], "has the remote id 'https://iam.example'"),
        (["https://IAM.example/"], "slash and letters"),
        (["https://other/"], "not https://iam.example/"),
        ([], "(none)"),
    ],
)
def test_the_issuer_letter_by_letter(remote: list[str], said: str) -> None:
    providers = [{"id": "infn-cloud", "remote_ids": remote}]
    check = of("identity_provider", all_checks(evidence(identity_providers=providers), WISH))
    assert check.status == "failed"
    assert said in check.found + check.remedy


def test_the_issuer_of_another_provider() -> None:
    providers = [{"id": "other", "remote_ids": [ISSUER]}]
    checks = all_checks(evidence(identity_providers=providers), WISH)
    assert "belongs to identity provider other" in of("identity_provider", checks).found
    assert of("protocol", checks).status == "skipped"
    disabled = [{"id": "infn-cloud", "remote_ids": [ISSUER], "enabled": False}]
    checks = all_checks(evidence(identity_providers=disabled), WISH)
    assert of("identity_provider", checks).remedy == "enable it"


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("protocol", {"protocols": {"infn-cloud": [{"id": "saml2", "mapping_id": "map"}]}}),
        ("mapping", {"mappings": []}),
        ("mapping", {"mappings": [{"id": "map", "rules": []}]}),
        ("project p", {"site": {"projects": {"p": None}}}),
        ("group of p", {"groups": frozenset()}),
        ("group of p", {"assignments": frozenset()}),
        ("quotas of p", {"site": {"quotas": {"p": {"cores": {"limit": 7, "used": 0}}}}}),
        ("public_network", {"site": {"networks": []}}),
        ("images", {"site": {"images": [{**IMAGE, "os_version": None}]}}),
        ("images", {"site": {"images": [{**IMAGE, "tags": []}]}}),
        ("flavors", {"site": {"flavors": []}}),
        ("clock", {"site": {"clock_offset": -11.0}}),
        ("tls", {"auth_url": "http://x:5000"}),
        ("services", {"site": {"services": {"identity": SERVICE}}}),
    ],
)
def test_what_fails_and_its_remedy(name: str, change: dict[str, Any]) -> None:
    checks = all_checks(evidence(**change), WISH)
    check = of(name, checks)
    assert check.status == "failed", check
    assert check.found and check.remedy
    assert not ready(checks)


def test_networks_that_are_ambiguous_wrong_or_bare() -> None:
    private = {"id": "2", "name": "private", "external": False, "subnets": 1}
    for networks, said in (
        ([private, {**private, "id": "3"}], "2 networks"),
        ([{**private, "external": True}], "is external"),
        ([{**private, "subnets": 0}], "no subnet"),
    ):
        checks = all_checks(evidence(site={"networks": networks}), WISH)
        assert said in of("private_network", checks).found


def test_gpus_need_all_three() -> None:
    flavor = {
        "name": "small",
        "gpu": {"number": 1, "model": "", "vendor": "nvidia"},
        "extra_specs": {"gpu_number": "1", "gpu_vendor": "nvidia"},
    }
    check = of("gpu_flavors", all_checks(evidence(site={"flavors": [flavor]}), WISH))
    assert check.status == "failed"
    assert "gpu_model=None" in check.found


def test_quotas_without_limit() -> None:
    unlimited = {"quotas": {"p": {"cores": {"limit": -1, "used": 0}}}}
    assert of("quotas of p", all_checks(evidence(site=unlimited), WISH)).status == "ok"
    agreed = {**WISH, "slas": [{**WISH["slas"][0], "quotas": {"cores": -1}}]}
    assert of("quotas of p", all_checks(evidence(), agreed)).status == "failed"


def test_what_is_hidden_is_skipped_with_the_reason() -> None:
    hidden = evidence(
        identity_providers=None,
        mappings=None,
        groups=None,
        hidden="HTTP 403",
        site={"projects": {}},
    )
    checks = all_checks(hidden, WISH)
    for name in ("identity_provider", "protocol", "mapping", "project p"):
        assert of(name, checks)[1:3] == ("skipped", "HTTP 403")
    lists = evidence(site={"networks": None, "images": None, "flavors": None})
    for name in ("public_network", "images", "flavors"):
        assert of(name, all_checks(lists, WISH)).status == "skipped"
    bare = {**WISH, "issuer": None, "public_network": None, "slas": []}
    checks = all_checks(evidence(), bare)
    assert of("identity_provider", checks).status == "skipped"
    assert of("public_network", checks).status == "skipped"


def test_groups_of_old_and_new_rules() -> None:
    assert groups_of([{"remote": [{"whitelist": ["a"]}, {"any_one_of": ["b"]}]}]) == {"a", "b"}
    assert groups_of([{}]) == set()
