# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""PRIVATE: how modules of this collection log in. May change at any time."""

from __future__ import annotations


class ModuleDocFragment:
    """The options beside ``LOGIN`` and ``SITE`` in _keystone_client, ``LOGIN`` in
    _opensearch_client, and ``CLIENTS`` in _load_client."""

    KEYSTONE = r"""
options:
  auth:
    type: dict
    required: true
    suboptions:
      auth_url:
        description: The URL of Keystone, with or without C(/v3). All requests go there.
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
        description: The name of the project to work in.
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
      cacert:
        description:
          - The file with the CA certificates for Keystone's certificate. By default, those that the
            Python package C(requests) trusts.
        type: path
  timeout:
    description:
      - Seconds to wait for a Keystone that does not answer yet, because it has just been started.
      - A wrong password or certificate fails at once.
    type: int
    default: 30
"""

    SITE = r"""
options:
  region:
    description: The region. Not needed where the site has only one.
    type: str
  interface:
    description: Which endpoints to use.
    type: str
    choices: [public, internal, admin]
    default: public
"""

    CLIENTS = r"""
options:
  auth:
    description: Who the clients are. A user and a project of their own, never an administrator.
    type: dict
    suboptions:
      username:
        description: The name of the user.
        type: str
        required: true
      password:
        description: The user's password.
        type: str
        required: true
      project_name:
        description: The name of the project.
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
      cacert:
        description:
          - The file with the CA certificates of the sites' certificates. By default, those of the
            system.
        type: path
  sites:
    description:
      - Where the clients go. Each has one of the sites as its home, and goes to the next when that
        one fails.
    type: list
    elements: dict
    suboptions:
      region:
        description: The region of the site in Keystone's catalogue. Results name sites by it.
        type: str
        required: true
      auth_url:
        description: The URL of Keystone there, with or without C(/v3).
        type: str
        required: true
"""

    OPENSEARCH = r"""
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
"""
