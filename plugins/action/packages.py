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

# Debian Policy 5.6.1, and a whole version. What apt understands besides is left to it.
NAME = re.compile(r"[a-z0-9][a-z0-9+.-]+(=[A-Za-z0-9.+:~-]+)?")
SHOW = r"${Package} ${Version} ${db:Status-Status}\n"
# The second half: what apt would remove as nobody's wish.
ASK = (
    "LC_ALL=C %s; state=$?; echo;"
    " sed -n 's/^Package: //p; s/^Auto-Installed: /auto /p' /var/lib/apt/extended_states"
    " 2>/dev/null; exit $state"
)


def differing(names: Sequence[str], shown: str, *, present: bool) -> bool:
    """Whether a package is not as wished, by what dpkg and apt have written down of all of them."""
    there: dict[str, dict[str, str]] = {}
    installed, _empty, marks = shown.replace("\r", "").partition("\n\n")
    for line in installed.splitlines():
        package, version, status = (line.split(" ") + ["", ""])[:3]
        if status != "not-installed":
            there.setdefault(package, {})[version] = status
    automatic = set(re.findall(r"^(.+)\nauto 1$", marks, re.M))

    def as_wished(name: str) -> bool:
        package, _equals, version = name.partition("=")
        found = there.get(package, {})
        if not NAME.fullmatch(name):
            return False
        if not present:
            return not found
        installed = "installed" in ([found.get(version)] if version else found.values())
        return installed and package not in automatic

    return not all(map(as_wished, names))


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
                "state": {
                    "type": "str",
                    "choices": ["present", "latest", "absent"],
                    "default": "present",
                },
                "start": {"type": "bool", "default": False},
                "autoremove": {"type": "bool", "default": False},
            }
        )
        names, present = wished["name"], wished["state"] != "absent"
        if strange := [name for name in names if not name or name.startswith("-")]:
            raise AnsibleActionFail(f"no name of a package: {', '.join(map(repr, strange))}")
        asked = [name.partition("=")[0] for name in names if NAME.fullmatch(name)]
        command = shlex.join(["dpkg-query", "--show", f"--showformat={SHOW}", "--", *asked])
        answer = self._low_level_execute_command(ASK % command, sudoable=False)
        # 1: it knows some of them not.
        if answer["rc"] not in (0, 1):
            raise AnsibleActionFail(f"dpkg-query: {answer['stderr'].strip() or answer['stdout']}")
        newest = wished["state"] == "latest"
        if not newest and not differing(names, answer["stdout"], present=present):
            return result | {"changed": False}
        how: dict[str, Any] = {"state": "absent", "purge": True, "autoremove": wished["autoremove"]}
        if present:
            how = {"install_recommends": False, "update_cache": True, "cache_valid_time": 86400}
            # What is newest, only today's lists say.
            how |= {"state": "latest", "cache_valid_time": 0} if newest else {}
            # Services are started when they are configured, not by their packages.
            how |= {} if wished["start"] else {"policy_rc_d": 101}
        return result | dict(
            self._execute_module(
                module_name="ansible.builtin.apt",
                module_args={"name": names} | how,
                task_vars=task_vars,
            )
        )
