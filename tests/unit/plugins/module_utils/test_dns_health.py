# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who counts as alive, look after look."""

from __future__ import annotations

from ansible_collections.infn.cloud.plugins.module_utils._dns_health import Watch, records

SITES = ("bari", "cnaf", "padova")


def seen(*away: str) -> dict[str, str]:
    return {site: "no answer" if site in away else "" for site in SITES}


def test_all_are_alive_at_first() -> None:
    watch = Watch(SITES)
    assert watch.living == list(SITES)
    assert watch.observe(seen()) == []


def test_one_failure_is_none() -> None:
    watch = Watch(SITES, fall=2)
    assert watch.observe(seen("bari")) == []
    assert watch.observe(seen()) == []
    assert watch.observe(seen("bari")) == []
    assert watch.living == list(SITES)


def test_a_site_falls_and_rises() -> None:
    watch = Watch(SITES, fall=2, rise=2)
    watch.observe(seen("bari"))
    assert watch.observe(seen("bari")) == ["bari is away: no answer"]
    assert watch.living == ["cnaf", "padova"]
    assert watch.observe(seen()) == []
    assert watch.living == ["cnaf", "padova"]
    assert watch.observe(seen()) == ["bari is back"]
    assert watch.living == list(SITES), "in their order again"


def test_who_sees_nobody_is_blind() -> None:
    watch = Watch(SITES, fall=1)
    watch.observe(seen("bari"))
    messages = watch.observe(seen(*SITES))
    assert messages[-1] == "nobody seems to be alive: the last answer stays"
    assert watch.living == ["cnaf", "padova"]
    assert watch.observe(seen(*SITES)) == [], "said once"
    assert watch.observe(seen("cnaf", "padova")) == []
    assert watch.observe(seen("cnaf", "padova")) == ["bari is back"]
    assert watch.living == ["bari"]


def test_addresses_of_both_families() -> None:
    both = records(["192.0.2.1", "2001:db8::1"], 5)
    assert [(one["type"], one["values"], one["state"]) for one in both[1:]] == [
        ("A", ["192.0.2.1"], "present"),
        ("AAAA", ["2001:db8::1"], "present"),
    ]
    assert records(["192.0.2.1"], 5)[2]["state"] == "absent"


def test_a_certificate_for_the_name_is_proved_elsewhere() -> None:
    told = records(["192.0.2.1"], 5, "cloud.acme.cloud.example")[0]
    assert (told["name"], told["type"]) == ("_acme-challenge", "CNAME")
    assert told["values"] == ["cloud.acme.cloud.example."]
    assert records(["192.0.2.1"], 5)[0]["state"] == "absent", "and no more, when it is not"
