#!/usr/bin/python
# SPDX-FileCopyrightText: The infn.cloud contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: swift_ring_bundle
short_description: Publish Swift's rings as one versioned bundle
version_added: 0.1.0
description:
  - Unpacks all rings to a directory of their own, checks each against the manifest, and then makes
    them active in one step, so that no server ever sees the rings of two versions.
  - The rings in O(swift_dir) are symbolic links to C(rings/current/), and C(current) is one to the
    version. Swift reloads a changed ring within 15 seconds; nothing has to be restarted.
  - Rings that were in O(swift_dir) before are kept in C(rings) as a version named C(before-...).
  - Old versions are kept; each can be made active again by its name.
options:
  swift_dir:
    description:
      - Directory in which Swift looks for its rings.
    type: path
    default: /etc/swift
  archive:
    description:
      - The rings, as M(infn.cloud.swift_ring_bundle_info) returns them.
      - Requires O(manifest).
    type: str
  manifest:
    description:
      - What O(archive) holds, as M(infn.cloud.swift_ring_bundle_info) returns it.
    type: dict
  version:
    description:
      - The version to activate. Without O(archive), one that the host has already.
    type: str
  keep:
    description:
      - How many versions to keep beside the active one.
    type: int
    default: 5
  state:
    description:
      - V(present) publishes O(archive), or activates O(version).
      - V(absent) removes the links and the bundles, but not what is kept as C(before-...).
    type: str
    choices: [present, absent]
    default: present
attributes:
  check_mode:
    description: Can predict its changes without making them.
    support: full
  diff_mode:
    description: Shows the versions and the checksums of their rings.
    support: full
  idempotent:
    description: A second run changes nothing.
    support: full
seealso:
  - module: infn.cloud.swift_ring_bundle_info
  - module: infn.cloud.swift_recon_info
author:
  - The infn.cloud contributors (@infn-cloud)
"""

EXAMPLES = r"""
- name: Read the rings where they are built
  infn.cloud.swift_ring_bundle_info:
    source: /etc/swift/builders
    archive: true
  delegate_to: cnaf-gw1
  run_once: true
  register: swift_rings

- name: Publish the rings to every region
  infn.cloud.swift_ring_bundle:
    archive: "{{ swift_rings.archive }}"
    manifest: "{{ swift_rings.manifest }}"

- name: Go back to a version
  infn.cloud.swift_ring_bundle:
    version: 0123456789abcdef
"""

RETURN = r"""
version:
  description: The version that is active, or would be.
  returned: success
  type: str
  sample: 0123456789abcdef
previous:
  description: The version that was active before.
  returned: success
  type: str
manifest:
  description: The manifest of the version.
  returned: success
  type: dict
actions:
  description: What was done, or would be.
  returned: success
  type: list
  elements: str
  sample: [write version 0123456789abcdef, activate version 0123456789abcdef]
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.infn.cloud.plugins.module_utils._swift_ring_bundle import (
    BundleError,
    ensure_bundle,
)

ARGUMENTS = {
    "swift_dir": {"type": "path", "default": "/etc/swift"},
    # No secret, but megabytes: no_log keeps them out of every host's journal and answer.
    "archive": {"type": "str", "no_log": True},
    "manifest": {"type": "dict"},
    "version": {"type": "str"},
    "keep": {"type": "int", "default": 5},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
}


def main() -> None:
    module = AnsibleModule(
        argument_spec=ARGUMENTS,
        supports_check_mode=True,
        required_if=[("state", "present", ("archive", "version"), True)],
        required_by={"archive": ("manifest",)},
    )
    try:
        result = ensure_bundle(module.params, commit=not module.check_mode)
    except BundleError as error:
        module.fail_json(msg=str(error))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
