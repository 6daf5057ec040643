#!/usr/bin/python
# SPDX-FileCopyrightText: The infn.cloud contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: swift_dispersion_info
short_description: See how many copies of Swift's data are where they belong
version_added: 0.1.0
description:
  - Asks each primary of each sample that M(infn.cloud.swift_dispersion) made, all sites at once,
    whether it has its copy, as C(swift-dispersion-report) does, and counts by region as well.
  - Run it as root on a host that has the rings and reaches the storage servers, such as a proxy.
  - A server that does not answer is listed and is no failure. Its copies count as not found.
options:
  account:
    description:
      - The account of the samples.
    type: str
    default: .dispersion
  swift_dir:
    description:
      - Directory of C(swift.conf) and the rings.
    type: path
    default: /etc/swift
  timeout:
    description:
      - Seconds that one question may take altogether.
    type: float
    default: 5
  retries:
    description:
      - How often a question that got no answer is asked again.
      - A server that never answers is asked no more after a few questions.
    type: int
    default: 2
  deadline:
    description:
      - Seconds that all questions may take. Copies that were not asked for by then are not found.
    type: float
    default: 300
requirements:
  - swift (python3-swift), as on every host of the cluster
extends_documentation_fragment: infn.cloud._attributes.info
seealso:
  - module: infn.cloud.swift_dispersion
  - module: infn.cloud.swift_object_info
author:
  - The infn.cloud contributors (@infn-cloud)
"""

EXAMPLES = r"""
- name: Ask every region for its copies
  infn.cloud.swift_dispersion_info:
  register: copies
  become: true

- name: Refuse to go on before every copy is in its place
  ansible.builtin.assert:
    that: copies.dispersion.object.values() | map(attribute='copies_found_percent') | min >= 99.9
    fail_msg: Copies are missing; wait for the replicators.
"""

RETURN = r"""
dispersion:
  description: The figures.
  returned: success
  type: dict
  contains:
    object:
      description: One entry for each storage policy that has a ring, by its name.
      type: dict
    container:
      description: The figures of the containers' ring.
      type: dict
      contains:
        copies_found_percent:
          description: Share of the copies that are in place, rounded down. V(0) without samples.
          type: float
        copies_expected:
          description: Number of copies that should be there.
          type: int
        copies_found:
          description: Number of copies that are in place.
          type: int
        missing:
          description: Number of partitions by the number of copies that they miss.
          type: dict
          sample: {"0": 255, "1": 1, "2": 0, "3": 0}
        regions:
          description: The same three figures by number of the region.
          type: dict
        policy_index:
          description: Index of the policy; of the default policy, for containers.
          type: int
        samples:
          description: Partitions that were asked for.
          type: int
        overlapping:
          description: Samples that lie in the same partition as another, and were left out.
          type: int
        partitions:
          description: Partitions of the ring.
          type: int
        coverage_percent:
          description: Share of the partitions that has a sample.
          type: float
  sample:
    object:
      standard:
        copies_expected: 489
        copies_found: 489
        copies_found_percent: 100.0
        coverage_percent: 0.99
        missing: {"0": 163, "1": 0, "2": 0, "3": 0}
        overlapping: 0
        partitions: 16384
        policy_index: 0
        regions:
          "1": {copies_expected: 163, copies_found: 163, copies_found_percent: 100.0}
          "2": {copies_expected: 163, copies_found: 163, copies_found_percent: 100.0}
          "3": {copies_expected: 163, copies_found: 163, copies_found_percent: 100.0}
        samples: 163
not_reached:
  description: The servers that answered no question, and why.
  returned: success
  type: list
  elements: str
  sample: ["padova-st1 (10.0.3.11:6200): Connection refused"]
errors:
  description: The servers that answered some questions only.
  returned: success
  type: list
  elements: str
unmounted:
  description: The devices that their servers call unmounted.
  returned: success
  type: list
  elements: str
  sample: ["padova-st1 (10.0.3.11:6200/d2)"]
problems:
  description: What could not be counted, such as a policy without a ring or without samples.
  returned: success
  type: list
  elements: str
retries:
  description: Questions that were asked again.
  returned: success
  type: int
seconds:
  description: How long it took.
  returned: success
  type: float
"""

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible_collections.infn.cloud.plugins.module_utils._swift_dispersion import (
    SWIFT_IMPORT_ERROR,
    dispersion,
)
from ansible_collections.infn.cloud.plugins.module_utils._swift_objects import RequestError

ARGUMENTS = {
    "account": {"type": "str", "default": ".dispersion"},
    "swift_dir": {"type": "path", "default": "/etc/swift"},
    "timeout": {"type": "float", "default": 5},
    "retries": {"type": "int", "default": 2},
    "deadline": {"type": "float", "default": 300},
}


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    if SWIFT_IMPORT_ERROR is not None:
        module.fail_json(msg=missing_required_lib("swift"), exception=SWIFT_IMPORT_ERROR)
    try:
        result = dispersion(module.params)
    except RequestError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
