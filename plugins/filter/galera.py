# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter that decides who begins a Galera cluster; documented beside this file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any


def galera_plan(
    answers: Mapping[str, Mapping[str, Any]],
    hosts: Sequence[str],
    *,
    lost: Sequence[str] = (),
    bootstrap_host: str = "",
    allow_data_loss: bool = False,
    recover: bool = False,
) -> dict[str, Any]:
    """Who begins the cluster, who joins it, and what forbids all of it."""
    from ansible_collections.infn.cloud.plugins.module_utils._galera import Wish, plan_cluster

    heard = {name: answer for name, answer in answers.items() if "primary" in answer}
    wish = Wish(hosts, lost, bootstrap_host, allow_data_loss, recover)
    return plan_cluster(heard, wish).as_dict()


class FilterModule:
    """Ansible's entry point."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """The filters by name."""
        return {"galera_plan": galera_plan}
