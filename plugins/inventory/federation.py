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
  - Reads one description of the sites of a federation, asks the clouds among them for their
    machines, and makes of it the hosts, the groups and the few variables that playbooks and roles
    need.
  - The file is checked as a whole before anything is asked or added. All its problems are reported
    in one message that names the file, the site, the key and the remedy.
  - The name of the file must be C(federation.yml), or end in it (C(demo-federation.yml),
    C(demo.federation.yaml)).
  - All sites are asked at the same time, each by a process of its own which is ended at its
    deadline. A site that gives no whole answer contributes its last good one, or nothing
    (O(on_site_failure)); the others are not touched by that.
  - Every host is in the group of its site (C(site_<name>), hyphens become underscores), of its
    region (C(region_<number>)), and of each of its services. The group of a site is a child of
    V(backbone) or V(federated), so that variables of a site win over those of its kind, and of
    C(provider_<provider>). Sites that contribute their last good answer are children of
    C(federation_stale).
  - The group of a site has the variables C(site_name), C(site_region), C(site_region_name),
    C(site_coupling), C(site_provider), C(site_location) (C(city), C(latitude), C(longitude)),
    C(site_network), null where the file says nothing, and C(federation_stale), true or false.
  - The group C(all) has C(federation_name), C(federation_domain) and C(federation_sites), a
    dictionary from the name of a site to C(region), C(region_name), C(coupling), C(provider),
    C(location), C(network), C(endpoint) and C(hosts), the latter a dictionary from the name of a
    listed host to C(address), C(services) and C(zone).
  - The group C(all) also has C(federation_report), a dictionary from the name of a site to
    C(status) (V(ok), V(stale), V(failed)), C(provider), C(hosts) (how many), C(seconds) (of
    asking), C(requests) (null when the site failed), C(age) (seconds since the answer was fetched)
    and C(message) (why it is not V(ok), or null). The same is printed at C(-v).
  - A host that the file lists has C(ansible_host), C(site_zone) and what its
    O(sites[].hosts[].vars) say, and keeps its name.
  - A machine that a cloud lists is called C(<name>.<site>), characters other than letters, digits,
    dots, hyphens and underscores being replaced; where two of a site have one name, each of them
    C(<id>.<site>). It has C(ansible_host) where it has an address, C(federation_instance_id)
    (C(<site>/<id>)), C(federation_instance_name) and C(federation_instance_state), the two latter
    as the cloud says them, and with O(details) the dictionary C(federation_instance) with
    C(project), C(zone), C(image), C(flavor), C(networks) and C(details), which depend on the
    provider.
  - It is in the groups C(project_<name>), C(az_<zone>), C(image_<name>), C(flavor_<name>),
    C(network_<name>) of each of its networks, and C(metadata_<key>_<value>) (O(metadata_groups)),
    and for the provider V(plugin) in C(plugin_<group>) of each group that that plugin put it into.
    Characters other than letters, digits and underscores become underscores.
notes:
  - Values in O(sites[].hosts[].vars) may be templates, as in a YAML inventory, because the file is
    the admin's own. Everything else in the description is data and never evaluated; braces are
    refused there. What clouds say is data on every supported ansible-core.
  - C(ansible-inventory --list) shows a string with an opening brace that a cloud chose as
    C({"__ansible_unsafe":...}), since a reader would otherwise take it for a template.
  - Ansible turns a failed inventory source into a warning and goes on without its hosts. Set
    C(any_unparsed_is_failed) in the C([inventory]) section of C(ansible.cfg) so that it stops.
  - Last good answers are files of mode 0600 below O(cache_directory), one per site. They hold
    nothing secret. The option C(--flush-cache) and the task C(refresh_inventory) of
    M(ansible.builtin.meta) ask all sites again.
  - Provider V(openstack) needs the Python library C(keystoneauth1), which comes with
    C(openstacksdk). It does one login and one question for image names per project, and one
    request per O(sites[].options.page_size) servers; none per server.
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
  deadline:
    description: Seconds that all sites together may take.
    type: int
    default: 60
  concurrency:
    description: How many sites are asked at the same time.
    type: int
    default: 16
  on_site_failure:
    description:
      - What becomes of a site that gives no whole answer in time.
      - V(stale) takes its last good answer if that is not older than O(max_stale), else leaves its
        machines out with a warning. V(skip) leaves them out. V(fail) ends in an error.
      - When every site has failed, that is an error whatever is said here.
    type: str
    choices: [stale, skip, fail]
    default: stale
  max_stale:
    description: Seconds after which a last good answer is not used any more.
    type: int
    default: 86400
  refresh_after:
    description: Seconds during which an answer is used again without asking. V(0) always asks.
    type: int
    default: 0
  require_sites:
    description: Names of sites without which there shall be no inventory. Their last good answer
      will do where O(on_site_failure) allows for it.
    type: list
    elements: str
    default: []
  details:
    description: Whether each machine gets the variable C(federation_instance) with all that is
      known of it, which makes the inventory several times larger.
    type: bool
    default: false
  metadata_groups:
    description: Keys of the machines' metadata (labels, of containers) that make groups. Values
      are split at commas.
    type: list
    elements: str
    default: []
  cache_directory:
    description:
      - Where the last good answers are. A relative path begins at the directory of the file.
      - By default C(infn_cloud_federation) in Ansible's home, C(~/.ansible).
    type: str
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
        description:
          - Who lists the machines of the site.
          - V(static) means that O(sites[].hosts) lists them all; nobody is asked.
          - V(openstack) asks Keystone, Nova and Glance.
          - V(plugin) runs any other inventory plugin.
          - V(containers) lists the containers of this machine by podman. One that is called like a
            host in O(sites[].hosts) is that host, which stays in the inventory whatever becomes of
            the container and gets its C(federation_instance_state).
          - With each of them O(sites[].hosts) may list more.
        type: str
        choices: [static, openstack, plugin, containers]
        required: true
      credentials:
        description:
          - Where the credentials are, exactly one of the three; secrets are refused here.
          - Required for provider V(openstack), possible for V(plugin).
        type: dict
        suboptions:
          cloud:
            description: An entry of C(clouds.yaml) (and C(secure.yaml), C(clouds-public.yaml)) at
              the places where OpenStack's programs look for it. For V(openstack) only.
            type: str
          env:
            description:
              - What the names of environment variables begin with, without the last underscore.
              - For V(openstack), V(BARI) means C(BARI_AUTH_URL), C(BARI_USERNAME) and so on, and
                V(OS) the usual ones.
              - For V(plugin), C(BARI_AWS_PROFILE) is C(AWS_PROFILE) in that plugin's process.
            type: str
          file:
            description:
              - A YAML file that only its owner may read, possibly encrypted by ansible-vault. A
                relative path begins at the directory of the description.
              - For V(openstack) an entry as in C(clouds.yaml), with C(auth) and C(auth_type); for
                V(plugin) a dictionary of environment variables.
            type: str
      timeout:
        description: Seconds that the site may take. By default, O(deadline).
        type: int
      on_site_failure:
        description: The same as O(on_site_failure), for this site.
        type: str
        choices: [stale, skip, fail]
      options:
        description: What the provider wants to know besides.
        type: dict
        suboptions:
          auth_url:
            description: V(openstack) - The URL of Keystone, instead of the one that the
              credentials tell.
            type: str
          region:
            description: V(openstack) - The region whose servers are listed. Needed when the
              catalogue has several and the credentials name none.
            type: str
          interface:
            description: V(openstack) - Which endpoints of the catalogue are asked.
            type: str
            choices: [public, internal, admin]
            default: public
          projects:
            description: V(openstack) - Names or ids of the projects to list. By default, all those
              that the credentials may list. An application credential lists its own.
            type: list
            elements: str
          all_projects:
            description: V(openstack) - Whether to list the servers of all projects at once, which
              takes an administrator of Nova.
            type: bool
            default: false
          filters:
            description: V(openstack) - Nova's own filters, such as C(status) and the value
              V(ACTIVE).
            type: dict
          ca_file:
            description: V(openstack) - The file with the authority of the cloud's certificates.
            type: str
          page_size:
            description: V(openstack) - Servers in one request, up to 1000.
            type: int
            default: 1000
          address:
            description: V(openstack) - Which address Ansible connects to. By default a floating
              one before a fixed one, and IPv4 before IPv6.
            type: dict
            suboptions:
              network:
                description: Only addresses in this network.
                type: str
              kind:
                description: Only addresses of this kind.
                type: str
                choices: [floating, fixed]
              version:
                description: Only addresses of this version of IP.
                type: int
                choices: [4, 6]
          name:
            description: V(plugin) - The whole name of the other inventory plugin, such as
              V(amazon.aws.aws_ec2).
            type: str
          config:
            description: V(plugin) - That plugin's configuration, as its own file would have it.
              Secrets are refused; templates that fetch them are not.
            type: dict
          config_file:
            description: V(plugin) - A file with its configuration, instead of
              O(sites[].options.config). A relative path begins at the directory of the description.
            type: str
          map:
            description:
              - V(plugin) - Which of that plugin's variables tells what; from C(id), C(name),
                C(address), C(state), C(project), C(zone), C(image), C(flavor) to a name, with dots
                into dictionaries.
              - Known for C(amazon.aws.aws_ec2), C(azure.azcollection.azure_rm),
                C(community.general.opennebula) and C(openstack.cloud.openstack). Otherwise the name
                of the host is its id, and C(ansible_host) its address.
            type: dict
          keep_vars:
            description: V(plugin) - Which of that plugin's variables the hosts get. Without being
              asked for, they get C(ansible_port) and C(ansible_user).
            type: list
            elements: str
          command:
            description: V(containers) - The command that runs podman, word by word.
            type: list
            elements: str
            default: [podman]
          label:
            description: V(containers) - Only containers with this label, C(key) or C(key=value).
            type: str
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
      identity_provider:
        description: What the site's Keystone calls the federation's issuer of tokens.
        type: dict
        suboptions:
          name:
            description: The name of the identity provider in Keystone.
            type: str
            required: true
          protocol:
            description: The name of its protocol in Keystone.
            type: str
            required: true
          issuer:
            description: The issuer, letter by letter as in its tokens; a slash at the end counts.
            type: str
            required: true
      sla:
        description: The agreements, one per group of the identity service and project of the site.
        type: list
        elements: dict
        suboptions:
          group:
            description: The name of the group in the identity service.
            type: str
            required: true
          issuer:
            description: The same as O(sites[].identity_provider.issuer).
            type: str
            required: true
          project:
            description: The id or name of the project. One project has one agreement.
            type: str
            required: true
          doc_uuid:
            description: The UUID of the document. It belongs to one group.
            type: str
            required: true
          start_date:
            description: The first day, as C(2026-01-31).
            type: str
            required: true
          end_date:
            description: The last day.
            type: str
            required: true
          preference:
            description: Which site comes first, V(1) before V(2).
            type: int
          quotas:
            description: What was agreed on. C(instances), C(cores), C(ram_mb), C(volumes),
              C(gigabytes), C(per_volume_gigabytes), C(snapshots), C(floating_ips), C(networks),
              C(subnets), C(routers), C(ports), C(security_groups), C(security_group_rules);
              V(-1) is no limit.
            type: dict
      support_emails:
        description: Whom users of the site may write to.
        type: list
        elements: str
      default_public_net:
        description: The name of the network that is reachable from outside.
        type: str
      default_private_net:
        description: The name of the network that is not.
        type: str
      private_net_proxy:
        description: The host through which the private network is reached by SSH.
        type: dict
        suboptions:
          host:
            description: Its name or IPv4 address.
            type: str
            required: true
          user:
            description: The user there.
            type: str
            required: true
      image_tags:
        description: Images with one of these tags belong to the federation.
        type: list
        elements: str
      network_tags:
        description: Networks with one of these tags belong to the federation.
        type: list
        elements: str
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
# federation.yml: two backbone sites and two federated ones
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
  # A cloud of other people, whose credentials are in clouds.yaml
  - name: torino
    coupling: federated
    provider: openstack
    credentials: {cloud: torino}
    options: {projects: [web, batch], address: {network: private}}
    timeout: 20
  # One of another kind, by its own plugin. PARIS_AWS_PROFILE is AWS_PROFILE there
  - name: paris
    coupling: federated
    provider: plugin
    credentials: {env: PARIS}
    options:
      name: amazon.aws.aws_ec2
      config: {regions: [eu-west-3]}
deadline: 45
require_sites: [cnaf, bari]
metadata_groups: [role]

# The same file may also make groups and variables by expressions
keyed_groups:
  - key: site_zone
    prefix: zone
"""

import time
import typing as t
from pathlib import Path

from ansible import constants
from ansible.errors import AnsibleParserError
from ansible.plugins.inventory import BaseInventoryPlugin, Constructable
from ansible_collections.infn.cloud.plugins.module_utils._federation_model import (
    ANSIBLE_KEYS,
    STALE,
    Federation,
    FederationError,
    Site,
    read_federation,
)
from ansible_collections.infn.cloud.plugins.plugin_utils._site_answers import (
    OK,
    SiteAnswer,
    SitesFailed,
    gather,
)
from ansible_collections.infn.cloud.plugins.plugin_utils._site_cache import SiteCache
from ansible_collections.infn.cloud.plugins.plugin_utils._site_inventory import populate, publish
from ansible_collections.infn.cloud.plugins.plugin_utils._site_plan import planner

if t.TYPE_CHECKING:
    from ansible.inventory.data import InventoryData
    from ansible.parsing.dataloader import DataLoader


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
        # Everything is fetched before anything is added: Ansible takes nothing back.
        answers = self._gather(self._federation, refresh=not cache)
        self._construct(self._federation, populate(inventory, self._federation, answers))

    def set_options(
        self, task_keys: object = None, var_options: object = None, direct: object = None
    ) -> None:
        # Checked before core sees it: core would coerce wrong types, or refuse them one at a time
        # without naming the site.
        if direct is not None:
            self._federation = read_federation(direct, self._path, options=ANSIBLE_KEYS)
        super().set_options(task_keys=task_keys, var_options=var_options, direct=direct)

    def _gather(self, federation: Federation, *, refresh: bool) -> list[SiteAnswer]:
        place = Path(self._path).resolve().parent
        chosen = federation.policy.cache_directory
        directory = Path(constants.config.get_config_value("ANSIBLE_HOME"), "infn_cloud_federation")
        if chosen is not None:
            directory = place / Path(chosen).expanduser()
        cache = SiteCache(directory)
        plan = planner(self.loader, place, federation)
        try:
            answers = gather(federation, plan, cache, now=time.time, refresh=refresh)
        except SitesFailed as error:
            raise AnsibleParserError(f"{self._path}: {error}") from error
        for problem in cache.problems:
            self.display.warning(problem)
        for answer in answers:
            self._tell(answer)
        return answers

    def _tell(self, answer: SiteAnswer) -> None:
        report = answer.report()
        self.display.v(
            f"site {answer.site.name}: {answer.status}, {report['hosts']} hosts,"
            f" {report['seconds']} s, {report['requests']} requests, {report['age']} s old"
        )
        if answer.printed:
            self.display.vvv(f"site {answer.site.name} printed: {answer.printed}")
        if answer.status == STALE:
            self.display.warning(
                f"site {answer.site.name}: {answer.message}; its hosts are those of {answer.age} s"
                " ago (group federation_stale)"
            )
        elif answer.status != OK:
            self.display.warning(f"site {answer.site.name}: {answer.message}; without its hosts")

    def _construct(self, federation: Federation, hosts: list[tuple[Site, str]]) -> None:
        """Apply compose, groups and keyed_groups; they see the site's variables too."""
        strict, compose = self.get_option("strict"), self.get_option("compose")
        conditions, keys = self.get_option("groups"), self.get_option("keyed_groups")
        if not (compose or conditions or keys):
            return
        shared = {name: publish(value) for name, value in federation.variables().items()}
        by_site = {
            site.name: {
                **shared,
                **{name: publish(value) for name, value in site.variables().items()},
            }
            for site in federation.sites
        }
        for site, name in hosts:
            variables = by_site[site.name]
            known = {**variables, **self.inventory.get_host(name).get_vars()}
            self._set_composite_vars(compose, known, name, strict=strict)
            composed = self.inventory.get_host(name).get_vars()
            for variable in compose or ():
                if variable in composed:
                    # The text of a cloud may be in it now, and the result is no template either.
                    self.inventory.set_variable(name, variable, publish(composed[variable]))
            # These fetch the variables of the host again, now with the composed ones.
            self._add_host_to_composed_groups(conditions, variables, name, strict=strict)
            self._add_host_to_keyed_groups(keys, variables, name, strict=strict)
