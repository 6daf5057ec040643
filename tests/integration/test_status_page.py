# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The status page in a real browser: by day, by night, on a telephone, full of markup."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from ansible_collections.infn.cloud.plugins.module_utils._swift_page import page

from tooling.browser import Browser

if not shutil.which("chromium") and os.geteuid() != 0:
    pytest.skip("needs chromium, or root to install it", allow_module_level=True)


def unit_tests() -> ModuleType:
    """The federations that the unit tests describe."""
    path = Path(__file__).parents[1] / "unit/plugins/module_utils/test_swift_status.py"
    spec = importlib.util.spec_from_file_location("federations", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


federations = unit_tests()


def runs(status: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {**status["summary"], "time": status["time"] - hour * 3600} for hour in range(40, 0, -1)
    ]


def crowded() -> dict[str, Any]:
    """More of everything: long names, many disks, all kinds of findings."""
    said = federations.recon()
    sites = federations.sites()
    sites["a-site-with-a-very-long-name-indeed"] = {
        "region": 3,
        "coupling": "backbone",
        "location": {"city": "Llanfairpwllgwyngyll", "latitude": 44.5, "longitude": 11.4},
        "hosts": {},
    }
    ring = federations.ring()
    ring["devices"] = [
        {**ring["devices"][number % 2], "device": f"disk-with-a-long-name-{number}"}
        for number in range(60)
    ]
    said["servers"][0]["error"] = "x" * 400
    said["not_reached"] = [f"host-{number}: timed out after 5 s" for number in range(12)]
    return federations.picture(sites=sites, rings=[ring], recon=said)


PAGES = {
    "well": federations.picture,
    "crowded": crowded,
    "evil": lambda: federations.picture(federation=federations.EVIL, problems=[federations.EVIL]),
    **{
        name: lambda changes=changes: federations.picture(**changes)
        for name, changes in federations.ODD.items()
    },
}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with Browser() as one:
        yield one


@pytest.mark.parametrize("name", PAGES)
def test_pages_load_without_complaint_and_fit_the_screen(
    browser: Browser, tmp_path: Path, name: str
) -> None:
    status = PAGES[name]()
    path = tmp_path / "report.html"
    path.write_text(page(status, runs(status)), encoding="utf-8")
    for width in (390, 768, 1280):
        browser.open(path, width=width)
        assert browser.complaints == []
        assert browser.requests == [path.resolve().as_uri()]
        assert browser.run("document.documentElement.scrollWidth") <= width
        assert browser.run("document.compatMode") == "CSS1Compat"
        assert browser.run("document.querySelectorAll('h1').length") == 1
        # No script of ours, and none of theirs.
        assert browser.run("document.scripts.length + document.images.length") == 0


# Text and what is behind it, as the browser computed them.
COLOURS = """
(() => {
  const seen = new Set();
  for (const one of document.querySelectorAll('body *')) {
    const own = [...one.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
    if (!own || one.closest('title')) continue;
    const style = getComputedStyle(one);
    let back = one, colour = 'rgba(0, 0, 0, 0)';
    while (back && colour === 'rgba(0, 0, 0, 0)') {
      colour = getComputedStyle(back).backgroundColor; back = back.parentElement;
    }
    seen.add((one.closest('svg') ? style.fill : style.color) + '|' + colour);
  }
  return [...seen];
})()
"""


def contrast(one: str, other: str) -> float:
    """The contrast of two colours by the definition of WCAG 2."""

    def luminance(colour: str) -> float:
        parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
        linear = [p / 12.92 if p <= 0.03928 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("dark", [False, True])
def test_text_can_be_read_by_day_and_by_night(browser: Browser, tmp_path: Path, dark: bool) -> None:
    status = crowded()
    path = tmp_path / "report.html"
    path.write_text(page(status, runs(status)), encoding="utf-8")
    browser.open(path, width=1280, dark=dark)
    pairs = [pair.split("|") for pair in browser.run(COLOURS)]
    assert len(pairs) >= 5
    behind = browser.run("getComputedStyle(document.body).backgroundColor")
    light = contrast(behind, "rgb(0, 0, 0)") > contrast(behind, "rgb(255, 255, 255)")
    assert light is not dark
    assert {f"{text} on {back}" for text, back in pairs if contrast(text, back) < 4.5} == set()


def test_the_browser_notices_what_is_wrong(browser: Browser, tmp_path: Path) -> None:
    """What the tests above rely on."""
    path = tmp_path / "wrong.html"
    path.write_text(
        "<!doctype html><p style='width:2000px'>wide</p><script>nowhere()</script>"
        "<img src='file:///nonexistent.png'>",
        encoding="utf-8",
    )
    browser.open(path, width=390)
    assert browser.run("document.documentElement.scrollWidth") > 390
    assert any("nowhere is not defined" in complaint for complaint in browser.complaints)
    assert "file:///nonexistent.png" in browser.requests
