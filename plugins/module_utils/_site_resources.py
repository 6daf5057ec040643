# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What has to be done so that projects of an OpenStack site have what was declared.

PRIVATE to the collection: it may change without notice.

Pure: the wish and what the site has go in, an ordered list of operations comes out, or PlanError
with every reason why there is none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Optional

from ansible_collections.infn.cloud.plugins.module_utils._keystone_resources import PlanError
from ansible_collections.infn.cloud.plugins.module_utils._site_model import QUOTAS

JSON = Mapping[str, Any]
# Ports of Neutron's own: its DHCP servers and routers, which go with the network.
OWN_PORTS = ("network:",)


@dataclass(frozen=True)
class Operation:
    """One thing to do; body and target are for the client, the rest is for people."""

    action: str
    kind: str
    name: str
    changes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    body: Mapping[str, Any] = field(default_factory=dict)
    # The ids by which the client finds what it is about.
    target: Mapping[str, str] = field(default_factory=dict)

    def result(self) -> dict[str, Any]:
        changes = {name: dict(change) for name, change in self.changes.items()}
        return {"action": self.action, "kind": self.kind, "name": self.name, "changes": changes}


@dataclass
class Snapshot:
    """What the site has, as far as the wish asks."""

    # Name -> id; None for a project that does not exist.
    projects: dict[str, Optional[str]] = field(default_factory=dict)
    # Project -> quotas and their defaults, by their names in an SLA.
    quotas: dict[str, dict[str, Optional[int]]] = field(default_factory=dict)
    defaults: dict[str, dict[str, Optional[int]]] = field(default_factory=dict)
    networks: list[JSON] = field(default_factory=list)
    subnets: list[JSON] = field(default_factory=list)
    routers: list[JSON] = field(default_factory=list)
    ports: list[JSON] = field(default_factory=list)
    security_groups: list[JSON] = field(default_factory=list)
    images: list[JSON] = field(default_factory=list)


def make_plan(wish: JSON, current: Snapshot) -> list[Operation]:
    """Everything that differs, what is made before what is removed."""
    problems = [*_unknown_projects(wish, current), *_ambiguous(wish, current)]
    if problems:
        raise PlanError(problems)
    plan = [
        *_quotas(wish["quotas"], current),
        *_networks(wish["networks"], current),
        *_rules(wish["security_rules"], current),
        *_images(wish["images"], current),
    ]
    return sorted(plan, key=lambda operation: operation.action == "delete")


def _present(item: JSON) -> bool:
    return bool(item.get("state", "present") == "present")


def _unknown_projects(wish: JSON, current: Snapshot) -> list[str]:
    """A project that is not there has nothing to be removed, but cannot be given anything."""
    wanted = {
        item["project"]
        for kind in ("quotas", "networks", "security_rules")
        for item in wish[kind]
        if _present(item)
    }
    return [
        f"there is no project {name}; make it first, or correct the name"
        for name in sorted(wanted)
        if current.projects.get(name) is None
    ]


def _ambiguous(wish: JSON, current: Snapshot) -> list[str]:
    problems = []
    for item in wish["networks"]:
        for kind, found in (("networks", current.networks), ("routers", current.routers)):
            same = _named(found, item["name"], current.projects.get(item["project"]))
            if len(same) > 1:
                ids = ", ".join(sorted(str(each["id"]) for each in same))
                problems.append(
                    f"project {item['project']} has {len(same)} {kind} called {item['name']}:"
                    f" {ids}; remove or rename all but one"
                )
    names = [image.get("name") for image in current.images]
    for item in wish["images"]:
        if names.count(item["name"]) > 1:
            problems.append(
                f"{names.count(item['name'])} images are called {item['name']}; rename all but one"
            )
        elif item["name"] not in names:
            problems.append(f"there is no image {item['name']}; upload it, or correct the name")
    for item in wish["networks"]:
        external = item.get("external_network")
        if external and _present(item) and _external(current, external) is None:
            problems.append(
                f"there is no external network {external} for {item['name']}; correct the name"
            )
    return problems


def _named(found: Iterable[JSON], name: str, project: Optional[str]) -> list[JSON]:
    return [each for each in found if each["name"] == name and each["project_id"] == project]


def _external(current: Snapshot, name: str) -> Optional[JSON]:
    for network in current.networks:
        if network["name"] == name and network.get("router:external"):
            return network
    return None


def _quotas(wish: Sequence[JSON], current: Snapshot) -> list[Operation]:
    plan = []
    for item in wish:
        project = item["project"]
        project_id = current.projects.get(project)
        if project_id is None:
            continue
        have = current.quotas.get(project, {})
        if _present(item):
            wanted = {name: value for name, value in item["quotas"].items() if value is not None}
            unknown = sorted(name for name in wanted if name not in have)
            if unknown:
                raise PlanError([
                    f"the site has no quotas {', '.join(unknown)} for {project}, because it lacks"
                    " the service or that does not answer; leave them out, or mend it"
                ])  # fmt: skip
        else:
            wanted = {n: v for n, v in current.defaults.get(project, {}).items() if n in have}
        changes = {
            name: {"before": have[name], "after": value}
            for name, value in wanted.items()
            if have[name] != value
        }
        services = sorted({QUOTAS[name][0] for name in changes})
        for service in services:
            mine = {name: c for name, c in changes.items() if QUOTAS[name][0] == service}
            plan.append(
                Operation(
                    "update",
                    f"{service}_quotas",
                    project,
                    mine,
                    {QUOTAS[name][1]: change["after"] for name, change in mine.items()}
                    if _present(item)
                    else {},
                    {"project": project_id},
                )
            )
    return plan


def _networks(wish: Sequence[JSON], current: Snapshot) -> list[Operation]:
    plan: list[Operation] = []
    for item in wish:
        project_id = current.projects.get(item["project"])
        if project_id is None:
            continue
        found = _named(current.networks, item["name"], project_id)
        if not _present(item):
            plan += _remove_network(item, found[0], project_id, current) if found else ()
        else:
            plan += _make_network(item, found[0] if found else None, project_id, current)
    return plan


def _make_network(
    item: JSON, network: Optional[JSON], project_id: str, current: Snapshot
) -> list[Operation]:
    plan = []
    name, label = item["name"], f"{item['name']} of {item['project']}"
    target = {"project": project_id, "name": name}
    if network is None:
        body = {"name": name, "project_id": project_id, "description": item["description"]}
        plan.append(Operation("create", "network", label, {}, body, target))
    else:
        target["network"] = str(network["id"])
    subnets = [s for s in current.subnets if network and s["network_id"] == network["id"]]
    if not any(subnet["cidr"] == item["cidr"] for subnet in subnets):
        if subnets:
            have = ", ".join(str(subnet["cidr"]) for subnet in subnets)
            raise PlanError([
                f"network {label} has {have}, not {item['cidr']}; a subnet in use cannot be"
                " changed: correct cidr, or remove the network first"
            ])  # fmt: skip
        body = {
            "name": name,
            "project_id": project_id,
            "ip_version": 6 if ":" in item["cidr"] else 4,
            "cidr": item["cidr"],
            "dns_nameservers": item["dns_servers"],
            "enable_dhcp": item["dhcp"],
        }
        plan.append(Operation("create", "subnet", f"{item['cidr']} of {label}", {}, body, target))
    external = item.get("external_network")
    if not external:
        return plan
    gateway = _external(current, external)
    routers = _named(current.routers, name, project_id)
    if not routers:
        body = {
            "name": name,
            "project_id": project_id,
            "external_gateway_info": {"network_id": gateway["id"] if gateway else ""},
        }
        plan.append(Operation("create", "router", label, {}, body, target))
    return plan


def _remove_network(
    item: JSON, network: JSON, project_id: str, current: Snapshot
) -> list[Operation]:
    """The network, unless somebody's server or router is on it."""
    if foreign_ports(network, current.ports):
        return []
    label = f"{item['name']} of {item['project']}"
    plan = []
    target = {"network": str(network["id"])}
    subnets = [str(s["id"]) for s in current.subnets if s["network_id"] == network["id"]]
    for router in _named(current.routers, item["name"], project_id):
        whole = {"router": str(router["id"])}
        for number, subnet in enumerate(subnets):
            whole[f"subnet{number}"] = subnet
        plan.append(Operation("delete", "router", label, {}, {}, whole))
    plan.append(Operation("delete", "network", label, {}, {}, target))
    return plan


def foreign_ports(network: JSON, ports: Iterable[JSON]) -> list[str]:
    """The ids of the ports on a network that are not Neutron's own."""
    return [
        str(port["id"])
        for port in ports
        if port["network_id"] == network["id"]
        and not str(port.get("device_owner") or "").startswith(OWN_PORTS)
    ]


def _rules(wish: Sequence[JSON], current: Snapshot) -> list[Operation]:
    plan = []
    for item in wish:
        project_id = current.projects.get(item["project"])
        if project_id is None:
            continue
        groups = _named(current.security_groups, item["group"], project_id)
        label = f"{rule_name(item)} in {item['group']} of {item['project']}"
        body = {
            "direction": "ingress",
            "ethertype": "IPv6" if ":" in item["remote"] else "IPv4",
            "protocol": item["protocol"],
            "port_range_min": item["port_min"],
            "port_range_max": item["port_max"] or item["port_min"],
            "remote_ip_prefix": item["remote"],
        }
        rules = groups[0]["security_group_rules"] if groups else []
        found = [rule for rule in rules if all(rule.get(key) == v for key, v in body.items())]
        if _present(item) and not found:
            # Neutron makes the group "default" of a project when somebody first asks for it.
            group = str(groups[0]["id"]) if groups else ""
            target = {"project": project_id, "group": group, "name": item["group"]}
            plan.append(Operation("create", "security_rule", label, {}, body, target))
        elif not _present(item):
            plan += [
                Operation("delete", "security_rule", label, {}, {}, {"rule": str(rule["id"])})
                for rule in found
            ]
    return plan


def rule_name(item: JSON) -> str:
    if item["port_min"] is None:
        return f"{item['protocol']} from {item['remote']}"
    last = item["port_max"] or item["port_min"]
    ports = str(item["port_min"]) if last == item["port_min"] else f"{item['port_min']}-{last}"
    return f"{item['protocol']} {ports} from {item['remote']}"


def _images(wish: Sequence[JSON], current: Snapshot) -> list[Operation]:
    """Properties and tags that are declared; the others of the image are left alone."""
    plan = []
    for item in wish:
        image = next(each for each in current.images if each["name"] == item["name"])
        target = {"image": str(image["id"])}
        properties = {str(name): str(value) for name, value in (item["properties"] or {}).items()}
        changes = {
            name: {"before": image.get(name), "after": value}
            for name, value in properties.items()
            if image.get(name) != value
        }
        if changes:
            body = {name: change["after"] for name, change in changes.items()}
            new = {name: "" for name in changes if name not in image}
            plan.append(
                Operation("update", "image", item["name"], changes, body, {**target, **new})
            )
        for tag in item["tags"]:
            if tag not in (image.get("tags") or ()):
                plan.append(
                    Operation(
                        "create",
                        "image_tag",
                        f"{tag} of {item['name']}",
                        {},
                        {},
                        {**target, "tag": tag},
                    )
                )
    return plan


def users_own(contents: Iterable[JSON], networks: Iterable[str]) -> list[dict[str, Any]]:
    """Of what is in a project, what users made: not networks of these names with their routers."""
    ours = set(networks)
    return [
        dict(each)
        for each in contents
        if not (each["kind"] in ("network", "router") and each["name"] in ours)
        and not (each["kind"] == "security_group" and each["name"] == "default")
    ]
