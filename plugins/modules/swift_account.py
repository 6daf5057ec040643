#!/usr/bin/python
# SPDX-FileCopyrightText: The infn.cloud contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: swift_account
short_description: Quotas, keys and containers of an account of Swift
version_added: 0.1.0
author:
  - The infn.cloud contributors (@infn-cloud)
description:
  - Compares what is declared of an account and its containers with what Swift has, and changes what
    differs. What is not declared is never touched.
  - Quotas of an account are set by a user with the role C(ResellerAdmin), everything else by a user
    of the account's project.
options:
  auth:
    description:
      - How to log in - with O(auth.username), O(auth.password) and O(auth.project_name), or with an
        application credential, see M(infn.cloud.application_credential).
    type: dict
    required: true
    suboptions:
      auth_url:
        description: The URL of Keystone, with or without C(/v3).
        type: str
        required: true
      application_credential_id:
        description: The id of an application credential.
        type: str
      application_credential_secret:
        description: Its secret.
        type: str
      username:
        description: The name of the user.
        type: str
      password:
        description: The user's password.
        type: str
      project_name:
        description: The name of the project to work in.
        type: str
      user_domain_name:
        description: The domain of the user.
        type: str
        default: Default
      project_domain_name:
        description: The domain of the project.
        type: str
        default: Default
      cacert:
        description:
          - The file with the CA certificates for Keystone's and Swift's certificates. By default,
            those that the Python package C(requests) trusts.
        type: path
  timeout:
    description: Seconds to wait for a Keystone that does not answer yet.
    type: int
    default: 30
  url:
    description: URL of Swift at a site, up to the version, such as C(https://cnaf.example.org:8080/v1).
    type: str
    required: true
  account:
    description:
      - The account, as C(AUTH_) and the project's id. By default that of the user's project.
    type: str
  quota_bytes:
    description: The most bytes that the account may hold; V(-1) is no limit.
    type: int
  quota_count:
    description: The most objects that the account may hold; V(-1) is no limit.
    type: int
  policy_quota_bytes:
    description: The most bytes by name of a storage policy; V(-1) is no limit.
    type: dict
  temp_url_keys:
    description:
      - The keys that sign temporary URLs, at most two, so that one can follow the other.
      - An empty list removes them.
    type: list
    elements: str
  metadata:
    description: Names and values of further metadata of the account; an empty value removes it.
    type: dict
  containers:
    description: The containers.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the container.
        type: str
        required: true
      policy:
        description: Its storage policy, when it is made. It cannot be changed.
        type: str
      quota_bytes:
        description: The most bytes that it may hold; V(-1) is no limit.
        type: int
      quota_count:
        description: The most objects that it may hold; V(-1) is no limit.
        type: int
      read:
        description: Who may read, as Swift's C(X-Container-Read).
        type: str
      write:
        description: Who may write, as Swift's C(X-Container-Write).
        type: str
      sync_to:
        description: The container to keep the same, such as C(//demo/bari/AUTH_account/container).
        type: str
      sync_key:
        description: The secret that both containers share.
        type: str
      versions:
        description: Whether overwritten and deleted objects are kept as versions.
        type: bool
      web_index:
        description: The object that is shown for the container, which makes it a web site.
        type: str
      cors_origins:
        description: Origins of web pages that may call it.
        type: list
        elements: str
      metadata:
        description: Names and values of further metadata; an empty value removes it.
        type: dict
      state:
        description: Whether it shall be there. One that is not empty is not removed.
        type: str
        choices: [present, absent]
        default: present
  state:
    description:
      - V(absent) deletes the account O(account) B(with all that is stored there), which takes the
        role C(ResellerAdmin). Swift removes the objects in its own time. Nothing else is looked at.
    type: str
    choices: [present, absent]
    default: present
attributes:
  check_mode:
    description: Says what would be changed, and changes nothing.
    support: full
  diff_mode:
    description: Shows the headers before and after; no keys.
    support: full
  idempotent:
    description: What is as declared is left alone.
    support: full
requirements:
  - keystoneauth1
seealso:
  - module: infn.cloud.application_credential
  - module: infn.cloud.keystone_resources
"""

EXAMPLES = r"""
- name: Give a project's account its limits
  infn.cloud.swift_account:
    auth:
      auth_url: https://cnaf.cloud.example.org:5000/v3
      username: object-accounts
      password: "{{ vault_object_accounts_password }}"
      project_name: service
    url: https://cnaf.cloud.example.org:8080/v1
    account: AUTH_8f0c1b6d0d7c4f6f9b1b2f3a4c5d6e7f
    quota_bytes: 10995116277760
    policy_quota_bytes: {two-regions: 1099511627776}

- name: Make the containers of a service, with its application credential
  infn.cloud.swift_account:
    auth:
      auth_url: https://cnaf.cloud.example.org:5000/v3
      application_credential_id: "{{ credential.id }}"
      application_credential_secret: "{{ credential.secret }}"
    url: https://cnaf.cloud.example.org:8080/v1
    temp_url_keys: ["{{ vault_temp_url_key }}"]
    containers:
      - {name: runs, policy: two-regions, versions: true}
      - {name: site, read: ".r:*,.rlistings", web_index: index.html}
      - {name: portal, cors_origins: ["https://portal.example.org"], quota_bytes: 1073741824}
"""

RETURN = r"""
account:
  description: The account.
  returned: success
  type: str
  sample: AUTH_8f0c1b6d0d7c4f6f9b1b2f3a4c5d6e7f
changes:
  description: What was changed, or would be in check mode, in order.
  returned: success
  type: list
  elements: str
  sample: [POST account, PUT container runs]
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible_collections.infn.cloud.plugins.module_utils._keystone_client import (
    KEYSTONEAUTH_ERROR,
    KeystoneError,
)
from ansible_collections.infn.cloud.plugins.module_utils._swift_account import (
    AccountError,
    reconcile,
)

TEXT: dict[str, Any] = {"type": "str"}
NAME: dict[str, Any] = {"type": "str", "required": True}
NUMBER: dict[str, Any] = {"type": "int"}
DOMAIN: dict[str, Any] = {"type": "str", "default": "Default"}
SECRET: dict[str, Any] = {"type": "str", "no_log": True}

ARGUMENTS: dict[str, Any] = {
    "auth": {
        "type": "dict",
        "required": True,
        "options": {
            "auth_url": NAME,
            "application_credential_id": TEXT,
            "application_credential_secret": SECRET,
            "username": TEXT,
            "password": SECRET,
            "project_name": TEXT,
            "user_domain_name": DOMAIN,
            "project_domain_name": DOMAIN,
            "cacert": {"type": "path"},
        },
        "required_one_of": [("application_credential_id", "username")],
        "mutually_exclusive": [("application_credential_id", "username")],
        "required_together": [
            ("application_credential_id", "application_credential_secret"),
            ("username", "password", "project_name"),
        ],
    },
    "timeout": {"type": "int", "default": 30},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "url": NAME,
    "account": TEXT,
    "quota_bytes": NUMBER,
    "quota_count": NUMBER,
    "policy_quota_bytes": {"type": "dict"},
    "temp_url_keys": {"type": "list", "elements": "str", "no_log": True},
    "metadata": {"type": "dict"},
    "containers": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "name": NAME,
            "policy": TEXT,
            "quota_bytes": NUMBER,
            "quota_count": NUMBER,
            "read": TEXT,
            "write": TEXT,
            "sync_to": TEXT,
            "sync_key": SECRET,
            "versions": {"type": "bool"},
            "web_index": TEXT,
            "cors_origins": {"type": "list", "elements": "str"},
            "metadata": {"type": "dict"},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
    },
}


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    if KEYSTONEAUTH_ERROR is not None:
        module.fail_json(missing_required_lib("keystoneauth1"), exception=KEYSTONEAUTH_ERROR)
    try:
        result = reconcile(module.params, commit=not module.check_mode)
    except (AccountError, KeystoneError) as error:
        module.fail_json(str(error))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
