#!/usr/bin/python
# SPDX-FileCopyrightText: The infn.cloud contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: storage_disks
short_description: Make all of a host's Swift data disks ready
version_added: 0.1.0
description:
  - Gives each disk an XFS file system with a label of its own, a line in fstab by UUID, and a
    mountpoint that belongs to root as long as nothing is mounted on it, so that Swift cannot fill
    the system's disk when a data disk is away.
  - All disks are examined before anything changes. A device that is missing, in use, too small, or
    not empty is refused, for all disks at once, with what is on it and what to do about it.
  - Empty means that C(blkid) knows no signature on the device.
  - An XFS file system that carries the disk's label already is taken over as it is.
options:
  disks:
    description:
      - The host's data disks. With O(state=present) there must be one at least.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description:
          - Name of the disk in the rings, and of its directory below O(mount_root).
          - Letters, digits, C(_) and C(-) only.
        type: str
        required: true
      device:
        description:
          - The block device. Name it in a way that survives a reboot, as C(/dev/disk/by-id/...).
        type: path
        required: true
      label:
        description:
          - Label of the XFS file system, 12 characters at most.
          - The default is C(swift-) and the name of the disk.
          - To take over a disk that was formatted by hand, give the label that it has.
        type: str
      wipe:
        description:
          - Destroy what is on the device, unless that is the disk's own file system.
          - Acts only together with O(allow_data_loss=true).
          - With O(state=absent) the disk's own file system is destroyed, and nothing else.
        type: bool
        default: false
  mount_root:
    description:
      - Directory below which the disks are mounted; what Swift's servers call C(devices).
    type: path
    default: /srv/node
  owner:
    description:
      - Owner of the root directory of each mounted disk.
    type: str
    default: swift
  group:
    description:
      - Group of the root directory of each mounted disk.
    type: str
    default: swift
  mount_options:
    description:
      - Options of the lines in fstab, separated by commas.
      - V(nofail) is added where it is not given, because without it one dead disk keeps the host
        from booting. V(noatime) includes C(nodiratime).
    type: str
    default: noatime,nofail
  mkfs_options:
    description:
      - Further options of C(mkfs.xfs), such as V(-i) and V(size=1024).
    type: list
    elements: str
    default: []
  state:
    description:
      - V(present) makes the disks ready.
      - V(absent) unmounts them, takes their lines out of fstab and removes their mountpoints. The
        file systems stay.
    type: str
    choices: [present, absent]
    default: present
  fstab:
    description:
      - The file that lists the mounts.
    type: path
    default: /etc/fstab
  allow_data_loss:
    description:
      - Confirms O(disks[].wipe).
    type: bool
    default: false
  missing:
    description:
      - What to do about a disk that fstab knows already and that is missing or cannot be read.
      - V(fail) refuses, V(skip) reports it in RV(missing) and goes on with the others.
      - A disk that was never set up on this host is refused in any case.
    type: str
    choices: [fail, skip]
    default: fail
attributes:
  check_mode:
    description: Can predict its changes without making them.
    support: full
  diff_mode:
    description: Shows what changes in fstab, and on which disk.
    support: full
  idempotent:
    description: A second run changes nothing.
    support: full
requirements:
  - util-linux
  - xfsprogs
author:
  - The infn.cloud contributors (@infn-cloud)
"""

EXAMPLES = r"""
- name: Make the data disks ready
  infn.cloud.storage_disks:
    disks:
      - name: d1
        device: /dev/disk/by-id/wwn-0x5000c500a1b2c3d4
      - name: d2
        device: /dev/disk/by-id/wwn-0x5000c500a1b2c3d5

- name: Destroy what was on a disk that comes from another machine
  infn.cloud.storage_disks:
    disks:
      - name: d3
        device: /dev/disk/by-id/wwn-0x5000c500a1b2c3d6
        wipe: true
    allow_data_loss: true

- name: Go on while a disk waits for its replacement
  infn.cloud.storage_disks:
    disks: "{{ swift_storage_disks }}"
    missing: skip
"""

RETURN = r"""
disks:
  description: The disks that are ready, or would be.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: Name of the disk.
      type: str
    device:
      description: The device as it was named.
      type: str
    label:
      description: Label of the file system.
      type: str
    mountpoint:
      description: Where the disk is mounted.
      type: str
    uuid:
      description: UUID of the file system; none in check mode as long as there is no file system.
      type: str
    size_bytes:
      description: Size of the device.
      type: int
    weight:
      description: Size in GiB, a weight for the rings.
      type: float
    mounted:
      description: Whether the disk is mounted.
      type: bool
    created:
      description: Whether the disk was formatted, or would be.
      type: bool
  sample:
    - created: true
      device: /dev/disk/by-id/wwn-0x5000c500a1b2c3d4
      label: swift-d1
      mounted: true
      mountpoint: /srv/node/d1
      name: d1
      size_bytes: 8001563222016
      uuid: 5f1c0c5e-5a5c-4f4e-8d6a-0d5d1a6a8f10
      weight: 7452.04
missing:
  description: The disks that were skipped.
  returned: success
  type: list
  elements: dict
  sample:
    - device: /dev/disk/by-id/wwn-0x5000c500a1b2c3d5
      name: d2
      reason: does not exist
actions:
  description: What was done, or would be.
  returned: success
  type: list
  elements: str
  sample: ["d1: format /dev/sdb as xfs, label swift-d1", "d1: mount on /srv/node/d1"]
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.infn.cloud.plugins.module_utils._storage_disks import (
    DiskError,
    ensure_disks,
)

ARGUMENTS = {
    "disks": {
        "type": "list",
        "elements": "dict",
        "required": True,
        "options": {
            "name": {"type": "str", "required": True},
            "device": {"type": "path", "required": True},
            "label": {"type": "str"},
            "wipe": {"type": "bool", "default": False},
        },
    },
    "mount_root": {"type": "path", "default": "/srv/node"},
    "owner": {"type": "str", "default": "swift"},
    "group": {"type": "str", "default": "swift"},
    "mount_options": {"type": "str", "default": "noatime,nofail"},
    "mkfs_options": {"type": "list", "elements": "str", "default": []},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "fstab": {"type": "path", "default": "/etc/fstab"},
    "allow_data_loss": {"type": "bool", "default": False},
    "missing": {"type": "str", "choices": ["fail", "skip"], "default": "fail"},
}


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    module.run_command_environ_update = {"LANG": "C", "LC_ALL": "C"}
    try:
        result = ensure_disks(module.params, module, commit=not module.check_mode)
    except DiskError as error:
        module.fail_json(msg=str(error))
    for warning in result.pop("warnings"):
        module.warn(warning)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
