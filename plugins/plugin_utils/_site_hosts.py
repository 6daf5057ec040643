# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""From the machines of a site to hosts: names, groups, variables.

PRIVATE to the collection: it may change without notice.

Pure. What comes from a cloud was chosen by its users, so it decides over nothing: every group has a
prefix of its own kind and no character but letters, digits and underscores; of the variables only
those that say where a host is are taken without being asked for, and only when they look like it.
"""

from __future__ import annotations

import re
import typing as t
from collections import Counter
from collections.abc import Iterator, Sequence

from ._provider import Instance

# What neither a host pattern, nor a file name, nor a DNS name gives a meaning of its own.
NOT_IN_HOSTS = re.compile(r"[^A-Za-z0-9._-]+")
NOT_IN_GROUPS = re.compile(r"[^A-Za-z0-9_]")
ADDRESS = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:%-]{0,254}|::[A-Fa-f0-9:.]*")
USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._@+\\-]{0,127}")
LONGEST = 200


def host_names(site: str, instances: Sequence[Instance]) -> list[str]:
    """The name of each: <name>.<site>, and <id>.<site> where two of the site have one name.

    Site names have no dot, so no other site changes them. A machine that is called like another
    one's id goes by its own id too.
    """
    cleaned = [_clean(instance.name) for instance in instances]
    ids = [_clean(instance.id) for instance in instances]
    count, known = Counter(cleaned), frozenset(ids)
    names = [
        id_ if not name or count[name] > 1 or (name in known and name != id_) else name
        for name, id_ in zip(cleaned, ids)
    ]
    if len(set(names)) != len(names):
        # Ids of another plugin that differ only in what host names cannot have.
        names = [f"{name}-{number}" for number, name in _numbered(names, instances)]
    return [f"{name}.{site}" for name in names]


def _numbered(names: Sequence[str], instances: Sequence[Instance]) -> Iterator[tuple[int, str]]:
    """Numbers that follow the ids, not the order in which the cloud listed them."""
    order = {
        instance.id: number
        for number, instance in enumerate(sorted(instances, key=lambda one: one.id), 1)
    }
    for name, instance in zip(names, instances):
        yield order[instance.id], name


def _clean(text: str) -> str:
    return NOT_IN_HOSTS.sub("-", text).strip(".-_")[:LONGEST].rstrip(".-_")


def groups(instance: Instance) -> Iterator[str]:
    """The groups that its facts make. The same fact makes the same group at every site."""
    facts = (
        ("project", instance.project), ("az", instance.zone), ("image", instance.image),
        ("flavor", instance.flavor),
    )  # fmt: skip
    for prefix, value in facts:
        if value:
            yield from _group(prefix, value)
    for network in instance.networks:
        yield from _group("network", network)
    for name in instance.groups:
        yield from _group("plugin", name)
    for key, values in instance.metadata.items():
        for value in values.split(","):
            yield from _group("metadata", f"{key}_{value.strip()}")


def _group(prefix: str, value: str) -> Iterator[str]:
    """None where nothing but punctuation would be left to tell one from the other."""
    name = NOT_IN_GROUPS.sub("_", value)[:LONGEST]
    if name.strip("_"):
        yield f"{prefix}_{name}"


def variables(site: str, instance: Instance, *, details: bool) -> dict[str, t.Any]:
    """Its variables; those of another plugin never win over ours."""
    found: dict[str, t.Any] = {}
    for name, value in instance.variables.items():
        if name == "ansible_port":
            if str(value).isdigit() and 0 < int(value) < 65536:
                found[name] = int(value)
        elif name == "ansible_user":
            if isinstance(value, str) and USER.fullmatch(value):
                found[name] = value
        else:
            found[name] = value
    if instance.address and ADDRESS.fullmatch(instance.address):
        found["ansible_host"] = instance.address
    found["federation_instance_id"] = f"{site}/{instance.id}"
    found["federation_instance_name"] = instance.name
    found["federation_instance_state"] = instance.state
    if details:
        found["federation_instance"] = {
            "project": instance.project,
            "zone": instance.zone,
            "image": instance.image,
            "flavor": instance.flavor,
            "networks": instance.networks,
            "details": instance.details,
        }
    return found
