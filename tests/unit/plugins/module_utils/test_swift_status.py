# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The picture of Swift, and its page, also of what is odd: nothing known, no hosts, no place."""

from __future__ import annotations

import copy
import json
import re
from html.parser import HTMLParser
from typing import Any

import pytest
from ansible_collections.infn.cloud.plugins.module_utils._swift_page import (
    Html,
    draw_map,
    kilometres,
    page,
    tag,
)
from ansible_collections.infn.cloud.plugins.module_utils._swift_status import (
    duration,
    off_balance,
    page_of_text,
    put_together,
    quarantined,
    replication_age,
    with_run,
)

NOW = 1_795_450_000.0
MD5 = "a" * 32
LIMITS = {
    "dispersion_percent": 99.9,
    "fill_percent": 80.0,
    "replication_seconds": 86400.0,
    "async_pending": 1000.0,
}
PLACES = {"one": (1, 44.49, 11.34), "two": (2, 41.12, 16.87)}


def sites() -> dict[str, Any]:
    return {
        name: {
            "region": region,
            "coupling": "backbone",
            "location": {"city": f"City {name}", "latitude": latitude, "longitude": longitude},
            "hosts": {f"{name}-st1": {"address": f"192.0.2.{region}", "services": []}},
        }
        for name, (region, latitude, longitude) in PLACES.items()
    }


def devices(weight: float = 100.0) -> list[dict[str, Any]]:
    return [
        {"region": region, "zone": 1, "ip": f"192.0.2.{region}", "port": 6200, "device": "d1",
         "weight": weight, "meta": "", "partitions": 128}
        for region, *_place in PLACES.values()
    ]  # fmt: skip


def ring() -> dict[str, Any]:
    return {
        "ring": "object", "error": "", "devices": devices(), "part_power": 7, "replicas": 2.0,
        "ring_file_md5": MD5, "ring_file_matches": True, "balance": 0.0, "dispersion": 0.0,
        "version": 3, "min_part_seconds_left": 0,
    }  # fmt: skip


def server(name: str, region: int) -> dict[str, Any]:
    return {
        "host": f"{name}-st1", "address": f"192.0.2.{region}", "port": 6200, "kind": "object",
        "reached": True, "ok": True, "error": None, "version": "2.35.1", "time": NOW,
        "replication": {"replication_last": NOW - 30}, "unmounted": [],
        "diskusage": [{"device": "d1", "mounted": True, "size": 1000, "used": 100}],
        "async": {"async_pending": 0}, "driveaudit": {"drive_audit_errors": None},
        "quarantined": {"objects": 0, "containers": 0, "accounts": 0, "policies": {}},
    }  # fmt: skip


def recon() -> dict[str, Any]:
    return {
        "servers": [server(name, region) for name, (region, *_place) in PLACES.items()],
        "not_reached": [],
        "ring_agreement": {"object.ring.gz": {MD5: ["one-st1", "two-st1"]}},
        "swiftconf_agreement": {"swift.conf": {MD5: ["one-st1", "two-st1"]}},
    }


def share(found: int, expected: int = 100) -> dict[str, Any]:
    return {
        "copies_expected": expected,
        "copies_found": found,
        "copies_found_percent": 100 * found / expected if expected else 0.0,
    }


def figures(one: int = 100, two: int = 100) -> dict[str, Any]:
    return {
        **share(one + two, 200), "regions": {"1": share(one), "2": share(two)}, "samples": 100,
        "missing": {"0": 100, "1": 0, "2": 0}, "partitions": 128, "coverage_percent": 78.12,
        "overlapping": 0, "policy_index": 0,
    }  # fmt: skip


def dispersion() -> dict[str, Any]:
    found = {"container": figures(), "object": {"gold": figures()}}
    return {"dispersion": found, "problems": [], "errors": [], "not_reached": []}


def picture(**changes: Any) -> dict[str, Any]:
    parts = {
        "federation": "test", "sites": sites(), "rings": [ring()],
        "wished": [{"name": "object", "devices": devices()}], "recon": recon(),
        "dispersion": dispersion(), "problems": [], "not_reached": [], "limits": LIMITS, "now": NOW,
    }  # fmt: skip
    return put_together(**{**parts, **changes})


def about(status: dict[str, Any]) -> list[str]:
    return [one["about"] for one in status["findings"]]


class Reader(HTMLParser):
    """Reads a page strictly: what is opened is closed, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def read(markup: str) -> Reader:
    reader = Reader()
    reader.feed(markup)
    reader.close()
    assert reader.open == []
    return reader


# --- judging


def test_all_is_well() -> None:
    status = picture()
    assert status["findings"] == []
    assert status["summary"] == {
        "time": round(NOW), "dispersion_percent": 100.0, "fill_percent": 10.0,
        "replication_seconds": 30.0, "async_pending": 0, "quarantined": 0, "hosts": 2,
        "hosts_not_reached": 0, "findings": 0, "regions": {"1": 100.0, "2": 100.0},
    }  # fmt: skip
    assert "Nothing wants a look." in page_of_text(status)


def test_each_thing_that_is_wrong_is_found() -> None:
    said = recon()
    first, second = said["servers"]
    first["unmounted"] = ["d1"]
    first["quarantined"] = {"objects": 2, "policies": {"0": {"objects": 2}}}
    first["async"] = {"async_pending": 1001}
    first["replication"] = {"replication_last": NOW - 86401}
    first["diskusage"][0]["used"] = 810
    second["version"] = "2.35.2"
    second["error"] = "GET /recon/time: HTTP 500"
    said["ring_agreement"]["object.ring.gz"] = {MD5: ["one-st1"], "b" * 32: ["two-st1"]}
    copies = dispersion()
    copies["dispersion"]["object"]["gold"] = figures(two=99)
    wished = [{"name": "object", "devices": devices(50)}]
    status = picture(recon=said, dispersion=copies, wished=wished)
    assert set(about(status)) == {
        "dispersion", "rings", "disks", "quarantined", "fill", "replication", "async", "servers",
        "weights",
    }  # fmt: skip
    texts = " | ".join(one["text"] for one in status["findings"])
    assert "policy gold: 99.5 % of the copies are in place; region 2 has 99 %" in texts
    assert "object: two-st1 have another ring" in texts
    assert "one-st1/d1: has weight 100 and shall have weight 50 (object)" in texts
    assert "different versions of Swift: 2.35.1 on one-st1, 2.35.2 on two-st1" in texts
    assert about(status)[0] == "dispersion" and about(status)[-1] == "weights"


def test_a_host_that_does_not_answer_is_told_once_and_its_figures_are_unknown() -> None:
    said = recon()
    gone = {"host": "two-st1", "address": "192.0.2.2", "port": 6200, "kind": "object"}
    said["servers"][1] = {**gone, "reached": False, "ok": False, "error": "timed out after 5 s"}
    said["not_reached"] = ["two-st1 (object 192.0.2.2:6200): timed out after 5 s"]
    status = picture(recon=said)
    assert about(status) == ["not_reached"]
    assert status["summary"]["hosts_not_reached"] == 1
    assert status["devices"][1]["fill_percent"] is None
    assert "no answer" in page_of_text(status) and "no answer" in page(status, [status["summary"]])


def test_what_is_not_known_is_not_zero() -> None:
    assert replication_age("object", {"replication_last": None}, NOW) is None
    assert replication_age("object", {"object_replication_last": NOW - 5}, NOW) == 5
    assert replication_age("object", None, NOW) is None
    assert replication_age("object", {"replication_last": NOW + 5}, NOW) == 0
    assert quarantined(None) is None
    assert quarantined({"objects": 1, "policies": {"2": {"objects": 1}}}) == {
        "account": 0, "container": 0, "object": 1, "policy 2": 1,
    }  # fmt: skip
    assert off_balance({"fair": 0.0, "partitions": 5}) is None
    assert off_balance({"fair": 100.0, "partitions": 105}) == 5.0


def test_disks_that_come_and_go() -> None:
    coming = [*devices(), {**devices()[0], "device": "d2", "weight": 10, "target_weight": 100.0}]
    status = picture(wished=[{"name": "object", "devices": coming[1:]}])
    texts = [one["text"] for one in status["findings"]]
    assert "one-st1/d1: has weight 100 and shall leave it (object)" in texts
    assert "one-st1/d2: is not in the ring yet and shall have weight 100 (object)" in texts


# --- odd federations


ODD: dict[str, dict[str, Any]] = {
    "nothing answered": {"rings": [], "recon": {}, "dispersion": None, "problems": ["away"]},
    "no samples": {
        "dispersion": {
            "dispersion": {"container": {}, "object": {}},
            "problems": ["containers: there are no samples"],
        }
    },
    "the copies could not be asked for": {"dispersion": {"msg": "no rings", "failed": True}},
    "no sites": {"sites": {}},
    "a damaged builder": {"rings": [{"ring": "object", "error": "object.builder: damaged"}]},
    "an unmounted disk": {
        "recon": {
            **recon(),
            "servers": [
                {**server("one", 1), "unmounted": ["d1"],
                 "diskusage": [{"device": "d1", "mounted": False, "size": "", "used": ""}]}
            ],
        }
    },
}  # fmt: skip


@pytest.mark.parametrize("changes", ODD.values(), ids=list(ODD))
def test_odd_federations_have_a_page(changes: dict[str, Any]) -> None:
    status = picture(**copy.deepcopy(changes))
    json.dumps(status)
    assert page_of_text(status)
    read(page(status, [status["summary"]]))
    if changes != ODD["no sites"]:
        assert status["findings"]


def test_a_region_without_hosts_and_a_site_without_a_place() -> None:
    described = sites()
    described["three"] = {"region": 3, "coupling": "backbone", "location": {}, "hosts": {}}
    described["four"] = {"region": None, "coupling": "federated", "hosts": {}}
    status = picture(sites=described)
    assert status["regions"][2] == {
        "region": 3, "site": "three", "devices": 0, "hosts": 0, "size": None, "fill_percent": None,
        "dispersion": {"containers": None, "gold": None},
    }  # fmt: skip
    text = "".join(read(page(status, [])).text)
    assert "Not on the map, for want of coordinates: three, four." in text
    assert "Without a region of Swift: four (federated)." in text


@pytest.mark.parametrize("places", [[(44, 11)], [(44, 11), (44, 11)], [(-89, -179), (89, 179)]])
def test_maps_of_odd_places(places: list[tuple[float, float]]) -> None:
    described = {}
    for number, (latitude, longitude) in enumerate(places):
        described[f"s{number}"] = {
            **sites()["one"],
            "region": number + 1,
            "location": {"city": None, "latitude": latitude, "longitude": longitude},
        }
    drawn = draw_map(picture(sites=described))
    assert drawn is not None and "nan" not in drawn and "inf" not in drawn
    read(drawn)


def test_distances_are_those_of_the_globe() -> None:
    bologna, bari = ({"latitude": a, "longitude": b} for _region, a, b in PLACES.values())
    assert 580 < kilometres(bologna, bari) < 590
    assert kilometres(bari, bari) == 0


# --- the page


EVIL = "<script>alert(1)</script>\"'&<img src=x onerror=alert(2)>"


def test_what_clouds_say_is_text() -> None:
    said = recon()
    said["servers"][0].update(host=EVIL, version=EVIL, error=EVIL)
    said["not_reached"] = [EVIL]
    described = sites()
    described[EVIL] = {**described.pop("one"), "location": {
        "city": EVIL, "latitude": 44.0, "longitude": 11.0}}  # fmt: skip
    rings = [{**ring(), "ring_file_md5": EVIL}]
    rings[0]["devices"][0].update(device=EVIL, meta=EVIL, ip="192.0.2.99")
    copies = dispersion()
    copies["dispersion"]["object"] = {EVIL: figures()}
    status = picture(
        federation=EVIL,
        sites=described,
        rings=rings,
        recon=said,
        dispersion=copies,
        problems=[EVIL],
    )
    made = read(page(status, [status["summary"]]))
    assert not {name for name, _attributes in made.tags} & {"script", "img"}
    assert not [name for _tag, attributes in made.tags for name in attributes if name[:2] == "on"]
    assert EVIL in "".join(made.text)


def test_the_page_needs_nothing_else() -> None:
    status = picture()
    markup = page(status, [status["summary"]])
    names = [name for name, _attributes in read(markup).tags]
    assert not set(names) & {"script", "link", "iframe", "object", "img", "base"}
    assert "http://" not in markup and "https://" not in markup and "url(" not in markup
    assert "default-src &#x27;none&#x27;" in markup
    assert len(re.findall(r"<table>", markup)) == len(re.findall(r"<caption>", markup)) >= 4


def test_only_markup_is_not_escaped() -> None:
    assert tag("b", "<i>", Html("<i>ok</i>"), None) == "<b>&lt;i&gt;<i>ok</i></b>"
    assert tag("p", class_='a"b', hidden=None) == '<p class="a&quot;b"></p>'


def test_history_with_gaps_is_drawn() -> None:
    status = picture()
    runs = [{**status["summary"], "time": NOW - hour * 3600} for hour in range(200, 0, -1)]
    runs[150]["fill_percent"] = None
    runs[151] = {"time": runs[151]["time"]}
    made = read(page(status, runs))
    assert "90 runs" in "".join(made.text)


# --- history


def test_the_history_is_bounded_and_survives_damage() -> None:
    before = '{"time": 1}\n\nnonsense\n[2]\n{"no": "time"}\n{"time": 3}\n{"time": 4, "ha'
    assert with_run(before, {"time": 5}, 10) == [{"time": 1}, {"time": 3}, {"time": 5}]
    assert with_run(before, {"time": 5}, 2) == [{"time": 3}, {"time": 5}]
    assert with_run("", {"time": 5}, 0) == [{"time": 5}]


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(None, "never"), (0, "0 s"), (119, "119 s"), (120, "2 min"), (7200, "2 h"), (172800, "2 d")],
)
def test_time_spans(seconds: float | None, said: str) -> None:
    assert duration(seconds) == said
