# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Puts what the sites contribute into Ansible's inventory, as data.

PRIVATE to the collection: it may change without notice.
"""

from __future__ import annotations

import operator
import typing as t
from collections.abc import Sequence

from ansible_collections.infn.cloud.plugins.module_utils._federation_cloud import CONTAINERS
from ansible_collections.infn.cloud.plugins.module_utils._federation_model import (
    STALE,
    Federation,
    Site,
)

from ._site_answers import SiteAnswer
from ._site_hosts import groups as host_groups
from ._site_hosts import host_names
from ._site_hosts import variables as host_variables

if t.TYPE_CHECKING:
    from ansible.inventory.data import InventoryData

try:
    from ansible.template import trust_as_template
except ImportError:  # ansible-core 2.18 and older trust every string that is not marked
    from ansible.utils.unsafe_proxy import AnsibleUnsafeText

    def trust_as_template(value: str) -> str:
        return value

    def _data(value: str) -> str:
        return t.cast(str, AnsibleUnsafeText(value))

else:  # later ones trust none that is not marked

    def _data(value: str) -> str:
        return value


def populate(
    inventory: InventoryData, federation: Federation, answers: Sequence[SiteAnswer]
) -> list[tuple[Site, str]]:
    """Add the federation, its sites and their hosts; returns every host's name with its site."""
    for name, value in federation.variables().items():
        inventory.set_variable("all", name, publish(value))
    report = {answer.site.name: answer.report() for answer in answers}
    inventory.set_variable("all", "federation_report", publish(report))
    stale = inventory.add_group("federation_stale")
    hosts: list[tuple[Site, str]] = []
    for answer in answers:
        site = answer.site
        group = inventory.add_group(site.group)
        for parent in (site.coupling, f"provider_{site.source.provider}"):
            inventory.add_child(inventory.add_group(parent), group)
        for name, value in site.variables().items():
            inventory.set_variable(group, name, publish(value))
        inventory.set_variable(group, "federation_stale", answer.status == STALE)
        if answer.status == STALE:
            inventory.add_child(stale, group)
        groups = [group]
        if site.region is not None:
            groups.append(inventory.add_group(f"region_{site.region}"))
        _add_listed(inventory, site, groups)
        hosts.extend((site, host.name) for host in site.hosts)
        found = _add_found(inventory, answer, groups, details=federation.policy.details)
        hosts.extend((site, name) for name in found)
    return hosts


def _add_listed(inventory: InventoryData, site: Site, groups: Sequence[str]) -> None:
    """The hosts that the file itself lists."""
    for host in site.hosts:
        for host_group in (*groups, *map(inventory.add_group, host.services)):
            inventory.add_host(host.name, host_group)
        inventory.set_variable(host.name, "ansible_host", publish(str(host.address)))
        inventory.set_variable(host.name, "site_zone", host.zone)
        for name, value in host.vars.items():
            inventory.set_variable(host.name, name, value)


def _add_found(
    inventory: InventoryData, answer: SiteAnswer, groups: Sequence[str], *, details: bool
) -> list[str]:
    """The hosts that the site's provider found; returns the names of those not listed."""
    site = answer.site
    listed = {host.name for host in site.hosts if site.source.provider == CONTAINERS}
    names = host_names(site.name, answer.instances)
    known: set[str] = set()
    added: list[str] = []
    # By name, so that the inventory is the same in whatever order the cloud lists them.
    for name, instance in sorted(zip(names, answer.instances), key=operator.itemgetter(0)):
        variables = host_variables(site.name, instance, details=details)
        if instance.name in listed:
            name = instance.name
            variables.pop("ansible_host", None)
        else:
            inventory.add_host(name, groups[0])
            for group in groups[1:]:
                inventory.add_child(group, name)
            added.append(name)
        for group in host_groups(instance):
            if group not in known:
                known.add(inventory.add_group(group))
            inventory.add_child(group, name)
        for variable, value in variables.items():
            inventory.set_variable(name, variable, publish(value))
    return added


def publish(value: object) -> object:
    """Texts as data: never a template, whoever wrote them.

    From ansible-core 2.19 on, ansible-inventory --list wraps every string that is not trusted into
    a dictionary, which AWX stores as it is. A string without a brace and without the override
    header is never evaluated, so marking it gives nothing away. The others stay untrusted; cores
    that trust everything are told not to.
    """
    if isinstance(value, str):
        if "{" not in value and not value.startswith("#jinja2:"):
            return trust_as_template(value)
        return _data(value)
    if isinstance(value, dict):
        return {key: publish(item) for key, item in value.items()}
    if isinstance(value, list):
        return [publish(item) for item in value]
    return value
