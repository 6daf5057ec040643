# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts are compared by what they have; what one lacks is no difference."""

from __future__ import annotations

from ansible_collections.infn.cloud.plugins.module_utils._stack_alignment import (
    differences,
    read_packages,
)

OUTPUT = """\
installed swift-proxy 2.35.0-1
installed liberasurecode1:amd64 1.6.4-1
config-files swift-object 2.30.0-1
installed bash 5.2.37-2
not-installed swift-account
"""


def test_only_what_is_installed_and_asked_for() -> None:
    assert read_packages(OUTPUT, ["swift*", "liberasurecode*"]) == {
        "swift-proxy": "2.35.0-1",
        "liberasurecode1": "1.6.4-1",
    }
    assert read_packages("", ["*"]) == {}


def test_differences_name_version_and_hosts() -> None:
    hosts = {
        "cnaf": {"swift": "2", "haproxy": "3", "debian": "13.1"},
        "bari": {"swift": "1", "debian": "13.1"},
        "padova": {"swift": "2", "haproxy": "3", "debian": "13.1"},
    }
    assert differences(hosts) == ["swift: 1 on bari; 2 on cnaf, padova"]
    assert differences(hosts, ["swift"]) == []
    assert differences({}) == []
