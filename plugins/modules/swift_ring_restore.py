#!/usr/bin/python
# SPDX-FileCopyrightText: The infn.cloud contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: swift_ring_restore
short_description: Give a ring of Swift its builder back
version_added: 0.1.0
description:
  - Finds or makes the builder of a ring file, for a builder that is lost or damaged, and to go back
    to a ring that was published before.
  - Takes the builder that is there, a backup in O(builder_dir), or one of O(archives), if it gives
    that very ring; an older one would move data back and forth.
  - Without any, makes one from the ring file, as C(swift-ring-builder write_builder) does. Lost
    is when partitions moved; so none moves for O(min_part_hours).
  - Where going back moves partitions, they stay for C(min_part_hours) too.
options:
  ring:
    description:
      - The ring, V(account), V(container), V(object), or V(object-N) for the storage policy with
        index N.
    type: str
    required: true
  ring_file:
    description:
      - The ring file that the builder is to give.
    type: path
    required: true
  builder_dir:
    description:
      - The directory of the builders.
    type: path
    default: /etc/swift/builders
  archives:
    description:
      - Builders that were kept in other places, each as
        RV(infn.cloud.swift_ring_bundle_info#module:builders).
      - They are loaded as pickles, so take them only from files that root alone can write.
    type: list
    elements: str
    default: []
  min_part_hours:
    description:
      - Hours for which a partition is not moved again, for a builder that is made from the ring.
    type: int
    default: 24
  overload:
    description:
      - How much more than its weight a device takes to keep replicas apart, as a factor, V(0.1) for
        10 %, for a builder that is made from the ring, which does not say it.
    type: float
    default: 0.0
  backups:
    description:
      - How many dated backups of this ring to keep in C(backups) below O(builder_dir).
    type: int
    default: 20
  allow_multiple_replica_moves:
    description:
      - Accept to go back to a ring in which more than one replica of a partition is elsewhere.
    type: bool
    default: false
attributes:
  check_mode:
    description: Can predict its changes without making them.
    support: full
  diff_mode:
    description: Shows no difference; RV(moves) says what moves.
    support: none
  idempotent:
    description: A second run changes nothing.
    support: full
requirements:
  - swift (the Python package, 2.35 or newer), on the host that keeps the builders
seealso:
  - module: infn.cloud.swift_ring
  - module: infn.cloud.swift_ring_bundle
author:
  - The infn.cloud contributors (@infn-cloud)
"""

EXAMPLES = r"""
- name: Rebuild a lost builder from the ring that Swift uses
  infn.cloud.swift_ring_restore:
    ring: object
    ring_file: /etc/swift/object.ring.gz

- name: Go back to the ring of an earlier bundle
  infn.cloud.swift_ring_restore:
    ring: object
    ring_file: /etc/swift/rings/0123456789abcdef/object.ring.gz
"""

RETURN = r"""
ring:
  description: The ring.
  type: str
  returned: success
builder:
  description: Path of the builder file.
  type: str
  returned: success
  sample: /etc/swift/builders/object.builder
source:
  description: Where the builder comes from; a path, or C(archive) with the number of one of
    O(archives). O(ring_file) itself where it was made from the ring.
  type: str
  returned: success
  sample: /etc/swift/builders/backups/1795450000.object.builder
moves:
  description: What is elsewhere in the ring than in the one that was here.
  type: dict
  returned: success
  contains:
    replicas:
      description: Partition-replicas that get another device.
      type: int
    percent:
      description: The same in percent of all partition-replicas.
      type: float
    partitions:
      description: Partitions with at least one such replica.
      type: int
    histogram:
      description: Partitions by the number of their replicas that move.
      type: dict
"""

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible_collections.infn.cloud.plugins.module_utils._swift_ring_files import SWIFT_IMPORT_ERROR
from ansible_collections.infn.cloud.plugins.module_utils._swift_ring_plan import RingError
from ansible_collections.infn.cloud.plugins.module_utils._swift_ring_restore import restore

ARGUMENTS = {
    "ring": {"type": "str", "required": True},
    "ring_file": {"type": "path", "required": True},
    "builder_dir": {"type": "path", "default": "/etc/swift/builders"},
    # No secrets, but megabytes: no_log keeps them out of the journal.
    "archives": {"type": "list", "elements": "str", "default": [], "no_log": True},
    "min_part_hours": {"type": "int", "default": 24},
    "overload": {"type": "float", "default": 0.0},
    "backups": {"type": "int", "default": 20},
    "allow_multiple_replica_moves": {"type": "bool", "default": False},
}


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    if SWIFT_IMPORT_ERROR is not None:
        module.fail_json(msg=missing_required_lib("swift"), exception=SWIFT_IMPORT_ERROR)
    try:
        result = restore(module.params, commit=not module.check_mode)
    except RingError as error:
        module.fail_json(msg=str(error))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
