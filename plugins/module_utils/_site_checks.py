# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a site is ready to join the federation, as a list of checks.

PRIVATE to the collection: it may change without notice.

Pure: what was found at the site and what is expected of it go in, checks come out. Each says what
it found and, where it failed, what the site's administrator can do about it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Optional

from ansible_collections.infn.cloud.plugins.module_utils._site_model import (
    GPU_SPECS,
    OS_PROPERTIES,
    UNLIMITED,
)

OK, FAILED, SKIPPED = "ok", "failed", "skipped"
JSON = Mapping[str, Any]
# Seconds. Who checks a token compares times; a time service keeps a thousandth of this.
MAX_SKEW = 10.0


class Check(NamedTuple):
    name: str
    status: str
    found: str
    remedy: str = ""

    def result(self) -> dict[str, str]:
        return dict(self._asdict())


class Evidence(NamedTuple):
    """What the checks are made of; None where it could not be learned, with the reason."""

    site: JSON
    auth_url: str
    identity_providers: Optional[Sequence[JSON]]
    mappings: Optional[Sequence[JSON]]
    # Identity provider -> its protocols.
    protocols: Mapping[str, Sequence[JSON]]
    # Names of groups that exist, and (group, project, role) of their assignments.
    groups: Optional[frozenset[str]]
    assignments: frozenset[tuple[str, str, str]]
    # Why the above could not be learned.
    hidden: str = ""


def all_checks(evidence: Evidence, wish: JSON) -> list[Check]:
    """Every check but the canary, in the order in which an administrator would mend things."""
    return [
        check_tls(evidence),
        check_services(evidence),
        check_clock(evidence, float(wish.get("max_clock_offset") or MAX_SKEW)),
        *check_federation(evidence, wish),
        *check_slas(evidence, wish),
        *check_networks(evidence, wish),
        *check_images(evidence, wish),
        *check_flavors(evidence, wish),
    ]


def ready(checks: Iterable[Check]) -> bool:
    return all(check.status != FAILED for check in checks)


def check_tls(evidence: Evidence) -> Check:
    """That the login was by TLS with a certificate that was verified, and the endpoints are too."""
    urls = {"auth.auth_url": evidence.auth_url}
    urls.update({name: service["url"] for name, service in evidence.site["services"].items()})
    plain = sorted(name for name, url in urls.items() if not url.startswith("https://"))
    if plain:
        return Check(
            "tls",
            FAILED,
            "tokens would go in the clear to " + ", ".join(f"{n} ({urls[n]})" for n in plain),
            "offer the public endpoints by https, and put those URLs into the catalogue",
        )
    broken = [
        f"{name}: {service['error']}"
        for name, service in evidence.site["services"].items()
        if not service["ok"] and "TLS failed" in service["error"]
    ]
    if broken:
        return Check(
            "tls", FAILED, "; ".join(broken), "give these endpoints a certificate of the same CA"
        )
    return Check("tls", OK, f"{len(urls)} URLs by https, certificates verified")


def check_services(evidence: Evidence) -> Check:
    services = evidence.site["services"]
    lacking = [name for name in ("identity", "compute", "image", "network") if name not in services]
    down = [name for name, service in services.items() if not service["ok"]]
    if lacking or down:
        found = [f"not in the catalogue: {', '.join(lacking)}"] if lacking else []
        found += [f"{name}: {services[name]['error']}" for name in down]
        remedies = ["declare the endpoint in this region"] if lacking else []
        remedies += [str(services[name]["remedy"]) for name in down]
        return Check("services", FAILED, "; ".join(found), "; ".join(dict.fromkeys(remedies)))
    slowest = max((service["latency_ms"] or 0, name) for name, service in services.items())
    return Check(
        "services", OK, f"{len(services)} answer, the slowest ({slowest[1]}) in {slowest[0]} ms"
    )


def check_clock(evidence: Evidence, limit: float) -> Check:
    offset = evidence.site["clock_offset"]
    if not offset:
        return Check("clock", OK, "no difference can be proven")
    found = f"Keystone's clock is {abs(offset)} s {'ahead' if offset > 0 else 'behind'} at least"
    if abs(offset) > limit:
        return Check(
            "clock", FAILED, f"{found}; allowed are {limit} s", "run a time service on its hosts"
        )
    return Check("clock", OK, found)


def check_federation(evidence: Evidence, wish: JSON) -> Iterator[Check]:
    """Identity provider, mapping and protocol for the issuer, whose last slash counts."""
    issuer = wish.get("issuer")
    names = ("identity_provider", "protocol", "mapping")
    if not issuer:
        yield from (Check(name, SKIPPED, "no issuer was given") for name in names)
        return
    if evidence.identity_providers is None or evidence.mappings is None:
        yield from (Check(name, SKIPPED, evidence.hidden) for name in names)
        return
    wanted = str(wish["identity_provider"])
    check, usable = _identity_provider(evidence.identity_providers, wanted, str(issuer))
    yield check
    if not usable:
        yield from (
            Check(name, SKIPPED, "there is no identity provider for it") for name in names[1:]
        )
        return
    protocols = {each["id"]: each for each in evidence.protocols.get(wanted, ())}
    protocol = protocols.get(wish["protocol"])
    if protocol is None:
        listed = ", ".join(sorted(protocols)) or "none"
        yield Check(
            "protocol",
            FAILED,
            f"{wanted} has no protocol {wish['protocol']}; it has: {listed}",
            "make it, or correct the name; clients of the federation use it in their URLs",
        )
        yield Check("mapping", SKIPPED, "there is no protocol that uses one")
        return
    yield Check("protocol", OK, f"{wish['protocol']} of {wanted}, mapping {protocol['mapping_id']}")
    yield _mapping(evidence.mappings, protocol["mapping_id"], wish)


def _identity_provider(providers: Sequence[JSON], wanted: str, issuer: str) -> tuple[Check, bool]:
    name = "identity_provider"
    found = next((each for each in providers if each["id"] == wanted), None)
    holder = next((each for each in providers if issuer in (each.get("remote_ids") or ())), None)
    if found is None:
        if holder is not None:
            text = f"{issuer} belongs to identity provider {holder['id']}, not to {wanted}"
            return Check(name, FAILED, text, "use that name, or give the issuer to this one"), False
        listed = ", ".join(sorted(str(each["id"]) for each in providers)) or "none"
        text = f"there is no identity provider {wanted}; there are: {listed}"
        return Check(name, FAILED, text, f"make it, with the remote id {issuer}"), False
    remote = [str(each) for each in found.get("remote_ids") or ()]
    if issuer not in remote:
        near = [each for each in remote if each.rstrip("/").lower() == issuer.rstrip("/").lower()]
        if near:
            text = f"{wanted} has the remote id '{near[0]}', tokens have '{issuer}'"
            remedy = f"set it to '{issuer}', slash and letters exactly as the issuer writes it"
            return Check(name, FAILED, text, remedy), True
        text = f"{wanted} has the remote ids {', '.join(remote) or '(none)'}, not {issuer}"
        return Check(name, FAILED, text, f"add {issuer} to it"), True
    if not found.get("enabled", True):
        return Check(name, FAILED, f"{wanted} is disabled", "enable it"), True
    return Check(name, OK, f"{wanted} for {issuer}"), True


def _mapping(mappings: Sequence[JSON], wanted: str, wish: JSON) -> Check:
    found = next((each for each in mappings if each["id"] == wanted), None)
    if found is None:
        return Check("mapping", FAILED, f"there is no mapping {wanted}", "make it")
    mapped = groups_of(found.get("rules") or ())
    lost = sorted({str(sla["group"]) for sla in wish["slas"]} - mapped)
    if lost:
        return Check(
            "mapping",
            FAILED,
            f"{wanted} has no rule for the groups {', '.join(lost)}",
            "add a rule for each, to the local group of the SLA",
        )
    return Check("mapping", OK, f"{wanted} with rules for {len(mapped)} groups")


def groups_of(rules: Iterable[JSON]) -> set[str]:
    """The groups of the identity provider that the rules ask for."""
    asked: set[str] = set()
    for rule in rules:
        for condition in rule.get("remote") or ():
            for kind in ("any_one_of", "whitelist"):
                asked.update(str(value) for value in condition.get(kind) or ())
    return asked


def check_slas(evidence: Evidence, wish: JSON) -> Iterator[Check]:
    """For each SLA its group, its project, the role of one in the other, and the quotas."""
    for sla in wish["slas"]:
        group, project = str(sla["group"]), str(sla["project"])
        local = str(sla.get("local_group") or group)
        known = evidence.site["projects"]
        if project not in known and evidence.hidden:
            yield Check(f"project {project}", SKIPPED, evidence.hidden)
            continue
        if known.get(project) is None:
            yield Check(
                f"project {project}", FAILED, "it does not exist", "make it, with the SLA's quotas"
            )
            continue
        yield Check(f"project {project}", OK, f"id {known[project]['id']}")
        yield _group(evidence, local, project, str(wish["role"]))
        yield _quotas(evidence, project, sla.get("quotas") or {})


def _group(evidence: Evidence, group: str, project: str, role: str) -> Check:
    name = f"group of {project}"
    if evidence.groups is None:
        return Check(name, SKIPPED, evidence.hidden)
    if group not in evidence.groups:
        return Check(name, FAILED, f"there is no group {group}", "make it; users are mapped to it")
    if (group, project, role) not in evidence.assignments:
        return Check(
            name, FAILED, f"{group} has no role {role} in {project}", "assign the role to the group"
        )
    return Check(name, OK, f"{group} has the role {role}")


def _quotas(evidence: Evidence, project: str, agreed: Mapping[str, Optional[int]]) -> Check:
    name = f"quotas of {project}"
    have = evidence.site["quotas"].get(project, {})
    unknown, below = [], []
    for quota, least in agreed.items():
        if least is None:
            continue
        limit = have.get(quota, {}).get("limit")
        if limit is None:
            unknown.append(quota)
        elif limit != UNLIMITED and (least == UNLIMITED or limit < least):
            below.append(f"{quota} {limit}, agreed {'without limit' if least < 0 else least}")
    if below:
        return Check(name, FAILED, "; ".join(below), "raise the quotas to the SLA's")
    if unknown:
        text = f"the site does not tell {', '.join(unknown)}"
        return Check(name, SKIPPED, text)
    return Check(name, OK, f"{len(agreed)} at or above the SLA")


def check_networks(evidence: Evidence, wish: JSON) -> Iterator[Check]:
    networks = evidence.site["networks"]
    for kind, external in (("public", True), ("private", False)):
        name, wanted = f"{kind}_network", wish.get(f"{kind}_network")
        if not wanted:
            yield Check(name, SKIPPED, f"no default {kind} network was given")
        elif networks is None:
            yield Check(name, SKIPPED, "the network service did not tell its networks")
        else:
            yield _network(networks, name, str(wanted), external)


def _network(networks: Sequence[JSON], name: str, wanted: str, external: bool) -> Check:
    found = [each for each in networks if each["name"] == wanted]
    if not found:
        listed = ", ".join(sorted({str(each["name"]) for each in networks})) or "none"
        text = f"there is no network {wanted}; visible are: {listed}"
        return Check(name, FAILED, text, "make or share it, or correct the name")
    if len(found) > 1:
        ids = ", ".join(sorted(str(each["id"]) for each in found))
        return Check(
            name, FAILED, f"{len(found)} networks are called {wanted}: {ids}", "rename one"
        )
    if found[0]["external"] != external:
        text = f"{wanted} is {'' if found[0]['external'] else 'not '}external"
        return Check(name, FAILED, text, "choose another one as this default")
    if not found[0]["subnets"]:
        return Check(name, FAILED, f"{wanted} has no subnet", "add one: servers get no address")
    return Check(name, OK, f"{wanted}, {found[0]['subnets']} subnets")


def check_images(evidence: Evidence, wish: JSON) -> Iterator[Check]:
    images = evidence.site["images"]
    if images is None:
        yield Check("images", SKIPPED, "the image service did not tell its images")
        return
    tags = list(wish.get("image_tags") or ())
    meant = [
        image
        for image in images
        if image["status"] == "active" and (not tags or set(tags) & set(image["tags"]))
    ]
    if not meant:
        yield Check(
            "images",
            FAILED,
            f"no active image has one of the tags {', '.join(tags)}" if tags else "no active image",
            "tag the images that are meant for the federation",
        )
        return
    bad = [
        f"{image['name']} lacks {', '.join(name for name in OS_PROPERTIES if not image[name])}"
        for image in meant
        if not all(image[name] for name in OS_PROPERTIES)
    ]
    if bad:
        yield Check(
            "images", FAILED, "; ".join(bad), "set the properties: templates choose by them"
        )
    else:
        yield Check("images", OK, f"{len(meant)} with {', '.join(OS_PROPERTIES)}")


def check_flavors(evidence: Evidence, wish: JSON) -> Iterator[Check]:
    flavors = evidence.site["flavors"]
    if flavors is None:
        yield Check("flavors", SKIPPED, "the compute service did not tell its flavors")
        return
    bad = [
        f"{flavor['name']} has "
        + ", ".join(f"{n}={flavor['extra_specs'].get(n)}" for n in GPU_SPECS)
        for flavor in flavors
        if flavor["gpu"] and not all(flavor["gpu"].values())
    ]
    lacking = sorted(set(wish.get("flavors") or ()) - {flavor["name"] for flavor in flavors})
    if lacking:
        yield Check(
            "flavors", FAILED, f"there is no flavor {', '.join(lacking)}", "make it, or give access"
        )
    elif not flavors:
        yield Check("flavors", FAILED, "no flavor is visible", "make flavors public or give access")
    else:
        yield Check("flavors", OK, f"{len(flavors)} visible")
    if bad:
        yield Check(
            "gpu_flavors",
            FAILED,
            "; ".join(bad),
            "set gpu_number (from 1), gpu_model and gpu_vendor, all three",
        )
    else:
        count = sum(1 for flavor in flavors if flavor["gpu"])
        yield Check("gpu_flavors", OK, f"{count} with number, model and vendor")
