#!/usr/bin/python
# SPDX-FileCopyrightText: The infn.cloud contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin of the same name."""

from __future__ import annotations

DOCUMENTATION = r"""
module: clock_offset
short_description: Measure a host's clock against the controller's
version_added: 0.1.0
author: The infn.cloud maintainers (@infn-cloud)
description:
  - Asks the host for its time and bounds its offset from the controller's clock by the moments
    before and after.
  - The filter P(infn.cloud.clock_skew#filter) finds the two hosts that provably differ most.
  - Keystone's tokens, Swift's timestamps and TLS all rely on clocks that agree.
attributes:
  action:
    description: Runs on the controller, as an action plugin.
    support: full
  check_mode:
    description: Changes nothing.
    support: full
  diff_mode:
    description: Changes nothing.
    support: full
  idempotent:
    description: Changes nothing.
    support: full
"""

EXAMPLES = r"""
- name: Compare the host's clock with the controller's
  infn.cloud.clock_offset:
  register: clock
"""

RETURN = r"""
earliest:
  description: The host is ahead of the controller by at least this many seconds; negative if it
    may be behind.
  returned: success
  type: float
  sample: -0.112
latest:
  description: The host is ahead of the controller by at most this many seconds.
  returned: success
  type: float
  sample: 0.004
"""
