#!/usr/bin/python
# SPDX-FileCopyrightText: The infn.cloud contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: site_info
short_description: What an OpenStack site offers to the federation, and why it may not be enough
version_added: 0.1.0
author:
  - The infn.cloud contributors (@infn-cloud)
description:
  - Logs in to a site, asks its services for their versions, and lists flavors, images, networks and
    the quotas of projects, several requests at a time.
  - The number of requests depends on the pages of the lists and on the number of projects, never on
    the number of flavors, images or servers.
  - A service that does not answer is listed with its error, and the others are told all the same.
    Only a login that fails is a failure of the module.
options:
  auth:
    description:
      - How to log in. Any user of any project can; an administrator also sees flavors that are not
        public, and the quotas of other projects.
  gather:
    description:
      - What to ask for, beside the services and their versions.
      - V(contents) is what is in O(projects), and for administrators.
    type: list
    elements: str
    choices: [flavors, images, networks, quotas, contents]
    default: [flavors, images, networks, quotas]
  projects:
    description:
      - The names of the projects whose quotas to tell; by default the project of the login.
      - For other projects the user needs the role V(admin).
    type: list
    elements: str
    default: []
  project_domain:
    description: The domain of O(projects).
    type: str
    default: Default
  timeout:
    description: Seconds to wait for the login, and for the answer to one request.
extends_documentation_fragment:
  - infn.cloud._login.keystone
  - infn.cloud._login.site
  - infn.cloud._attributes.info
requirements:
  - keystoneauth1 (C(python3-keystoneauth1) in Debian), on the host where the module runs
seealso:
  - module: infn.cloud.site_preflight
"""

EXAMPLES = r"""
- name: Look at a site
  infn.cloud.site_info:
    auth:
      auth_url: https://keystone.site.example:5000/v3
      username: federation-reader
      password: "{{ site_reader_password }}"
      project_name: federation
  delegate_to: localhost
  register: look

- name: Say why nothing can be placed there
  ansible.builtin.assert:
    that: look.site.usable
    fail_msg: "{{ look.site.reasons | map(attribute='found') | join('; ') }}"
"""

RETURN = r"""
site:
  description:
    - The site. Lists are V(null) where they were not asked for, or the service did not answer.
  returned: success
  type: dict
  contains:
    usable:
      description: Whether the federation could place servers there, which is so without reasons.
      type: bool
    reasons:
      description: Why it could not, each with what was C(found) and its C(remedy).
      type: list
      elements: dict
    region:
      description: The region that was asked.
      type: str
    regions:
      description: The regions of the site's catalogue.
      type: list
      elements: str
    services:
      description:
        - For each of C(identity), C(compute), C(image), C(network), C(volume), C(placement),
          C(object-store) that the catalogue has, its C(url), whether it answers (C(ok)), else the
          C(error) and its C(remedy), the milliseconds of one small request (C(latency_ms)), and
          its C(versions), C(current), C(min_microversion) and C(max_microversion).
      type: dict
    project:
      description: The C(id) and C(name) of the project of the login.
      type: dict
    projects:
      description:
        - O(projects) by their names, each with C(id), C(enabled) and C(description); V(null) for
          those that are not there. Without O(projects), the C(id) of the login's.
      type: dict
    roles:
      description: The roles of the user in the project of the login.
      type: list
      elements: str
    flavors:
      description:
        - The flavors by name, each with C(id), C(name), C(cores), C(ram_mb) (MiB), C(disk_gb)
          (GiB), C(public), C(extra_specs), and C(gpu), which is V(null) or has C(number),
          C(model) and C(vendor) of the extra specs C(gpu_number), C(gpu_model), C(gpu_vendor).
      type: list
      elements: dict
    images:
      description:
        - The images by name, each with C(id), C(name), C(status), C(visibility), C(tags),
          C(os_type), C(os_distro), C(os_version), C(architecture), C(min_disk_gb), C(min_ram_mb).
      type: list
      elements: dict
    networks:
      description:
        - The networks by name, each with C(id), C(name), C(external), C(shared), C(project_id),
          C(tags), and the number of C(subnets).
      type: list
      elements: dict
    quotas:
      description:
        - For each project, by the names of an SLA (C(instances), C(cores), C(ram_mb), C(volumes),
          C(gigabytes), C(floating_ips), C(networks), C(ports), C(security_groups)), the C(limit),
          V(-1) if there is none, and what is C(used).
      type: dict
    contents:
      description:
        - For each project what is in it, each with C(kind), C(id) and C(name). Kinds are V(server),
          V(volume), V(snapshot), V(image), V(network), V(router), V(floating_ip),
          V(security_group).
      type: dict
    clock_offset:
      description:
        - Seconds that Keystone's clock is ahead of this host's at least, by the time in the token;
          negative if it is behind, 0 if no difference can be proven.
      type: float
    truncated:
      description: Names of the lists of which the site had more pages than are read.
      type: list
      elements: str
    problems:
      description: Requests that were refused or failed; C(reasons) has them too.
      type: list
      elements: dict
    requests:
      description: How many requests it took.
      type: int
    seconds:
      description: How long they took, without the login.
      type: float
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible_collections.infn.cloud.plugins.module_utils._keystone_client import (
    KEYSTONEAUTH_ERROR,
    LOGIN,
    SITE,
    KeystoneError,
)
from ansible_collections.infn.cloud.plugins.module_utils._site_client import Site, SiteError, survey

PARTS = ["flavors", "images", "networks", "quotas"]
ARGUMENTS: dict[str, Any] = {
    **LOGIN,
    **SITE,
    "gather": {
        "type": "list",
        "elements": "str",
        "choices": [*PARTS, "contents"],
        "default": PARTS,
    },
    "projects": {"type": "list", "elements": "str", "default": []},
    "project_domain": {"type": "str", "default": "Default"},
}


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    if KEYSTONEAUTH_ERROR is not None:
        module.fail_json(missing_required_lib("keystoneauth1"), exception=KEYSTONEAUTH_ERROR)
    given = module.params
    try:
        site = Site(
            given["auth"],
            timeout=given["timeout"],
            region=given["region"],
            interface=given["interface"],
        )
        site.log_in()
        result = survey(
            site,
            gather=given["gather"],
            projects=given["projects"],
            project_domain=given["project_domain"],
        )
    except (KeystoneError, SiteError) as error:
        module.fail_json(str(error))
    module.exit_json(changed=False, site=result)


if __name__ == "__main__":
    main()
