# SPDX-FileCopyrightText: The infn.cloud contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Inventory of a federation: hosts, sites, regions and services from one description."""

from __future__ import annotations

DOCUMENTATION = r"""
name: federation
short_description: Hosts, sites, regions and services of a federation of clouds
version_added: 0.1.0
author:
  - The infn.cloud contributors (@infn-cloud)
description:
  - Reads one description of the sites of a federation and makes of it the hosts, the groups and the
    few variables that playbooks and roles need.
  - The file is checked as a whole before anything is added to the inventory. All its problems are
    reported in one message that names the file, the site, the key and the remedy.
  - The name of the file must be C(federation.yml), or end in it (C(demo-federation.yml),
    C(demo.federation.yaml)).
  - Every host is in the group of its site (C(site_<name>), hyphens become underscores), of its
    region (C(region_<number>)), and of each of its services. The group of a site is a child of
    V(backbone) or V(federated), so that variables of a site win over those of its kind.
  - The group of a site has the variables C(site_name), C(site_region), C(site_region_name),
    C(site_coupling), C(site_location) (C(city), C(latitude), C(longitude)) and C(site_network),
    null where the file says nothing.
  - The group C(all) has C(federation_name), C(federation_domain) and C(federation_sites), a
    dictionary from the name of a site to C(region), C(region_name), C(coupling), C(location),
    C(network), C(endpoint) and C(hosts), the latter a dictionary from the name of a host to
    C(address), C(services) and C(zone).
  - A host has C(ansible_host), C(site_zone) and what its O(sites[].hosts[].vars) say.
notes:
  - Values in O(sites[].hosts[].vars) may be templates, as in a YAML inventory, because the file is
    the admin's own. Everything else in the description is data and never evaluated; braces are
    refused there.
  - Ansible turns a failed inventory source into a warning and goes on without its hosts. Set
    C(any_unparsed_is_failed) in the C([inventory]) section of C(ansible.cfg) so that it stops.
options:
  plugin:
    description: The name of this plugin.
    type: str
    required: true
    choices: [infn.cloud.federation]
  federation:
    description: The federation as a whole.
    type: dict
    required: true
    suboptions:
      name:
        description: A short name, in lower-case letters, digits and hyphens.
        type: str
        required: true
      domain:
        description: The DNS domain of the federation's services.
        type: str
        required: true
  sites:
    description: The sites. Names of sites and hosts, region numbers and names, and addresses are
      each used only once.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: The name of the site, in lower-case letters, digits and hyphens.
        type: str
        required: true
      coupling:
        description:
          - V(backbone) for a site that runs the core services with the others as one team.
          - V(federated) for a cloud that is run by its own people and joined above the
            infrastructure.
        type: str
        choices: [backbone, federated]
        required: true
      provider:
        description: Where the hosts come from. V(static) means that O(sites[].hosts) lists them.
        type: str
        choices: [static]
        required: true
      region:
        description: The number of the region, from 1 on. A backbone site must have one.
        type: int
      region_name:
        description: The name of the region in the identity service. By default, the name of the
          site.
        type: str
      location:
        description: Where the site is.
        type: dict
        suboptions:
          city:
            description: The city.
            type: str
          latitude:
            description: Degrees north. Goes with O(sites[].location.longitude).
            type: float
          longitude:
            description: Degrees east. Goes with O(sites[].location.latitude).
            type: float
      network:
        description: The network of the site. The addresses of its hosts must be inside it.
        type: str
      endpoint:
        description:
          - The name or IPv4 address at which clients reach the services of the site.
          - By default C(<site>.<domain>), of O(sites[].name) and O(federation.domain).
        type: str
      hosts:
        description: The hosts of the site. A backbone site has at least one.
        type: list
        elements: dict
        suboptions:
          name:
            description: The name of the host, in lower-case letters, digits and hyphens.
            type: str
            required: true
          address:
            description: The IP address that Ansible connects to.
            type: str
            required: true
          services:
            description: What runs on the host. Each service is a group, named in lower-case
              letters, digits and underscores.
            type: list
            elements: str
          zone:
            description: The failure zone inside the site, from 1 on.
            type: int
            default: 1
          vars:
            description:
              - More variables of the host, such as C(ansible_user).
              - Names that Ansible or this inventory use themselves are refused.
            type: dict
extends_documentation_fragment:
  - ansible.builtin.constructed
"""

EXAMPLES = r"""
# federation.yml: two backbone sites and a federated one that has no hosts of ours
plugin: infn.cloud.federation
federation: {name: demo, domain: cloud.example.org}
sites:
  - name: cnaf
    coupling: backbone
    region: 1
    location: {city: Bologna, latitude: 44.5, longitude: 11.34}
    provider: static
    network: 192.0.2.0/24
    endpoint: cloud.cnaf.example.org
    hosts:
      - name: cnaf-gw1
        address: 192.0.2.11
        services: [gateway, keystone, swift_proxy]
      - name: cnaf-st1
        address: 192.0.2.21
        services: [swift_storage]
        zone: 1
        vars: {ansible_user: admin}
  - name: bari
    coupling: backbone
    region: 2
    provider: static
    hosts:
      - name: bari-gw1
        address: 198.51.100.11
        services: [gateway, swift_proxy]
  - name: torino
    coupling: federated
    provider: static

# The same file may also make groups and variables by expressions
keyed_groups:
  - key: site_zone
    prefix: zone
"""

import typing as t

from ansible.errors import AnsibleParserError
from ansible.plugins.inventory import BaseInventoryPlugin, Constructable
from ansible_collections.infn.cloud.plugins.module_utils._federation_model import (
    Federation,
    FederationError,
    read_federation,
)

if t.TYPE_CHECKING:
    from ansible.inventory.data import InventoryData
    from ansible.parsing.dataloader import DataLoader

try:
    from ansible.template import trust_as_template
except ImportError:  # ansible-core 2.18 and older have no trust to give

    def trust_as_template(value: str) -> str:
        return value


# Top-level keys that this plugin does not read, but Ansible or the constructed options do.
ANSIBLE_KEYS = frozenset(
    {"plugin", "strict", "compose", "groups", "keyed_groups", "use_extra_vars", "leading_separator"}
)


class InventoryModule(BaseInventoryPlugin, Constructable):
    NAME = "infn.cloud.federation"

    _path = ""
    _federation: t.Optional[Federation] = None

    def verify_file(self, path: str) -> bool:
        return bool(super().verify_file(path)) and path.endswith(
            ("federation.yml", "federation.yaml")
        )

    def parse(
        self, inventory: InventoryData, loader: DataLoader, path: str, cache: bool = True
    ) -> None:
        super().parse(inventory, loader, path, cache)
        self._path = path
        try:
            self._read_config_data(path)
        except FederationError as error:
            raise AnsibleParserError(str(error)) from error
        except AttributeError as error:
            # _read_config_data asks for the key "plugin" before it looks whether it has a mapping.
            raise AnsibleParserError(
                f"{path}: expected a mapping with plugin, federation, sites"
            ) from error
        if self._federation is None:
            raise AnsibleParserError(f"{path} could not be read")
        self._populate(self._federation)

    def set_options(
        self, task_keys: object = None, var_options: object = None, direct: object = None
    ) -> None:
        # Checked before core sees it: core would coerce wrong types, or refuse them one at a time
        # without naming the site.
        if direct is not None:
            self._federation = read_federation(direct, self._path, options=ANSIBLE_KEYS)
        super().set_options(task_keys=task_keys, var_options=var_options, direct=direct)

    def _populate(self, federation: Federation) -> None:
        for name, value in federation.variables().items():
            self.inventory.set_variable("all", name, _publish(value))
        for site in federation.sites:
            group = self.inventory.add_group(site.group)
            self.inventory.add_child(self.inventory.add_group(site.coupling), group)
            for name, value in site.variables().items():
                self.inventory.set_variable(group, name, _publish(value))
            groups = [group]
            if site.region is not None:
                groups.append(self.inventory.add_group(f"region_{site.region}"))
            for host in site.hosts:
                for host_group in (*groups, *map(self.inventory.add_group, host.services)):
                    self.inventory.add_host(host.name, host_group)
                self.inventory.set_variable(host.name, "ansible_host", _publish(str(host.address)))
                self.inventory.set_variable(host.name, "site_zone", host.zone)
                for name, value in host.vars.items():
                    self.inventory.set_variable(host.name, name, value)
        self._construct(federation)

    def _construct(self, federation: Federation) -> None:
        """Apply compose, groups and keyed_groups; they see the site's variables too."""
        strict = self.get_option("strict")
        shared = {name: _publish(value) for name, value in federation.variables().items()}
        for site in federation.sites:
            variables = {
                **shared,
                **{name: _publish(value) for name, value in site.variables().items()},
            }
            for host in site.hosts:
                known = {**variables, **self.inventory.get_host(host.name).get_vars()}
                self._set_composite_vars(
                    self.get_option("compose"), known, host.name, strict=strict
                )
                # These fetch the variables of the host again, now with the composed ones.
                self._add_host_to_composed_groups(
                    self.get_option("groups"), variables, host.name, strict=strict
                )
                self._add_host_to_keyed_groups(
                    self.get_option("keyed_groups"), variables, host.name, strict=strict
                )


def _publish(value: object) -> object:
    """Mark strings that cannot be templates as trusted.

    From ansible-core 2.19 on, ansible-inventory --list wraps every other string into a dictionary,
    which AWX stores as it is. A string without a brace and without the override header is never
    evaluated, so marking it gives nothing away.
    """
    if isinstance(value, dict):
        return {key: _publish(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_publish(item) for item in value]
    if isinstance(value, str) and "{" not in value and not value.startswith("#jinja2:"):
        return trust_as_template(value)
    return value
