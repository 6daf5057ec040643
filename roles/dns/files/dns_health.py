# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Leads one name to the sites that are alive, on a name server that has a copy of its zone.

    dns_health.py SETTINGS KEY

Until it is told to stop; its messages are for the journal.
"""

from __future__ import annotations

import json
import ssl
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from ansible_collections.infn.cloud.plugins.module_utils._dns_health import (
    Watch,
    look,
    records,
)
from ansible_collections.infn.cloud.plugins.module_utils._dns_records import (
    RecordsError,
    Server,
    read,
    reconcile,
)

# Seconds after which the zone is compared again although nothing has happened.
REPEAT = 60


def main(arguments: Sequence[str]) -> int:
    try:
        given = json.loads(Path(arguments[0]).read_text(encoding="utf-8"))
        key_text = Path(arguments[1]).read_text(encoding="utf-8")
        server = Server("127.0.0.1", given["port"], given["zone"], key_text=key_text, timeout=5)
        context = ssl.create_default_context(cafile=given["ca_file"])
    except (OSError, ValueError, KeyError, IndexError, RecordsError) as error:
        print(f"<3>{error}", flush=True)
        return 1
    checks = {
        site["name"]: [{**check, "address": site["addresses"][0]} for check in site["checks"]]
        for site in given["sites"]
    }
    addresses = {site["name"]: site["addresses"] for site in given["sites"]}
    watch = Watch(list(checks), given["fall"], given["rise"])
    written, when = None, 0.0
    while True:
        began = time.monotonic()
        for message in watch.observe(look(checks, context, given["timeout"])):
            print(f"<4>{message}", flush=True)
        wanted = [address for site in watch.living for address in addresses[site]]
        if wanted != written or began - when > REPEAT:
            try:
                wishes = read(
                    records(wanted, given["ttl"], given["challenge"]), given["zone"], given["ttl"]
                )
                gone, come = reconcile(server, wishes, check=False)
                if gone or come:
                    print(f"<5>{given['zone']} is now {', '.join(wanted)}", flush=True)
                written, when = wanted, began
            except RecordsError as error:
                print(f"<3>{error}", flush=True)
        time.sleep(max(0.1, given["interval"] - (time.monotonic() - began)))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
