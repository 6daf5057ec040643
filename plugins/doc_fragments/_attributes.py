# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""PRIVATE: attributes that several modules of this collection share. May change at any time."""

from __future__ import annotations


class ModuleDocFragment:
    """What a module that only looks says of itself."""

    INFO = r"""
options: {}
attributes:
  check_mode:
    description: Changes nothing in any mode.
    support: full
  diff_mode:
    description: Has no differences to show.
    support: full
  idempotent:
    description: Changes nothing.
    support: full
"""
