# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Records as people write them, and what cannot be; tests/demo/test_dns.py writes them."""

from __future__ import annotations

from typing import Any

import dns.name
import dns.rdatatype
import pytest
from ansible_collections.infn.cloud.plugins.module_utils._dns_records import (
    RecordsError,
    Server,
    quoted,
    read,
)

ZONE = "cloud.example"


def one(**record: Any) -> Any:
    (wish,) = read([record], ZONE, 300)
    return wish


def test_names_are_relative_to_the_zone() -> None:
    assert one(name="@", type="A", values=["192.0.2.1"]).name == dns.name.from_text(ZONE)
    wish = one(name="www", type="CNAME", values=["portal"], ttl=60)
    assert wish.name.to_text() == "www.cloud.example."
    assert [record.to_text() for record in wish.rdataset] == ["portal.cloud.example."]
    assert wish.rdataset.ttl == 60
    assert one(name="x.cloud.example.", type="A", values=["192.0.2.1"]).rdataset.ttl == 300
    assert one(name="x", type="A", state="absent").rdataset is None


@pytest.mark.parametrize(
    ("text", "strings"),
    [
        ("v=spf1 -all", [b"v=spf1 -all"]),
        ('say "hello"', [b'say "hello"']),
        ("a;b", [b"a;b"]),
        ("back\\slash", [b"back\\slash"]),
        ("", [b""]),
        ('"already" "quoted"', [b"already", b"quoted"]),
    ],
)
def test_texts_stay_what_they_are(text: str, strings: list[bytes]) -> None:
    (record,) = one(name="t", type="TXT", values=[text]).rdataset
    assert list(record.strings) == strings


@pytest.mark.parametrize("text", ["x" * 700, "\\" * 400, 'a"' * 300])
def test_long_texts_are_parts_of_at_most_255(text: str) -> None:
    (record,) = one(name="t", type="TXT", values=[text]).rdataset
    assert b"".join(record.strings) == text.encode()
    assert all(len(part) <= 255 for part in record.strings)
    assert quoted(text).startswith('"')


@pytest.mark.parametrize(
    ("record", "said"),
    [
        ({"name": "x.elsewhere.", "type": "A", "values": ["192.0.2.1"]}, "outside of the zone"),
        ({"name": "x", "type": "A", "values": ["192.0.2.256"]}, "record x A"),
        ({"name": "x", "type": "AAAA", "values": ["192.0.2.1"]}, "record x AAAA"),
        ({"name": "x", "type": "NONSENSE", "values": ["1"]}, "record x NONSENSE"),
        ({"name": "x", "type": "A", "values": []}, "no values"),
        ({"name": "x", "type": "A"}, "no values"),
        ({"name": "x" * 64, "type": "A", "values": ["192.0.2.1"]}, "record x"),
        ({"name": "a..b", "type": "A", "values": ["192.0.2.1"]}, "record a..b"),
    ],
)
def test_what_cannot_be(record: dict[str, Any], said: str) -> None:
    with pytest.raises(RecordsError, match=said):
        read([record], ZONE, 300)


def test_one_entry_for_a_name_and_type() -> None:
    twice = [{"name": "x", "type": "A", "values": ["192.0.2.1"]}] * 2
    with pytest.raises(RecordsError, match="listed twice"):
        read(twice, ZONE, 300)


def test_keys_are_those_that_bind_writes() -> None:
    text = 'key "a.b" {\n\talgorithm hmac-sha256;\n\tsecret "c2VjcmV0";\n};\n'
    assert Server("127.0.0.1", 53, ZONE, key_text=text).key.name == dns.name.from_text("a.b")
    with pytest.raises(RecordsError, match="no key statement"):
        Server("127.0.0.1", 53, ZONE, key_text="secret")
    with pytest.raises(RecordsError, match="cannot be used"):
        Server("127.0.0.1", 53, ZONE, key_text=text.replace("sha256", "none"))
