# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What dpkg says, and what apt is asked for then."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from ansible.errors import AnsibleActionFail
from ansible_collections.infn.cloud.plugins.action.packages import ActionModule, differing

SHOWN = """\
bind9 1:9.20.15-1~deb13u1 installed
knot 3.4.6-1 config-files
nsd  not-installed
rsync 3.4.1-1 installed
swift 2.35.1-1 half-configured
zlib1g 1:1.3.dfsg+really1.3.1-1+b1 installed
zlib1g 1:1.3.dfsg+really1.3.1-1+b1 installed

libc6
auto 1
rsync
auto 1
bind9
auto 0
"""


@pytest.mark.parametrize(
    ("name", "present", "absent"),
    [
        ("bind9", True, False),
        ("bind9=1:9.20.15-1~deb13u1", True, False),
        ("bind9=1:9.18.1-1", False, False),
        ("bind9=1:9.20.*", False, False),  # apt knows what that means
        ("knot", False, False),  # its settings are still there
        ("nsd", False, True),
        ("rsync", False, False),  # here because of another, with which it would go
        ("swift", False, False),  # it was interrupted
        ("zlib1g", True, False),  # of two architectures
        ("never-heard", False, True),
    ],
)
def test_who_is_as_wished(name: str, present: bool, absent: bool) -> None:
    assert differing([name], SHOWN, present=True) != present
    assert differing([name], SHOWN, present=False) != absent
    assert differing(["bind9", name], SHOWN, present=True) != present


class Host(ActionModule):
    """A host with the packages above, which writes down what apt is asked."""

    def __init__(self, code: int = 0, **options: Any) -> None:
        self._task = SimpleNamespace(args=options)
        self.code = code
        self.command = ""
        self.asked: list[dict[str, Any]] = []

    def validate_argument_spec(self, argument_spec: Any = None, **_more: Any) -> Any:
        defaults = {name: about.get("default") for name, about in argument_spec.items()}
        return None, defaults | self._task.args

    def _low_level_execute_command(self, cmd: str, **_options: Any) -> dict[str, Any]:  # type: ignore[override]
        self.command = cmd
        return {"rc": self.code, "stdout": SHOWN, "stderr": "no such thing"}

    def _execute_module(self, **call: Any) -> dict[str, Any]:  # type: ignore[override]
        self.asked.append(call["module_args"])
        return {"changed": True}


@pytest.fixture(autouse=True)
def nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ansible.plugins.action.ActionBase.run", lambda *_arguments: {})


def test_apt_is_not_asked_for_what_is_there() -> None:
    host = Host(name=["bind9", "zlib1g"])
    assert host.run() == {"changed": False}
    assert not host.asked
    assert host.command.startswith("LC_ALL=C dpkg-query --show ")


def test_apt_installs_without_recommendations_and_starts_nothing() -> None:
    host = Host(code=1, name=["bind9", "knot"])
    assert host.run() == {"changed": True}
    assert host.asked == [
        {
            "name": ["bind9", "knot"], "install_recommends": False, "update_cache": True,
            "cache_valid_time": 86400, "policy_rc_d": 101,
        }
    ]  # fmt: skip
    starting = Host(name=["knot"], start=True)
    starting.run()
    assert "policy_rc_d" not in starting.asked[0]


def test_apt_is_asked_for_what_is_newest_by_lists_of_now() -> None:
    host = Host(name=["bind9"], state="latest")
    assert host.run() == {"changed": True}
    assert host.asked == [
        {
            "name": ["bind9"], "state": "latest", "install_recommends": False,
            "update_cache": True, "cache_valid_time": 0, "policy_rc_d": 101,
        }
    ]  # fmt: skip


def test_apt_removes_with_settings() -> None:
    host = Host(name=["knot"], state="absent", autoremove=True)
    host.run()
    assert host.asked == [{"name": ["knot"], "state": "absent", "purge": True, "autoremove": True}]
    gone = Host(name=["nsd", "never-heard"], state="absent")
    assert gone.run() == {"changed": False}


@pytest.mark.parametrize("name", ["", "-y"])
def test_what_is_no_name(name: str) -> None:
    with pytest.raises(AnsibleActionFail, match="no name of a package"):
        Host(name=[name]).run()


def test_a_host_without_dpkg() -> None:
    with pytest.raises(AnsibleActionFail, match="no such thing"):
        Host(code=127, name=["bind9"]).run()
