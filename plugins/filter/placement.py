# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters about the sites of the federation as places to put servers."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping
from typing import Any, Optional

from ansible.errors import AnsibleFilterError


def site_ranking(
    federation: Any, wish: Any, looks: Mapping[str, Any], today: Optional[str] = None
) -> dict[str, Any]:
    """The sites that can fulfil a wish, the best first, and why the others cannot."""
    from ansible_collections.infn.cloud.plugins.module_utils._federation_model import (
        ANSIBLE_KEYS,
        FederationError,
        read_federation,
    )
    from ansible_collections.infn.cloud.plugins.module_utils._site_ranking import rank, read_wish

    if today is None:
        day = datetime.datetime.now(datetime.timezone.utc).date()
    else:
        try:
            day = datetime.date.fromisoformat(str(today))
        except ValueError as error:
            raise AnsibleFilterError(f"today: {today} is no day such as 2026-01-31") from error
    if not isinstance(looks, Mapping):
        raise AnsibleFilterError(
            "looks: expected what site_info returned, by the names of the sites"
        )
    try:
        known = read_federation(federation, "the federation", options=ANSIBLE_KEYS)
        return rank(known, looks, read_wish(wish), day)
    except FederationError as error:
        raise AnsibleFilterError(str(error)) from error


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"site_ranking": site_ranking}
