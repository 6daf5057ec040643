# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What dpkg says, and whether apt is asked for more."""

from __future__ import annotations

import pytest
from ansible_collections.infn.cloud.plugins.action.packages import NAME, differing

SHOWN = """\
bind9 1:9.20.15-1~deb13u1 installed
knot 3.4.6-1 config-files
nsd  not-installed
swift 2.35.1-1 half-configured
zlib1g 1:1.3.dfsg+really1.3.1-1+b1 installed
zlib1g 1:1.3.dfsg+really1.3.1-1+b1 installed
"""


@pytest.mark.parametrize(
    ("name", "present", "absent"),
    [
        ("bind9", True, False),
        ("bind9=1:9.20.15-1~deb13u1", True, False),
        ("bind9=1:9.18.1-1", False, False),
        ("knot", False, False),  # its settings are still there
        ("nsd", False, True),
        ("swift", False, False),  # it was interrupted
        ("zlib1g", True, False),  # of two architectures
        ("never-heard", False, True),
    ],
)
def test_who_is_as_wished(name: str, present: bool, absent: bool) -> None:
    assert (differing([name], SHOWN, present=True) == []) == present
    assert (differing([name], SHOWN, present=False) == []) == absent


def test_only_those_that_differ_are_left() -> None:
    assert differing(["bind9", "knot", "zlib1g"], SHOWN, present=True) == ["knot"]


@pytest.mark.parametrize("name", ["", "Bind9", "bind9; reboot", "-y", "bind9=", "a b"])
def test_what_is_no_name(name: str) -> None:
    assert not NAME.fullmatch(name)
