# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a site offers is read from its answers as they are, old and odd ones too."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.infn.cloud.plugins.module_utils._site_model import (
    api_versions,
    choose_endpoints,
    free,
    next_page,
    read_flavor,
    read_gpu,
    read_network,
    read_quotas,
    root_of,
    versioned,
    why_not,
)

CATALOGUE = [
    {
        "type": "compute",
        "endpoints": [
            {"interface": "public", "region_id": "north", "url": "https://n:8774/v2.1/"},
            {"interface": "internal", "region_id": "north", "url": "http://n:8774/v2.1"},
            {"interface": "public", "region_id": "south", "url": "https://s:8774/v2.1"},
        ],
    },
    {
        "type": "volumev3",
        "endpoints": [{"interface": "public", "region": "north", "url": "https://n:8776/v3/abc"}],
    },
    {
        "type": "block-storage",
        "endpoints": [{"interface": "public", "region_id": "north", "url": "https://n/volume"}],
    },
]


def test_endpoints_of_one_region_and_interface() -> None:
    assert choose_endpoints(CATALOGUE, "north", "public") == {
        "compute": "https://n:8774/v2.1",
        "volume": "https://n/volume",
    }
    assert choose_endpoints(CATALOGUE, "south", "public") == {"compute": "https://s:8774/v2.1"}
    assert choose_endpoints(CATALOGUE, "west", "public") == {}


@pytest.mark.parametrize(
    ("url", "root"),
    [
        ("https://n:8774/v2.1", "https://n:8774/"),
        ("https://n:8776/v3/0123abc", "https://n:8776/"),
        ("https://n/image", "https://n/image/"),
        ("https://n/compute/v2.1/0123", "https://n/compute/"),
    ],
)
def test_where_a_service_lists_its_versions(url: str, root: str) -> None:
    assert root_of(url) == root


def test_a_version_is_added_where_the_catalogue_has_none() -> None:
    assert versioned("https://n:9292", "v2") == "https://n:9292/v2"
    assert versioned("https://n:9696/v2.0", "v2.0") == "https://n:9696/v2.0"


def test_versions_of_services() -> None:
    nova = {
        "versions": [
            {"id": "v2.0", "status": "SUPPORTED", "version": "", "min_version": ""},
            {"id": "v2.1", "status": "CURRENT", "version": "2.96", "min_version": "2.1"},
        ]
    }
    assert api_versions(nova) == {
        "current": "v2.1",
        "min_microversion": "2.1",
        "max_microversion": "2.96",
    }
    keystone = {"versions": {"values": [{"id": "v3.14", "status": "stable"}]}}
    assert api_versions(keystone) == {"current": "v3.14"}
    assert api_versions({"versions": "odd"}) == {}
    assert api_versions([]) == {}


def test_flavors_and_their_gpus() -> None:
    flavor = read_flavor(
        {
            "id": "1",
            "name": "g1",
            "vcpus": 4,
            "ram": 16384,
            "disk": 40,
            "os-flavor-access:is_public": False,
            "extra_specs": {"gpu_number": "2", "gpu_model": "T4", "gpu_vendor": "nvidia"},
        }
    )
    assert flavor["gpu"] == {"number": 2, "model": "T4", "vendor": "nvidia"}
    assert not flavor["public"]
    assert read_gpu({"pci_passthrough:alias": "T4:1"}) is None
    assert read_gpu({"gpu_number": "two"}) == {"number": 0, "model": "", "vendor": ""}


def test_a_network_of_an_old_neutron_has_a_tenant() -> None:
    found = read_network({"id": "1", "name": "n", "tenant_id": "t", "subnets": ["a"]})
    assert found["project_id"] == "t"
    assert found["subnets"] == 1
    assert not found["external"]


def test_quotas_by_their_names_in_an_sla() -> None:
    quotas = read_quotas(
        {
            "compute": {"ram": {"limit": 1024, "in_use": 512, "reserved": 256}, "id": "p"},
            "network": {"floatingip": {"limit": -1, "used": 3, "reserved": 0}},
        }
    )
    assert quotas == {
        "ram_mb": {"limit": 1024, "used": 768},
        "floating_ips": {"limit": -1, "used": 3},
    }
    assert free(quotas["ram_mb"]) == 256
    assert free(quotas["floating_ips"]) == -1
    assert free({"limit": 5, "used": 9}) == 0
    assert free({"limit": 5, "used": None}) is None


def test_links_to_the_next_page() -> None:
    assert next_page({"next": "/v2/images?marker=7&limit=2"}, "images") == "marker=7&limit=2"
    servers = {"servers_links": [{"rel": "next", "href": "http://wrong/servers?marker=8"}]}
    assert next_page(servers, "servers") == "marker=8"
    assert next_page({"servers": []}, "servers") is None


def site(**more: Any) -> dict[str, Any]:
    service = {"ok": True, "url": "https://x", "versions": {"max_microversion": "2.96"}}
    image = {"status": "active", "os_type": "linux", "os_distro": "debian", "os_version": "13"}
    return {
        "region": "north",
        "regions": ["north"],
        "services": dict.fromkeys(("identity", "image", "compute", "network"), service),
        "flavors": [{}],
        "images": [image],
        "networks": [{"external": False}],
        "quotas": {},
        **more,
    }


def test_a_site_that_can_be_used_has_no_reasons() -> None:
    assert why_not(site()) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"flavors": []}, "no flavor"),
        (
            {"images": [{"status": "active", "os_type": "", "os_distro": "", "os_version": ""}]},
            "os_t",
        ),
        ({"networks": [{"external": True}]}, "no network for servers"),
        ({"quotas": {"cms": {"cores": {"limit": 0, "used": 0}}}}, "cores of project cms is 0"),
        ({"services": {}}, "no service identity"),
    ],
)
def test_every_reason_has_its_remedy(change: dict[str, Any], said: str) -> None:
    reasons = why_not(site(**change))
    assert said in reasons[0].found
    assert all(reason.remedy for reason in reasons)


def test_a_nova_of_before_the_extra_specs() -> None:
    old = site()
    old["services"] = {**old["services"], "compute": {**old["services"]["compute"]}}
    old["services"]["compute"]["versions"] = {"max_microversion": "2.53"}
    assert "2.61" in why_not(old)[0].found
