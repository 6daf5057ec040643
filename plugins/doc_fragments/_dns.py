# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""PRIVATE: how modules of this collection reach name servers. May change at any time."""

from __future__ import annotations


class ModuleDocFragment:
    """The options beside ``SERVERS`` in _dns_delegations."""

    SERVERS = r"""
options:
  servers:
    description: Addresses of the secondary servers, by their names.
    type: dict
    default: {}
  server_port:
    description: Port of the secondary servers.
    type: int
    default: 53
  primary:
    description: Address of the primary server.
    type: str
    default: 127.0.0.1
  port:
    description: Port of the primary server.
    type: int
    default: 53
"""
