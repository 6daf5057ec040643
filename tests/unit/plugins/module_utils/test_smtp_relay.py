# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may send which mail, and what the world is told of it."""

from __future__ import annotations

import datetime
from typing import Any

import pytest
from ansible_collections.infn.cloud.plugins.module_utils._smtp_relay import (
    UTC,
    faults,
    logins,
    moment,
    records,
    table,
)

NOW = datetime.datetime(2030, 6, 1, tzinfo=UTC)
DOMAINS: list[dict[str, Any]] = [{"name": "example.org"}]
KEYS: list[dict[str, Any]] = [{"selector": "s1", "public": "AAAA"}]


def credential(**more: Any) -> dict[str, Any]:
    return {
        "id": "web", "owner": "we", "secret": "s" * 32, "senders": ["a@example.org"],
        "expires": "2030-12-31", **more,
    }  # fmt: skip


def wrong(
    *credentials: dict[str, Any], domains: Any = None, keys: Any = None, known: Any = None
) -> str:
    return "; ".join(
        faults(
            DOMAINS if domains is None else domains, credentials, KEYS if keys is None else keys,
            known=known or {}, now=NOW,
        )
    )  # fmt: skip


def test_what_is_right() -> None:
    hashed = "{ARGON2ID}$argon2id$v=19$m=19456,t=2,p=1$YWFh$xN5t"
    assert not wrong(
        credential(),
        credential(id="all", senders=["@example.org"], secret=None, hash=hashed),
        credential(id="token", secret=None, oidc=True),
    )


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"senders": ["a@elsewhere.org"]}, "we do not sign for elsewhere.org"),
        ({"senders": ["a@example.org", "@example.org"]}, "overlaps @example.org"),
        ({"senders": ["a@example.org", "a@example.org"]}, "is there twice"),
        ({"senders": []}, "no senders"),
        ({"senders": ["A@example.org"]}, "neither an address nor @domain"),
        ({"senders": ["a b@example.org"]}, "neither an address nor @domain"),
        ({"senders": ["a@@example.org"]}, "neither an address nor @domain"),
        ({"senders": ["a@example.org\n"]}, "neither an address nor @domain"),
        ({"senders": ["@"]}, "neither an address nor @domain"),
        ({"rate": {"count": 0}}, "its rate is 1 to"),
        ({"rate": {"seconds": 0}}, "its rate is 1 to"),
        ({"expires": "2030-05-31"}, "expired at 2030-05-31 already"),
        ({"expires": "soon"}, "is a date or a time"),
        ({"secret": "short"}, "shorter than 32 characters"),
        ({"secret": None}, "one of secret, hash and oidc"),
        ({"hash": "{ARGON2ID}$argon2id$x"}, "one of secret, hash and oidc"),
        ({"secret": None, "hash": "{PLAIN}x"}, "does not begin with {ARGON2ID}"),
        ({"id": "local"}, "is not 'local'"),
        ({"id": "a:b"}, "its id has small letters"),
        ({"owner": " "}, "no owner"),
    ],
)
def test_credentials_that_cannot_be(more: dict[str, Any], said: str) -> None:
    assert said in wrong(credential(**more))


def test_ids_are_there_once() -> None:
    assert "credential web: it is there twice" in wrong(credential(), credential())


def test_what_expired_by_itself_stops_nobody() -> None:
    old = credential(expires="2030-05-31")
    assert not wrong(old, known=table([old], [], {}))
    assert not wrong(credential(expires="2030-05-31", state="revoked", secret=None))


@pytest.mark.parametrize(
    ("domain", "said"),
    [
        ({"name": "Example.org"}, "not a domain"),
        ({"name": "example.org", "zone": "example.com"}, "not in the zone"),
        ({"name": "example.org", "reports": "a@example.org; p=none"}, "is not an address"),
        ({"name": "example.org", "texts": ["v=spf1 -all"]}, "use spf"),
    ],
)
def test_domains_that_cannot_be(domain: dict[str, Any], said: str) -> None:
    assert said in wrong(domains=[domain])


def test_keys_that_cannot_be() -> None:
    assert "must be one that is not retired" in wrong(keys=[])
    assert "must be one" in wrong(keys=[{"selector": "s", "retired": "2030-01-01"}])
    assert "not a selector" in wrong(keys=[{"selector": "S 1"}])


def test_a_day_lasts_to_its_end() -> None:
    assert moment("2030-12-31") == datetime.datetime(2031, 1, 1, tzinfo=UTC)
    assert moment("2030-12-31T12:00:00Z") == datetime.datetime(2030, 12, 31, 12, tzinfo=UTC)


def test_an_address_is_its_domains_too() -> None:
    """Postfix looks no further when it finds the address."""
    found = logins([credential(), credential(id="all", senders=["@example.org"])])
    assert found == {"@example.org": ["all"], "a@example.org": ["web", "all"]}


def test_what_a_relay_asks_has_no_secret() -> None:
    found = table([credential(state="revoked")], ["root@example.org"], {"count": 5})
    assert found["web"]["revoked"]
    assert (found["local"]["count"], found["local"]["seconds"]) == (5, 3600)
    assert "ssss" not in str(found)


def test_records() -> None:
    domain = {
        "name": "mail.example.org", "zone": "example.org", "policy": "reject",
        "reports": "d@example.org", "texts": ["other"], "spf": ["include:x.example"],
    }  # fmt: skip
    old = {"selector": "s0", "public": "BBBB", "retired": "2030-01-01"}
    late = {"selector": "s2", "public": "CCCC", "retired": "2030-05-31"}
    found = records(
        [domain], [*KEYS, late, old], ["192.0.2.1", "2001:db8::1"], now=NOW, keep_days=14
    )
    assert {r["name"]: r.get("values") for r in found.pop("example.org")} == {
        "mail.example.org.": [
            "other", "v=spf1 ip4:192.0.2.1 ip6:2001:db8::1 include:x.example -all",
        ],
        "_dmarc.mail.example.org.": ["v=DMARC1; p=reject; rua=mailto:d@example.org"],
        "s1._domainkey.mail.example.org.": ["v=DKIM1; k=rsa; p=AAAA"],
        "s2._domainkey.mail.example.org.": ["v=DKIM1; k=rsa; p=CCCC"],
        "s0._domainkey.mail.example.org.": None,
    }  # fmt: skip
    assert not found
    gone = records([{**domain, "state": "absent"}], KEYS, [], now=NOW, keep_days=14)
    assert [r.get("values") for r in gone["example.org"]] == [["other"], None, None]
