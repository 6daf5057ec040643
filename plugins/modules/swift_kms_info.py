#!/usr/bin/python
# SPDX-FileCopyrightText: The infn.cloud contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module: whether a key manager has the root secrets of Swift's encryption."""

from __future__ import annotations

DOCUMENTATION = r"""
module: swift_kms_info
short_description: Ask a key manager for the root secrets of Swift's encryption at rest
version_added: 0.1.0
author: The infn.cloud contributors (@infn-cloud)
description:
  - Asks a Barbican, from the host, for keys in the way in which Swift's C(kms_keymaster) asks when
    it starts, and says which of them could not be root secrets. It needs nothing of Swift.
  - Each key is fetched, because who may read its description may still not have it. No key is
    returned or written anywhere.
  - A key must be C(ACTIVE), symmetric, AES, at least 256 bits, of the type
    C(application/octet-stream), and must not expire. Swift itself looks at kind and length only.
options:
  auth:
    description: Who asks.
    type: dict
    required: true
    suboptions:
      auth_url:
        description: The URL of Keystone, with or without C(/v3).
        type: str
        required: true
      username:
        description: The name of the user.
        type: str
        required: true
      password:
        description: The user's password.
        type: str
        required: true
      project_name:
        description: The name of the project that the keys belong to.
        type: str
        required: true
      user_domain_name:
        description: The domain of the user.
        type: str
        default: Default
      project_domain_name:
        description: The domain of the project.
        type: str
        default: Default
  endpoint:
    description: The URL of Barbican, without C(/v1).
    type: str
    required: true
  keys:
    description: UUIDs of keys, by the ids that sentences name them by.
    type: dict
    required: true
  found:
    description:
      - What the host has, as for the filter P(infn.cloud.swift_encryption_faults#filter). The key
        with the id of a secret that it has by value must hold the same bytes.
    type: str
    default: ""
  timeout:
    description: Seconds to wait for each answer.
    type: float
    default: 10
extends_documentation_fragment: infn.cloud._attributes.info
seealso:
  - plugin: infn.cloud.swift_encryption_faults
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Ask for the key
  infn.cloud.swift_kms_info:
    auth:
      auth_url: https://cnaf.example.org:5000/v3
      username: swift-keys
      password: "{{ vault_swift_keys_password }}"
      project_name: keys
    endpoint: https://keys.example.org:9311
    keys: {"2027": 7a4f9c30-93b5-4b1c-8f0e-1d3c9b7e2a55}
  register: kms
  failed_when: kms is failed or kms.faults | length > 0
"""

RETURN = r"""
faults:
  description: A sentence for each key that cannot be a root secret, with its remedy.
  returned: success
  type: list
  elements: str
  sample:
    - "key 2027: 7a4f9c30-93b5-4b1c-8f0e-1d3c9b7e2a55 is not there: it was removed, has expired, or
      belongs to another project; put it back from the key manager's backup, or correct its UUID"
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.infn.cloud.plugins.module_utils._swift_kms import KmsError, look

ARGUMENTS = {
    "auth": {
        "type": "dict",
        "required": True,
        "options": {
            "auth_url": {"type": "str", "required": True},
            "username": {"type": "str", "required": True},
            "password": {"type": "str", "required": True, "no_log": True},
            "project_name": {"type": "str", "required": True},
            "user_domain_name": {"type": "str", "default": "Default"},
            "project_domain_name": {"type": "str", "default": "Default"},
        },
    },
    "endpoint": {"type": "str", "required": True},
    # Ids and UUIDs: the keys themselves are never options.
    "keys": {"type": "dict", "required": True, "no_log": False},
    "found": {"type": "str", "default": ""},
    "timeout": {"type": "float", "default": 10},
}


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    try:
        faults = look(module.params)
    except KmsError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, faults=faults)


if __name__ == "__main__":
    main()
