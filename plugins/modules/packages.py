#!/usr/bin/python
# SPDX-FileCopyrightText: The infn.cloud contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin of the same name."""

from __future__ import annotations

DOCUMENTATION = r"""
module: packages
short_description: Have Debian packages, or not
version_added: 0.1.0
author: The infn.cloud contributors (@infn-cloud)
description:
  - Asks dpkg, which answers at once, and calls M(ansible.builtin.apt) for what is not as wished.
    That one reads the lists of all packages each time, which takes a second or more of each host.
  - Installs without recommended packages, and without starting their services (C(policy-rc.d)),
    which are not configured yet. Lists of packages older than a day are fetched again before.
  - What is installed counts as wished for, so that C(apt autoremove) leaves it.
  - Removes packages with their configuration files.
options:
  name:
    description:
      - Names of packages; V(name=version) where a certain version shall be present.
      - What else apt understands - virtual packages, patterns, V(name:architecture) - is asked of
        it each time.
    type: list
    elements: str
    required: true
  state:
    description:
      - Whether they shall be there.
      - V(latest) brings them to the newest version that the host's sources offer, by lists that are
        fetched each time. It restarts nothing; the option C(restart_if_replaced) of
        M(infn.cloud.service_units) does.
    type: str
    choices: [present, latest, absent]
    default: present
  start:
    description: Whether services of new packages are started at once.
    type: bool
    default: false
  autoremove:
    description: Whether packages go too that nothing needs any more, when one is removed.
    type: bool
    default: false
attributes:
  action:
    description: Runs on the controller, as an action plugin.
    support: full
  check_mode:
    description: Says what would change, and changes nothing.
    support: full
  diff_mode:
    description: Shows what M(ansible.builtin.apt) shows.
    support: full
  idempotent:
    description: A second call changes nothing.
    support: full
seealso:
  - module: ansible.builtin.apt
"""

EXAMPLES = r"""
- name: Install the server
  infn.cloud.packages: {name: [bind9, python3-dnspython]}

- name: Remove it with its settings
  infn.cloud.packages: {name: [bind9], state: absent}
"""

RETURN = r"""
stdout:
  description: What apt said, if it was called.
  type: str
  returned: changed
"""
