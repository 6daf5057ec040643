#!/usr/bin/python
# SPDX-FileCopyrightText: The infn.cloud contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: swift_load_info
short_description: What the object store owes to a load, and whether it gives it back
version_added: 0.1.0
description:
  - Reads the journal of M(infn.cloud.swift_load), also while the load runs, and counts requests,
    failures and the seconds until service around a fault.
  - With O(read), reads every acknowledged object through every site and compares each byte.
options:
  journal:
    description: The journal.
    type: path
    required: true
  fault_at:
    description: When the fault began, in seconds since 1970 by the clock of the load's host.
    type: float
  broken_at:
    description:
      - When the fault was in force everywhere, if it took a while. What succeeds before is no proof
        of service.
    type: float
  healed_at:
    description: When the fault was healed.
    type: float
  living:
    description: Regions of the sites that should go on serving during the fault.
    type: list
    elements: str
    default: []
  window:
    description:
      - Number of requests in a row that a site must answer well to count as serving again.
    type: int
    default: 10
  read:
    description: Whether to read all acknowledged objects. Needs O(auth) and O(sites).
    type: bool
    default: false
  timeout:
    description: Seconds to wait for a site to go on answering.
    type: float
    default: 30
  tries:
    description: How often an object is read through a site before that counts as a failure.
    type: int
    default: 3
extends_documentation_fragment:
  - infn.cloud._attributes.info
  - infn.cloud._login.clients
seealso:
  - module: infn.cloud.swift_load
  - module: infn.cloud.swift_object_info
author:
  - The infn.cloud contributors (@infn-cloud)
"""

EXAMPLES = r"""
- name: Read back what was acknowledged
  infn.cloud.swift_load_info:
    journal: "{{ playbook_dir }}/drill-1.jsonl"
    read: true
    auth: {username: drill, password: "{{ drill_password }}", project_name: drill, cacert: ca.pem}
    sites:
      - {region: cnaf, auth_url: "https://cloud.cnaf.example.org:5000/v3"}
      - {region: bari, auth_url: "https://cloud.bari.example.org:5000/v3"}
  delegate_to: localhost
  register: owed
  failed_when: owed.lost + owed.corrupted + owed.unreadable > 0
"""

RETURN = r"""
figures:
  description:
    - What was counted. C(seconds_until_service) is the time from the fault to the last failure
      before the first O(window) requests in a row that succeeded, at the slowest of the O(living)
      sites; C(seconds_until_every_site) the same from the healing, for all sites. Null means not
      yet.
  returned: success
  type: dict
  sample:
    acknowledged: 312
    failed_during_fault: 9
    failed_during_fault_by_kind: {bari PUT timeout: 9}
    failed_after_retry_during_fault: 0
    seconds_until_service: 3.2
objects:
  description: The acknowledged objects, as M(infn.cloud.swift_object_info) takes them.
  returned: success
  type: list
  elements: dict
read:
  description: Number of readings, one per object and site.
  returned: when O(read) is true
  type: int
lost:
  description: Number of acknowledged objects that are not there through some site.
  returned: when O(read) is true
  type: int
corrupted:
  description: Number of acknowledged objects that some site gives with other bytes.
  returned: when O(read) is true
  type: int
unreadable:
  description: Number of acknowledged objects that some site failed to give.
  returned: when O(read) is true
  type: int
lost_objects:
  description: The first of them, and why. The same for C(corrupted) and C(unreadable).
  returned: when O(read) is true
  type: list
  elements: str
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.infn.cloud.plugins.module_utils._load_client import (
    CLIENTS,
    LoadError,
    read_back,
)
from ansible_collections.infn.cloud.plugins.module_utils._load_journal import (
    JournalError,
    as_objects,
    figures,
    judge,
    read_journal,
)

ARGUMENTS = {
    "journal": {"type": "path", "required": True},
    "fault_at": {"type": "float"},
    "broken_at": {"type": "float"},
    "healed_at": {"type": "float"},
    "living": {"type": "list", "elements": "str", "default": []},
    "window": {"type": "int", "default": 10},
    "read": {"type": "bool", "default": False},
    **CLIENTS,
    "timeout": {"type": "float", "default": 30},
    "tries": {"type": "int", "default": 3},
}
REQUIRED = [("read", True, ["auth", "sites"])]


def main() -> None:
    """Run the module."""
    module = AnsibleModule(argument_spec=ARGUMENTS, required_if=REQUIRED, supports_check_mode=True)
    params = module.params
    try:
        with open(params["journal"], encoding="ascii") as file:
            journal = read_journal(file)
        counted = figures(
            journal,
            fault_at=params["fault_at"],
            broken_at=params["broken_at"],
            healed_at=params["healed_at"],
            living=params["living"],
            window=params["window"],
        )
        result = {"figures": counted, "objects": as_objects(journal)}
        if params["read"]:
            readings = read_back(params, journal, tries=params["tries"])
            names = [site["region"] for site in params["sites"]]
            result.update(judge(journal.acknowledged, readings, names))
    except (JournalError, LoadError, OSError) as error:
        module.fail_json(msg=f"{params['journal']}: {error}")
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
