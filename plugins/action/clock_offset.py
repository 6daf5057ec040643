# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measure a host's clock against the controller's; documented with the module of the same name."""

from __future__ import annotations

import time
from typing import Any

from ansible.plugins.action import ActionBase


class ActionModule(ActionBase):
    """One raw command: a module would add its own start-up time to the uncertainty."""

    _supports_check_mode = True
    _requires_connection = True
    TRANSFERS_FILES = False

    def run(
        self, tmp: str | None = None, task_vars: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Return the bounds of the offset; see the module's RETURN."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        before = time.time()
        answer = self._low_level_execute_command("date +%s.%N", sudoable=False)
        after = time.time()
        try:
            there = float(answer["stdout"].strip())
        except (KeyError, ValueError):
            result.update(
                failed=True,
                msg=f"'date +%s.%N' did not print the time: {answer.get('stdout', '')!r} "
                f"{answer.get('stderr', '')!r}",
            )
            return result
        result.update(
            changed=False, earliest=round(there - after, 6), latest=round(there - before, 6)
        )
        return result
