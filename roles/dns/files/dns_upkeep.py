# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a primary does for itself from time to time: DS records, copies of keys, a look around.

    dns_upkeep.py SETTINGS

Ends with 1 if something needs a person, and says what; its messages are for the journal.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from ansible_collections.infn.cloud.plugins.module_utils._dns_delegations import (
    Delegations,
    Settings,
)
from ansible_collections.infn.cloud.plugins.module_utils._dns_keys import publish
from ansible_collections.infn.cloud.plugins.module_utils._dns_records import RecordsError


def main(arguments: Sequence[str]) -> int:
    try:
        given = json.loads(Path(arguments[0]).read_text(encoding="utf-8"))
        key_text = Path(given.pop("key_file")).read_text(encoding="utf-8")
        backup, secret = given.pop("backup"), Path(given.pop("backup_secret_file"))
        keys = Path(given.pop("key_directory"))
        work = Delegations(Settings(**given), key_text)
        outcome = work.establish()
        copied: list[str] = []
        if backup:
            copied = publish(
                work.server(backup), backup, given["members"], keys,
                secret.read_text(encoding="ascii").strip(), check=False,
            )  # fmt: skip
        # What is on its way is no fault: look again before calling anybody.
        for pause in (0, 5, 15):
            time.sleep(pause)
            faults = work.status(given["members"])["faults"]
            if not faults:
                break
    except (OSError, ValueError, KeyError, IndexError, TypeError, RecordsError) as error:
        print(f"<3>{error}")
        return 1
    for line in outcome.removed:
        print(f"- {line}")
    for line in outcome.added:
        print(f"+ {line}")
    for zone in copied:
        print(f"{zone}: its keys were copied")
    for line in [*outcome.unconfirmed, *faults]:
        print(f"<3>{line}")
    return int(bool(outcome.unconfirmed or faults))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
