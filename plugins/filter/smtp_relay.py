# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters for outgoing mail; each is documented beside this file."""

from __future__ import annotations

import base64
import datetime
import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleFilterError

# Imports are where they are needed: whoever needs one filter of a collection loads all files of
# filters, anew in each process that runs a task.
NEEDED = "the controller's Python needs cryptography 44 or newer (argon2id): pip install it"


def _public(private_key: str) -> str:
    """The public part of a DKIM key, as its record has it."""
    try:
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    except ImportError as error:
        raise AnsibleFilterError(NEEDED) from error
    try:
        key = serialization.load_pem_private_key(private_key.encode(), None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise AnsibleFilterError("not a private key in PEM without a passphrase") from error
    # RFC 8301: shorter keys are not to be trusted. Others than RSA few verifiers know.
    if not isinstance(key, RSAPrivateKey) or key.key_size < 2048:
        raise AnsibleFilterError("not an RSA key of 2048 bits or more: openssl genrsa 2048")
    form = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    return base64.b64encode(key.public_key().public_bytes(*form)).decode()


def smtp_relay_faults(
    credentials: Sequence[Mapping[str, Any]],
    domains: Sequence[Mapping[str, Any]],
    keys: Sequence[Mapping[str, Any]],
    *,
    local: Sequence[str] = (),
    known: Mapping[str, Mapping[str, Any]] | None = None,
    oidc: bool = False,
) -> list[str]:
    """What is wrong with credentials, domains and keys."""
    from ansible_collections.infn.cloud.plugins.module_utils._smtp_relay import UTC, faults

    now = datetime.datetime.now(UTC)
    found = faults(domains, credentials, keys, local=local, known=known or {}, now=now)
    found += [
        f"credential {one['id']}: oidc, but smtp_relay_oidc names no issuer"
        for one in credentials
        if one.get("oidc") and not oidc
    ]
    for key in keys:
        try:
            _public(key["private_key"])
        except AnsibleFilterError as error:
            found.append(f"DKIM key {key['selector']}: {error}")
    return found


def smtp_relay_records(
    domains: Sequence[Mapping[str, Any]],
    keys: Sequence[Mapping[str, Any]],
    addresses: Sequence[str],
    keep_days: int,
) -> dict[str, list[dict[str, Any]]]:
    """The record sets of sender domains, by zone."""
    from ansible_collections.infn.cloud.plugins.module_utils._smtp_relay import UTC, records

    public = [{**key, "public": _public(key["private_key"])} for key in keys]
    now = datetime.datetime.now(UTC)
    return records(domains, public, addresses, now=now, keep_days=keep_days)


def smtp_relay_table(
    credentials: Sequence[Mapping[str, Any]], local: Sequence[str], rate: Mapping[str, Any]
) -> dict[str, dict[str, Any]]:
    """What the filter of a relay asks for each message."""
    from ansible_collections.infn.cloud.plugins.module_utils._smtp_relay import table

    return table(credentials, local, rate)


def smtp_relay_logins(credentials: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """Which credentials a sender belongs to."""
    from ansible_collections.infn.cloud.plugins.module_utils._smtp_relay import logins

    return logins(credentials)


def smtp_relay_hash(secret: str, identity: str) -> str:
    """The hash of a secret, as Dovecot has it.

    The salt follows from the name, so that a second run finds the same hash; a salt that followed
    from the secret would be a quick way to try secrets out. Memory and time are OWASP's least.
    """
    try:
        from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
    except ImportError as error:
        raise AnsibleFilterError(NEEDED) from error
    salt = hashlib.sha256(b"infn.cloud smtp_relay " + identity.encode()).digest()[:16]
    kdf = Argon2id(salt=salt, length=32, iterations=2, lanes=1, memory_cost=19456)
    return "{ARGON2ID}" + kdf.derive_phc_encoded(secret.encode())


def smtp_relay_users(credentials: Sequence[Mapping[str, Any]]) -> list[str]:
    """Lines for who asks whether a password is right: id, end, hash."""
    from ansible_collections.infn.cloud.plugins.module_utils._smtp_relay import moment

    return [
        f"{one['id']}:{int(moment(one['expires']).timestamp())}:"
        + (one.get("hash") or smtp_relay_hash(one["secret"], one["id"]))
        for one in credentials
        if one.get("state") != "revoked" and not one.get("oidc")
    ]


class FilterModule:
    """What Ansible asks for."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {
            "smtp_relay_faults": smtp_relay_faults,
            "smtp_relay_hash": smtp_relay_hash,
            "smtp_relay_logins": smtp_relay_logins,
            "smtp_relay_records": smtp_relay_records,
            "smtp_relay_table": smtp_relay_table,
            "smtp_relay_users": smtp_relay_users,
        }
