#!/usr/bin/python
# SPDX-FileCopyrightText: The infn.cloud contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: swift_load
short_description: Write to and read from the object store for a while, and keep a journal
version_added: 0.1.0
description:
  - Runs writers and readers that behave as careful clients of a federation do, and puts on record
    every request and every object that was acknowledged. M(infn.cloud.swift_load_info) tells what
    follows from the journal.
  - Run it in the background (C(async)) where clients are, usually on the controller.
  - The names of objects are never used twice, in a container that is there for one load only.
options:
  state:
    description:
      - V(present) runs the load.
      - V(absent) removes the container of a load with all that is in it.
    type: str
    choices: [present, absent]
    default: present
  auth:
    required: true
  sites:
    required: true
  container:
    description: The container. Do not name one that holds anything else.
    type: str
    required: true
  journal:
    description:
      - The file to write the journal to, which must not exist yet. Its directory must.
      - Needed to run a load.
    type: path
  stop_file:
    description:
      - The load ends as soon as this file exists.
      - Needed to run a load.
    type: path
  seconds:
    description: How long the load lasts at most.
    type: float
    default: 60
  writers:
    description: Number of writers per site.
    type: int
    default: 2
  readers:
    description: Number of readers per site. They read what was acknowledged before.
    type: int
    default: 2
  rate:
    description: Requests per second that all of them make together at most.
    type: float
    default: 12
  min_bytes:
    description: Size of the smallest object.
    type: int
    default: 1024
  max_bytes:
    description: Size of the largest object. Small ones are as frequent as large ones.
    type: int
    default: 1048576
  timeout:
    description: Seconds that a client waits for a site to go on answering.
    type: float
    default: 15
extends_documentation_fragment: infn.cloud._login.clients
attributes:
  check_mode:
    description: Runs no load, and only tells whether there is a container to remove.
    support: full
  diff_mode:
    description: Has no differences to show.
    support: none
  idempotent:
    description: A load writes new objects whenever it runs. Removing is idempotent.
    support: partial
seealso:
  - module: infn.cloud.swift_load_info
author:
  - The infn.cloud contributors (@infn-cloud)
"""

EXAMPLES = r"""
- name: Keep the store busy for two minutes
  infn.cloud.swift_load:
    auth: {username: drill, password: "{{ drill_password }}", project_name: drill, cacert: ca.pem}
    sites:
      - {region: cnaf, auth_url: "https://cloud.cnaf.example.org:5000/v3"}
      - {region: bari, auth_url: "https://cloud.bari.example.org:5000/v3"}
    container: drill-1
    journal: "{{ playbook_dir }}/drill-1.jsonl"
    stop_file: "{{ playbook_dir }}/drill-1.stop"
    seconds: 120
  delegate_to: localhost
  async: 180
  poll: 0
"""

RETURN = r"""
acknowledged:
  description: Number of objects that were acknowledged.
  returned: when a load was run
  type: int
seconds:
  description: How long the load lasted.
  returned: when a load was run
  type: float
removed:
  description: Number of objects that were, or in check mode would be, removed.
  returned: when state is absent
  type: int
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.infn.cloud.plugins.module_utils._load_client import (
    CLIENTS,
    LoadError,
    remove_load,
    run_load,
)

ARGUMENTS = {
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "auth": {**CLIENTS["auth"], "required": True},
    "sites": {**CLIENTS["sites"], "required": True},
    "container": {"type": "str", "required": True},
    "journal": {"type": "path"},
    "stop_file": {"type": "path"},
    "seconds": {"type": "float", "default": 60},
    "writers": {"type": "int", "default": 2},
    "readers": {"type": "int", "default": 2},
    "rate": {"type": "float", "default": 12},
    "min_bytes": {"type": "int", "default": 1024},
    "max_bytes": {"type": "int", "default": 1048576},
    "timeout": {"type": "float", "default": 15},
}
REQUIRED = [("state", "present", ["journal", "stop_file"])]


def main() -> None:
    """Run the module."""
    module = AnsibleModule(argument_spec=ARGUMENTS, required_if=REQUIRED, supports_check_mode=True)
    try:
        if module.params["state"] == "absent":
            removed = remove_load(module.params, commit=not module.check_mode)
            module.exit_json(changed=removed >= 0, removed=max(removed, 0))
        if module.check_mode:
            module.exit_json(changed=True)
        module.exit_json(changed=True, **run_load(module.params))
    except (LoadError, OSError) as error:
        module.fail_json(msg=str(error))


if __name__ == "__main__":
    main()
