#!/usr/bin/python
# SPDX-FileCopyrightText: The infn.cloud contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: swift_dispersion
short_description: Keep samples in Swift that tell where data lies
version_added: 0.1.0
description:
  - Writes containers and small objects that lie in different partitions of each ring, as
    C(swift-dispersion-populate) does. M(infn.cloud.swift_dispersion_info) asks for their copies.
  - Adds what is missing and leaves what is there, also when a ring got more partitions.
  - Needs no user and no Keystone. It writes through Swift's internal client into an account that
    belongs to Swift; no user can have or reach an account whose name begins with a dot.
  - Run it as root on a host that has the rings and reaches the storage servers, such as a proxy.
options:
  state:
    description:
      - V(present) writes the samples that are missing, V(absent) removes all.
    type: str
    choices: [present, absent]
    default: present
  coverage:
    description:
      - Share of each ring's partitions that have a sample, in percent. Lowering it removes nothing.
    type: float
    default: 1
  samples_min:
    description:
      - So many samples at least, or one for each partition of a smaller ring. One copy of a hundred
        samples with three copies each is 0.33 percent.
    type: int
    default: 100
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
attributes:
  check_mode:
    description: Tells what would be written or removed and does neither.
    support: full
  diff_mode:
    description: Has no differences to show; RV(samples) counts them.
    support: none
  idempotent:
    description: Writes only what is missing.
    support: full
requirements:
  - swift (python3-swift), as on every host of the cluster
seealso:
  - module: infn.cloud.swift_dispersion_info
author:
  - The infn.cloud contributors (@infn-cloud)
"""

EXAMPLES = r"""
- name: Keep a sample in every hundredth partition
  infn.cloud.swift_dispersion:
  become: true

- name: Remove all samples
  infn.cloud.swift_dispersion:
    state: absent
  become: true
"""

RETURN = r"""
samples:
  description: How many samples were written or removed, by ring.
  returned: success
  type: dict
  sample: {containers: 164, policy Policy-0: 164}
"""

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible_collections.infn.cloud.plugins.module_utils._swift_dispersion import (
    SWIFT_IMPORT_ERROR,
    populate,
)
from ansible_collections.infn.cloud.plugins.module_utils._swift_objects import RequestError

ARGUMENTS = {
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "coverage": {"type": "float", "default": 1},
    "samples_min": {"type": "int", "default": 100},
    "account": {"type": "str", "default": ".dispersion"},
    "swift_dir": {"type": "path", "default": "/etc/swift"},
}


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    if SWIFT_IMPORT_ERROR is not None:
        if module.check_mode:
            module.warn("Swift's library is not installed yet: no sample can be looked for")
            module.exit_json(changed=module.params["state"] == "present", samples={})
        module.fail_json(msg=missing_required_lib("swift"), exception=SWIFT_IMPORT_ERROR)
    try:
        result = populate(module.params, write=not module.check_mode)
    except RequestError as error:
        module.fail_json(msg=str(error))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
