# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a site of the federation has to have, made of its SLAs, and what goes when it leaves.

PRIVATE to the collection: it may change without notice.

Pure: the settings of the role federated_site and what site_info found go in; what
keystone_resources and site_resources take comes out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.infn.cloud.plugins.module_utils._site_resources import users_own

JSON = Mapping[str, Any]
# By this the role knows what it made: it removes no project without it.
MARK = "infn.cloud.federated_site"
NO_WISH: dict[str, Any] = {"quotas": [], "networks": [], "security_rules": [], "images": []}


def plan_site(settings: JSON, projects: JSON, contents: JSON, *, leave: bool) -> dict[str, Any]:
    """What to declare: `refusals`, `identity` and `resources` for the modules, and what is `left`.

    projects and contents are those of site_info.
    """
    slas = settings["slas"]
    refusals = _refusals(settings, projects, leave=leave)
    if leave:
        return {"refusals": refusals, **_leaving(settings, projects, contents)}
    return {
        "refusals": refusals,
        "identity": {
            "projects": [
                {"name": sla["project"], "domain": settings["domain"], "description": describe(sla)}
                for sla in slas
                if sla["project"] not in settings["adopted_projects"]
            ],
            "groups": [
                {
                    "name": local_group(settings, sla),
                    "domain": settings["domain"],
                    "description": describe(sla),
                }
                for sla in slas
            ],
            "role_assignments": [
                {
                    "group": local_group(settings, sla),
                    "group_domain": settings["domain"],
                    "project": sla["project"],
                    "project_domain": settings["domain"],
                    "role": settings["role"],
                }
                for sla in slas
            ],
            "mappings": [{"id": settings["mapping"], "rules": mapping_rules(settings)}],
            "identity_providers": [
                {
                    "id": settings["identity_provider"],
                    "remote_ids": [settings["issuer"]],
                    "domain": settings["domain"],
                    "description": MARK,
                    "enabled": True,
                }
            ],
            "protocols": [
                {
                    "id": settings["protocol"],
                    "identity_provider": settings["identity_provider"],
                    "mapping": settings["mapping"],
                }
            ],
        },
        "resources": {
            "quotas": [
                {"project": sla["project"], "quotas": sla["quotas"]}
                for sla in slas
                if sla.get("quotas")
            ],
            "networks": [
                {**network, "project": sla["project"]} for sla, network in _networks(settings)
            ],
            "security_rules": [
                {**rule, "project": sla["project"]}
                for sla in slas
                for rule in settings["security_rules"]
            ],
            "images": list(settings["images"]),
        },
        "left": [],
        # For the check of what was made.
        "slas": [
            {
                "group": sla["group"],
                "local_group": local_group(settings, sla),
                "project": sla["project"],
                "quotas": sla.get("quotas") or {},
            }
            for sla in slas
        ],
    }


def describe(sla: JSON) -> str:
    """The description of a group and of its project, which begins with the role's mark."""
    return f"{MARK}: SLA {sla['doc_uuid']} of {sla['group']}"


def local_group(settings: JSON, sla: JSON) -> str:
    """The group in Keystone: slashes of a group in IAM's tree would be taken for paths."""
    return str(settings["group_prefix"]) + str(sla["group"]).strip("/").replace("/", "-")


def mapping_rules(settings: JSON) -> list[dict[str, Any]]:
    """One rule for each SLA: whoever has the issuer's token with the group gets the local group."""
    claims = settings["claims"]
    return [
        {
            "local": [
                {
                    "user": {"name": "{0}"},
                    "group": {
                        "name": local_group(settings, sla),
                        "domain": {"name": settings["domain"]},
                    },
                }
            ],
            "remote": [
                {"type": claims["subject"]},
                {"type": claims["issuer"], "any_one_of": [settings["issuer"]]},
                {"type": claims["groups"], "any_one_of": [sla["group"]]},
            ],
        }
        for sla in settings["slas"]
    ]


def _networks(settings: JSON) -> list[tuple[JSON, JSON]]:
    network = settings["private_network"]
    return [(sla, network) for sla in settings["slas"]] if network else []


def _refusals(settings: JSON, projects: JSON, *, leave: bool) -> list[str]:
    problems = []
    slas: Sequence[JSON] = settings["slas"]
    for sla in slas:
        if sla["issuer"] != settings["issuer"]:
            problems.append(
                f"the SLA of {sla['group']} is with {sla['issuer']}, the site trusts"
                f" {settings['issuer']}; write both the same, the slash at the end included"
            )
    for key, names in (
        ("group", [local_group(settings, sla) for sla in slas]),
        ("project", [sla["project"] for sla in slas]),
    ):
        for name in sorted({name for name in names if names.count(name) > 1}):
            problems.append(f"two SLAs have the {key} {name}; give each one of its own")
    if leave:
        return problems
    for sla in slas:
        project = projects.get(sla["project"])
        if (
            project
            and sla["project"] not in settings["adopted_projects"]
            and not project["description"].startswith(MARK)
        ):
            problems.append(
                f"project {sla['project']} is there and was not made by this role; give the SLA"
                " another project, or add it to federated_site_adopted_projects, which leaves it"
                " alone when the site leaves"
            )
    return problems


def _leaving(settings: JSON, projects: JSON, contents: JSON) -> dict[str, Any]:
    """Take away what the role made; a project in which users have something stays with it."""
    left: list[dict[str, str]] = []
    gone: list[str] = []
    network = settings["private_network"]
    names = [network["name"]] if network else []
    for sla in settings["slas"]:
        name = sla["project"]
        project = projects.get(name)
        if not project:
            continue
        theirs = users_own(contents.get(name, ()), names)
        left += [{"project": name, **each} for each in theirs]
        ours = name not in settings["adopted_projects"] and project["description"].startswith(MARK)
        if ours and not theirs:
            gone.append(name)
    identity = {
        "protocols": [
            {
                "id": settings["protocol"],
                "identity_provider": settings["identity_provider"],
                "state": "absent",
            }
        ],
        "identity_providers": [{"id": settings["identity_provider"], "state": "absent"}],
        "mappings": [{"id": settings["mapping"], "state": "absent"}],
        "groups": [
            {"name": local_group(settings, sla), "domain": settings["domain"], "state": "absent"}
            for sla in settings["slas"]
        ],
        "projects": [
            {"name": name, "domain": settings["domain"], "state": "absent"} for name in gone
        ],
    }
    resources = {
        **NO_WISH,
        "quotas": [{"project": name, "state": "absent"} for name in gone],
        "networks": [
            {"name": each["name"], "project": sla["project"], "state": "absent"}
            for sla, each in _networks(settings)
        ],
        "security_rules": [
            {**rule, "project": sla["project"], "state": "absent"}
            for sla in settings["slas"]
            for rule in settings["security_rules"]
        ],
    }
    return {"identity": identity, "resources": resources, "left": left}
