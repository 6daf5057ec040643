# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an OpenStack site offers, made of the answers of its APIs, and why it may not be enough.

PRIVATE to the collection: it may change without notice.

Pure: decoded JSON goes in, plain data comes out. Names and units are those of an SLA, so that a
quota can be compared with what was agreed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Optional

JSON = Mapping[str, Any]

# A federation cannot place anything at a site without these.
REQUIRED_SERVICES = ("identity", "image", "compute", "network")
# The first type that the catalogue has is taken; the later ones are older names.
SERVICE_TYPES: dict[str, tuple[str, ...]] = {
    "identity": ("identity",),
    "compute": ("compute",),
    "image": ("image",),
    "network": ("network",),
    "volume": ("block-storage", "volumev3"),
    "placement": ("placement",),
    "object-store": ("object-store",),
}
# Since this microversion Nova tells the extra specs in the list of flavors (Rocky, 2018).
EXTRA_SPECS_MICROVERSION = (2, 61)
GPU_SPECS = ("gpu_number", "gpu_model", "gpu_vendor")
OS_PROPERTIES = ("os_type", "os_distro", "os_version")
# Name in an SLA: service, name in the service's API.
QUOTAS: dict[str, tuple[str, str]] = {
    "instances": ("compute", "instances"),
    "cores": ("compute", "cores"),
    "ram_mb": ("compute", "ram"),
    "volumes": ("volume", "volumes"),
    "gigabytes": ("volume", "gigabytes"),
    "floating_ips": ("network", "floatingip"),
    "networks": ("network", "network"),
    "ports": ("network", "port"),
    "security_groups": ("network", "security_group"),
}
UNLIMITED = -1


class Reason(NamedTuple):
    """Why a site cannot be used, and what its administrator can do about it."""

    found: str
    remedy: str

    def result(self) -> dict[str, str]:
        return {"found": self.found, "remedy": self.remedy}


def choose_endpoints(
    catalogue: Iterable[JSON], region: Optional[str], interface: str
) -> dict[str, str]:
    """Service -> URL, of the region and interface; of any region if none is given."""
    by_type: dict[str, str] = {}
    for service in catalogue:
        for endpoint in service.get("endpoints", ()):
            if endpoint.get("interface") != interface:
                continue
            if region and region not in (endpoint.get("region_id"), endpoint.get("region")):
                continue
            by_type.setdefault(str(service.get("type")), str(endpoint["url"]).rstrip("/"))
    chosen = {}
    for name, types in SERVICE_TYPES.items():
        for kind in types:
            if kind in by_type:
                chosen[name] = by_type[kind]
                break
    return chosen


def regions_of(catalogue: Iterable[JSON]) -> list[str]:
    return sorted(
        {
            str(e["region_id"])
            for s in catalogue
            for e in s.get("endpoints", ())
            if e.get("region_id")
        }
    )


def root_of(url: str) -> str:
    """The URL where a service lists its versions: without the version and what follows it."""
    return re.sub(r"/v\d+(\.\d+)?(/.*)?$", "", url) + "/"


def versioned(url: str, version: str) -> str:
    """The URL with its version: catalogues have Glance and Neutron with and without one."""
    return url if re.search(r"/v\d+(\.\d+)?$", url) else f"{url}/{version}"


def api_versions(answer: Any) -> dict[str, str]:
    """The current version of a service, and its microversions if it has any."""
    listed = answer.get("versions") if isinstance(answer, Mapping) else None
    if isinstance(listed, Mapping):  # Keystone's list is one level deeper
        listed = listed.get("values")
    if not isinstance(listed, list):
        return {}
    good = [one for one in listed if isinstance(one, Mapping) and one.get("id")]
    current = [one for one in good if str(one.get("status")).upper() in ("CURRENT", "STABLE")]
    if not current:
        return {}
    newest = max(current, key=lambda one: _numbers(str(one["id"])))
    result = {"current": str(newest["id"])}
    if newest.get("min_version"):
        result["min_microversion"] = str(newest["min_version"])
    microversion = newest.get("version") or newest.get("max_version")
    if microversion:
        result["max_microversion"] = str(microversion)
    return result


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", text))


def has_extra_specs(compute: Mapping[str, str]) -> bool:
    return _numbers(compute.get("max_microversion", "")) >= EXTRA_SPECS_MICROVERSION


def read_flavor(found: JSON) -> dict[str, Any]:
    specs = {str(name): str(value) for name, value in (found.get("extra_specs") or {}).items()}
    return {
        "id": found["id"],
        "name": found.get("original_name") or found.get("name"),
        "cores": found["vcpus"],
        "ram_mb": found["ram"],
        "disk_gb": found["disk"],
        "public": bool(found.get("os-flavor-access:is_public", True)),
        "gpu": read_gpu(specs),
        "extra_specs": specs,
    }


def read_gpu(specs: Mapping[str, str]) -> Optional[dict[str, Any]]:
    """What a flavor says of its GPUs; None if it has none, number 0 if it says it wrongly."""
    if not any(name in specs for name in GPU_SPECS):
        return None
    number = specs.get("gpu_number", "")
    return {
        "number": int(number) if re.fullmatch(r"[0-9]{1,4}", number) else 0,
        "model": specs.get("gpu_model", ""),
        "vendor": specs.get("gpu_vendor", ""),
    }


def read_image(found: JSON) -> dict[str, Any]:
    return {
        "id": found["id"],
        "name": found.get("name") or "",
        "status": found.get("status"),
        "visibility": found.get("visibility"),
        "tags": sorted(found.get("tags") or ()),
        "min_disk_gb": found.get("min_disk", 0),
        "min_ram_mb": found.get("min_ram", 0),
        **{name: found.get(name) for name in (*OS_PROPERTIES, "architecture")},
    }


def read_network(found: JSON) -> dict[str, Any]:
    return {
        "id": found["id"],
        "name": found.get("name") or "",
        "external": bool(found.get("router:external")),
        "shared": bool(found.get("shared")),
        "project_id": found.get("project_id") or found.get("tenant_id") or "",
        "subnets": len(found.get("subnets") or ()),
        "tags": sorted(found.get("tags") or ()),
    }


def read_quotas(answers: Mapping[str, JSON]) -> dict[str, dict[str, Optional[int]]]:
    """Quotas by their names in an SLA: what is allowed (-1: without end), what is used.

    Compute and volume answer {name: {limit, in_use}}, network {name: {limit, used}}.
    """
    result: dict[str, dict[str, Optional[int]]] = {}
    for name, (service, theirs) in QUOTAS.items():
        value = answers.get(service, {}).get(theirs)
        if isinstance(value, Mapping):
            used = value.get("in_use", value.get("used"))
            # Some count what is promised to requests under way apart.
            reserved = value.get("reserved", 0) or 0
            result[name] = {
                "limit": value.get("limit"),
                "used": None if used is None else used + reserved,
            }
    return result


def free(quota: Mapping[str, Optional[int]]) -> Optional[int]:
    """How much is left; -1 without end; None if it is not known."""
    limit, used = quota.get("limit"), quota.get("used")
    if limit is None or limit == UNLIMITED:
        return limit
    return None if used is None else max(0, limit - used)


def why_not(site: JSON) -> list[Reason]:
    """Every reason why the federation could place nothing at the site; none if it could."""
    reasons = []
    for name in REQUIRED_SERVICES:
        service = site["services"].get(name)
        if service is None:
            reasons.append(
                Reason(
                    f"the catalogue has no service {name} in region {site['region']}",
                    f"declare its endpoint, or choose one of {', '.join(site['regions'])}",
                )
            )
        elif not service["ok"]:
            reasons.append(
                Reason(f"{name} at {service['url']}: {service['error']}", str(service["remedy"]))
            )
    asked = site["services"]
    if _is_ok(asked, "compute"):
        if not has_extra_specs(asked["compute"]["versions"]):
            wanted = ".".join(str(number) for number in EXTRA_SPECS_MICROVERSION)
            reasons.append(
                Reason(
                    f"Nova knows no microversion {wanted}, so flavors do not tell their GPUs",
                    "upgrade Nova to Rocky or newer",
                )
            )
        if site["flavors"] is not None and not site["flavors"]:
            reasons.append(Reason("no flavor is visible", "make flavors public or give access"))
    if site["images"] is not None and not any(
        image["status"] == "active" and all(image[name] for name in OS_PROPERTIES)
        for image in site["images"]
    ):
        reasons.append(
            Reason(
                f"no active image has all of {', '.join(OS_PROPERTIES)}",
                "set these properties on the images meant for the federation",
            )
        )
    networks = site["networks"]
    if networks is not None and not any(not network["external"] for network in networks):
        reasons.append(Reason("no network for servers is visible", "share one, or make one"))
    for project, quotas in (site["quotas"] or {}).items():
        for name in ("instances", "cores", "ram_mb"):
            if quotas.get(name, {}).get("limit") == 0:
                reasons.append(
                    Reason(f"the quota {name} of project {project} is 0", "raise it to the SLA's")
                )
    return reasons


def _is_ok(services: Mapping[str, Any], name: str) -> bool:
    return bool(services.get(name, {}).get("ok"))


def next_page(page: JSON, collection: str) -> Optional[str]:
    """The query of the next page: services build links from the URL that they believe to have."""
    following = page.get("next")
    if not following:
        links: Sequence[JSON] = page.get(f"{collection}_links") or ()
        following = next((link.get("href") for link in links if link.get("rel") == "next"), None)
    return str(following).partition("?")[2] if following else None
