# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters about the logs; each is documented beside this file."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any


def opensearch_views(
    wished: Sequence[Mapping[str, Any]], index: str
) -> dict[str, list[dict[str, Any]]]:
    """Users of a log store who see some lines, and their roles."""
    from ansible_collections.infn.cloud.plugins.module_utils._opensearch_objects import views

    return views(wished, index)


def opensearch_dashboards(index: str) -> str:
    """Searches and dashboards, as OpenSearch Dashboards imports them: a JSON object a line."""
    from ansible_collections.infn.cloud.plugins.module_utils._opensearch_dashboards import (
        saved_objects,
    )

    return "".join(json.dumps(one, sort_keys=True) + "\n" for one in saved_objects(index))


class FilterModule:
    """The filters by their names."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {
            "opensearch_dashboards": opensearch_dashboards,
            "opensearch_views": opensearch_views,
        }
