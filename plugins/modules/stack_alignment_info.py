#!/usr/bin/python
# SPDX-FileCopyrightText: The infn.cloud contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: stack_alignment_info
short_description: Versions of the software of a host, by which hosts can be compared
version_added: 0.1.0
author:
  - The infn.cloud contributors (@infn-cloud)
description:
  - Asks Debian's package database once, and tells the version of each installed package that
    matches, and the release of Debian.
options:
  packages:
    description: Patterns of names of packages, with C(*) and C(?).
    type: list
    elements: str
    required: true
extends_documentation_fragment: infn.cloud._attributes.info
seealso:
  - plugin: infn.cloud.stack_differences
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Ask for the versions of Swift
  infn.cloud.stack_alignment_info:
    packages: [swift-*, python3-swift]
  register: stack
"""

RETURN = r"""
versions:
  description: The version of each package, and that of C(debian).
  returned: success
  type: dict
  sample: {debian: "13.2", python3-swift: 2.35.0-1}
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.infn.cloud.plugins.module_utils._stack_alignment import (
    FORMAT,
    read_packages,
)


def main() -> None:
    module = AnsibleModule(
        argument_spec={"packages": {"type": "list", "elements": "str", "required": True}},
        supports_check_mode=True,
    )
    query = module.get_bin_path("dpkg-query", required=True)
    _code, output, _error = module.run_command([query, "--show", "-f", FORMAT], check_rc=True)
    versions = read_packages(output, module.params["packages"])
    try:
        with open("/etc/debian_version", encoding="utf-8") as stream:
            versions["debian"] = stream.read().strip()
    except OSError as error:
        module.fail_json(msg=f"this is no Debian: {error}")
    module.exit_json(changed=False, versions=versions)


if __name__ == "__main__":
    main()
