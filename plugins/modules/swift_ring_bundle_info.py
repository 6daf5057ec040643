#!/usr/bin/python
# SPDX-FileCopyrightText: The infn.cloud contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: swift_ring_bundle_info
short_description: Describe Swift's rings, where they are built or where they are used
version_added: 0.1.0
description:
  - With O(source), names and checksums of the rings beside the builders, and their content for
    M(infn.cloud.swift_ring_bundle) if asked for.
  - With O(installed), which version a host uses, whether its files are intact, and which other
    versions can be activated.
options:
  source:
    description:
      - Directory with the C(*.ring.gz) files that the builders wrote.
      - The default is C(/etc/swift/builders), unless O(installed) is given.
    type: path
  installed:
    description:
      - The directory in which Swift looks for its rings, usually C(/etc/swift).
    type: path
  archive:
    description:
      - Whether to return the rings themselves, and their builders. Acts with O(source) only.
    type: bool
    default: false
extends_documentation_fragment: infn.cloud._attributes.info
seealso:
  - module: infn.cloud.swift_ring_bundle
author:
  - The infn.cloud contributors (@infn-cloud)
"""

EXAMPLES = r"""
- name: Read the rings where they are built
  infn.cloud.swift_ring_bundle_info:
    source: /etc/swift/builders
    archive: true
  register: swift_rings

- name: Which rings does this host use, and to which could it go back
  infn.cloud.swift_ring_bundle_info:
    installed: /etc/swift
"""

RETURN = r"""
version:
  description: The first 16 hexadecimal digits of a SHA-256 over names and checksums of the rings.
  returned: success
  type: str
  sample: 0123456789abcdef
manifest:
  description: Names, sizes and checksums of the rings; none if no version is active.
  returned: success
  type: dict
  sample:
    format: 1
    rings:
      - md5: 08f8e0260c64418510cefb2b06eee5cd
        name: object.ring.gz
        sha256: 3e744b9dc39389baf0c5a0660589b8402f3dbb49b89b3e75f2c9355852a3c677
        size: 3
    version: 0123456789abcdef
archive:
  description: The rings in an uncompressed tar, in base64. Equal rings give equal archives.
  returned: with O(source) and O(archive=true)
  type: str
builders:
  description: The builder files, to be kept in another place, as RV(archive). Swift loads them as
    pickles, so nobody else may write to them.
  returned: with O(source) and O(archive=true)
  type: str
activated:
  description: When the host switched to the active version, in seconds since 1970 by its clock;
    null if none is active.
  returned: with O(installed)
  type: float
verified:
  description: Whether the active version is as its manifest promises, and linked.
  returned: with O(installed)
  type: bool
faults:
  description: What keeps RV(verified) from being true.
  returned: with O(installed)
  type: list
  elements: str
rollback:
  description: Other versions that can be activated, the latest first.
  returned: with O(installed)
  type: list
  elements: str
unmanaged:
  description: Rings in the directory that are no links to the active version.
  returned: with O(installed)
  type: list
  elements: str
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.infn.cloud.plugins.module_utils._swift_ring_bundle import (
    BundleError,
    installed_info,
    source_info,
)

ARGUMENTS = {
    "source": {"type": "path"},
    "installed": {"type": "path"},
    "archive": {"type": "bool", "default": False},
}


def main() -> None:
    module = AnsibleModule(
        argument_spec=ARGUMENTS,
        supports_check_mode=True,
        mutually_exclusive=[("source", "installed")],
    )
    installed, source = module.params["installed"], module.params["source"]
    try:
        if installed:
            result = installed_info(installed)
        else:
            archive = module.params["archive"]
            result = source_info(source or "/etc/swift/builders", archive=archive)
    except BundleError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
