#!/usr/bin/python
# SPDX-FileCopyrightText: The infn.cloud contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module: delegations, their DS records and the catalog of a primary DNS server."""

from __future__ import annotations

DOCUMENTATION = r"""
module: dns_delegations
short_description: Delegate zones on the primary DNS server that has them and their parent
version_added: 0.1.0
author: The infn.cloud contributors (@infn-cloud)
description:
  - Enters zones into the catalog that the secondary servers follow (RFC 9432), waits until new ones
    are signed and served, and then writes their NS and DS records into the parent, in one update.
  - Keeps the NS records of the members themselves the same as those above them.
  - A child that is delegated says by its CDS records which DS it wants (RFC 7344). Called
    from time to time, it lets keys roll over by themselves.
  - A zone is not delegated before a secondary server serves it. Servers that are away are reported,
    not waited for longer than O(wait).
  - Takes zones away in the other order, with the DS first, and the rest when nobody remembers it.
requirements:
  - dnspython 2.1 or newer (C(python3-dnspython)) on the host that runs it, which is the primary
    server
  - cryptography (C(python3-cryptography)) there, for O(backup)
options:
  parent:
    description: The zone above, without a dot at the end.
    type: str
    required: true
  delegations:
    description: Zones below it, and whether each is signed.
    type: dict
    default: {}
  name_servers:
    description: Names of the servers that answer for them, absolute, with a dot at the end.
    type: list
    elements: str
    required: true
  catalog:
    description: The catalog zone. Without one, zones are not entered anywhere.
    type: str
    default: ""
  members:
    description:
      - Zones that the secondary servers serve. A delegation that is no member is not waited for.
    type: list
    elements: str
    default: []
  key_file:
    description: A file with the key that signs updates and transfers, a C(key) statement of BIND.
    type: path
    default: /run/named/session.key
  ttl:
    description: Seconds for which others may remember the NS and DS records.
    type: int
    default: 300
  wait:
    description: Seconds to wait until new zones are signed and served.
    type: int
    default: 15
  withdraw:
    description:
      - Zones to take out of the parent and the catalog. The run waits until nobody remembers their
        DS, which takes the TTL that it had.
      - With it, O(delegations) and O(members) are left alone.
    type: list
    elements: str
    default: []
  keep:
    description: Directory for a copy of each zone that is withdrawn.
    type: path
  purge:
    description:
      - Zones of which the files in O(directory) and the keys in O(key_directory) are deleted. One
        that the server still has is refused.
    type: list
    elements: str
    default: []
  files:
    description:
      - Names of the files in O(directory) that zones have now. Whatever else is there of such a
        zone (C(zone.db), or that with eight hexadecimal digits behind it) is deleted.
    type: dict
    default: {}
  directory:
    description: Directory of the zone files.
    type: path
    default: /var/lib/bind
  key_directory:
    description: Directory of the keys that sign zones.
    type: path
    default: /var/lib/bind/keys
  backup:
    description:
      - A zone to keep copies of the keys in O(key_directory) in, one TXT record for each of
        O(members), for servers that can become the primary.
      - A copy is no change of the run, because the server renews them by itself as well.
    type: str
    default: ""
  backup_secret:
    description: What the copies are encrypted with. Needed with O(backup).
    type: str
extends_documentation_fragment:
  - infn.cloud._dns.servers
attributes:
  check_mode:
    description: Predicts the changes. Of a new zone it knows the NS records, not yet the DS.
    support: full
  diff_mode:
    description: Shows the records before and after.
    support: full
  idempotent:
    description: A second run changes nothing.
    support: full
seealso:
  - module: infn.cloud.dns_info
  - module: infn.cloud.dns_records
"""

EXAMPLES = r"""
- name: Delegate a project's zone
  infn.cloud.dns_delegations:
    parent: cloud.example.org
    delegations: {cms.cloud.example.org: true}
    name_servers: [ns1.cloud.example.org., ns2.cloud.example.org.]
    catalog: catalog.cloud.example.org
    members: [cloud.example.org, cms.cloud.example.org]
    servers: {ns1: 192.0.2.53, ns2: 198.51.100.53}

- name: Take it away again
  infn.cloud.dns_delegations:
    parent: cloud.example.org
    name_servers: [ns1.cloud.example.org., ns2.cloud.example.org.]
    catalog: catalog.cloud.example.org
    withdraw: [cms.cloud.example.org]
    keep: /var/lib/bind/removed
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
  sample: [cms.cloud.example.org. 300 IN NS ns1.cloud.example.org.]
unconfirmed:
  description: What could not be seen done, such as a new zone at a server that is away.
  returned: success
  type: list
  elements: str
  sample: ["cms.cloud.example.org: not seen at padova-gw1"]
copied:
  description: Zones whose keys were copied.
  returned: success
  type: list
  elements: str
purged:
  description: Files that were deleted.
  returned: success
  type: list
  elements: str
"""

from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible_collections.infn.cloud.plugins.module_utils._dns_delegations import (
    SERVERS,
    Delegations,
    Settings,
    look,
    purge,
)
from ansible_collections.infn.cloud.plugins.module_utils._dns_keys import publish
from ansible_collections.infn.cloud.plugins.module_utils._dns_records import (
    MISSING,
    RecordsError,
)

SPEC: dict[str, Any] = {
    "parent": {"type": "str", "required": True},
    "delegations": {"type": "dict", "default": {}},
    "name_servers": {"type": "list", "elements": "str", "required": True},
    "catalog": {"type": "str", "default": ""},
    "members": {"type": "list", "elements": "str", "default": []},
    **SERVERS,
    "key_file": {"type": "path", "default": "/run/named/session.key", "no_log": False},
    "ttl": {"type": "int", "default": 300},
    "wait": {"type": "int", "default": 15},
    "withdraw": {"type": "list", "elements": "str", "default": []},
    "keep": {"type": "path"},
    "purge": {"type": "list", "elements": "str", "default": []},
    "files": {"type": "dict", "default": {}},
    "directory": {"type": "path", "default": "/var/lib/bind"},
    "key_directory": {"type": "path", "default": "/var/lib/bind/keys", "no_log": False},
    "backup": {"type": "str", "default": ""},
    "backup_secret": {"type": "str", "no_log": True},
}
SETTINGS = ("parent", "name_servers", "catalog", "members", "servers", "server_port", "primary",
            "port", "ttl", "wait")  # fmt: skip


def main() -> None:
    module = AnsibleModule(SPEC, supports_check_mode=True)
    if MISSING:
        module.fail_json(msg=missing_required_lib("dnspython"), exception=str(MISSING))
    given = module.params
    if given["backup"] and not given["backup_secret"]:
        module.fail_json(msg="backup needs backup_secret, which the copies are encrypted with")
    delegations = {zone: bool(signed) for zone, signed in given["delegations"].items()}
    settings = Settings(delegations=delegations, **{name: given[name] for name in SETTINGS})
    purged: list[str] = []
    copied: list[str] = []
    try:
        key_text = Path(given["key_file"]).read_text(encoding="utf-8")
        work = Delegations(settings, key_text, check=module.check_mode)
        if given["withdraw"]:
            outcome = work.withdraw(
                given["withdraw"], Path(given["keep"]) if given["keep"] else None
            )
        else:
            outcome = work.establish()
        purged = purge(
            given["purge"], given["files"],
            Path(given["directory"]), Path(given["key_directory"]),
            served=lambda zone: look(given["primary"], given["port"], zone, 5) is not None,
            check=module.check_mode,
        )  # fmt: skip
        if given["backup"] and not given["withdraw"]:
            copied = publish(
                work.server(given["backup"]), given["backup"], given["members"],
                Path(given["key_directory"]), given["backup_secret"], check=module.check_mode,
            )  # fmt: skip
    except (RecordsError, OSError) as error:
        module.fail_json(msg=str(error))
    for line in outcome.unconfirmed:
        module.warn(line)
    module.exit_json(
        changed=bool(outcome.removed or outcome.added or purged),
        removed=outcome.removed, added=outcome.added, unconfirmed=outcome.unconfirmed,
        purged=purged, copied=copied,
        diff={"before": "".join(f"{line}\n" for line in [*outcome.removed, *purged]),
              "after": "".join(f"{line}\n" for line in outcome.added),
              "before_header": given["parent"], "after_header": given["parent"]},
    )  # fmt: skip


if __name__ == "__main__":
    main()
