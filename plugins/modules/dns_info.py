#!/usr/bin/python
# SPDX-FileCopyrightText: The infn.cloud contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module: how zones are at all of their servers."""

from __future__ import annotations

DOCUMENTATION = r"""
module: dns_info
short_description: How zones are at each of their DNS servers
version_added: 0.1.0
author: The infn.cloud contributors (@infn-cloud)
description:
  - Asks all servers at once for their copies of the zones, and tells which are old, missing,
    without signatures, or with signatures that are about to end.
  - A server that does not answer is part of the result, not an error.
requirements:
  - dnspython 2.1 or newer (C(python3-dnspython)) on the host that runs it
options:
  zones:
    description: The zones, without a dot at the end.
    type: list
    elements: str
    required: true
  signed:
    description: Those of them that are signed.
    type: list
    elements: str
    default: []
  alarm_days:
    description: Days before the end of a signature from which on it is a fault.
    type: float
    default: 3
  timeout:
    description: Seconds to wait for an answer.
    type: float
    default: 5
extends_documentation_fragment:
  - infn.cloud._dns.servers
  - infn.cloud._attributes.info
seealso:
  - module: infn.cloud.dns_delegations
"""

EXAMPLES = r"""
- name: Look at the federation's zone
  infn.cloud.dns_info:
    zones: [cloud.example.org]
    signed: [cloud.example.org]
    primary: 192.0.2.10
    servers: {ns1: 192.0.2.53, ns2: 198.51.100.53}
  register: dns

- name: Say what is wrong
  ansible.builtin.debug:
    msg: "{{ dns.faults }}"
"""

RETURN = r"""
zones:
  description:
    - For each zone C(servers), the primary as V(primary), each with C(serial) and C(signature_days)
      (null without a signature), or null if it does not serve the zone.
  returned: success
  type: dict
  sample: {cloud.example.org: {servers: {ns1: {serial: 1764290000, signature_days: 12.4}}}}
faults:
  description: Sentences; none if all is well.
  returned: success
  type: list
  elements: str
  sample: ["cloud.example.org: ns2 does not serve it"]
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible_collections.infn.cloud.plugins.module_utils._dns_delegations import (
    SERVERS,
    Delegations,
    Settings,
)
from ansible_collections.infn.cloud.plugins.module_utils._dns_records import MISSING

SPEC: dict[str, Any] = {
    "zones": {"type": "list", "elements": "str", "required": True},
    "signed": {"type": "list", "elements": "str", "default": []},
    **SERVERS,
    "alarm_days": {"type": "float", "default": 3},
    "timeout": {"type": "float", "default": 5},
}


def main() -> None:
    module = AnsibleModule(SPEC, supports_check_mode=True)
    if MISSING:
        module.fail_json(msg=missing_required_lib("dnspython"), exception=str(MISSING))
    given = module.params
    settings = Settings(
        parent="", name_servers=(), delegations=dict.fromkeys(given["signed"], True),
        **{name: given[name] for name in
           ("servers", "server_port", "primary", "port", "alarm_days", "timeout")},
    )  # fmt: skip
    module.exit_json(changed=False, **Delegations(settings, "").status(given["zones"]))


if __name__ == "__main__":
    main()
