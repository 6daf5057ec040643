#!/usr/bin/python
# SPDX-FileCopyrightText: The infn.cloud contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: opensearch_objects
short_description: Keep users, roles, templates and repositories of an OpenSearch cluster
version_added: 0.1.0
author:
  - The infn.cloud contributors (@infn-cloud)
description:
  - Compares what an OpenSearch cluster has with what is declared, and writes what differs, in one
    call, with the security plugin's own interface.
  - What somebody changed by hand is changed back. What is not declared stays.
  - A password is tried, and written only if it does not let its user in.
options:
  timeout:
    description: Seconds to wait for a cluster that starts.
    type: int
    default: 120
  roles:
    description: Roles, and which users have them.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the role.
        type: str
        required: true
      cluster_permissions:
        description: Actions on the cluster that it allows.
        type: list
        elements: str
        default: []
      index_permissions:
        description: Actions on indices that it allows.
        type: list
        elements: dict
        default: []
        suboptions:
          index_patterns:
            description: Names of the indices, with C(*).
            type: list
            elements: str
            required: true
          allowed_actions:
            description: The actions.
            type: list
            elements: str
            required: true
          dls:
            description: A query; only documents that it finds are seen. All if not given.
            type: dict
      users:
        description: Who has the role, and nobody else.
        type: list
        elements: str
        default: []
      state:
        description: Whether there is such a role.
        type: str
        choices: [present, absent]
        default: present
  users:
    description: Users that log in with a password.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the user.
        type: str
        required: true
      password:
        description: The password. Needed for a user that shall be there.
        type: str
        default: ""
      state:
        description: Whether there is such a user.
        type: str
        choices: [present, absent]
        default: present
  index_templates:
    description: Index templates by name, as the server takes them.
    type: dict
    default: {}
  repositories:
    description: Snapshot repositories by name, as the server takes them.
    type: dict
    default: {}
  settings:
    description: Persistent settings of the cluster.
    type: dict
    default: {}
extends_documentation_fragment: infn.cloud._login.opensearch
attributes:
  check_mode:
    description: Predicts every change and makes none.
    support: full
  diff_mode:
    description: Shows each object before and after, without passwords.
    support: full
  idempotent:
    description: A second run changes nothing.
    support: full
"""

EXAMPLES = r"""
- name: Keep who may write logs, and how they are indexed
  infn.cloud.opensearch_objects:
    url: https://store1.example.org:9200
    ca_file: /etc/ssl/certs/ca-certificates.crt
    client_certificate: "{{ vault_admin_certificate }}"
    client_key: "{{ vault_admin_key }}"
    users:
      - {name: log-writer, password: "{{ vault_writer_password }}"}
    roles:
      - name: log-writer
        cluster_permissions: [indices:data/write/bulk]
        index_permissions:
          - {index_patterns: ["logs-*"], allowed_actions: [create_index, write]}
        users: [log-writer]
    index_templates:
      logs:
        index_patterns: ["logs-*"]
        template:
          settings: {index.number_of_replicas: 1}
"""

RETURN = r"""
objects:
  description: The objects that were written, or would be, each as its kind and name.
  returned: success
  type: list
  elements: str
  sample: [user log-writer, index_template logs]
"""

import json

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.infn.cloud.plugins.module_utils._opensearch_client import (
    LOGIN,
    OpenSearchError,
    reconcile,
)
from ansible_collections.infn.cloud.plugins.module_utils._opensearch_objects import hidden

_NAME = {"type": "str", "required": True}
_TEXTS = {"type": "list", "elements": "str", "default": []}
_NEEDED = {"type": "list", "elements": "str", "required": True}
_STATE = {"type": "str", "choices": ["present", "absent"], "default": "present"}
ARGUMENTS = {
    **LOGIN,
    "timeout": {"type": "int", "default": 120},
    "roles": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "name": _NAME,
            "cluster_permissions": _TEXTS,
            "index_permissions": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "index_patterns": _NEEDED,
                    "allowed_actions": _NEEDED,
                    "dls": {"type": "dict"},
                },
            },
            "users": _TEXTS,
            "state": _STATE,
        },
    },
    "users": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "name": _NAME,
            "password": {"type": "str", "default": "", "no_log": True},
            "state": _STATE,
        },
    },
    "index_templates": {"type": "dict", "default": {}},
    "repositories": {"type": "dict", "default": {}},
    "settings": {"type": "dict", "default": {}},
}


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    try:
        changes = reconcile(module.params, commit=not module.check_mode)
    except OpenSearchError as error:
        module.fail_json(msg=str(error))
    module.exit_json(
        changed=bool(changes),
        objects=[f"{change.item.kind} {change.item.name}" for change in changes],
        diff=[
            {
                "header": f"{change.item.kind} {change.item.name}",
                "before": json.dumps(hidden(change.before), indent=2, sort_keys=True) + "\n",
                "after": json.dumps(hidden(change.item.body), indent=2, sort_keys=True) + "\n",
            }
            for change in changes
        ],
    )


if __name__ == "__main__":
    main()
