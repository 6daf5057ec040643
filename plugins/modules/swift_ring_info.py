#!/usr/bin/python
# SPDX-FileCopyrightText: The infn.cloud contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module: what Swift's ring builders hold."""

from __future__ import annotations

DOCUMENTATION = r"""
module: swift_ring_info
short_description: Describe Swift's ring builders and ring files
version_added: 0.1.0
author: The infn.cloud contributors (@infn-cloud)
description:
  - Reads the builder files of OpenStack Swift in a directory and describes them and their ring
    files.
  - A directory or a builder that is not there is an empty answer. A builder that cannot be read
    has its reason in RV(rings[].error).
options:
  ring:
    description:
      - The ring to describe, V(account), V(container), V(object), or V(object-N) for the storage
        policy with index N. All rings of the directory if not set.
    type: str
  builder_dir:
    description: The directory of the builder and ring files.
    type: path
    default: /etc/swift/builders
requirements:
  - swift (the Python package, 2.35 or newer), on the host that keeps the builders
extends_documentation_fragment: infn.cloud._attributes.info
seealso:
  - module: infn.cloud.swift_ring
"""

EXAMPLES = r"""
- name: Look at all rings
  infn.cloud.swift_ring_info:
  register: swift

- name: Refuse to go on with a ring that was not built from its builder
  ansible.builtin.assert:
    that: item.ring_file_matches
    fail_msg: "{{ item.ring_file }} differs from {{ item.builder }}; run infn.cloud.swift_ring"
  loop: "{{ swift.rings }}"
  loop_control:
    label: "{{ item.ring }}"
"""

RETURN = r"""
rings:
  description: The rings, by name. Where RV(rings[].error) is set, only the fields up to it are
    there.
  type: list
  elements: dict
  returned: success
  contains:
    ring:
      description: The ring.
      type: str
      sample: object
    builder:
      description: Path of the builder file.
      type: str
    ring_file:
      description: Path of the ring file.
      type: str
    error:
      description: Why the builder cannot be read; empty otherwise.
      type: str
    id:
      description: Id of the builder.
      type: str
    recorded_id:
      description: Id of the builder this ring was built with; empty until
        M(infn.cloud.swift_ring) changes the ring.
      type: str
    version:
      description: Version of the builder.
      type: int
    part_power:
      description: The ring has 2 to the power of this many partitions.
      type: int
    next_part_power:
      description: The partition power it is being raised to; null when it is not.
      type: int
    replicas:
      description: Copies of each partition.
      type: float
    min_part_hours:
      description: Hours for which a partition is not moved again.
      type: int
    min_part_seconds_left:
      description: Seconds until these hours have passed since the last push.
      type: int
    overload:
      description: How far a device may be filled above its weight, as a factor.
      type: float
    required_overload:
      description: The overload that would keep all replicas as far apart as they could be,
        rounded up to two decimals.
      type: float
    rebalanced:
      description: Whether partitions were ever placed.
      type: bool
    devices_changed:
      description: Whether devices were edited since the last rebalance.
      type: bool
    balance:
      description: How far the worst device is from its share, in percent; 999.99 while a device
        of weight 0 holds partitions.
      type: float
    dispersion:
      description: Partition-replicas that are not as far apart as they could be, in percent, at
        the last rebalance.
      type: float
    regions:
      description: The regions, by number.
      type: list
      elements: dict
      contains:
        region:
          description: Number of the region.
          type: int
        devices:
          description: Devices in it.
          type: int
        weight:
          description: Sum of their weights.
          type: float
        partitions:
          description: Partition-replicas it holds.
          type: int
        missing:
          description: Partitions it has no copy of, where there are replicas enough for every
            region.
          type: int
        doubled:
          description: Partitions it has more than one copy of, where there are more regions than
            replicas.
          type: int
    devices:
      description: The devices, by id.
      type: list
      elements: dict
      contains:
        id:
          description: Id of the device in the ring.
          type: int
        name:
          description: Its name as C(swift-ring-builder) writes it.
          type: str
          sample: r1z1-10.1.0.11:6200/sdb
        region:
          description: Number of the region.
          type: int
        zone:
          description: Number of the zone.
          type: int
        ip:
          description: IP address of the server.
          type: str
        port:
          description: TCP port of the server.
          type: int
        device:
          description: Name of the disk's directory.
          type: str
        weight:
          description: Its weight.
          type: float
        meta:
          description: What is noted about it.
          type: str
        replication_ip:
          description: IP address for replication.
          type: str
        replication_port:
          description: TCP port for replication.
          type: int
        partitions:
          description: Partition-replicas it holds.
          type: int
    ring_file_md5:
      description: MD5 of the ring file, as C(swift-recon --md5) compares it; empty when there is
        none.
      type: str
    ring_file_sha256:
      description: SHA-256 of the ring file; empty when there is none.
      type: str
    ring_file_matches:
      description: Whether the ring file says what the builder says.
      type: bool
"""

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible_collections.infn.cloud.plugins.module_utils._swift_ring_builder import describe
from ansible_collections.infn.cloud.plugins.module_utils._swift_ring_files import SWIFT_IMPORT_ERROR
from ansible_collections.infn.cloud.plugins.module_utils._swift_ring_plan import RingError

ARGUMENTS = {
    "ring": {"type": "str"},
    "builder_dir": {"type": "path", "default": "/etc/swift/builders"},
}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    if SWIFT_IMPORT_ERROR is not None:
        module.fail_json(msg=missing_required_lib("swift"), exception=SWIFT_IMPORT_ERROR)
    try:
        rings = describe(module.params["builder_dir"], module.params["ring"])
    except RingError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, rings=rings)


if __name__ == "__main__":
    main()
