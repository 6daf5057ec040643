# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters about federated sites and aligned stacks; each is documented beside this file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any


def federated_site_plan(
    settings: Mapping[str, Any], site: Mapping[str, Any], state: str
) -> dict[str, Any]:
    """What the modules have to make of a site, and why it may not be."""
    from ansible_collections.infn.cloud.plugins.module_utils._federated_site import plan_site

    return plan_site(settings, site["projects"], site["contents"], leave=state == "absent")


def federated_site_line(left: Mapping[str, str]) -> str:
    """One thing that users have left, as a line for people."""
    return f"{left['project']}: {left['kind']} {left['name'] or left['id']} ({left['id']})"


def stack_differences(
    hosts: Mapping[str, Mapping[str, str]], ignore: Sequence[str] = ()
) -> list[str]:
    """What differs between hosts, one sentence each."""
    from ansible_collections.infn.cloud.plugins.module_utils._stack_alignment import differences

    return differences(hosts, ignore)


class FilterModule:
    """The filters by their names."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {
            "federated_site_line": federated_site_line,
            "federated_site_plan": federated_site_plan,
            "stack_differences": stack_differences,
        }
