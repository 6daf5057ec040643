# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Root secrets of Swift's encryption at rest: which cannot encrypt, and which may not go.

PRIVATE to the collection: it may change without notice.

They are given by value, or by the UUID of a key in a key manager (KMS). Swift derives its keys from
the bytes alone, so a secret may move into a KMS under the id that it has.

Pure. No sentence holds a secret or a part of it.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Mapping
from typing import Any, Dict, List, Optional

from ansible_collections.infn.cloud.plugins.module_utils._swift_policies import parse

# Swift's own minimum.
BYTES = 32
# Swift reads option names in small letters.
ID = re.compile(r"[a-z0-9][a-z0-9-]*")
# Sections of keymaster.conf, and the names of Swift's keymasters.
FILE = "keymaster"
KMS = "kms_keymaster"


def faults_of(
    secrets: Mapping[str, str],
    active: str,
    found: str = "",
    keys: Optional[Mapping[str, str]] = None,
    kms: Optional[Mapping[str, Any]] = None,
) -> List[str]:
    """Name what is wrong with the secrets and keys, by themselves and beside those of a host.

    `keys` are ids and UUIDs in the KMS, `kms` is how to reach it. `found` has a section for either
    keymaster, with the SHA-256 of each secret's bytes and the UUID of each key.
    """
    keys = keys or {}
    faults, checksums = _read(secrets)
    faults += [_bad_id(name) for name in sorted(keys) if not ID.fullmatch(name)]
    faults += _kms_faults(secrets, keys, kms or {})
    wished = keys or secrets
    if wished and active not in wished:
        faults.append(
            f"swift_common_encryption_active is '{active}'; name one of {', '.join(sorted(wished))}"
        )
    there = parse(found)
    known_secrets = dict(there[FILE]) if there.has_section(FILE) else {}
    known_keys = dict(there[KMS]) if there.has_section(KMS) else {}
    known = sorted({*known_secrets, *known_keys})
    if known and active in wished and active not in known:
        faults.append(
            f"secret {active} is not there yet, and hosts that have not got it could not read what"
            " others encrypt with it: add it in a run in which"
            f" swift_common_encryption_active is still one of {', '.join(known)}"
        )
    faults += _lost_secrets(checksums, keys, known_secrets, known_keys)
    return faults + _lost_keys(keys, known_keys)


def checksums_of(found: str) -> Dict[str, str]:
    """Give the SHA-256 of each secret that a host has by value."""
    there = parse(found)
    return dict(there[FILE]) if there.has_section(FILE) else {}


def _bad_id(name: str) -> str:
    return f"id '{name}' may only hold small letters, digits and dashes"


def _read(secrets: Mapping[str, str]) -> tuple[List[str], Dict[str, str]]:
    """Name the secrets that cannot encrypt, and give the SHA-256 of each one's bytes."""
    faults = []
    checksums = {}
    for name, secret in sorted(secrets.items()):
        checksums[name] = ""
        if not ID.fullmatch(name):
            faults.append(_bad_id(name))
        try:
            value = base64.b64decode(secret, validate=True)
        except (binascii.Error, ValueError):
            faults.append(f"secret {name}: is no base64")
            continue
        checksums[name] = hashlib.sha256(value).hexdigest()
        if len(value) < BYTES:
            faults.append(
                f"secret {name}: holds {len(value)} bytes; it must be the base64 of at least"
                f" {BYTES} random bytes"
            )
    return faults, checksums


def _kms_faults(
    secrets: Mapping[str, str], keys: Mapping[str, str], kms: Mapping[str, Any]
) -> List[str]:
    if bool(keys) != bool(kms):
        return [
            "swift_common_encryption_kms and swift_common_encryption_kms_keys need each other: the"
            " first says how to reach the key manager, the second which of its keys are used"
        ]
    faults = [
        f"secret {name} would not be read any more, because all of them come from the key manager"
        f" when one does: store its bytes there, and give that key the id {name}"
        for name in sorted(secrets)
        if keys and name not in keys
    ]
    for name, value in sorted(kms.items()):
        text = str(value)
        # As Swift reads its files: lines, stripped, in which %( begins a reference.
        if not text or text != text.strip() or len(text.splitlines()) > 1 or "%(" in text:
            faults.append(
                f"swift_common_encryption_kms.{name} cannot stand in Swift's file: it must not be"
                " empty, begin or end with a blank, or hold a line break or '%('"
            )
    return faults


def _lost_secrets(
    checksums: Mapping[str, str],
    keys: Mapping[str, str],
    known: Mapping[str, str],
    known_keys: Mapping[str, str],
) -> List[str]:
    """Name the secrets that are there and would be lost, and with them all that they encrypted."""
    faults = []
    for name, checksum in sorted(known.items()):
        if name in checksums and checksums[name] != checksum:
            faults.append(
                f"secret {name} has another value than the one that is there: put the old one back,"
                " and give a new secret an id of its own"
            )
        # A host has the key of the same id only after it was found to hold the same bytes.
        elif name in checksums or name in known_keys:
            continue
        elif name in keys:
            faults.append(
                f"secret {name} is there by value: leave it in swift_common_encryption_secrets for"
                " the run that brings its key, and take it out in the next"
            )
        else:
            faults.append(
                f"secret {name} is there and would be taken away: nothing that was encrypted with"
                " it could be read any more; put it back, from the vault's history or from"
                " another host's /etc/swift/keymaster.conf"
            )
    return faults


def _lost_keys(keys: Mapping[str, str], known: Mapping[str, str]) -> List[str]:
    faults = []
    for name, uuid in sorted(known.items()):
        if name not in keys:
            faults.append(
                f"key {name} of the key manager is there and would be taken away: nothing that was"
                f" encrypted with it could be read any more; put it back, its UUID is {uuid}"
            )
        elif keys[name].lower() != uuid.lower():
            faults.append(
                f"key {name} of the key manager has the UUID {uuid} there and {keys[name]} in the"
                " inventory: put the old one back, and give a new key an id of its own"
            )
    return faults
