# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a Barbican has the keys that Swift's kms_keymaster would ask it for.

PRIVATE to the collection: it may change without notice.

The upper part judges answers and is pure; the lower part asks, with Python's own library only: a
host is looked at before anything of Swift is installed there. No key leaves this module.
"""

from __future__ import annotations

import hashlib
import json
import re
import ssl
from collections.abc import Mapping
from typing import Any, Dict, List, Optional

from ansible_collections.infn.cloud.plugins.module_utils._load_client import (
    Answer,
    Failure,
    ask,
    password_login,
)
from ansible_collections.infn.cloud.plugins.module_utils._swift_encryption import checksums_of

UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
# Swift's own minimum.
BITS = 256
RAW = "application/octet-stream"


class KmsError(Exception):
    """Nothing can be said about any key; the text says who did not answer and what to do."""


def unfit(metadata: Mapping[str, Any]) -> Optional[str]:
    """Say why a secret of this description cannot be a root secret, or nothing.

    The first rule is that of Swift's kms_keymaster. It does not look whether it has raw bytes, nor
    at the expiration, after which Barbican gives a secret to nobody.
    """
    kind = metadata.get("secret_type")
    algorithm = str(metadata.get("algorithm") or "none")
    bits = metadata.get("bit_length") or 0
    if kind != "symmetric" or algorithm.lower() != "aes" or bits < BITS:
        return (
            f"is no symmetric AES key of at least {BITS} bits (its type is {kind}, its algorithm"
            f" {algorithm}, its length {bits} bits)"
        )
    content = (metadata.get("content_types") or {}).get("default")
    if content != RAW:
        return f"is of the type {content}; store it as {RAW}, the bytes that its base64 stands for"
    if metadata.get("status") != "ACTIVE":
        return f"is not ACTIVE but {metadata.get('status')}"
    if metadata.get("expiration"):
        return (
            f"expires at {metadata['expiration']}, and then nothing that was encrypted with it"
            " could be read any more; store it without an expiration"
        )
    return None


def wrong_bytes(payload: bytes, checksum: Optional[str]) -> Optional[str]:
    """Say why these bytes cannot be the root secret with this SHA-256, or any if it is None."""
    if len(payload) * 8 < BITS:
        return f"holds {len(payload)} bytes, fewer than {BITS // 8}"
    if checksum is not None and hashlib.sha256(payload).hexdigest() != checksum:
        return (
            "holds other bytes than the secret of this id that the host has: store that one's there"
            " (what its base64 stands for), or give the key an id of its own"
        )
    return None


def refused(status: int, who: str) -> str:
    """Say what Barbican's refusal to give a key means, and what to do."""
    if status == 404:
        return (
            "is not there: it was removed, has expired, or belongs to another project; put it back"
            " from the key manager's backup, or correct its UUID"
        )
    if status in (401, 403):
        return (
            f"is not for {who} (HTTP {status}): give the user a role in the project that may"
            " decrypt, or add it to the secret's access list"
        )
    return f"could not be asked for (HTTP {status}): look at Barbican's log"


# --- asking ------------------------------------------------------------------------------------


def look(params: Mapping[str, Any]) -> List[str]:
    """Ask for each key as Swift would, and name the faults; `params` are the module's."""
    checksums = checksums_of(params["found"])
    faults = {
        name: f"'{uuid}' is no UUID; take the last part of the secret's address"
        for name, uuid in params["keys"].items()
        if not UUID.fullmatch(uuid)
    }
    barbican = Barbican(params["auth"], params["endpoint"], params["timeout"])
    for name, uuid in params["keys"].items():
        if name not in faults:
            said = barbican.fault_of(uuid, checksums.get(name))
            if said:
                faults[name] = f"{uuid} {said}"
    return [f"key {name}: {text}" for name, text in sorted(faults.items())]


class Barbican:
    """One login, and what it is given."""

    def __init__(self, auth: Mapping[str, Any], endpoint: str, timeout: float) -> None:
        self._context = ssl.create_default_context()
        self._timeout = timeout
        self._url = endpoint.rstrip("/") + "/v1/secrets/"
        self._who = f"user {auth['username']} of project {auth['project_name']}"
        url = auth["auth_url"].rstrip("/")
        url += "/auth/tokens" if url.endswith("/v3") else "/v3/auth/tokens"
        answer = self._ask(
            "POST",
            url,
            {"Content-Type": "application/json"},
            json.dumps(password_login(auth)).encode(),
        )
        token = answer.headers.get("x-subject-token")
        if answer.status != 201 or not token:
            raise KmsError(
                f"{self._who} cannot log in at {url}: HTTP {answer.status}; check auth_url, names,"
                " domains and the password"
            )
        self._token = token

    def _ask(
        self, method: str, url: str, headers: Dict[str, str], body: Optional[bytes] = None
    ) -> Answer:
        try:
            return ask(
                method,
                url,
                context=self._context,
                timeout=self._timeout,
                headers=headers,
                body=body,
            )
        except Failure as error:
            raise KmsError(
                f"{url} does not answer ({error}): no proxy could start without it; check the"
                " address, that it runs, and the way there from this host"
            ) from error

    def _get(self, path: str, accept: str) -> Answer:
        return self._ask("GET", self._url + path, {"X-Auth-Token": self._token, "Accept": accept})

    def fault_of(self, uuid: str, checksum: Optional[str]) -> Optional[str]:
        """Say what is wrong with one key, or nothing."""
        answer = self._get(uuid, "application/json")
        if answer.status != 200:
            return refused(answer.status, self._who)
        try:
            metadata = json.loads(answer.body)
            said = unfit(metadata)
        except (ValueError, TypeError, AttributeError) as error:
            raise KmsError(
                f"{self._url}{uuid}: the answer is none of Barbican's; check the endpoint"
            ) from error
        if said:
            return said
        # Who may read the description may still not have the key.
        answer = self._get(uuid + "/payload", RAW)
        if answer.status != 200:
            return refused(answer.status, self._who)
        return wrong_bytes(answer.body, checksum)
