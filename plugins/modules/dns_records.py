#!/usr/bin/python
# SPDX-FileCopyrightText: The infn.cloud contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module: record sets of a zone, by dynamic update."""

from __future__ import annotations

DOCUMENTATION = r"""
module: dns_records
short_description: Keep record sets of a DNS zone as wished, by dynamic update
version_added: 0.1.0
author: The infn.cloud contributors (@infn-cloud)
description:
  - Compares record sets with what a server says now and writes those that differ, all of a zone in
    one signed update (RFC 2136, RFC 8945) over one connection.
  - A record set is all records of one name and one type. Those that O(records) does not name are
    not touched, so that others can keep theirs in the same zone.
  - An update carries what was found before it. If somebody else changed the same record set in
    between, the server refuses it, and it is compared anew.
  - Asks afterwards for what was written, because a server leaves out in silence what cannot stand
    beside other records.
requirements:
  - dnspython 2.1 or newer (C(python3-dnspython)) on the host that runs it
options:
  zone:
    description: The zone, without a dot at the end.
    type: str
    required: true
  other_zones:
    description: More zones of the same server, in which absolute names of O(records) can be.
    type: list
    elements: str
    default: []
  records:
    description: The record sets.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description:
          - Name of the records, relative to the zone; V(@) is the zone itself. With a dot at the
            end it is absolute.
        type: str
        required: true
      type:
        description: The type, such as V(A), V(CNAME) or V(TXT).
        type: str
        required: true
      values:
        description:
          - The values, as a zone file has them. Names without a dot at the end are relative to the
            zone.
          - A V(TXT) value that does not begin with a quotation mark is one text, however long, and
            whatever is in it.
        type: list
        elements: str
      ttl:
        description: Seconds for which others may remember them. The default is O(ttl).
        type: int
      state:
        description: Whether there shall be such records.
        type: str
        choices: [present, absent]
        default: present
  ttl:
    description: Seconds for which others may remember records that do not say it themselves.
    type: int
    default: 300
  server:
    description: Address of a server that takes updates of the zone, or passes them on.
    type: str
    default: 127.0.0.1
  port:
    description: TCP port of the server.
    type: int
    default: 53
  key:
    description:
      - The key that signs, as a C(key) statement of BIND, which C(tsig-keygen) prints.
      - By default what O(key_file) has.
    type: str
  key_file:
    description:
      - A file on the host with such a statement. BIND makes this one when it starts, for updates
        from its own host.
    type: path
    default: /run/named/session.key
  timeout:
    description: Seconds to wait for an answer.
    type: int
    default: 10
attributes:
  check_mode:
    description: Asks, and predicts every change.
    support: full
  diff_mode:
    description: Shows the records before and after.
    support: full
  idempotent:
    description: A second run changes nothing.
    support: full
notes:
  - M(community.general.nsupdate) writes one record set in one call, without saying what it found.
seealso:
  - module: community.general.nsupdate
"""

EXAMPLES = r"""
- name: Give a service its names
  infn.cloud.dns_records:
    zone: cms.cloud.example.org
    server: 192.0.2.53
    key: "{{ vault_cms_dns_key }}"
    records:
      - {name: portal, type: A, values: [192.0.2.80]}
      - {name: www, type: CNAME, values: [portal]}
      - {name: old, type: A, state: absent}
"""

RETURN = r"""
removed:
  description: Records that went, as lines of a zone file.
  returned: success
  type: list
  elements: str
added:
  description: Records that came, as lines of a zone file.
  returned: success
  type: list
  elements: str
  sample: [portal.cms.cloud.example.org. 300 IN A 192.0.2.80]
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible_collections.infn.cloud.plugins.module_utils._dns_records import (
    MISSING,
    RecordsError,
    Server,
    by_zone,
    read,
    reconcile,
)

SPEC: dict[str, Any] = {
    "zone": {"type": "str", "required": True},
    "other_zones": {"type": "list", "elements": "str", "default": []},
    "records": {
        "type": "list",
        "elements": "dict",
        "required": True,
        "options": {
            "name": {"type": "str", "required": True},
            "type": {"type": "str", "required": True},
            "values": {"type": "list", "elements": "str"},
            "ttl": {"type": "int"},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
    },
    "ttl": {"type": "int", "default": 300},
    "server": {"type": "str", "default": "127.0.0.1"},
    "port": {"type": "int", "default": 53},
    "key": {"type": "str", "no_log": True},
    "key_file": {"type": "path", "default": "/run/named/session.key", "no_log": False},
    "timeout": {"type": "int", "default": 10},
}


def main() -> None:
    module = AnsibleModule(SPEC, supports_check_mode=True)
    if MISSING:
        module.fail_json(msg=missing_required_lib("dnspython"), exception=str(MISSING))
    given = module.params
    key = given["key"]
    if not key:
        try:
            with open(given["key_file"], encoding="utf-8") as file:
                key = file.read()
        except OSError as error:
            module.fail_json(msg=f"the key that signs updates: {error}; give key, or key_file")
    removed: list[str] = []
    added: list[str] = []
    try:
        others = given["other_zones"]
        wishes = read(given["records"], given["zone"], given["ttl"], others)
        for zone, here in by_zone(wishes, [given["zone"], *others]).items():
            server = Server(
                given["server"], given["port"], zone, key_text=key, timeout=given["timeout"]
            )
            gone, come = reconcile(server, here, check=module.check_mode)
            removed += gone
            added += come
    except RecordsError as error:
        module.fail_json(msg=str(error))
    module.exit_json(
        changed=bool(removed or added), removed=removed, added=added,
        diff={"before": "".join(f"{line}\n" for line in removed),
              "after": "".join(f"{line}\n" for line in added),
              "before_header": given["zone"], "after_header": given["zone"]},
    )  # fmt: skip


if __name__ == "__main__":
    main()
