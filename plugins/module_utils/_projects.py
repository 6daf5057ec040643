# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What each backbone service has to do for the projects of the federation.

A pure core: one list of projects becomes the lists that the roles dns, smtp_relay and certificates
take, and the accounts of the object storage. A project's zone is its name below the federation's,
and it sends and certifies nothing outside it.

PRIVATE to the collection: it may change without notice.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

# RFC 1035 section 2.3.1, as the label of a zone and the beginning of other names.
NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?")
# Whose key proves a project's certificates by ACME.
ACME = "certificates"
CHALLENGE = "_acme-challenge"
# Users and projects of Keystone that are the backbone's own.
RESERVED = frozenset({"admin", "demo", "log-backup", "object-accounts", "service", "swift"})
QUOTAS = ("quota_bytes", "quota_count", "policy_quota_bytes")

Project = Mapping[str, Any]


def services(projects: Sequence[Project], zone: str, host: str) -> dict[str, list[dict[str, Any]]]:
    """Entries for each service; of certificates, those of one host."""
    present = [project for project in projects if not _gone(project)]
    return {
        "zones": [_zone(project) for project in projects],
        # A project that goes takes its zone along, and with it the records about its mail.
        "domains": [
            {"name": f"{project['name']}.{zone}", "policy": "reject"}
            for project in present
            if project.get("mail")
        ],
        "credentials": [
            {"owner": project["owner"], **one}
            for project in present
            for one in project.get("mail") or ()
        ],
        "certificates": [
            _certificate(project, one, zone)
            for project in present
            for one in project.get("certificates") or ()
            if one["host"] == host
        ],
        "views": [_view(project, zone) for project in projects],
        **_stored([project for project in present if project.get("objects")]),
        "leaving": [
            {"name": project["name"], "state": "absent"} for project in projects if _gone(project)
        ],
    }


def _view(project: Project, zone: str) -> dict[str, Any]:
    """Lines in which its zone, or a credential of its mail, is named."""
    if _gone(project) or not project.get("logs"):
        return {"name": project["name"], "state": "absent"}
    return {
        "name": project["name"],
        "password": project["logs"]["password"],
        "names": [f"{project['name']}.{zone}"],
        "words": [one["id"] for one in project.get("mail") or ()],
    }


def _stored(projects: Sequence[Project]) -> dict[str, list[dict[str, Any]]]:
    """What the object storage has for those that want a place there."""
    found: dict[str, list[dict[str, Any]]] = {
        "accounts": [], "users": [], "members": [], "containers": [],
    }  # fmt: skip
    for project in projects:
        name, objects = project["name"], project["objects"]
        quotas = {key: objects[key] for key in QUOTAS if key in objects}
        login = {"password": objects["password"]}
        found["accounts"].append({"project": name, **quotas})
        found["users"].append({"name": name, "default_project": name, **login})
        found["members"].append({"user": name, "role": "member", "project": name})
        wished = list(objects.get("containers") or ())
        found["containers"].append({"project": name, "containers": wished, **login})
    return found


def _gone(project: Project) -> bool:
    return project.get("state") == "absent"


def _zone(project: Project) -> dict[str, Any]:
    zone = dict(project.get("zone") or {})
    keys = list(zone.pop("keys", None) or ())
    if project.get("acme_secret"):
        grants = [{"name": CHALLENGE, "types": {"TXT": 4}}]
        # What is certified below the zone is proved below it.
        grants += [
            {"name": f"{CHALLENGE}.{name}", "types": {"TXT": 4}}
            for name in sorted(_proved(project) - {""})
        ]
        keys.append({"name": ACME, "secret": project["acme_secret"], "grants": grants})
    found = {"name": project["name"], **zone, "keys": keys}
    return found | ({"state": "absent"} if _gone(project) else {})


def _proved(project: Project) -> set[str]:
    """Names, relative to the zone, at which somebody proves that it is the project's."""
    names = [name for one in project.get("certificates") or () for name in one["names"]]
    return {re.sub(r"^\*\.?", "", name) for name in names}


def _certificate(project: Project, one: Mapping[str, Any], zone: str) -> dict[str, Any]:
    own = f"{project['name']}.{zone}"
    found: dict[str, Any] = {
        "name": one.get("name") or project["name"],
        "domains": [f"{name}.{own}".lstrip(".") for name in one["names"]],
        **{key: one[key] for key in ("group", "reload", "key_type") if key in one},
    }
    if project.get("acme_secret"):
        found["dns_key"] = {"name": f"{ACME}.{own}", "secret": project["acme_secret"]}
    return found


# --- what is wrong


def faults(projects: Sequence[Project], zone: str, hosts: Sequence[str]) -> list[str]:
    """Everything that is wrong, one sentence each, beyond what the roles see for themselves."""
    found: list[str] = []
    seen: set[str] = set()
    for project in projects:
        name = str(project.get("name", ""))
        said = [*_faults_of(project, zone, hosts)]
        if name in seen:
            said.append("it is there twice")
        seen.add(name)
        found += [f"project {name}: {one}" for one in said]
    return found


def _faults_of(project: Project, zone: str, hosts: Sequence[str]) -> Iterator[str]:
    name = str(project.get("name", ""))
    if not NAME.fullmatch(name):
        yield "its name is the label of its zone: up to 40 small letters, digits, inner hyphens"
    if name in RESERVED:
        yield "Keystone has a user or a project of the backbone's own by that name; choose another"
    if not str(project.get("owner") or "").strip():
        yield "it has no owner; say who answers for it"
    if project.get("state", "present") not in ("present", "absent"):
        yield f"state ({project['state']}) is present or absent"
    if _gone(project):
        return
    own = f"{name}.{zone}"
    for one in project.get("mail") or ():
        for sender in one.get("senders") or ():
            domain = str(sender).rpartition("@")[2]
            if domain != own:
                yield f"credential {one.get('id')}: sender {sender} is not in its own {own}"
        if not re.match(rf"{re.escape(name)}(?:[._-]|$)", str(one.get("id", ""))):
            yield f"credential {one.get('id')}: its id begins with {name}, lest it be another's"
    for one in project.get("certificates") or ():
        if one.get("host") not in hosts:
            yield f"a certificate for host {one.get('host')}, which the inventory does not have"
        if not one.get("names"):
            yield "a certificate without names; the zone's own is ''"
    for part in ("objects", "logs"):
        what = project.get(part) or {}
        if what and len(str(what.get("password") or "")) < 12:
            yield f"{part}, password needs at least 12 characters"
