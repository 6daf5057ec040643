# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters for the life of Swift's rings; each is documented beside this file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleFilterError


def swift_convergence(
    plans: Sequence[Mapping[str, Any]],
    *,
    version: str,
    bundles: Mapping[str, Mapping[str, Any]],
    servers: Sequence[Mapping[str, Any]],
    dispersion: Mapping[str, Any] | None = None,
    thresholds: Mapping[str, float] | None = None,
    since: float = 0.0,
) -> dict[str, Any]:
    """What to do now: done, waiting (and for what), or step."""
    from ansible_collections.infn.cloud.plugins.module_utils._swift_convergence import (
        Place,
        Ring,
        Thresholds,
        bytes_to_move,
        decide,
        hosts_from,
    )

    rings = [
        Ring(
            name=plan["ring"],
            # Not whether its task counts as a change: it only looked.
            pending=bool(plan["written"] or plan["removed"]),
            seconds_left=plan["min_part_seconds_left"],
            waiting=plan["retry_after"] > 0,
        )
        for plan in plans
    ]
    places = [
        Place(plan["ring"].split("-")[0], one["ip"], one["device"], one["drain"])
        for plan in plans
        for one in plan["partitions"]
    ]
    try:
        limits = Thresholds(**(thresholds or {}))
    except TypeError as error:
        raise AnsibleFilterError(f"thresholds: {error}") from error
    decision = decide(
        rings,
        hosts_from(bundles, servers, places),
        version=version,
        dispersion=_in_place(dispersion or {}),
        thresholds=limits,
        since=float(since),
    )
    return {
        "state": decision.state,
        "reasons": list(decision.reasons),
        "remarks": list(decision.remarks),
        "underway": list(decision.underway),
        "rings": [
            {
                "ring": plan["ring"],
                "step": plan["ring"] in decision.rings,
                "replicas": plan["moves"]["replicas"],
                "percent": plan["moves"]["percent"],
                "bytes": bytes_to_move(plan["moves"]["percent"], servers)
                if plan["ring"].startswith("object")
                else None,
                "on_their_way": plan["on_their_way"],
            }
            for plan in plans
        ],
    }


def _in_place(dispersion: Mapping[str, Any]) -> dict[str, float]:
    """The percentages of swift_dispersion_info, by what they are of."""
    figures = {f"objects ({name})": one for name, one in dispersion.get("object", {}).items()}
    figures["containers"] = dispersion.get("container")
    return {
        what: float(one["copies_found_percent"]) for what, one in figures.items() if one is not None
    }


def swift_convergence_message(decision: Mapping[str, Any], dry: bool = False) -> list[str]:
    """Say a decision to a person, one line each."""
    from ansible_collections.infn.cloud.plugins.module_utils._swift_convergence import message

    return message(decision, dry=dry)


class FilterModule:
    """Ansible's entry point."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """The filters by name."""
        return {
            "swift_convergence": swift_convergence,
            "swift_convergence_message": swift_convergence_message,
        }
