#!/usr/bin/python
# SPDX-FileCopyrightText: The infn.cloud contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: opensearch_info
short_description: Wait until an OpenSearch cluster is whole
version_added: 0.1.0
author:
  - The infn.cloud contributors (@infn-cloud)
description:
  - Waits until a cluster has all its nodes and each of its shards all copies (green), and fails
    with what is missing.
options:
  url:
    description: A node of the cluster, with its port.
    type: str
    required: true
  ca_file:
    description: File on the host with the authority that signed the node's certificate.
    type: path
    required: true
  client_certificate:
    description: Certificate of an administrator (C(plugins.security.authcz.admin_dn)), as PEM text.
    type: str
    required: true
  client_key:
    description: Its key, as PEM text. It is on the host for as long as the call takes.
    type: str
    required: true
  nodes:
    description: How many nodes the cluster must have.
    type: int
    required: true
  timeout:
    description: Seconds to wait.
    type: int
    default: 120
attributes:
  check_mode:
    description: Changes nothing, in any mode.
    support: full
  diff_mode:
    description: There is nothing to compare.
    support: none
  idempotent:
    description: Changes nothing.
    support: full
seealso:
  - module: infn.cloud.opensearch_objects
"""

EXAMPLES = r"""
- name: Wait until every line has all its copies
  infn.cloud.opensearch_info:
    url: https://store1.example.org:9200
    ca_file: /etc/ssl/certs/ca-certificates.crt
    client_certificate: "{{ vault_admin_certificate }}"
    client_key: "{{ vault_admin_key }}"
    nodes: 3
"""

RETURN = r"""
health:
  description: The cluster's health, as the server says it.
  returned: success
  type: dict
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.infn.cloud.plugins.module_utils._opensearch_client import (
    OpenSearchError,
    health,
)

ARGUMENTS = {
    "url": {"type": "str", "required": True},
    "ca_file": {"type": "path", "required": True},
    "client_certificate": {"type": "str", "required": True},
    "client_key": {"type": "str", "required": True, "no_log": True},
    "nodes": {"type": "int", "required": True},
    "timeout": {"type": "int", "default": 120},
}


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    try:
        module.exit_json(changed=False, health=health(module.params))
    except OpenSearchError as error:
        module.fail_json(msg=str(error))


if __name__ == "__main__":
    main()
