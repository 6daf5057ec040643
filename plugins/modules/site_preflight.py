#!/usr/bin/python
# SPDX-FileCopyrightText: The infn.cloud contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: site_preflight
short_description: Whether an OpenStack site is ready to join the federation, check by check
version_added: 0.1.0
author:
  - The infn.cloud contributors (@infn-cloud)
description:
  - Looks at a site as the federation will use it, and returns a list of checks. Each says what was
    found and, where it failed, what the site's administrator can do about it.
  - A site that is not ready is no failure of the module; ask RV(ready).
  - Without O(canary) nothing is made at the site. With it a server is made and deleted again, also
    when it does not work.
  - Identity provider, mapping, groups and the quotas of projects are told to administrators only;
    for another user these checks are skipped, with the reason.
options:
  auth:
    description: How to log in. The canary is made in this project.
  issuer:
    description:
      - The issuer of the federation's tokens, exactly as they have it. INDIGO-IAM's ends in a
        slash, and Keystone compares letter by letter.
      - Without it the checks of federated login are skipped.
    type: str
  identity_provider:
    description: The name of the identity provider in Keystone. Clients have it in their URLs.
    type: str
    default: infn-cloud
  protocol:
    description: The name of the protocol in Keystone. Clients have it in their URLs.
    type: str
    default: openid
  slas:
    description: What was agreed for the groups of users.
    type: list
    elements: dict
    default: []
    suboptions:
      group:
        description: The group in the tokens.
        type: str
        required: true
      local_group:
        description: The group in Keystone; by default, O(slas[].group).
        type: str
      project:
        description: The project in Keystone.
        type: str
        required: true
      quotas:
        description:
          - What the project's quotas must be at least. V(-1) is without limit.
        type: dict
        suboptions:
          instances: {description: Servers., type: int}
          cores: {description: Cores of servers., type: int}
          ram_mb: {description: "Memory of servers, in MiB.", type: int}
          volumes: {description: Volumes., type: int}
          gigabytes: {description: "Size of all volumes, in GiB.", type: int}
          floating_ips: {description: Floating IP addresses., type: int}
  project_domain:
    description: The domain of the projects and local groups.
    type: str
    default: Default
  role:
    description: The role that a local group must have in its project.
    type: str
    default: member
  public_network:
    description: The default network with public addresses. Without it the check is skipped.
    type: str
  private_network:
    description: The default network of servers. Without it the check is skipped.
    type: str
  image_tags:
    description: Images with one of these tags are meant for the federation; by default, all are.
    type: list
    elements: str
    default: []
  flavors:
    description: Flavors that must be there.
    type: list
    elements: str
    default: []
  max_clock_offset:
    description: Seconds that Keystone's clock may differ from this host's.
    type: float
    default: 10
  canary:
    description: A server to be made and deleted again.
    type: dict
    suboptions:
      flavor:
        description: The name of its flavor.
        type: str
        required: true
      image:
        description: The name of its image.
        type: str
        required: true
      network:
        description: The name of its network; by default the site chooses.
        type: str
      timeout:
        description: Seconds to wait until it works. Its deletion has two minutes more.
        type: int
        default: 300
  timeout:
    description: Seconds to wait for the login, and for the answer to one request.
extends_documentation_fragment:
  - infn.cloud._login.keystone
  - infn.cloud._login.site
attributes:
  check_mode:
    description: Makes no canary, and looks at everything else.
    support: full
  diff_mode:
    description: Has no differences to show.
    support: none
  idempotent:
    description: Leaves nothing behind. A canary that cannot be deleted is reported as a change.
    support: full
requirements:
  - keystoneauth1 (C(python3-keystoneauth1) in Debian), on the host where the module runs
seealso:
  - module: infn.cloud.site_info
"""

EXAMPLES = r"""
- name: Examine a site
  infn.cloud.site_preflight:
    auth:
      auth_url: https://keystone.site.example:5000/v3
      username: admin
      password: "{{ site_admin_password }}"
      project_name: admin
    issuer: https://iam.cloud.example/
    slas:
      - group: cms
        project: cms
        quotas: {instances: 20, cores: 80, ram_mb: 163840}
    public_network: public
    private_network: private
    canary: {flavor: m1.tiny, image: cirros-0.6.1, network: private}
  delegate_to: localhost
  register: preflight

- name: Refuse a site that is not ready
  ansible.builtin.assert:
    that: preflight.ready
    fail_msg: "{{ preflight.checks | selectattr('status', 'eq', 'failed') }}"
"""

RETURN = r"""
ready:
  description: Whether no check failed.
  returned: success
  type: bool
checks:
  description:
    - The checks, in the order in which one would mend things. C(login), C(tls), C(services),
      C(clock), C(identity_provider), C(protocol), C(mapping), for each SLA C(project NAME),
      C(group of NAME), C(quotas of NAME), then C(public_network), C(private_network), C(images),
      C(flavors), C(gpu_flavors), C(canary). After a C(login) that failed there are no others.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: The name.
      type: str
    status:
      description: V(ok), V(failed), or V(skipped) where it could not be made or was not asked for.
      type: str
    found:
      description: What was found, or why it was skipped.
      type: str
    remedy:
      description: What to do about it; empty unless it failed.
      type: str
  sample:
    - name: identity_provider
      status: failed
      found: "infn-cloud has the remote id 'https://iam.cloud.example', tokens have 'https://iam.cloud.example/'"
      remedy: "set it to 'https://iam.cloud.example/', exactly as the issuer writes it"
left:
  description: The id of a canary that could not be deleted.
  returned: if there is one
  type: str
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible_collections.infn.cloud.plugins.module_utils._keystone_client import (
    KEYSTONEAUTH_ERROR,
    LOGIN,
    SITE,
    KeystoneError,
)
from ansible_collections.infn.cloud.plugins.module_utils._site_checks import ready
from ansible_collections.infn.cloud.plugins.module_utils._site_client import SiteError
from ansible_collections.infn.cloud.plugins.module_utils._site_preflight import examine

TEXT: dict[str, Any] = {"type": "str"}
NAME: dict[str, Any] = {"type": "str", "required": True}
TEXTS: dict[str, Any] = {"type": "list", "elements": "str", "default": []}
NUMBER: dict[str, Any] = {"type": "int"}
AGREED = ("instances", "cores", "ram_mb", "volumes", "gigabytes", "floating_ips")
ARGUMENTS: dict[str, Any] = {
    **LOGIN,
    **SITE,
    "issuer": TEXT,
    "identity_provider": {"type": "str", "default": "infn-cloud"},
    "protocol": {"type": "str", "default": "openid"},
    "slas": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "group": NAME,
            "local_group": TEXT,
            "project": NAME,
            "quotas": {"type": "dict", "options": dict.fromkeys(AGREED, NUMBER)},
        },
    },
    "project_domain": {"type": "str", "default": "Default"},
    "role": {"type": "str", "default": "member"},
    "public_network": TEXT,
    "private_network": TEXT,
    "image_tags": TEXTS,
    "flavors": TEXTS,
    "max_clock_offset": {"type": "float", "default": 10},
    "canary": {
        "type": "dict",
        "options": {
            "flavor": NAME,
            "image": NAME,
            "network": TEXT,
            "timeout": {"type": "int", "default": 300},
        },
    },
}


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    if KEYSTONEAUTH_ERROR is not None:
        module.fail_json(missing_required_lib("keystoneauth1"), exception=KEYSTONEAUTH_ERROR)
    try:
        findings = examine(module.params, try_canary=not module.check_mode)
    except (KeystoneError, SiteError) as error:
        module.fail_json(str(error))
    more = {"left": findings.left} if findings.left else {}
    module.exit_json(
        changed=bool(findings.left),
        ready=ready(findings.checks),
        checks=[check.result() for check in findings.checks],
        **more,
    )


if __name__ == "__main__":
    main()
