#!/usr/bin/python
# SPDX-FileCopyrightText: The infn.cloud contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: swift_object_info
short_description: See where an object of Swift really lies
version_added: 0.1.0
description:
  - Looks objects, containers and accounts up in the rings and asks each of their servers directly,
    all at once, whether it has its copy.
  - Run it as root on a host that has the rings and reaches the storage servers, such as a proxy.
  - A server that cannot be reached, or has no copy, is listed and is no failure.
options:
  objects:
    description:
      - What to look for. Without O(objects[].object) it is a container, without
        O(objects[].container) an account.
    type: list
    elements: dict
    required: true
    suboptions:
      account:
        description:
          - The account, with its prefix, as in the storage URL.
        type: str
        required: true
      container:
        description:
          - The container.
        type: str
      object:
        description:
          - The object.
        type: str
      etag:
        description:
          - The checksum that every copy of an object should have.
        type: str
  only_incomplete:
    description:
      - Whether to leave out of RV(objects) what is complete. Of many objects one wants to see
        those only.
    type: bool
    default: false
  policy:
    description:
      - Index of the storage policy of the objects.
    type: int
    default: 0
  handoffs:
    description:
      - How many devices to ask besides those of the ring, in the order in which Swift uses them
        while a server is away.
    type: int
    default: 0
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
  deadline:
    description:
      - Seconds that all questions may take.
    type: float
    default: 60
requirements:
  - swift (python3-swift), as on every host of the cluster
extends_documentation_fragment: infn.cloud._attributes.info
seealso:
  - module: infn.cloud.swift_recon_info
author:
  - The infn.cloud contributors (@infn-cloud)
"""

EXAMPLES = r"""
- name: Ask where an object lies
  infn.cloud.swift_object_info:
    objects:
      - account: AUTH_8f0c1b6d0d7c4f6f9b1b2f3a4c5d6e7f
        container: runs
        object: 2026/run-1.root
  register: copies
  become: true

- name: Refuse to go on before every region has its copy
  ansible.builtin.assert:
    that: copies.objects | map(attribute='regions') | map('length') | min == 3
    fail_msg: Objects lack a copy in a region; wait for the replicators.
"""

RETURN = r"""
complete:
  description: Number of targets that are complete.
  returned: success
  type: int
incomplete:
  description: Number of targets that are not.
  returned: success
  type: int
wrong:
  description: Number of copies, of all targets, whose checksum is wrong.
  returned: success
  type: int
objects:
  description: What was found, in the order of the question.
  returned: success
  type: list
  elements: dict
  contains:
    account:
      description: The account.
      type: str
    container:
      description: The container.
      type: str
    object:
      description: The object.
      type: str
    partition:
      description: Its partition in the ring.
      type: int
    copies:
      description: Number of devices that have it, handoffs included.
      type: int
    regions:
      description: Regions that have a copy.
      type: list
      elements: int
    replicas:
      description: The devices that were asked, those of the ring first.
      type: list
      elements: dict
      contains:
        region:
          description: Region of the device.
          type: int
        zone:
          description: Zone of the device.
          type: int
        ip:
          description: Address of its server.
          type: str
        port:
          description: Port of its server.
          type: int
        device:
          description: Name of the device.
          type: str
        host:
          description: What the ring says about the device, usually its host's name.
          type: str
        handoff:
          description: Whether the device only stands in for others.
          type: bool
        status:
          description: The HTTP status; null if there was no answer, 404 if there is no copy.
          type: int
        error:
          description: Why there was no answer.
          type: str
        etag:
          description: Checksum of an object's copy.
          type: str
        timestamp:
          description:
            - When the copy was written; with the status 404, when it was deleted. Null if it never
              was there.
          type: str
        bytes:
          description: Size of the object, or of all that the container or account holds.
          type: int
  sample:
    - account: AUTH_8f0c1b6d0d7c4f6f9b1b2f3a4c5d6e7f
      container: runs
      object: 2026/run-1.root
      partition: 5377
      copies: 1
      regions: [2]
      wrong: 0
      complete: false
      replicas:
        - region: 2
          zone: 1
          ip: 10.0.2.11
          port: 6200
          device: d1
          host: bari-st1
          handoff: false
          status: 200
          error:
          etag: d41d8cd98f00b204e9800998ecf8427e
          timestamp: "1795450000.12345"
          bytes: 0
"""

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible_collections.infn.cloud.plugins.module_utils._swift_objects import (
    SWIFT_IMPORT_ERROR,
    RequestError,
    look,
)

ARGUMENTS = {
    "objects": {
        "type": "list",
        "elements": "dict",
        "required": True,
        "options": {
            "account": {"type": "str", "required": True},
            "container": {"type": "str"},
            "object": {"type": "str"},
            "etag": {"type": "str"},
        },
    },
    "only_incomplete": {"type": "bool", "default": False},
    "policy": {"type": "int", "default": 0},
    "handoffs": {"type": "int", "default": 0},
    "swift_dir": {"type": "path", "default": "/etc/swift"},
    "timeout": {"type": "float", "default": 5},
    "deadline": {"type": "float", "default": 60},
}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    if SWIFT_IMPORT_ERROR is not None:
        module.fail_json(msg=missing_required_lib("swift"), exception=SWIFT_IMPORT_ERROR)
    try:
        objects = look(module.params)
    except RequestError as error:
        module.fail_json(msg=str(error))
    incomplete = [found for found in objects if not found["complete"]]
    module.exit_json(
        changed=False,
        complete=len(objects) - len(incomplete),
        incomplete=len(incomplete),
        wrong=sum(found["wrong"] for found in objects),
        objects=incomplete if module.params["only_incomplete"] else objects,
    )


if __name__ == "__main__":
    main()
