# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Root secrets of Swift's encryption at rest: which cannot encrypt, and which may not go.

PRIVATE to the collection: it may change without notice.

Pure. No sentence holds a secret or a part of it.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Mapping
from typing import List

from ansible_collections.infn.cloud.plugins.module_utils._swift_policies import parse

# Swift's own minimum.
BYTES = 32
# Swift reads option names in small letters.
ID = re.compile(r"[a-z0-9][a-z0-9-]*")


def faults_of(secrets: Mapping[str, str], active: str, found: str = "") -> List[str]:
    """Name what is wrong with the secrets, by themselves and beside those that a host has."""
    faults = []
    for name, secret in sorted(secrets.items()):
        if not ID.fullmatch(name):
            faults.append(f"id '{name}' may only hold small letters, digits and dashes")
        try:
            length = len(base64.b64decode(secret, validate=True))
        except (binascii.Error, ValueError):
            faults.append(f"secret {name}: is no base64")
            continue
        if length < BYTES:
            faults.append(
                f"secret {name}: holds {length} bytes; it must be the base64 of at least {BYTES}"
                " random bytes"
            )
    if secrets and active not in secrets:
        faults.append(
            f"swift_common_encryption_active is '{active}'; name one of"
            f" {', '.join(sorted(secrets))}"
        )
    there = parse(found)
    known = dict(there["keymaster"]) if there.has_section("keymaster") else {}
    if known and active in secrets and active not in known:
        faults.append(
            f"secret {active} is not there yet, and hosts that have not got it could not read what"
            " others encrypt with it: add it in a run in which"
            f" swift_common_encryption_active is still one of {', '.join(sorted(known))}"
        )
    return faults + _losses(secrets, known)


def _losses(secrets: Mapping[str, str], known: Mapping[str, str]) -> List[str]:
    """Name the secrets that are there and would be lost, and with them all that they encrypted."""
    faults = []
    for name, checksum in sorted(known.items()):
        if name not in secrets:
            faults.append(
                f"secret {name} is there and would be taken away: nothing that was encrypted with"
                " it could be read any more; put it back, from the vault's history or from"
                " another host's /etc/swift/keymaster.conf"
            )
        elif hashlib.sha256(secrets[name].encode()).hexdigest() != checksum:
            faults.append(
                f"secret {name} has another value than the one that is there: put the old one back,"
                " and give a new secret an id of its own"
            )
    return faults
