# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Gathers zones and keys where a server takes over as the primary.

    dns_promote.py <settings.json

The settings come by standard input, as they hold secrets; the zones are printed.
"""

from __future__ import annotations

import json
import sys

from ansible_collections.infn.cloud.plugins.module_utils._dns_keys import take_over
from ansible_collections.infn.cloud.plugins.module_utils._dns_records import RecordsError


def main() -> int:
    try:
        done = take_over(json.load(sys.stdin))
    except (OSError, ValueError, KeyError, RecordsError) as error:
        print(f"{error}", file=sys.stderr)
        return 1
    print(json.dumps({"zones": done}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
