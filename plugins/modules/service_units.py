#!/usr/bin/python
# SPDX-FileCopyrightText: The infn.cloud contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: service_units
short_description: Run systemd units with their current configuration
version_added: 0.1.0
author:
  - The infn.cloud contributors (@infn-cloud)
description:
  - Starts, enables, restarts, reloads, stops, disables and masks many systemd units in one call.
  - Restarts a unit when its configuration is newer than its last start. Unlike a handler, which is
    lost when a run is interrupted between the change and the end of the play, the next run
    finishes the work.
  - A change of a service's, timer's or path's own unit file or drop-ins counts as a change of its
    configuration.
  - Reads unit files again (daemon-reload) where that is needed. That alone is not a change.
options:
  units:
    description:
      - The units, in the order in which they are started and restarted.
      - Consecutive units that only have to be started are started together; each restart and each
        reload must have succeeded, and its O(units[].wait_for) must answer, before the next.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: The unit's name; without a suffix a service.
        type: str
        required: true
      state:
        description:
          - A oneshot without RemainAfterExit counts as V(started) once it has succeeded since
            the boot.
          - V(absent) means stopped, disabled and not remembered as failed. It does not remove the
            unit file; use it before removing that file.
          - A unit that does not exist is stopped and absent.
          - The default is V(started), for a masked unit V(stopped).
        type: str
        choices: [started, stopped, absent]
      enabled:
        description:
          - Whether the unit starts at boot. The default is true for a started unit, false for
            others.
          - Ignored for units that cannot be enabled (static, generated, alias).
        type: bool
      masked:
        description: Whether the unit is masked, so that nothing can start it.
        type: bool
        default: false
      restart_if_newer:
        description:
          - Restart the unit when one of these files changed after its last start.
          - For a directory, its latest change or that of anything below it counts. Do not
            name one into which the service itself writes.
          - Only content counts (the modification time), not owner and mode. A path that does not
            exist is ignored.
        type: list
        elements: path
        default: []
      reload_if_newer:
        description:
          - Reload the unit when one of these changed after its last start or reload. A unit that
            cannot reload is restarted.
        type: list
        elements: path
        default: []
      restart_if_replaced:
        description:
          - Restart the unit when its main process runs a program, or has a library or another file
            below C(/usr) or C(/opt) open, in whose place there is another by now - after an upgrade
            of its package or of one that it uses.
          - Programs in Python and the like have read their files and closed them; name these in
            O(units[].restart_if_newer).
        type: bool
        default: false
      wait_for:
        description: Where the unit answers when it is ready; awaited after a start or restart.
        type: dict
        suboptions:
          port:
            description: A TCP port that accepts a connection.
            type: int
          address:
            description: The address of the port.
            type: str
            default: 127.0.0.1
          path:
            description: A Unix socket that accepts a connection.
            type: path
  changed_files:
    description:
      - Paths that infn.cloud.config_tree would change, or has changed, as it returned them.
      - In check mode they count as newer than every unit. Otherwise their times count, and one that
        no longer exists counts as newer.
    type: list
    elements: path
    default: []
  timeout:
    description: Seconds for a unit to be active and to answer, and for each call of systemctl.
    type: int
    default: 60
attributes:
  check_mode:
    description: Predicts every change and makes none.
    support: full
    details:
      - A unit that does not exist yet, since its package is not installed, would be started and
        enabled.
      - Whether a masked unit would have to be enabled is only known once it is unmasked.
  diff_mode:
    description: Shows each unit's state before, and what happens to it and why.
    support: full
  idempotent:
    description: A second run changes nothing.
    support: full
requirements:
  - systemd 248 or later on the target
seealso:
  - module: infn.cloud.config_tree
  - module: ansible.builtin.systemd_service
"""

EXAMPLES = r"""
- name: Run the storage servers with their current configuration
  infn.cloud.service_units:
    units:
      - name: swift-account.service
        restart_if_newer: [/etc/swift/account-server.conf, /etc/swift/swift.conf]
        wait_for: {port: 6202}
      - name: swift-object.service
        restart_if_newer: [/etc/swift/object-server.conf, /etc/swift/swift.conf]
        wait_for: {port: 6200}
      - name: haproxy.service
        reload_if_newer: [/etc/haproxy]
        wait_for: {path: /run/haproxy/admin.sock}
      - name: swift-recon.timer
      - {name: rsync.service, state: stopped, masked: true}
    changed_files: "{{ tree.changed_files }}"
"""

RETURN = r"""
started:
  description: Units that were started.
  returned: always
  type: list
  elements: str
restarted:
  description: Units that were restarted.
  returned: always
  type: list
  elements: str
  sample: [swift-object.service]
reloaded:
  description: Units that were reloaded.
  returned: always
  type: list
  elements: str
stopped:
  description: Units that were stopped.
  returned: always
  type: list
  elements: str
enabled:
  description: Units that were enabled.
  returned: always
  type: list
  elements: str
disabled:
  description: Units that were disabled.
  returned: always
  type: list
  elements: str
masked:
  description: Units that were masked.
  returned: always
  type: list
  elements: str
unmasked:
  description: Units that were unmasked.
  returned: always
  type: list
  elements: str
"""

import contextlib
import os
import socket
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, Optional

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.infn.cloud.plugins.module_utils._service_units import (
    LISTS,
    PROPERTIES,
    Action,
    Changes,
    ServiceUnitsError,
    Unit,
    WaitFor,
    Wanted,
    batches,
    decide,
    diff_of,
    failure_text,
    is_sysv,
    lists_of,
    needs_daemon_reload,
    parse_show,
    parse_units,
    refuse_unknown,
    replaced_file,
    watched_paths,
)

ARGUMENTS: dict[str, Any] = {
    "units": {
        "type": "list",
        "elements": "dict",
        "required": True,
        "options": {
            "name": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["started", "stopped", "absent"]},
            "enabled": {"type": "bool"},
            "masked": {"type": "bool", "default": False},
            "restart_if_newer": {"type": "list", "elements": "path", "default": []},
            "reload_if_newer": {"type": "list", "elements": "path", "default": []},
            "restart_if_replaced": {"type": "bool", "default": False},
            "wait_for": {
                "type": "dict",
                "options": {
                    "port": {"type": "int"},
                    "address": {"type": "str", "default": "127.0.0.1"},
                    "path": {"type": "path"},
                },
            },
        },
    },
    "changed_files": {"type": "list", "elements": "path", "default": []},
    "timeout": {"type": "int", "default": 60},
}
JOURNAL_LINES = 15
POLL_SECONDS = 0.2
# A simple service counts as active before it has read its configuration; one that refuses it is
# gone within moments.
SETTLE_SECONDS = 1.0


class Systemd:
    """Calls systemctl and journalctl."""

    def __init__(self, module: AnsibleModule) -> None:
        self._module = module
        self._systemctl = module.get_bin_path("systemctl", required=True)
        # The job of a unit may take as long as its own settings allow, even forever.
        self._timeout = module.get_bin_path("timeout", required=True)
        self._seconds = module.params["timeout"]

    def show(self, names: Sequence[str]) -> dict[str, Unit]:
        """What systemd has under these names."""
        command = [
            self._systemctl,
            "show",
            "--timestamp=us+utc",
            f"--property={','.join(PROPERTIES)}",
        ]
        code, output, errors = self._module.run_command([*command, "--", *names])
        if code != 0 and not output.strip():
            raise ServiceUnitsError(
                f"systemctl show failed: {errors.strip() or f'exit code {code}'}"
            )
        units = parse_show(output, names)
        return {
            name: self._with_sysv_state(unit) if is_sysv(unit) else unit
            for name, unit in units.items()
        }

    def _with_sysv_state(self, unit: Unit) -> Unit:
        command = [self._systemctl, "is-enabled", "--", unit.name]
        _code, output, _errors = self._module.run_command(command)
        return replace(unit, file_state=output.strip() or unit.file_state)

    def try_call(self, *words: str) -> str:
        """Call systemctl; return what went wrong, or nothing."""
        command = [self._timeout, str(self._seconds), self._systemctl, *words]
        code, _output, errors = self._module.run_command(command)
        if code == 124:
            return f"systemctl {words[0]} did not end within {self._seconds} seconds."
        return "" if code == 0 else errors.strip() or f"systemctl {words[0]}: exit code {code}."

    def call(self, *words: str) -> None:
        """Call systemctl; raise what went wrong."""
        said = self.try_call(*words)
        if said:
            raise ServiceUnitsError(f"systemctl {' '.join(words)}: {said}")

    def failure(self, name: str, verb: str, said: str = "") -> ServiceUnitsError:
        """Describe a failed unit with the end of its journal."""
        journal = "(journalctl is not installed)"
        program = self._module.get_bin_path("journalctl")
        if program:
            lines = str(JOURNAL_LINES)
            command = [program, "--no-pager", "-u", name, "-n", lines, "-o", "cat"]
            _code, journal, _errors = self._module.run_command(command)
        return ServiceUnitsError(failure_text(self.show([name])[name], verb, said, journal))


def _changed(path: str) -> int:
    """When a path's content changed; a time set into the future would restart a unit for ever."""
    status = os.stat(path)
    return min(status.st_mtime_ns, status.st_ctime_ns)


def newest_change(path: str) -> Optional[int]:
    """The latest change of a path, of a directory the latest below it, in microseconds."""
    try:
        newest = _changed(path)
    except OSError:
        return None
    for place, directories, files in os.walk(path):
        for name in [*directories, *files]:
            try:
                newest = max(newest, _changed(os.path.join(place, name)))
            except OSError:
                continue
    return newest // 1000


def replaced_file_of(pid: int) -> str:
    """A file that a process uses although another is in its place; nothing for one that ended."""
    place, links = f"/proc/{pid}", []
    try:
        with open(f"{place}/maps", encoding="utf-8", errors="replace") as maps:
            text = maps.read()
        for number in os.listdir(f"{place}/fd"):
            with contextlib.suppress(FileNotFoundError):
                links.append(os.readlink(f"{place}/fd/{number}"))
    except OSError:
        return ""
    return replaced_file(text, links)


def changes_of(
    wanted: Sequence[Wanted], units: dict[str, Unit], changed_files: Iterable[str], check_mode: bool
) -> Changes:
    """Look at the time of every path that matters."""
    foreseen = frozenset(path for path in changed_files if check_mode or not os.path.lexists(path))
    moments = {
        path: moment
        for path in watched_paths(wanted, units, foreseen)
        for moment in [newest_change(path)]
        if moment is not None
    }
    replaced = {
        one.name: found
        for one in wanted
        if one.restart_if_replaced and units[one.name].main_pid
        for found in [replaced_file_of(units[one.name].main_pid)]
        if found
    }
    return Changes(moments, foreseen, replaced)


def answers(target: WaitFor) -> bool:
    """Whether something accepts a connection."""
    try:
        if target.path is None:
            with socket.create_connection((target.address, target.port or 0), timeout=2):
                return True
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.settimeout(2)
            client.connect(target.path)
            return True
    except OSError:
        return False


class Executor:
    """Carries actions out, and says at any moment what has been done."""

    def __init__(self, systemd: Systemd, timeout: int, result: dict[str, Any]) -> None:
        self._systemd = systemd
        self._timeout = timeout
        self._result = result

    def prepare(self, actions: Sequence[Action]) -> None:
        """Everything but starting, restarting and reloading, one call each."""
        stopping = [action for action in actions if action.stop]
        failed = [action for action in stopping if action.unit.active == "failed"]
        self._each("stopped", [one for one in stopping if one not in failed], "stop", "--")
        self._each("stopped", failed, "reset-failed", "--")
        self._all("disable", "disabled", actions)
        self._all("mask", "masked", actions)
        self._all("enable", "enabled", actions)

    def unmask(self, actions: Sequence[Action]) -> bool:
        """Unmask, where needed; whether anything was."""
        masked = [action for action in actions if action.unmask]
        runtime = [action for action in masked if action.unit.file_state == "masked-runtime"]
        permanent = [action for action in masked if action not in runtime]
        self._each("unmasked", permanent, "unmask", "--")
        self._each("unmasked", runtime, "unmask", "--runtime", "--")
        return bool(masked)

    def _all(self, verb: str, key: str, actions: Sequence[Action]) -> None:
        self._each(key, [action for action in actions if getattr(action, verb)], verb, "--")

    def _each(self, key: str, actions: Sequence[Action], *words: str) -> None:
        if not actions:
            return
        names = [action.name for action in actions]
        self._systemd.call(*words, *names)
        self._done(key, names)

    def _done(self, key: str, names: Sequence[str]) -> None:
        self._result["changed"] = True
        self._result[key].extend(names)

    def run(self, batch: Sequence[Action]) -> None:
        """Start a batch, or restart or reload the one unit in it, and see that it works."""
        verb = batch[0].run
        names = [action.name for action in batch]
        said = ""
        if verb != "wait":
            failed = [action.name for action in batch if action.unit.active == "failed"]
            if failed:
                # Else a unit that failed too often is not even tried.
                self._systemd.try_call("reset-failed", "--", *failed)
            said = self._systemd.try_call(verb, "--", *names)
            self._done({"start": "started"}.get(verb, f"{verb}ed"), names)
        if said and verb == "reload":
            raise self._systemd.failure(names[0], verb, said)
        deadline = time.monotonic() + self._timeout
        self._await_active(names, verb, said, deadline)
        for action in batch:
            if action.wanted.wait_for is not None:
                self._await_answer(action, verb, deadline)

    def _await_active(self, names: Sequence[str], verb: str, said: str, deadline: float) -> None:
        """Wait until all are active; one that has ended, or that systemctl gave up, is not."""
        while True:
            units = self._systemd.show(names)
            waiting = [unit for unit in units.values() if not unit.satisfied]
            if not waiting:
                return
            for unit in waiting:
                if said or unit.active != "activating" or time.monotonic() > deadline:
                    raise self._systemd.failure(unit.name, verb, said)
            time.sleep(POLL_SECONDS)

    def _await_answer(self, action: Action, verb: str, deadline: float) -> None:
        target = action.wanted.wait_for
        while target is not None and not answers(target):
            unit = self._systemd.show([action.name])[action.name]
            if not unit.satisfied and unit.active != "activating":
                raise self._systemd.failure(action.name, verb)
            if time.monotonic() > deadline:
                raise self._systemd.failure(
                    action.name, verb, f"{target} did not answer within {self._timeout} seconds."
                )
            time.sleep(POLL_SECONDS)

    def settle(self, actions: Sequence[Action]) -> None:
        """See that what was started is still there a moment later."""
        fresh = [action for action in actions if action.run in ("start", "restart")]
        if not fresh:
            return
        if any(action.wanted.wait_for is None for action in fresh):
            time.sleep(SETTLE_SECONDS)
        units = self._systemd.show([action.name for action in fresh])
        for action in fresh:
            unit = units[action.name]
            if not unit.satisfied or unit.restarts:
                said = "It ended soon after it was started."
                raise self._systemd.failure(unit.name, action.run, said)


def run(module: AnsibleModule, result: dict[str, Any]) -> None:
    """Look, decide, act; `result` says at any moment what has been done."""
    wanted = parse_units(module.params["units"])
    if not wanted:
        return
    names = [item.name for item in wanted]
    check_mode = module.check_mode
    systemd = Systemd(module)
    executor = Executor(systemd, module.params["timeout"], result)

    def look() -> list[Action]:
        units = systemd.show(names)
        if not check_mode:
            if needs_daemon_reload(wanted, units):
                systemd.call("daemon-reload")
                units = systemd.show(names)
            refuse_unknown(wanted, units)
        changes = changes_of(wanted, units, module.params["changed_files"], check_mode)
        return decide(wanted, units, changes)

    actions = look()
    if module._diff:
        result["diff"] = diff_of(actions)
    if check_mode:
        result.update(lists_of(actions), changed=any(action.changes for action in actions))
        return
    if executor.unmask(actions):
        # What a unit is besides masked shows only now.
        actions = look()
    executor.prepare(actions)
    for batch in batches(actions):
        executor.run(batch)
    executor.settle(actions)


def main() -> None:
    """Bring the units into the wanted state."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    result: dict[str, Any] = {"changed": False, **{key: [] for key in LISTS}}
    try:
        run(module, result)
    except ServiceUnitsError as error:
        module.fail_json(msg=str(error), **result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
