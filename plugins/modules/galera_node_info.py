#!/usr/bin/python
# SPDX-FileCopyrightText: The infn.cloud contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: galera_node_info
short_description: Ask a MariaDB server what it knows of its Galera cluster
version_added: 0.1.0
description:
  - Asks the running server, or reads the state that a stopped one saved.
  - A host without MariaDB is no failure; it answers that nothing is there.
options:
  data_dir:
    description:
      - The server's data directory.
    type: path
    default: /var/lib/mysql
  recover:
    description:
      - Whether to find the last write of a stopped server whose saved state does not tell it, with
        the C(galera_recovery) of its package. Without effect in check mode and on a running server.
    type: bool
    default: false
extends_documentation_fragment: infn.cloud._attributes.info
seealso:
  - plugin: infn.cloud.galera_plan
    plugin_type: filter
author:
  - The infn.cloud contributors (@infn-cloud)
"""

EXAMPLES = r"""
- name: Wait until the server has all data of the cluster
  infn.cloud.galera_node_info:
  register: node
  until: node.synced and node.size == 3
  retries: 30
  delay: 2
"""

RETURN = r"""
running:
  description: Whether the server answers.
  returned: success
  type: bool
starting:
  description: Whether the unit is about to start, for instance while all data is copied to it.
  returned: success
  type: bool
wsrep:
  description: Whether the running server takes part in replication.
  returned: success
  type: bool
primary:
  description: Whether it belongs to a component of the cluster that may write.
  returned: success
  type: bool
synced:
  description: Whether it also has all data and takes clients' questions.
  returned: success
  type: bool
doing:
  description: What it does, as V(Synced), V(Donor/Desynced), V(Joining) or V(Initialized).
  returned: success
  type: str
size:
  description: Members of its component, arbitrators included.
  returned: success
  type: int
uuid:
  description: The running cluster's identity.
  returned: success
  type: str
seqno:
  description: Number of the last write that the running server has.
  returned: success
  type: int
version:
  description: Version of the running server.
  returned: success
  type: str
provider_options:
  description: What the replication library runs with.
  returned: success
  type: str
databases:
  description: Names of the databases' directories, without the server's own.
  returned: success
  type: list
  elements: str
saved_uuid:
  description: The cluster that the server was in, empty if it never was in one.
  returned: success
  type: str
saved_seqno:
  description: The last write as saved; -1 while it runs and after a crash.
  returned: success
  type: int
safe_to_bootstrap:
  description: Whether it was the last one to stop.
  returned: success
  type: bool
recovered_uuid:
  description: As RV(saved_uuid), or found by O(recover).
  returned: success
  type: str
recovered_seqno:
  description: As RV(saved_seqno), or found by O(recover).
  returned: success
  type: int
"""

import os
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.infn.cloud.plugins.module_utils._galera import (
    GaleraError,
    describe,
    read_grastate,
    read_position,
    user_databases,
)

ARGUMENTS: dict[str, Any] = {
    "data_dir": {"type": "path", "default": "/var/lib/mysql"},
    "recover": {"type": "bool", "default": False},
}
# A server without a quorum answers nothing else.
QUESTION = """
    SHOW GLOBAL VARIABLES WHERE Variable_name IN ('version', 'wsrep_on', 'wsrep_provider_options');
    SHOW GLOBAL STATUS LIKE 'wsrep%';
"""


def ask(module: AnsibleModule) -> dict[str, str]:
    """The variables of the running server; nothing where none answers."""
    client = module.get_bin_path("mariadb")
    if client is None:
        return {}
    words = ["--batch", "--skip-column-names", "--connect-timeout=5", "--execute", QUESTION]
    code, output, _errors = module.run_command([client, *words])
    if code != 0:
        return {}
    pairs = (line.split("\t", 1) for line in output.splitlines())
    return {pair[0]: pair[1] for pair in pairs if len(pair) == 2}


def is_starting(module: AnsibleModule) -> bool:
    """Whether systemd waits for the server."""
    systemctl = module.get_bin_path("systemctl", required=True)
    command = [systemctl, "show", "--property=ActiveState", "--value", "mariadb.service"]
    _code, output, _errors = module.run_command(command)
    return output.strip() in ("activating", "reloading", "deactivating")


def read(path: str) -> str:
    """The text of a file, empty where there is none."""
    if not os.path.exists(path):
        return ""
    with open(path, encoding="utf-8", errors="replace") as stream:
        return stream.read()


def directories(path: str) -> list[str]:
    """Names of the directories in a directory."""
    if not os.path.isdir(path):
        return []
    return [entry.name for entry in os.scandir(path) if entry.is_dir(follow_symlinks=False)]


def recovered(module: AnsibleModule) -> tuple[str, int]:
    """The last write of a stopped server, as its storage engine knows it."""
    program = module.get_bin_path("galera_recovery", required=True)
    su = module.get_bin_path("runuser", required=True)
    code, output, errors = module.run_command([su, "-u", "mysql", "--", program])
    if code != 0:
        raise GaleraError(f"{program} failed: {errors.strip() or output.strip()}")
    return read_position(output)


def main() -> None:
    """Ask, and answer."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    data_dir = module.params["data_dir"]
    status = ask(module)
    result = describe(status)
    result["running"] = bool(status)
    result["starting"] = not status and is_starting(module)
    try:
        result.update(read_grastate(read(os.path.join(data_dir, "grastate.dat"))))
        result["databases"] = user_databases(directories(data_dir))
        position = (result["saved_uuid"], result["saved_seqno"])
        stopped = not result["running"] and not result["starting"]
        unknown = position[0] and position[1] < 0
        if module.params["recover"] and stopped and unknown and not module.check_mode:
            position = recovered(module)
    except (GaleraError, OSError) as error:
        module.fail_json(msg=f"{data_dir}: {error}")
    result["recovered_uuid"], result["recovered_seqno"] = position
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
