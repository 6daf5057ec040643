# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Learns at a site what the checks of _site_checks need, and tries out a server.

PRIVATE to the collection: it may change without notice.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import partial
from typing import Any, Callable, NamedTuple, Optional
from urllib.parse import quote, urlencode

from ansible_collections.infn.cloud.plugins.module_utils._keystone_client import KeystoneError
from ansible_collections.infn.cloud.plugins.module_utils._site_checks import (
    FAILED,
    OK,
    SKIPPED,
    Check,
    Evidence,
    all_checks,
)
from ansible_collections.infn.cloud.plugins.module_utils._site_client import (
    Site,
    SiteError,
    at_once,
    survey,
)

CANARY = "infn-cloud-canary"
# Seconds to wait for the canary to be gone, beside those to wait for it to work.
REMOVAL = 120


class Findings(NamedTuple):
    checks: list[Check]
    site: Optional[dict[str, Any]]
    # A canary that could not be taken away again.
    left: Optional[str]


def examine(params: Mapping[str, Any], *, try_canary: bool) -> Findings:
    """All checks of a site. A login that fails is the one check that was made."""
    site = Site(
        params["auth"],
        timeout=params["timeout"],
        region=params["region"],
        interface=params["interface"],
    )
    try:
        site.log_in()
    except KeystoneError as error:
        return Findings([Check("login", FAILED, str(error), "mend the login first")], None, None)
    checks = [
        Check("login", OK, f"project {site.access.project_name}, {site.requests} request"),
    ]
    evidence = gather(site, params)
    checks += all_checks(evidence, params)
    left = None
    canary = params["canary"]
    if canary is None:
        checks.append(Check("canary", SKIPPED, "not asked for"))
    elif not try_canary:
        checks.append(Check("canary", SKIPPED, "no server is made in check mode"))
    else:
        check, left = fly(site, evidence.site, canary)
        checks.append(check)
    return Findings(checks, dict(evidence.site), left)


def gather(site: Site, params: Mapping[str, Any]) -> Evidence:
    """What there is, and what could not be learned: a user may be allowed to see a part of it."""
    slas = params["slas"]
    hidden = ""
    try:
        projects = list(dict.fromkeys(sla["project"] for sla in slas))
        found = survey(
            site,
            gather=["flavors", "images", "networks", "quotas"],
            projects=projects,
            project_domain=params["project_domain"],
        )
    except SiteError as error:
        hidden = f"{error.found}: {error.remedy}"
        found = survey(site, gather=["flavors", "images", "networks"])
    federation: dict[str, Callable[[], Any]] = {
        "identity_providers": lambda: site.pages(
            "identity", "/OS-FEDERATION/identity_providers", "identity_providers"
        ),
        "mappings": lambda: site.pages("identity", "/OS-FEDERATION/mappings", "mappings"),
        "groups": lambda: _groups(site, params["project_domain"]),
    }
    answers = at_once(federation, errors=True)
    for answer in answers.values():
        if isinstance(answer, SiteError):
            hidden = hidden or f"{answer.found}: {answer.remedy}"
    plain = {name: None if isinstance(a, SiteError) else a for name, a in answers.items()}
    protocols: dict[str, Any] = {}
    wanted = params["identity_provider"]
    providers = plain["identity_providers"]
    if providers is not None and any(each["id"] == wanted for each in providers):
        path = f"/OS-FEDERATION/identity_providers/{quote(wanted, safe='')}/protocols"
        protocols[wanted] = site.pages("identity", path, "protocols")
    groups = plain["groups"]
    return Evidence(
        site=found,
        auth_url=params["auth"]["auth_url"],
        identity_providers=providers,
        mappings=plain["mappings"],
        protocols=protocols,
        groups=None if groups is None else frozenset(groups),
        assignments=_assignments(site, params, found, groups or {}),
        hidden=hidden,
    )


def _groups(site: Site, domain: str) -> dict[str, str]:
    """Name -> id of the groups of a domain."""
    domains = site.pages("identity", f"/domains?{urlencode({'name': domain})}", "domains")
    if not domains:
        return {}
    found = site.pages(
        "identity", f"/groups?{urlencode({'domain_id': domains[0]['id']})}", "groups"
    )
    return {group["name"]: group["id"] for group in found}


def _assignments(
    site: Site, params: Mapping[str, Any], found: Mapping[str, Any], groups: Mapping[str, str]
) -> frozenset[tuple[str, str, str]]:
    """(group, project, role) of the groups of the SLAs: one request for each group."""
    projects = {project["id"]: name for name, project in found["projects"].items() if project}
    locals_ = {sla.get("local_group") or sla["group"] for sla in params["slas"]}

    def ask(group: str) -> Any:
        query = urlencode({"group.id": groups[group]})
        path = f"/role_assignments?include_names&{query}"
        return site.pages("identity", path, "role_assignments")

    asked = {name: partial(ask, name) for name in locals_ & set(groups)}
    result = set()
    for group, answer in at_once(asked, errors=True).items():
        if isinstance(answer, SiteError):
            continue  # Keystone tells groups only to those whom it tells this
        for each in answer:
            project = projects.get(each["scope"].get("project", {}).get("id"))
            if project:
                result.add((group, project, each["role"]["name"]))
    return frozenset(result)


def fly(
    site: Site, found: Mapping[str, Any], wish: Mapping[str, Any]
) -> tuple[Check, Optional[str]]:
    """Make a server, wait until it works, take it away again: the check, and what is left."""
    try:
        body = canary_body(found, wish)
        server = site.json("POST", "compute", "/servers", json={"server": body})["server"]["id"]
    except (SiteError, LookupError) as error:
        remedy = getattr(error, "remedy", "correct the name")
        return Check("canary", FAILED, str(getattr(error, "found", error.args[0])), remedy), None
    began = time.monotonic()
    problem = ""
    try:
        problem = _wait_until_active(site, server, wish["timeout"])
    except SiteError as error:
        problem = str(error)
    finally:
        left = _remove(site, server)
    seconds = round(time.monotonic() - began, 1)
    if problem:
        if left:
            problem += f"; and it could not be deleted: {left}"
        remedy = "look into the logs of the site's scheduler and hypervisors"
        return Check("canary", FAILED, problem, remedy), server if left else None
    if left:
        remedy = f"delete server {server} by hand"
        return Check("canary", FAILED, f"it could not be deleted: {left}", remedy), server
    return Check("canary", OK, f"made and deleted in {seconds} s"), None


def canary_body(found: Mapping[str, Any], wish: Mapping[str, Any]) -> dict[str, Any]:
    """The request for a canary, of names; LookupError names what is not there."""

    def id_of(kind: str) -> str:
        for each in found[f"{kind}s"] or ():
            if each["name"] == wish[kind]:
                return str(each["id"])
        raise LookupError(f"there is no {kind} {wish[kind]} for the canary")

    body: dict[str, Any] = {
        "name": CANARY,
        "flavorRef": id_of("flavor"),
        "imageRef": id_of("image"),
        "metadata": {"purpose": "preflight of the federation, may be deleted"},
    }
    if wish["network"]:
        body["networks"] = [{"uuid": id_of("network")}]
    return body


def _wait_until_active(site: Site, server: str, seconds: int) -> str:
    """An empty text when the server works, or why it does not."""
    end = time.monotonic() + seconds
    while True:
        found = site.json("GET", "compute", f"/servers/{server}")["server"]
        if found["status"] == "ACTIVE":
            return ""
        if found["status"] == "ERROR":
            why = found.get("fault", {}).get("message", "no reason given")
            return f"server {server} failed: {why}"
        if time.monotonic() >= end:
            return f"server {server} is still {found['status']} after {seconds} s"
        time.sleep(1)


def _remove(site: Site, server: str) -> str:
    """Delete the server and wait until it is gone: an empty text, or why it is not."""
    end = time.monotonic() + REMOVAL
    path = f"/servers/{server}"
    try:
        site.send("DELETE", "compute", path, fine=(404,))
        while site.send("GET", "compute", path, fine=(404,)).status_code != 404:
            if time.monotonic() >= end:
                return f"server {server} is still there after {REMOVAL} s"
            time.sleep(1)
    except SiteError as error:
        return str(error)
    return ""
