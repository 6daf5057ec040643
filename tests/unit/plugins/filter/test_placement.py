# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter hands over to the ranking, and turns its errors into those of a filter."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.infn.cloud.plugins.filter.placement import FilterModule, site_ranking

FEDERATION: dict[str, Any] = {
    "plugin": "infn.cloud.federation",
    "compose": {},
    "federation": {"name": "example", "domain": "cloud.example"},
    "sites": [{"name": "lab", "coupling": "federated", "provider": "containers"}],
}


def test_it_takes_a_federation_yml_and_a_day() -> None:
    assert FilterModule().filters() == {"site_ranking": site_ranking}
    result = site_ranking(FEDERATION, {"group": "users"}, {}, "2026-01-31")
    assert result["ranked"] == []
    assert result["unusable"] == [
        {
            "site": "lab",
            "reasons": ["no agreement with group users", "site_info has not looked at it"],
        }
    ]
    assert site_ranking(FEDERATION, {"group": "users"}, {}) == result


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (({}, {"group": "users"}, {}), "federation: missing|expected a mapping"),
        ((FEDERATION, {}, {}), "the wish, group: missing"),
        ((FEDERATION, {"group": "users"}, []), "looks: expected what site_info returned"),
        ((FEDERATION, {"group": "users"}, {}, "soon"), "today: soon is no day"),
    ],
)
def test_errors(arguments: tuple[Any, ...], says: str) -> None:
    with pytest.raises(AnsibleFilterError, match=says):
        site_ranking(*arguments)
