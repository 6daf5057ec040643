# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Have Debian packages, or not; documented with the module of the same name."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

# Debian Policy 5.6.1, and a version as apt takes it.
NAME = re.compile(r"[a-z0-9][a-z0-9+.-]+(=[A-Za-z0-9.+:~-]+)?")
SHOW = r"${Package} ${Version} ${db:Status-Status}\n"


def differing(names: Sequence[str], shown: str, *, present: bool) -> list[str]:
    """The names that are not as wished, by what dpkg-query says of all of them."""
    there: dict[str, dict[str, str]] = {}
    for line in shown.splitlines():
        package, version, status = (line.split(" ") + ["", ""])[:3]
        if status != "not-installed":
            there.setdefault(package, {})[version] = status

    def as_wished(name: str) -> bool:
        package, _equals, version = name.partition("=")
        found = there.get(package, {})
        if not present:
            return not found
        return "installed" in ([found.get(version)] if version else found.values())

    return [name for name in names if not as_wished(name)]


class ActionModule(ActionBase):
    """dpkg is asked first, by a command that needs no Python there; apt has the rest."""

    _supports_check_mode = True
    _requires_connection = True
    TRANSFERS_FILES = False

    def run(
        self, tmp: str | None = None, task_vars: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        _validation, wished = self.validate_argument_spec(
            {
                "name": {"type": "list", "elements": "str", "required": True},
                "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
                "autoremove": {"type": "bool", "default": False},
            }
        )
        names, present = wished["name"], wished["state"] == "present"
        strange = [name for name in names if not NAME.fullmatch(name)]
        if strange:
            raise AnsibleActionFail(f"no name of a Debian package: {', '.join(strange)}")
        asked = [name.partition("=")[0] for name in names]
        command = shlex.join(["dpkg-query", "--show", f"--showformat={SHOW}", *asked])
        answer = self._low_level_execute_command(f"LC_ALL=C {command}", sudoable=False)
        # 1: it knows some of them not.
        if answer["rc"] not in (0, 1):
            raise AnsibleActionFail(f"dpkg-query: {answer['stderr'].strip() or answer['stdout']}")
        names = differing(names, answer["stdout"], present=present)
        if not names:
            return result | {"changed": False}
        # Services are started when they are configured, not by their packages.
        install = {
            "install_recommends": False, "update_cache": True, "cache_valid_time": 86400,
            "policy_rc_d": 101,
        }  # fmt: skip
        remove = {"state": "absent", "purge": True, "autoremove": wished["autoremove"]}
        return result | dict(
            self._execute_module(
                module_name="ansible.builtin.apt",
                module_args={"name": names} | (install if present else remove),
                task_vars=task_vars,
            )
        )
