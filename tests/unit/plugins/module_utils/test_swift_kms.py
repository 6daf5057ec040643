# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a Barbican says of a key is judged as Swift would, and a little before."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from ansible_collections.infn.cloud.plugins.module_utils._swift_kms import (
    refused,
    unfit,
    wrong_bytes,
)

METADATA = {
    "secret_type": "symmetric",
    "algorithm": "aes",
    "bit_length": 256,
    "status": "ACTIVE",
    "content_types": {"default": "application/octet-stream"},
    "expiration": None,
}


def test_a_key_that_fits() -> None:
    assert unfit(METADATA) is None
    assert unfit({**METADATA, "algorithm": "AES", "bit_length": 512}) is None
    assert wrong_bytes(b"0" * 32, None) is None
    assert wrong_bytes(b"0" * 32, hashlib.sha256(b"0" * 32).hexdigest()) is None


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"secret_type": "opaque"}, "is no symmetric AES key"),
        ({"algorithm": "des"}, "its algorithm des"),
        ({"algorithm": None}, "its algorithm none"),
        ({"bit_length": 128}, "its length 128 bits"),
        ({"bit_length": None}, "its length 0 bits"),
        ({"status": "PENDING"}, "is not ACTIVE but PENDING"),
        ({"content_types": {"default": "text/plain"}}, "is of the type text/plain; store it as"),
        ({"content_types": None}, "is of the type None"),
        ({"expiration": "2027-01-01T00:00:00"}, "expires at 2027-01-01T00:00:00"),
    ],
)
def test_keys_that_do_not(change: dict[str, Any], says: str) -> None:
    said = unfit({**METADATA, **change})
    assert said is not None
    assert says in said


def test_bytes_that_do_not() -> None:
    assert "holds 16 bytes, fewer than 32" in str(wrong_bytes(b"0" * 16, None))
    assert "holds other bytes" in str(wrong_bytes(b"0" * 32, hashlib.sha256(b"1").hexdigest()))


@pytest.mark.parametrize(
    ("status", "says"),
    [
        (404, "is not there"),
        (403, "is not for user a of project b (HTTP 403)"),
        (401, "is not for user a of project b (HTTP 401)"),
        (500, "could not be asked for (HTTP 500)"),
    ],
)
def test_refusals_say_what_to_do(status: int, says: str) -> None:
    assert refused(status, "user a of project b").startswith(says)
