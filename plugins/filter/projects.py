# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters about the projects of the federation; each is documented beside this file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any


def project_services(
    projects: Sequence[Mapping[str, Any]], zone: str, host: str
) -> dict[str, list[dict[str, Any]]]:
    """What each service has to do for the projects."""
    from ansible_collections.infn.cloud.plugins.module_utils._projects import services

    return services(projects, zone, host)


def project_faults(
    projects: Sequence[Mapping[str, Any]], zone: str, hosts: Sequence[str]
) -> list[str]:
    """What is wrong with projects, one sentence each."""
    from ansible_collections.infn.cloud.plugins.module_utils._projects import faults

    return faults(projects, zone, hosts)


class FilterModule:
    """The filters by their names."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"project_faults": project_faults, "project_services": project_services}
