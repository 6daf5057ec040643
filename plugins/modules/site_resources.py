#!/usr/bin/python
# SPDX-FileCopyrightText: The infn.cloud contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: site_resources
short_description: Quotas, networks, security rules and image properties of an OpenStack site
version_added: 0.1.0
author:
  - The infn.cloud contributors (@infn-cloud)
description:
  - Compares what is declared for projects of a site with what the site has, over one login and with
    a few lists at a time, and creates, updates and deletes what differs.
  - What is not declared is never touched. A network that has ports of users is not removed.
  - Everything is looked at before the first change. What refers to something that is not there, or
    is ambiguous at the site, is refused as a whole.
  - Joining a federation is about ten objects for each group of users. The modules of the collection
    C(openstack.cloud) log in and ask for versions for each of them, and need openstacksdk in a
    version of their own; they serve well where a single object is wanted.
options:
  auth:
    description: How to log in. The user needs the role V(admin).
  project_domain:
    description: The domain of the projects.
    type: str
    default: Default
  pending_projects:
    description:
      - Projects that something before this makes. In check mode they may be missing, and what they
        would get is announced.
    type: list
    elements: str
    default: []
  quotas:
    description: Quotas of projects. Those that are left out are left alone.
    type: list
    elements: dict
    default: []
    suboptions:
      project:
        description: The project.
        type: str
        required: true
      quotas:
        description:
          - The quotas. V(-1) is without limit. A quota may be set below what is used; then nothing
            new can be made.
        type: dict
        default: {}
        suboptions:
          instances: {description: Servers., type: int}
          cores: {description: Cores of servers., type: int}
          ram_mb: {description: "Memory of servers, in MiB.", type: int}
          volumes: {description: Volumes., type: int}
          gigabytes: {description: "Size of all volumes, in GiB.", type: int}
          floating_ips: {description: Floating IP addresses., type: int}
          networks: {description: Networks., type: int}
          ports: {description: Ports., type: int}
          security_groups: {description: Security groups., type: int}
      state:
        description: V(absent) goes back to the site's defaults.
        type: str
        choices: [present, absent]
        default: present
  networks:
    description: Networks of projects, each with one subnet and, on request, a router.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: The name of the network, of its subnet and of its router.
        type: str
        required: true
      project:
        description: The project.
        type: str
        required: true
      cidr:
        description: The addresses. Required unless O(networks[].state=absent).
        type: str
      dhcp:
        description: Whether servers are told their addresses.
        type: bool
        default: true
      dns_servers:
        description: Name servers that servers are told.
        type: list
        elements: str
        default: []
      external_network:
        description: The external network that a router leads to. Without it there is no router.
        type: str
      description:
        description: What people read about it. Set when it is made.
        type: str
        default: ""
      state:
        description: Whether it exists. A network with ports that are not Neutron's own stays.
        type: str
        choices: [present, absent]
        default: present
  security_rules:
    description: Who may connect to servers.
    type: list
    elements: dict
    default: []
    suboptions:
      project:
        description: The project.
        type: str
        required: true
      group:
        description: The security group. Servers that are given none have V(default).
        type: str
        default: default
      protocol:
        description: The protocol.
        type: str
        choices: [tcp, udp, icmp]
        default: tcp
      port_min:
        description: The first port. Without it, all.
        type: int
      port_max:
        description: The last port; by default the first.
        type: int
      remote:
        description: The addresses that may connect, such as V(192.0.2.10/32).
        type: str
        required: true
      state:
        description: Whether there is such a rule.
        type: str
        choices: [present, absent]
        default: present
  images:
    description: Properties and tags of images that exist.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: The name of the image.
        type: str
        required: true
      properties:
        description: Properties by their names. Others are left alone.
        type: dict
        default: {}
      tags:
        description: Tags that it must have. Others are left alone.
        type: list
        elements: str
        default: []
  timeout:
    description: Seconds to wait for the login, and for the answer to one request.
extends_documentation_fragment:
  - infn.cloud._login.keystone
  - infn.cloud._login.site
attributes:
  check_mode:
    description: Says what would change, and changes nothing.
    support: full
  diff_mode:
    description: Shows what changes.
    support: full
  idempotent:
    description: A second run changes nothing.
    support: full
requirements:
  - keystoneauth1 (C(python3-keystoneauth1) in Debian), on the host where the module runs
seealso:
  - module: infn.cloud.keystone_resources
"""

EXAMPLES = r"""
- name: Give a project what its SLA says
  infn.cloud.site_resources:
    auth: "{{ site_admin }}"
    quotas:
      - project: cms
        quotas: {instances: 20, cores: 80, ram_mb: 163840, volumes: 20, gigabytes: 2000}
    networks:
      - name: private
        project: cms
        cidr: 192.168.10.0/24
        external_network: public
    security_rules:
      - {project: cms, port_min: 22, remote: 192.0.2.10/32}
    images:
      - name: Ubuntu 24.04
        properties: {os_type: linux, os_distro: ubuntu, os_version: "24.04"}
        tags: [infn-cloud]
  delegate_to: localhost
"""

RETURN = r"""
operations:
  description: What was done, or in check mode would be done, in its order.
  returned: always, and on failure what had been done before it
  type: list
  elements: dict
  contains:
    action:
      description: V(create), V(update) or V(delete).
      type: str
    kind:
      description:
        - V(compute_quotas), V(volume_quotas), V(network_quotas), V(network), V(subnet), V(router),
          V(security_rule), V(image) or V(image_tag).
      type: str
    name:
      description: The name, with the project.
      type: str
    changes:
      description: For each attribute, its value C(before) and C(after).
      type: dict
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible_collections.infn.cloud.plugins.module_utils._keystone_client import (
    KEYSTONEAUTH_ERROR,
    LOGIN,
    SITE,
    KeystoneError,
    describe,
)
from ansible_collections.infn.cloud.plugins.module_utils._keystone_resources import PlanError
from ansible_collections.infn.cloud.plugins.module_utils._site_client import SiteError
from ansible_collections.infn.cloud.plugins.module_utils._site_model import QUOTAS
from ansible_collections.infn.cloud.plugins.module_utils._site_reconcile import (
    Incomplete,
    reconcile,
)

TEXT: dict[str, Any] = {"type": "str"}
NAME: dict[str, Any] = {"type": "str", "required": True}
NUMBER: dict[str, Any] = {"type": "int"}
TEXTS: dict[str, Any] = {"type": "list", "elements": "str", "default": []}
STATE: dict[str, Any] = {"type": "str", "choices": ["present", "absent"], "default": "present"}


def _list_of(constraints: dict[str, Any], **options: dict[str, Any]) -> dict[str, Any]:
    return {"type": "list", "elements": "dict", "default": [], "options": options, **constraints}


ARGUMENTS: dict[str, Any] = {
    **LOGIN,
    **SITE,
    "project_domain": {"type": "str", "default": "Default"},
    "pending_projects": TEXTS,
    "quotas": _list_of(
        {},
        project=NAME,
        quotas={"type": "dict", "default": {}, "options": dict.fromkeys(QUOTAS, NUMBER)},
        state=STATE,
    ),
    "networks": _list_of(
        {"required_if": [("state", "present", ("cidr",))]},
        name=NAME,
        project=NAME,
        cidr=TEXT,
        dhcp={"type": "bool", "default": True},
        dns_servers=TEXTS,
        external_network=TEXT,
        description={"type": "str", "default": ""},
        state=STATE,
    ),
    "security_rules": _list_of(
        {},
        project=NAME,
        group={"type": "str", "default": "default"},
        protocol={"type": "str", "choices": ["tcp", "udp", "icmp"], "default": "tcp"},
        port_min=NUMBER,
        port_max=NUMBER,
        remote=NAME,
        state=STATE,
    ),
    "images": _list_of({}, name=NAME, properties={"type": "dict", "default": {}}, tags=TEXTS),
}


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    if KEYSTONEAUTH_ERROR is not None:
        module.fail_json(missing_required_lib("keystoneauth1"), exception=KEYSTONEAUTH_ERROR)
    try:
        operations = reconcile(module.params, commit=not module.check_mode)
    except (PlanError, KeystoneError, SiteError) as error:
        module.fail_json(str(error), operations=[])
    except Incomplete as error:
        done = [operation.result() for operation in error.done]
        module.fail_json(str(error), changed=bool(done), operations=done)
    module.exit_json(
        changed=bool(operations),
        operations=[operation.result() for operation in operations],
        diff=describe(operations),
    )


if __name__ == "__main__":
    main()
