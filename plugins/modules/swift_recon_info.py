#!/usr/bin/python
# SPDX-FileCopyrightText: The infn.cloud contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: swift_recon_info
short_description: Ask many Swift servers what they see, and compare
version_added: 0.1.0
description:
  - Asks the C(recon) middleware of account, container and object servers, all at once, as
    C(swift-recon) does, and compares rings and configuration between them.
  - A server that cannot be reached is listed and is no failure; whether it matters is the
    playbook's decision.
options:
  servers:
    description:
      - The servers to ask.
    type: list
    elements: dict
    required: true
    suboptions:
      host:
        description:
          - Name of the host in messages and results.
        type: str
        required: true
      address:
        description:
          - Address the server listens on. An address is better than a name, whose resolution no
            timeout ends.
        type: str
        required: true
      port:
        description:
          - Port the server listens on.
        type: int
        required: true
      kind:
        description:
          - Kind of the server.
        type: str
        choices: [account, container, object]
        required: true
  checks:
    description:
      - What to ask each server.
      - V(async), V(driveaudit) and V(quarantined) tell about the host or its objects; ask object
        servers only.
    type: list
    elements: str
    choices:
      - ringmd5
      - swiftconfmd5
      - unmounted
      - replication
      - auditor
      - diskusage
      - async
      - quarantined
      - driveaudit
      - version
      - time
    default: [ringmd5]
  timeout:
    description:
      - Seconds that one question may take altogether.
    type: float
    default: 5
  deadline:
    description:
      - Seconds that all questions may take. What was not asked by then counts as not reached.
    type: float
    default: 60
  expect:
    description:
      - The rings that all servers should have, as names and md5 checksums.
      - A ring that a server lists as null is one that it does not use.
    type: dict
extends_documentation_fragment: infn.cloud._attributes.info
seealso:
  - module: infn.cloud.swift_ring_bundle
author:
  - The infn.cloud contributors (@infn-cloud)
"""

EXAMPLES = r"""
- name: Wait until every server has loaded the published rings
  infn.cloud.swift_recon_info:
    servers: "{{ swift_recon_servers }}"
    expect:
      account.ring.gz: 0f343b0931126a20f133d67c2b018a3b
      container.ring.gz: 74b87337454200d4d33f80c4663dc5e5
      object.ring.gz: 08f8e0260c64418510cefb2b06eee5cd
  register: swift_recon
  until: swift_recon.agreed
  retries: 6
  delay: 5

- name: Look for dead disks
  infn.cloud.swift_recon_info:
    servers:
      - host: bari-st1
        address: 10.0.2.11
        port: 6200
        kind: object
    checks: [unmounted, version]
"""

RETURN = r"""
servers:
  description: What each server said, in the order of the question, with one key for each check.
  returned: success
  type: list
  elements: dict
  contains:
    host:
      description: Name of the host.
      type: str
    address:
      description: Address that was asked.
      type: str
    port:
      description: Port that was asked.
      type: int
    kind:
      description: Kind of the server.
      type: str
    ok:
      description: Whether every question was answered.
      type: bool
    reached:
      description: Whether the server answered at all.
      type: bool
    error:
      description: The first thing that went wrong.
      type: str
    ringmd5:
      description: Checksums of the rings; null is a ring that the server does not use.
      type: dict
    swiftconfmd5:
      description: Checksum of C(swift.conf).
      type: dict
    unmounted:
      description: Names of the disks that are not mounted.
      type: list
      elements: str
    version:
      description: Version of Swift.
      type: str
  sample:
    - address: 10.0.2.11
      error:
      host: bari-st1
      kind: object
      ok: true
      port: 6200
      reached: true
      ringmd5: {object.ring.gz: 08f8e0260c64418510cefb2b06eee5cd}
not_reached:
  description: The servers that did not answer, and why.
  returned: success
  type: list
  elements: str
  sample: ["padova-st1 (object 10.0.3.11:6200): GET /recon/ringmd5: Connection refused"]
ring_agreement:
  description: Which hosts have which version of each ring.
  returned: success
  type: dict
  sample: {object.ring.gz: {08f8e0260c64418510cefb2b06eee5cd: [bari-st1, cnaf-st1]}}
swiftconf_agreement:
  description: Which hosts have which C(swift.conf), as for rings.
  returned: success
  type: dict
disagreements:
  description: One message for each server that differs, or that was reached and answered badly.
  returned: success
  type: list
  elements: str
agreed:
  description:
    - Whether all servers that were reached have the expected rings, and each expected ring is
      reported by one of them at least. Servers that were not reached are left out.
  returned: when O(expect) is given
  type: bool
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.infn.cloud.plugins.module_utils._swift_recon import RequestError, recon

ARGUMENTS = {
    "servers": {
        "type": "list",
        "elements": "dict",
        "required": True,
        "options": {
            "host": {"type": "str", "required": True},
            "address": {"type": "str", "required": True},
            "port": {"type": "int", "required": True},
            "kind": {
                "type": "str",
                "choices": ["account", "container", "object"],
                "required": True,
            },
        },
    },
    "checks": {
        "type": "list",
        "elements": "str",
        "choices": [
            "ringmd5",
            "swiftconfmd5",
            "unmounted",
            "replication",
            "auditor",
            "diskusage",
            "async",
            "quarantined",
            "driveaudit",
            "version",
            "time",
        ],
        "default": ["ringmd5"],
    },
    "timeout": {"type": "float", "default": 5},
    "deadline": {"type": "float", "default": 60},
    "expect": {"type": "dict"},
}


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    try:
        result = recon(module.params)
    except RequestError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
