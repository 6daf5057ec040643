# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads from and writes to a site what a plan of _site_resources says.

PRIVATE to the collection: it may change without notice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Callable, Optional
from urllib.parse import quote, urlencode

from ansible_collections.infn.cloud.plugins.module_utils._site_client import (
    Site,
    SiteError,
    at_once,
)
from ansible_collections.infn.cloud.plugins.module_utils._site_model import QUOTAS, read_quotas
from ansible_collections.infn.cloud.plugins.module_utils._site_resources import (
    Operation,
    Snapshot,
    make_plan,
)

IMAGE_PATCH = {"Content-Type": "application/openstack-images-v2.1-json-patch"}


class Incomplete(Exception):
    """What could not be done, and what had been done before."""

    def __init__(self, error: SiteError, done: Sequence[Operation], of: int) -> None:
        super().__init__(f"{error} ({len(done)} of {of} operations were done before)")
        self.done = tuple(done)


def reconcile(params: Mapping[str, Any], *, commit: bool) -> list[Operation]:
    """Compare what the site has with what params declare and, if commit, make it so."""
    site = Site(
        params["auth"],
        timeout=params["timeout"],
        region=params["region"],
        interface=params["interface"],
    )
    site.log_in()
    plan = make_plan(
        params, read(site, params, pending=() if commit else params["pending_projects"])
    )
    if commit:
        made: dict[tuple[str, str], str] = {}
        for number, operation in enumerate(plan):
            try:
                carry_out(site, operation, made)
            except SiteError as error:
                raise Incomplete(error, plan[:number], len(plan)) from error
    return plan


def read(site: Site, wish: Mapping[str, Any], pending: Sequence[str]) -> Snapshot:
    """A few lists, and the quotas of each project that has any declared.

    A project that is pending and not there counts as there, without an id and with nothing in it.
    """
    named = {
        item["project"] for kind in ("quotas", "networks", "security_rules") for item in wish[kind]
    }
    found = site.projects(sorted(named), wish["project_domain"]) if named else {}
    projects = {
        name: project["id"] if project else "" if name in pending else None
        for name, project in found.items()
    }
    asked: dict[str, Callable[[], Any]] = {}
    if wish["networks"]:
        asked["networks"] = site.networks
        for kind in ("subnets", "routers", "ports"):
            asked[kind] = partial(site.pages, "network", f"/{kind}", kind)
    if wish["security_rules"]:
        asked["security_groups"] = lambda: site.pages(
            "network", "/security-groups", "security_groups"
        )
    if wish["images"]:
        asked["images"] = site.images
    snapshot = Snapshot(projects=projects, **at_once(asked))
    for item in wish["quotas"]:
        project = projects.get(item["project"])
        if project is None:
            continue
        if not project:
            snapshot.quotas[item["project"]] = dict.fromkeys(QUOTAS)
            continue
        snapshot.quotas[item["project"]] = _limits(site.quotas(project))
        if item["state"] == "absent":
            snapshot.defaults[item["project"]] = _defaults(site, project)
    return snapshot


def _limits(answers: Mapping[str, Any]) -> dict[str, Optional[int]]:
    known = {name: answer for name, answer in answers.items() if not isinstance(answer, SiteError)}
    return {name: quota["limit"] for name, quota in read_quotas(known).items()}


def _defaults(site: Site, project: str) -> dict[str, Optional[int]]:
    paths = {
        "compute": (f"/os-quota-sets/{project}/defaults", "quota_set"),
        "network": (f"/quotas/{project}/default.json", "quota"),
        "volume": (f"/os-quota-sets/{project}/defaults", "quota_set"),
    }

    def ask(service: str) -> Any:
        path, key = paths[service]
        return site.json("GET", service, path)[key]

    answers = at_once({name: partial(ask, name) for name in paths if name in site.endpoints})
    return {
        name: answers[service][theirs]
        for name, (service, theirs) in QUOTAS.items()
        if theirs in answers.get(service, {})
    }


def carry_out(site: Site, operation: Operation, made: dict[tuple[str, str], str]) -> None:
    """Do one thing; made remembers the networks and subnets that later ones need."""
    target, body = operation.target, operation.body
    kind = operation.kind
    if kind.endswith("_quotas"):
        _set_quotas(site, kind[: -len("_quotas")], target["project"], body)
    elif kind == "network" and operation.action == "create":
        answer = site.json("POST", "network", "/networks", json={"network": dict(body)})
        made[target["project"], target["name"]] = answer["network"]["id"]
    elif kind == "subnet":
        network = target.get("network") or made[target["project"], target["name"]]
        whole = {**body, "network_id": network}
        site.send("POST", "network", "/subnets", json={"subnet": whole})
    elif kind == "router" and operation.action == "create":
        _make_router(site, target, body, made)
    elif kind == "router":
        path = f"/routers/{target['router']}"
        for name, subnet in target.items():
            if name.startswith("subnet"):
                interface = {"subnet_id": subnet}
                # A subnet that was never connected is none of the router's.
                site.send(
                    "PUT", "network", f"{path}/remove_router_interface", json=interface, fine=(404,)
                )
        site.send("DELETE", "network", path, fine=(404,))
    elif kind == "network":
        site.send("DELETE", "network", f"/networks/{target['network']}", fine=(404,))
    elif kind == "security_rule" and operation.action == "create":
        group = target["group"] or _group_id(site, target)
        rule = {**body, "security_group_id": group}
        site.send("POST", "network", "/security-group-rules", json={"security_group_rule": rule})
    elif kind == "security_rule":
        path = f"/security-group-rules/{target['rule']}"
        site.send("DELETE", "network", path, fine=(404,))
    elif kind == "image":
        patch = [
            {"op": "add" if name in target else "replace", "path": f"/{name}", "value": value}
            for name, value in body.items()
        ]
        path = f"/images/{target['image']}"
        site.send("PATCH", "image", path, json=patch, headers=IMAGE_PATCH)
    elif kind == "image_tag":
        path = f"/images/{target['image']}/tags/{quote(target['tag'], safe='')}"
        site.send("PUT", "image", path)


def _set_quotas(site: Site, service: str, project: str, body: Mapping[str, Any]) -> None:
    """Set the quotas, or with nothing to set go back to the site's defaults."""
    path = f"/quotas/{project}" if service == "network" else f"/os-quota-sets/{project}"
    if not body:
        site.send("DELETE", service, path, fine=(404,))
        return
    whole = dict(body)
    if service == "compute":
        # Nova refuses a quota below what is used; the SLA says what was agreed, and nothing stops.
        whole["force"] = True
    site.send("PUT", service, path, json={"quota" if service == "network" else "quota_set": whole})


def _make_router(
    site: Site,
    target: Mapping[str, str],
    body: Mapping[str, Any],
    made: Mapping[tuple[str, str], str],
) -> None:
    router = site.json("POST", "network", "/routers", json={"router": dict(body)})["router"]
    network = target.get("network") or made[target["project"], target["name"]]
    subnets = site.pages("network", f"/subnets?{urlencode({'network_id': network})}", "subnets")
    for subnet in subnets:
        path = f"/routers/{router['id']}/add_router_interface"
        site.send("PUT", "network", path, json={"subnet_id": subnet["id"]})


def _group_id(site: Site, target: Mapping[str, str]) -> str:
    query = urlencode({"project_id": target["project"], "name": target["name"]})
    found = site.pages("network", f"/security-groups?{query}", "security_groups")
    if not found:
        raise SiteError(
            f"network: project {target['project']} has no security group {target['name']}",
            "make it, or use the group default",
        )
    return str(found[0]["id"])
