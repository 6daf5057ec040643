#!/usr/bin/python
# SPDX-FileCopyrightText: The infn.cloud contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module: a Swift ring as it should be."""

from __future__ import annotations

DOCUMENTATION = r"""
module: swift_ring
short_description: Build a Swift ring and move it safely to what is wished
version_added: 0.1.0
author: The infn.cloud contributors (@infn-cloud)
description:
  - Brings a builder file of OpenStack Swift and its ring file to the devices and settings named
    here. The devices of the wish are all devices of the ring.
  - One run is one push. A ring that needs several, because O(min_part_hours) holds some
    partitions, is brought further by running again after RV(retry_after) seconds and distributing
    the ring in between.
  - Refuses what could lose data or hide it, before anything is written, and says what to do
    instead.
  - Moves are computed on the builder in memory with a fixed O(seed), so check mode and the
    difference show exactly what a real run would do, and the same wish gives the same ring file,
    byte for byte.
options:
  ring:
    description:
      - The ring, V(account), V(container), V(object), or V(object-N) for the storage policy with
        index N.
      - The name of its files.
    type: str
    required: true
  state:
    description:
      - V(present) builds or changes the ring.
      - V(absent) removes the builder and the ring file, which needs O(allow_data_loss). Backups
        stay.
    type: str
    choices: [present, absent]
    default: present
  builder_dir:
    description:
      - The directory of the builder and ring files. It is created when there is something to
        write.
      - V(.lock) in it is locked while files are written, as C(swift-ring-builder-safe) does.
    type: path
    default: /etc/swift/builders
  part_power:
    description:
      - The ring has 2 to the power of this many partitions. Choose it for 100 partitions on each
        disk of the largest cluster this ring may become.
      - It cannot be changed here later. Swift raises it for object rings only, with
        C(swift-object-relinker).
      - Required where O(state=present).
    type: int
  replicas:
    description:
      - Copies of each partition, or fragments for an erasure coding policy. May have a fraction,
        to raise the number of copies in steps.
      - Required where O(state=present).
    type: float
  min_part_hours:
    description:
      - Hours for which a partition is not moved again, from 0 to 255. More than one pass of the
        replicators takes.
    type: int
    default: 24
  overload:
    description:
      - How far a device may be filled above its weight to keep replicas apart, as a factor. With
        V(0.1) a device takes up to 10 % more.
      - RV(required_overload) is the value with which every region gets a copy of everything.
    type: float
    default: 0.0
  devices:
    description:
      - All devices of the ring. Required where O(state=present).
      - A device is recognized by its region, ip, port and device name, and keeps its id.
        Everything else may be edited.
      - A device missing here is removed from the ring when it is empty. To empty one, set its
        weight to 0 and run until it is drained.
    type: list
    elements: dict
    suboptions:
      region:
        description: Number of the region.
        type: int
        required: true
      zone:
        description: Number of the zone in its region.
        type: int
        required: true
      ip:
        description: IP address of the server, IPv4 or IPv6.
        type: str
        required: true
      port:
        description: TCP port of the server.
        type: int
        required: true
      device:
        description: Name of the disk's directory below the server's C(devices) directory.
        type: str
        required: true
      weight:
        description:
          - Share of partitions relative to the other devices; 0 drains the device.
          - With O(weight_step), what the weight moves towards.
        type: float
        required: true
      drain:
        description:
          - Drain the device in steps of its O(devices[].weight), down to 0.
          - One that is not in the ring, or no longer, is not added.
        type: bool
        default: false
      meta:
        description: Anything worth noting about the device.
        type: str
        default: ''
      replication_ip:
        description: IP address for replication; default is O(devices[].ip).
        type: str
      replication_port:
        description: TCP port for replication; default is O(devices[].port).
        type: int
  weight_step:
    description:
      - How far one run moves the weight of a device towards the wished one, in percent of its
        weight in full service. New devices begin with one step.
      - With V(100) weights are as wished at once.
      - With V(0) nothing moves. Weights stay as they are in the builder, new devices get 0, and
        what other edits would move waits for a run with a step.
      - The creation of a ring moves nothing, so it is never done in steps.
    type: float
    default: 100.0
  remove_drained:
    description:
      - Remove devices that are missing in O(devices) and hold no partitions any more.
      - With V(false) they are refused too. That a ring places nothing on a disk does not say that
        replication has brought its data elsewhere, and no replicator looks at a disk that is in no
        ring.
    type: bool
    default: true
  seed:
    description:
      - Seed of the choices a rebalance makes. Equal wishes with equal seeds give equal ring
        files.
    type: int
    default: 1
  rebalance:
    description:
      - Whether to place and move partitions. With V(false) only the edits are saved, and a new
        ring gets no ring file.
    type: bool
    default: true
  backups:
    description:
      - How many dated backups of this ring to keep in C(backups) below O(builder_dir), each of
        the builder and the ring file.
    type: int
    default: 20
  allow_multiple_replica_moves:
    description:
      - Accept a push that moves more than one replica of a partition at once. Until replication
        has finished, such partitions have fewer copies where they are looked for.
    type: bool
    default: false
  allow_device_removal:
    description:
      - Accept to remove devices that still hold partitions. This ignores O(min_part_hours) and is
        meant for disks that are lost.
    type: bool
    default: false
  allow_missing_region:
    description:
      - Accept that a region gets no copy of partitions it has a copy of now, or would have in a
        new ring, or, with more regions than replicas, that a region gets two.
      - Regions in which every weight is 0 do not count, so a region can be drained without this.
        Lowering a region's weights in steps needs it, or O(overload). Adding a region in steps
        does not, since each step improves what is there.
    type: bool
    default: false
  allow_data_loss:
    description:
      - Accept to remove a ring, or to begin one anew whose builder is gone while its ring file is
        there.
    type: bool
    default: false
requirements:
  - swift (the Python package, 2.35 or newer), on the host that keeps the builders
attributes:
  check_mode:
    description:
      - Can run in check mode and say what a real run would change, touching nothing.
      - On a host without Swift's library, where a real run would have it installed first, it says
        that the ring would change, and warns that the plan is not known.
    support: full
  diff_mode:
    description: Can return the difference, device by device.
    support: full
  idempotent:
    description:
      - Run again at once, it changes nothing. Run again after O(min_part_hours), it moves what
        had to wait.
    support: full
notes:
  - A run that finds nothing to do writes no file, takes no lock, and keeps the version of the
    ring.
  - A rebalance of unchanged devices is saved only if it brings the ring nearer to its plan, so a
    ring that cannot be balanced better is left in peace.
  - Files belong to the user the module runs as and have mode V(0644). Servers load a new ring
    file by themselves within seconds; nothing has to be restarted.
  - C(<ring>.builder.id) records the id of the ring's builder. A builder that was created anew or
    copied over is refused.
seealso:
  - module: infn.cloud.swift_ring_info
  - name: The Rings
    description: How Swift places data.
    link: https://docs.openstack.org/swift/latest/overview_ring.html
"""

EXAMPLES = r"""
- name: Build the object ring
  infn.cloud.swift_ring:
    ring: object
    part_power: 14
    replicas: 3
    devices:
      - {region: 1, zone: 1, ip: 10.1.0.11, port: 6200, device: sdb, weight: 4000}
      - {region: 2, zone: 1, ip: 10.2.0.11, port: 6200, device: sdb, weight: 4000}
      - {region: 3, zone: 1, ip: 10.3.0.11, port: 6200, device: sdb, weight: 4000}
  register: ring

- name: Drain a disk; once it is empty, it can leave the list
  infn.cloud.swift_ring:
    ring: object
    part_power: 14
    replicas: 3
    overload: 0.5
    devices:
      - {region: 1, zone: 1, ip: 10.1.0.11, port: 6200, device: sdb, weight: 0}
      - {region: 1, zone: 1, ip: 10.1.0.12, port: 6200, device: sdb, weight: 4000}
      - {region: 2, zone: 1, ip: 10.2.0.11, port: 6200, device: sdb, weight: 4000}
      - {region: 3, zone: 1, ip: 10.3.0.11, port: 6200, device: sdb, weight: 4000}

- name: Say what a wish would move
  infn.cloud.swift_ring:
    ring: object-1
    part_power: 14
    replicas: 3
    overload: 0.1
    devices: "{{ devices }}"
  check_mode: true
  diff: true

- name: Say when a further push makes sense
  ansible.builtin.debug:
    msg: "Run again in {{ ring.retry_after }} s"
  when: ring.retry_after > 0

- name: Forget the ring of a storage policy whose data is gone
  infn.cloud.swift_ring:
    ring: object-1
    state: absent
    allow_data_loss: true
"""

RETURN = r"""
ring:
  description: The ring.
  type: str
  returned: success
  sample: object
builder:
  description: Path of the builder file.
  type: str
  returned: success
  sample: /etc/swift/builders/object.builder
ring_file:
  description: Path of the ring file.
  type: str
  returned: success
  sample: /etc/swift/builders/object.ring.gz
written:
  description: Paths of the files written, or to be written in check mode.
  type: list
  elements: str
  returned: success
removed:
  description: Paths of the files removed, or to be removed in check mode.
  type: list
  elements: str
  returned: success
id:
  description: Id of the builder; empty in check mode for a ring to be created.
  type: str
  returned: when O(state=present)
version:
  description: Version of the builder and the ring.
  type: int
  returned: when O(state=present)
rebalanced:
  description: Whether this push places or moves partitions, or gives up the ids of removed
    devices.
  type: bool
  returned: when O(state=present)
devices:
  description: What becomes of devices. Every entry has the C(id) and the C(name) of the device.
  type: dict
  returned: when O(state=present)
  contains:
    added:
      description: New devices, with their C(weight).
      type: list
      elements: dict
      sample: [{id: 3, name: 'r1z1-10.1.0.12:6200/sdb', weight: 4000.0}]
    changed:
      description: Edited devices, with C(changes), for each field its value C(before) and
        C(after).
      type: list
      elements: dict
      sample:
        - {id: 0, name: 'r1z1-10.1.0.11:6200/sdb', changes: {weight: {before: 4000.0, after: 0.0}}}
    draining:
      description: Devices of weight 0, with C(partitions_before) and C(partitions_after); drained
        when that is 0.
      type: list
      elements: dict
      sample:
        - {id: 0, name: 'r1z1-10.1.0.11:6200/sdb', partitions_before: 96, partitions_after: 0}
    removed:
      description: Devices that leave the ring, with C(partitions_before).
      type: list
      elements: dict
      sample: [{id: 0, name: 'r1z1-10.1.0.11:6200/sdb', partitions_before: 0}]
settings:
  description:
    - Changed settings of V(replicas), V(min_part_hours) and V(overload), each with its value
      C(before) and C(after).
  type: dict
  returned: when O(state=present)
  sample: {overload: {before: 0.0, after: 0.45}}
moves:
  description: What this push moves. The creation of a ring moves nothing.
  type: dict
  returned: when O(state=present)
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
    again:
      description: Those among them that moved less than O(min_part_hours) ago; more than 0 only
        where devices are removed.
      type: int
    histogram:
      description: Partitions by the number of their replicas that move. Keys are numbers written
        as strings.
      type: dict
      sample: {'0': 12288, '1': 4096}
balance:
  description:
    - How far the worst device is from its share, in percent, C(before) and C(after); 999.99 while
      a device of weight 0 holds partitions.
  type: dict
  returned: when O(state=present)
  sample: {before: 999.99, after: 0.4}
dispersion:
  description: Partition-replicas that are not as far apart as they could be, in percent,
    C(before) and C(after).
  type: dict
  returned: when O(state=present)
  sample: {before: 0.0, after: 0.0}
overload:
  description: The overload of the ring, as a factor.
  type: float
  returned: when O(state=present)
required_overload:
  description: The overload that would keep all replicas as far apart as they could be, rounded up
    to two decimals.
  type: float
  returned: when O(state=present)
regions:
  description: The regions, by number.
  type: list
  elements: dict
  returned: when O(state=present)
  contains:
    region:
      description: Number of the region.
      type: int
    devices:
      description: Devices in it, after.
      type: int
    weight:
      description: Sum of their weights.
      type: float
    partitions:
      description: Partition-replicas it holds, C(before) and C(after).
      type: dict
    missing:
      description: Partitions it has no copy of, C(before) and C(after), where there are replicas
        enough for every region.
      type: dict
    doubled:
      description: Partitions it has more than one copy of, C(before) and C(after), where there
        are more regions than replicas.
      type: dict
partitions:
  description: Partition-replicas of each device, C(before) and C(after), with its C(id), C(name),
    C(ip) and C(device), and with C(drain), whether none are wished there.
  type: list
  elements: dict
  returned: when O(state=present)
  sample:
    - id: 0
      name: r1z1-10.1.0.11:6200/sdb
      ip: 10.1.0.11
      device: sdb
      drain: false
      before: 4096
      after: 3072
min_part_seconds_left:
  description: Seconds until O(min_part_hours) have passed since the last push.
  type: int
  returned: when O(state=present)
retry_after:
  description:
    - Seconds until a further run will bring the ring nearer to its plan, because O(min_part_hours)
      holds partitions until then; 0 when nothing is left to do, or with O(rebalance=false).
  type: int
  returned: when O(state=present)
on_their_way:
  description:
    - Devices whose C(weight) is not yet, or no longer, the C(wished) one, because of
      O(weight_step).
  type: list
  elements: dict
  returned: when O(state=present)
  sample: [{id: 3, name: 'r1z1-10.1.0.12:6200/sdb', weight: 1000.0, wished: 4000.0}]
"""

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible_collections.infn.cloud.plugins.module_utils._swift_ring_builder import (
    Request,
    converge,
)
from ansible_collections.infn.cloud.plugins.module_utils._swift_ring_files import SWIFT_IMPORT_ERROR
from ansible_collections.infn.cloud.plugins.module_utils._swift_ring_plan import RingError

DEVICE = {
    "region": {"type": "int", "required": True},
    "zone": {"type": "int", "required": True},
    "ip": {"type": "str", "required": True},
    "port": {"type": "int", "required": True},
    "device": {"type": "str", "required": True},
    "weight": {"type": "float", "required": True},
    "meta": {"type": "str", "default": ""},
    "replication_ip": {"type": "str"},
    "replication_port": {"type": "int"},
    "drain": {"type": "bool", "default": False},
}
ARGUMENTS = {
    "ring": {"type": "str", "required": True},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "builder_dir": {"type": "path", "default": "/etc/swift/builders"},
    "part_power": {"type": "int"},
    "replicas": {"type": "float"},
    "min_part_hours": {"type": "int", "default": 24},
    "overload": {"type": "float", "default": 0.0},
    "devices": {"type": "list", "elements": "dict", "options": DEVICE},
    "weight_step": {"type": "float", "default": 100.0},
    "remove_drained": {"type": "bool", "default": True},
    "seed": {"type": "int", "default": 1},
    "rebalance": {"type": "bool", "default": True},
    "backups": {"type": "int", "default": 20},
    "allow_multiple_replica_moves": {"type": "bool", "default": False},
    "allow_device_removal": {"type": "bool", "default": False},
    "allow_missing_region": {"type": "bool", "default": False},
    "allow_data_loss": {"type": "bool", "default": False},
}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec=ARGUMENTS,
        required_if=[("state", "present", ("part_power", "replicas", "devices"))],
        supports_check_mode=True,
    )
    if SWIFT_IMPORT_ERROR is not None:
        if module.check_mode and module.params["state"] == "present":
            module.warn(
                "Swift's library is not installed yet: the ring cannot be planned in advance"
            )
            module.exit_json(changed=True)
        module.fail_json(msg=missing_required_lib("swift"), exception=SWIFT_IMPORT_ERROR)
    try:
        result = converge(Request.from_params(module.params), commit=not module.check_mode)
    except RingError as error:
        module.fail_json(msg=str(error))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
