# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters for the federation's DNS; each is documented beside this file."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleFilterError


def dns_faults(
    projects: Sequence[Mapping[str, Any]],
    zone: str,
    records: Sequence[Mapping[str, Any]] = (),
    *,
    reserved: Sequence[str] = (),
    networks: Sequence[str] = (),
    served: Sequence[str] = (),
) -> list[str]:
    """What is wrong with a list of projects and records."""
    from ansible_collections.infn.cloud.plugins.module_utils._dns_zones import faults

    return faults(zone, projects, records, reserved=reserved, networks=networks, served=served)


def dns_zones(
    projects: Sequence[Mapping[str, Any]], zone: str, networks: Sequence[str] = ()
) -> dict[str, Any]:
    """The zones of the primary server, and those that shall go."""
    from ansible_collections.infn.cloud.plugins.module_utils._dns_zones import absent, zones

    return {"present": zones(zone, projects, networks), "absent": absent(zone, projects)}


def dns_pointers(
    records: Sequence[Mapping[str, Any]], zone: str, networks: Sequence[str]
) -> list[dict[str, Any]]:
    """The PTR records that belong to addresses."""
    from ansible_collections.infn.cloud.plugins.module_utils._dns_zones import pointers

    return pointers(zone, records, networks)


def dns_site_records(sites: Mapping[str, Mapping[str, Any]], service: str) -> list[dict[str, Any]]:
    """Addresses of each host, and of each site's hosts with a service."""
    hosts = {name: [host["address"]] for s in sites.values() for name, host in s["hosts"].items()}
    doors = {site: _addresses(facts, service) for site, facts in sites.items()}
    # The hosts' first: an address points back to its first name.
    return [
        {"name": name, "type": "A", "values": values}
        for name, values in {**hosts, **doors}.items()
        if values
    ]


def dns_health_sites(
    sites: Mapping[str, Mapping[str, Any]], service: str, checks: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """The sites that have hosts with a service, and what to ask them."""
    return [
        {"name": site, "addresses": doors, "checks": list(checks)}
        for site, facts in sites.items()
        if (doors := _addresses(facts, service))
    ]


def dns_endpoint_challenges(
    sites: Mapping[str, Mapping[str, Any]],
    service: str,
    zone: str,
    name: str,
    secrets: Mapping[str, str],
    project: str = "acme",
) -> dict[str, Any]:
    """Where the certificates of the sites' doors are proved; nothing without secrets."""
    if not secrets:
        return {"projects": [], "records": [], "challenge": ""}
    doors = [
        (host, site)
        for site, facts in sites.items()
        for host, about in facts["hosts"].items()
        if service in about["services"]
    ]
    keys = [
        {
            "name": host,
            "secret": secrets.get(host, ""),
            "grants": [
                {"name": one, "types": {"TXT": 4}, "subtree": False, "shared": one != host}
                for one in (host, site, name)
            ],
        }
        for host, site in doors
    ]
    owners = dict.fromkeys(one for door in doors for one in door)
    records = [
        {"name": f"_acme-challenge.{one}", "type": "CNAME", "values": [f"{one}.{project}.{zone}."]}
        for one in owners
    ]
    return {
        "projects": [{"name": project, "keys": keys}],
        "records": records,
        "challenge": f"{name}.{project}.{zone}",
    }


def dns_key_pin(certificate: str) -> str:
    """By what a server knows another's key: base64 of SHA-256 over its SubjectPublicKeyInfo."""
    try:
        from cryptography import x509
        from cryptography.hazmat.primitives import serialization
    except ImportError as error:
        raise AnsibleFilterError(f"dns_key_pin needs Python's cryptography: {error}") from error
    try:
        key = x509.load_pem_x509_certificate(certificate.encode()).public_key()
    except ValueError as error:
        raise AnsibleFilterError(f"dns_key_pin: this is no certificate in PEM: {error}") from error
    public = key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return base64.b64encode(hashlib.sha256(public).digest()).decode()


def _addresses(site: Mapping[str, Any], service: str) -> list[str]:
    return [host["address"] for host in site["hosts"].values() if service in host["services"]]


class FilterModule:
    """What Ansible asks for."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {
            "dns_endpoint_challenges": dns_endpoint_challenges,
            "dns_faults": dns_faults,
            "dns_key_pin": dns_key_pin,
            "dns_health_sites": dns_health_sites,
            "dns_pointers": dns_pointers,
            "dns_site_records": dns_site_records,
            "dns_zones": dns_zones,
        }
