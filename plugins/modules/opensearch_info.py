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
  nodes:
    description: How many nodes the cluster must have.
    type: int
    required: true
  timeout:
    description: Seconds to wait.
    type: int
    default: 120
extends_documentation_fragment:
  - infn.cloud._attributes.info
  - infn.cloud._login.opensearch
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
    LOGIN,
    OpenSearchError,
    health,
)

ARGUMENTS = {
    **LOGIN,
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
