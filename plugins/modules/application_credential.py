#!/usr/bin/python
# SPDX-FileCopyrightText: The infn.cloud contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: application_credential
short_description: An application credential of Keystone, rotated without a gap
version_added: 0.1.0
author:
  - The infn.cloud contributors (@infn-cloud)
description:
  - Gives a service, or one use of a user's, a credential of its own for one project, with some of
    the user's roles, that can expire and can be taken back alone.
  - Keystone tells the secret of a credential once, when it is made. It goes into the file
    O(path), or into the result where there is none.
  - A credential cannot be changed. Each is a generation of its name - to rotate, give another
    O(generation), which is made beside the old one; let the service take the new file; then call
    again with O(remove_others=true).
  - It is never unrestricted, so it cannot make further credentials.
  - The module C(openstack.cloud.application_credential) deletes and makes a credential anew with
    every run, which stops who uses it.
options:
  auth:
    description: How to log in as the user that the credential is of. Nobody else can make it.
  name:
    description: Name of the credential, without its generation.
    type: str
    required: true
  generation:
    description: What tells this credential from earlier and later ones, a text without a dash.
    type: str
    default: "1"
  description:
    description: What people read about it.
    type: str
  roles:
    description:
      - Names of the roles that it has, some of the user's. By default all.
      - Roles that others imply come with them. Where these are not Keystone's own rules (C(admin),
        C(manager), C(member), C(reader)), name the implied ones too.
    type: list
    elements: str
  expires_at:
    description: When it ends, in UTC, such as V(2027-01-31T00:00:00Z). By default never.
    type: str
  access_rules:
    description: The requests that it is good for; by default all. The service must support them.
    type: list
    elements: dict
    suboptions:
      service:
        description: Type of the service, such as V(object-store).
        type: str
        required: true
      method:
        description: The HTTP method.
        type: str
        required: true
      path:
        description: The path, in which C(*) is one part and C(**) the rest, such as C(/v1/**).
        type: str
        required: true
  path:
    description:
      - The file that the secret is written to, which only its owner can read. It is a
        C(clouds.yaml) with a cloud called O(name).
      - With O(state=absent) it is removed.
    type: path
  region_name:
    description: The region that the file names.
    type: str
  remove_others:
    description: Remove the other generations of O(name), after the new one is there.
    type: bool
    default: false
  state:
    description: Whether the credential shall be there.
    type: str
    choices: [present, absent]
    default: present
extends_documentation_fragment: infn.cloud._login.keystone
attributes:
  check_mode:
    description: Says what would be made and removed, and changes nothing.
    support: full
  diff_mode:
    description: Shows the names of the user's credentials in the project, before and after.
    support: full
  idempotent:
    description: A credential that is there is left alone.
    support: full
requirements:
  - keystoneauth1
seealso:
  - module: infn.cloud.keystone_resources
  - module: infn.cloud.swift_account
"""

EXAMPLES = r"""
- name: Give the backup service a credential of its own
  infn.cloud.application_credential:
    auth: &auth
      auth_url: https://cnaf.cloud.example.org:5000/v3
      username: backup
      password: "{{ vault_backup_password }}"
      project_name: backup
    name: backup
    generation: "2026"
    roles: [member]
    expires_at: "2027-03-31T00:00:00Z"
    path: /etc/backup/clouds.yaml

- name: Rotate it, the first half - make the new one beside the old
  infn.cloud.application_credential: &rotated
    auth: *auth
    name: backup
    generation: "2027"
    roles: [member]
    expires_at: "2028-03-31T00:00:00Z"
    path: /etc/backup/clouds.yaml

- name: Rotate it, the second half - remove the old one when the service has the new file
  infn.cloud.application_credential:
    <<: *rotated
    remove_others: true
"""

RETURN = r"""
id:
  description: The id of the credential. In check mode without one that would be made.
  returned: with O(state=present)
  type: str
  sample: 3e73d1b4f0cb473f920bd54dfce3c26d
secret:
  description: The secret of the credential that was made.
  returned: when it was made, without O(path)
  type: str
  sample: VALUE_SPECIFIED_IN_NO_LOG_PARAMETER
removed:
  description: Names of the credentials that were removed.
  returned: success
  type: list
  elements: str
  sample: [backup-2026]
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible_collections.infn.cloud.plugins.module_utils._application_credential import (
    CredentialError,
    carry_out,
)
from ansible_collections.infn.cloud.plugins.module_utils._keystone_client import (
    KEYSTONEAUTH_ERROR,
    LOGIN,
    KeystoneError,
)

TEXT: dict[str, Any] = {"type": "str"}
NAME: dict[str, Any] = {"type": "str", "required": True}

ARGUMENTS: dict[str, Any] = {
    **LOGIN,
    "name": NAME,
    "generation": {"type": "str", "default": "1"},
    "description": TEXT,
    "roles": {"type": "list", "elements": "str"},
    "expires_at": TEXT,
    "access_rules": {
        "type": "list",
        "elements": "dict",
        "options": {"service": NAME, "method": NAME, "path": NAME},
    },
    "path": {"type": "path"},
    "region_name": TEXT,
    "remove_others": {"type": "bool", "default": False},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
}


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    if KEYSTONEAUTH_ERROR is not None:
        module.fail_json(missing_required_lib("keystoneauth1"), exception=KEYSTONEAUTH_ERROR)
    try:
        result = carry_out(module.params, commit=not module.check_mode)
    except (CredentialError, KeystoneError) as error:
        module.fail_json(str(error))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
