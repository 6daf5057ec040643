#!/usr/bin/python
# SPDX-FileCopyrightText: The infn.cloud contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: keystone_resources
short_description: Regions, projects, users, roles, services and endpoints of Keystone in one call
version_added: 0.1.0
author:
  - The infn.cloud contributors (@infn-cloud)
description:
  - Compares what is declared with what Keystone has, over one authenticated connection and with a
    few lists, and creates, updates and deletes what differs, in the order of the dependencies.
  - What is not declared is never touched; neither are attributes of declared objects that are left
    out.
  - Everything is looked at before the first change. What contradicts itself, refers to something
    that is neither there nor declared, or is ambiguous in Keystone, is refused as a whole.
  - The identity of a service with its users, roles and endpoints is about twelve objects. The
    modules of the collection C(openstack.cloud) take 2 to 3 seconds for each of them, and they
    serve well where a single object is wanted.
  - An existing user's password is compared by logging in as the user, so a second run changes
    nothing. Keystone counts a login that fails, where it is configured to lock users out.
options:
  auth:
    description: How to log in. The user needs the role V(admin).
  regions:
    description: The regions.
    type: list
    elements: dict
    default: []
    suboptions:
      id:
        description: The id of the region, which is its name as well.
        type: str
        required: true
      description:
        description: What people read about the region.
        type: str
      parent:
        description: The id of the region that this one is part of.
        type: str
      state:
        description: Whether the region exists.
        type: str
        choices: [present, absent]
        default: present
  domains:
    description:
      - The domains.
      - A domain to be removed is disabled first. It is refused while it has projects, users or
        groups that are not declared V(absent) too, because Keystone would delete them with it.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: The name of the domain.
        type: str
        required: true
      description:
        description: What people read about the domain.
        type: str
      enabled:
        description: Whether the users of the domain can log in.
        type: bool
      state:
        description: Whether the domain exists.
        type: str
        choices: [present, absent]
        default: present
  roles:
    description: The roles. Roles that belong to one domain are not seen.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: The name of the role.
        type: str
        required: true
      description:
        description: What people read about the role.
        type: str
      state:
        description: Whether the role exists.
        type: str
        choices: [present, absent]
        default: present
  projects:
    description: The projects. Keystone knows nothing of the data that belong to one it deletes.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: The name of the project.
        type: str
        required: true
      domain:
        description: The domain of the project.
        type: str
        default: Default
      description:
        description: What people read about the project.
        type: str
      enabled:
        description: Whether the project can be used.
        type: bool
      state:
        description: Whether the project exists.
        type: str
        choices: [present, absent]
        default: present
  users:
    description: The users.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: The name of the user.
        type: str
        required: true
      domain:
        description: The domain of the user.
        type: str
        default: Default
      password:
        description:
          - The password. The one of a disabled user cannot be compared; it is set when the user is
            enabled.
        type: str
      update_password:
        description:
          - V(always) sets the password if it does not let the user in.
          - V(on_create) sets it for new users only.
        type: str
        choices: [always, on_create]
        default: always
      default_project:
        description: The project, of the user's domain, for logins that name none.
        type: str
      description:
        description: What people read about the user.
        type: str
      email:
        description: The user's address for mail.
        type: str
      enabled:
        description: Whether the user can log in.
        type: bool
      state:
        description: Whether the user exists.
        type: str
        choices: [present, absent]
        default: present
  groups:
    description: The groups. Who is in them is not managed.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: The name of the group.
        type: str
        required: true
      domain:
        description: The domain of the group.
        type: str
        default: Default
      description:
        description: What people read about the group.
        type: str
      state:
        description: Whether the group exists.
        type: str
        choices: [present, absent]
        default: present
  identity_providers:
    description: Who Keystone believes when somebody logs in elsewhere, such as an INDIGO-IAM.
    type: list
    elements: dict
    default: []
    suboptions:
      id:
        description: The name of the identity provider, which its URL in Keystone contains.
        type: str
        required: true
      remote_ids:
        description:
          - The issuers, exactly as they stand in the tokens. A slash at the end counts.
          - Keystone gives one issuer to one identity provider only.
        type: list
        elements: str
      domain:
        description:
          - The domain of the users that come this way. It cannot be changed later.
          - Keystone alone would make a new one with a random name, and keep it for ever.
        type: str
        default: Default
      description:
        description: What people read about the identity provider.
        type: str
      enabled:
        description: Whether logins this way are accepted.
        type: bool
      state:
        description: Whether it exists. Keystone deletes its protocols with it.
        type: str
        choices: [present, absent]
        default: present
  mappings:
    description: What Keystone makes of the claims of somebody who logged in elsewhere.
    type: list
    elements: dict
    default: []
    suboptions:
      id:
        description: The name of the mapping.
        type: str
        required: true
      rules:
        description: The rules, in Keystone's own form. Required unless O(mappings[].state=absent).
        type: list
        elements: dict
      state:
        description: Whether the mapping exists.
        type: str
        choices: [present, absent]
        default: present
  protocols:
    description: By which protocol and mapping an identity provider is used.
    type: list
    elements: dict
    default: []
    suboptions:
      id:
        description: The name of the protocol, such as V(openid).
        type: str
        required: true
      identity_provider:
        description: The identity provider.
        type: str
        required: true
      mapping:
        description: The mapping. Required unless O(protocols[].state=absent).
        type: str
      state:
        description: Whether the identity provider can be used this way.
        type: str
        choices: [present, absent]
        default: present
  services:
    description: The services. There is one of each type.
    type: list
    elements: dict
    default: []
    suboptions:
      type:
        description: The type, such as V(object-store).
        type: str
        required: true
      name:
        description: The name, such as V(swift).
        type: str
      description:
        description: What people read about the service.
        type: str
      state:
        description: Whether the service exists. Keystone deletes its endpoints with it.
        type: str
        choices: [present, absent]
        default: present
  endpoints:
    description: The endpoints. There is one of each service, interface and region.
    type: list
    elements: dict
    default: []
    suboptions:
      service_type:
        description: The type of the service.
        type: str
        required: true
      interface:
        description: Whom it is for.
        type: str
        choices: [public, internal, admin]
        required: true
      region:
        description: The id of the region.
        type: str
        required: true
      url:
        description: The URL. Required unless O(endpoints[].state=absent).
        type: str
      state:
        description: Whether the endpoint exists.
        type: str
        choices: [present, absent]
        default: present
  role_assignments:
    description:
      - Who has which role where.
      - Each has either O(role_assignments[].user) or O(role_assignments[].group), and one of
        O(role_assignments[].project), O(role_assignments[].domain), O(role_assignments[].system).
      - Inherited assignments are left alone, and do not count.
    type: list
    elements: dict
    default: []
    suboptions:
      role:
        description: The name of the role.
        type: str
        required: true
      user:
        description: The name of the user who has the role.
        type: str
      user_domain:
        description: The domain of the user.
        type: str
        default: Default
      group:
        description: The name of the group whose members have the role.
        type: str
      group_domain:
        description: The domain of the group.
        type: str
        default: Default
      project:
        description: The name of the project in which it holds.
        type: str
      project_domain:
        description: The domain of the project.
        type: str
        default: Default
      domain:
        description: The name of the domain on which it holds.
        type: str
      system:
        description: That it holds for the whole system.
        type: str
        choices: [all]
      state:
        description: Whether the role is assigned.
        type: str
        choices: [present, absent]
        default: present
extends_documentation_fragment: infn.cloud._login.keystone
attributes:
  check_mode:
    description: Says what would change, and changes nothing.
    support: full
  diff_mode:
    description: Shows what changes, without any secret.
    support: full
  idempotent:
    description: A second run changes nothing.
    support: full
requirements:
  - keystoneauth1 (C(python3-keystoneauth1) in Debian), on the host where the module runs
seealso:
  - name: openstack.cloud
    description: The collection with a module for each kind of object.
    link: https://galaxy.ansible.com/ui/repo/published/openstack/cloud/
"""

EXAMPLES = r"""
- name: Give the object storage its place in the catalogue
  infn.cloud.keystone_resources:
    auth:
      auth_url: https://identity.cloud.example:5000
      username: admin
      password: "{{ keystone_admin_password }}"
      project_name: admin
      cacert: /etc/ssl/certs/cloud.example.pem
    regions:
      - {id: cnaf, description: Bologna}
      - {id: bari}
    projects:
      - {name: service, description: The services' own}
    roles:
      - {name: swiftoperator}
    users:
      - {name: swift, password: "{{ swift_service_password }}"}
    role_assignments:
      - {user: swift, project: service, role: admin}
    services:
      - {type: object-store, name: swift}
    endpoints:
      - service_type: object-store
        interface: public
        region: cnaf
        url: https://swift.cnaf.cloud.example/v1/AUTH_%(tenant_id)s
  register: identity

- name: See whose project it is
  ansible.builtin.debug:
    msg: "{{ identity.ids.project.service }}"

- name: Take a region out of the catalogue
  infn.cloud.keystone_resources:
    auth: "{{ keystone_admin }}"
    endpoints:
      - {service_type: object-store, interface: public, region: bari, state: absent}
    regions:
      - {id: bari, state: absent}
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
      description: The kind, such as V(project), V(endpoint) or V(role_assignment).
      type: str
    name:
      description: The name; with the domain and a slash before it, if that is not V(Default).
      type: str
    changes:
      description: For each attribute, its value C(before) and C(after). Passwords are not shown.
      type: dict
  sample:
    - action: update
      kind: endpoint
      name: object-store public cnaf
      changes: {url: {before: "http://old.example/v1", after: "https://new.example/v1"}}
ids:
  description:
    - The ids of the declared objects that exist, by kind and name.
    - In check mode without those that would be created. Assignments have none.
  returned: success
  type: dict
  sample: {project: {service: 0c9e8f3a1a0a4c1f8f3f3f6f3c0f7f11}}
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible_collections.infn.cloud.plugins.module_utils._keystone_client import (
    KEYSTONEAUTH_ERROR,
    LOGIN,
    KeystoneError,
    describe,
    reconcile,
)
from ansible_collections.infn.cloud.plugins.module_utils._keystone_resources import PlanError

TEXT: dict[str, Any] = {"type": "str"}
NAME: dict[str, Any] = {"type": "str", "required": True}
FLAG: dict[str, Any] = {"type": "bool"}
DOMAIN: dict[str, Any] = {"type": "str", "default": "Default"}
STATE: dict[str, Any] = {"type": "str", "choices": ["present", "absent"], "default": "present"}


def _list_of(constraints: dict[str, Any], **options: dict[str, Any]) -> dict[str, Any]:
    options["state"] = STATE
    return {"type": "list", "elements": "dict", "default": [], "options": options, **constraints}


ARGUMENTS: dict[str, Any] = {
    **LOGIN,
    "regions": _list_of({}, id=NAME, description=TEXT, parent=TEXT),
    "domains": _list_of({}, name=NAME, description=TEXT, enabled=FLAG),
    "roles": _list_of({}, name=NAME, description=TEXT),
    "projects": _list_of({}, name=NAME, domain=DOMAIN, description=TEXT, enabled=FLAG),
    "users": _list_of(
        {},
        name=NAME,
        domain=DOMAIN,
        password={"type": "str", "no_log": True},
        update_password={
            "type": "str",
            "choices": ["always", "on_create"],
            "default": "always",
            "no_log": False,
        },
        default_project=TEXT,
        description=TEXT,
        email=TEXT,
        enabled=FLAG,
    ),
    "groups": _list_of({}, name=NAME, domain=DOMAIN, description=TEXT),
    "identity_providers": _list_of(
        {},
        id=NAME,
        remote_ids={"type": "list", "elements": "str"},
        domain=DOMAIN,
        description=TEXT,
        enabled=FLAG,
    ),
    "mappings": _list_of(
        {"required_if": [("state", "present", ("rules",))]},
        id=NAME,
        rules={"type": "list", "elements": "dict"},
    ),
    "protocols": _list_of(
        {"required_if": [("state", "present", ("mapping",))]},
        id=NAME,
        identity_provider=NAME,
        mapping=TEXT,
    ),
    "services": _list_of({}, type=NAME, name=TEXT, description=TEXT),
    "endpoints": _list_of(
        {"required_if": [("state", "present", ("url",))]},
        service_type=NAME,
        interface={"type": "str", "choices": ["public", "internal", "admin"], "required": True},
        region=NAME,
        url=TEXT,
    ),
    "role_assignments": _list_of(
        {
            "required_one_of": [("user", "group"), ("project", "domain", "system")],
            "mutually_exclusive": [("user", "group"), ("project", "domain", "system")],
        },
        role=NAME,
        user=TEXT,
        user_domain=DOMAIN,
        group=TEXT,
        group_domain=DOMAIN,
        project=TEXT,
        project_domain=DOMAIN,
        domain=TEXT,
        system={"type": "str", "choices": ["all"]},
    ),
}


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    if KEYSTONEAUTH_ERROR is not None:
        module.fail_json(missing_required_lib("keystoneauth1"), exception=KEYSTONEAUTH_ERROR)
    try:
        outcome = reconcile(module.params, commit=not module.check_mode)
    except PlanError as error:
        module.fail_json(str(error), operations=[])
    except KeystoneError as error:
        done = [operation.result() for operation in error.done]
        module.fail_json(str(error), changed=bool(done), operations=done)
    module.exit_json(
        changed=bool(outcome.operations),
        operations=[operation.result() for operation in outcome.operations],
        ids=outcome.ids,
        diff=describe(outcome.operations),
    )


if __name__ == "__main__":
    main()
