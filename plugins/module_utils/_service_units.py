# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What systemd units need to be as wanted, and in which order.

PRIVATE to the collection: it may change without notice.

Pure: `parse_show` reads what systemctl printed, `decide` compares it with what is wanted. All times
are microseconds since the epoch, 0 is never.
"""

from __future__ import annotations

import calendar
import os.path
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Optional

PROPERTIES = (
    "Id",
    "LoadState",
    "ActiveState",
    "SubState",
    "UnitFileState",
    "NeedDaemonReload",
    "CanReload",
    "Type",
    "RemainAfterExit",
    "Result",
    "ReloadResult",
    "ConditionResult",
    "ConditionTimestamp",
    "NRestarts",
    "ExecMainStatus",
    "MainPID",
    "ExecMainStartTimestamp",
    "InactiveExitTimestamp",
    "ActiveEnterTimestamp",
    "StateChangeTimestamp",
    "FragmentPath",
    "SourcePath",
    "DropInPaths",
)
# fmt: off
SUFFIXES = frozenset({
    "service", "socket", "timer", "path", "mount", "automount", "swap", "target", "slice", "scope",
    "device",
})
# fmt: on
# A file's time comes from the kernel's clock tick, up to 10 ms behind the clock systemd reads.
TICK = 10_000
# A changed unit file is a reason to restart these. Restarting a mount or a socket for it would
# take something away from whoever uses it.
RESTARTED_FOR_UNIT_FILE = frozenset(("service", "timer", "path"))
UNIT_DIRECTORIES = (
    "/etc/systemd/system",
    "/usr/lib/systemd/system",
    "/usr/local/lib/systemd/system",
    "/lib/systemd/system",
)
_TIMESTAMP = re.compile(
    r"(?:[A-Z][a-z]{2} )?(\d{4}-\d{2}-\d{2} \d{2}:\d{2}:\d{2})(?:\.(\d{1,6}))? UTC\Z"
)
_NAME = re.compile(r"[A-Za-z0-9:_.\\@-]+\Z")


class ServiceUnitsError(Exception):
    """A request that cannot be fulfilled; the message names the unit and the remedy."""


# --- what is wanted ---------------------------------------------------------------------------


@dataclass(frozen=True)
class WaitFor:
    """Where a unit answers when it is ready: a TCP port, or a socket in the file system."""

    address: str = "127.0.0.1"
    port: Optional[int] = None
    path: Optional[str] = None

    def __str__(self) -> str:
        return self.path if self.path else f"{self.address} port {self.port}"


@dataclass(frozen=True)
class Wanted:
    """One unit as it shall be."""

    name: str
    state: str = "started"
    enabled: bool = True
    masked: bool = False
    restart_if_newer: tuple[str, ...] = ()
    reload_if_newer: tuple[str, ...] = ()
    restart_if_replaced: bool = False
    wait_for: Optional[WaitFor] = None


def parse_units(units: Iterable[Mapping[str, Any]]) -> list[Wanted]:
    """Turn a task's units into what is wanted, refusing contradictions."""
    result = []
    seen: set[str] = set()
    for entry in units:
        name = unit_name(entry["name"])
        if name in seen:
            raise ServiceUnitsError(f"{name}: listed twice; keep one entry per unit")
        seen.add(name)
        masked = bool(entry.get("masked"))
        state = entry.get("state") or ("stopped" if masked else "started")
        enabled = entry.get("enabled")
        if enabled is None:
            enabled = state == "started"
        if masked and (state == "started" or enabled):
            raise ServiceUnitsError(
                f"{name}: a masked unit can be neither started nor enabled; leave these out"
            )
        if state == "absent" and enabled:
            raise ServiceUnitsError(f"{name}: an absent unit cannot be enabled; leave enabled out")
        result.append(
            Wanted(
                name=name,
                state=state,
                enabled=enabled,
                masked=masked,
                restart_if_newer=tuple(entry.get("restart_if_newer") or ()),
                reload_if_newer=tuple(entry.get("reload_if_newer") or ()),
                restart_if_replaced=bool(entry.get("restart_if_replaced")),
                wait_for=_parse_wait(name, entry.get("wait_for")),
            )
        )
    return result


def unit_name(name: str) -> str:
    """Complete a unit's name as systemctl does; patterns are refused, they name many units."""
    if not _NAME.match(name):
        raise ServiceUnitsError(f"{name!r}: not the name of one unit")
    return name if name.rpartition(".")[2] in SUFFIXES else f"{name}.service"


def _parse_wait(name: str, wait: Optional[Mapping[str, Any]]) -> Optional[WaitFor]:
    if wait is None:
        return None
    port, path = wait.get("port"), wait.get("path")
    if (port is None) == (path is None):
        raise ServiceUnitsError(f"{name}: wait_for needs a port or a path, one of them")
    return WaitFor(address=wait.get("address") or "127.0.0.1", port=port, path=path)


# --- what is there ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Unit:
    """One unit as systemd has it."""

    name: str
    load: str = "not-found"
    active: str = "inactive"
    sub: str = "dead"
    file_state: str = ""
    stale: bool = False
    can_reload: bool = False
    type: str = ""
    remains: bool = False
    result: str = "success"
    reload_result: str = "success"
    conditions_met: bool = True
    restarts: int = 0
    exit_status: str = ""
    main_pid: int = 0
    main_started: int = 0
    activated: int = 0
    became_active: int = 0
    state_changed: int = 0
    fragment: str = ""
    source: str = ""
    drop_ins: tuple[str, ...] = ()

    @property
    def kind(self) -> str:
        """service, timer, socket, …"""
        return self.name.rpartition(".")[2]

    @property
    def known(self) -> bool:
        """Whether systemd has the unit or at least something running under its name."""
        return self.load != "not-found" or self.active not in ("inactive", "failed")

    @property
    def masked(self) -> bool:
        """Whether the unit is masked."""
        return self.load == "masked" or self.file_state.startswith("masked")

    @property
    def running(self) -> bool:
        """Whether the unit is active, be it while it reloads."""
        return self.active in ("active", "reloading", "refreshing")

    @property
    def passes(self) -> bool:
        """Whether the unit runs to its end and is then inactive again."""
        return self.type == "oneshot" and not self.remains

    @property
    def satisfied(self) -> bool:
        """Whether the unit counts as started; a passing one does once it has succeeded."""
        if self.running:
            return True
        if not self.passes:
            return False
        return self.active == "activating" or (
            self.active == "inactive" and self.result == "success" and self.main_started > 0
        )

    @property
    def started(self) -> int:
        """When the unit last began to read its configuration.

        That is when its main process started, not when it became active, which for a slow starter
        is much later. The main process of a forking service is known late, and the one of a oneshot
        is its last, so for these it is when the unit left the inactive state; after a restart by
        systemd itself that is too early, at the price of one restart too many, never one too few.
        """
        if self.type in ("oneshot", "forking"):
            candidates = (self.activated, self.main_started, self.became_active)
        else:
            candidates = (self.main_started, self.activated, self.became_active)
        return next((moment for moment in candidates if moment), 0)

    @property
    def loaded_configuration(self) -> int:
        """When the unit last read its configuration, by starting or by a reload that succeeded."""
        if self.reload_result != "success":
            return self.started
        return max(self.started, self.state_changed)

    @property
    def summary(self) -> str:
        """The unit's state for a person."""
        if not self.known:
            return "unknown"
        return ", ".join(filter(None, (f"{self.active} ({self.sub})", self.file_state)))


def parse_show(text: str, names: Sequence[str]) -> dict[str, Unit]:
    """Read the blocks that systemctl show printed for names, in their order.

    The order tells which is which: the Id of an alias is another name.
    """
    blocks = [block for block in text.strip().split("\n\n") if block.strip()]
    if len(blocks) != len(names):
        raise ServiceUnitsError(
            f"systemctl show printed {len(blocks)} units where {len(names)} were asked for: "
            f"{', '.join(names)}"
        )
    return {name: _parse_block(name, block) for name, block in zip(names, blocks)}


def _parse_block(name: str, block: str) -> Unit:
    values = dict(line.partition("=")[::2] for line in block.splitlines())

    def moment(key: str) -> int:
        return parse_timestamp(values.get(key, ""))

    return Unit(
        name=name,
        load=values.get("LoadState", "not-found"),
        active=values.get("ActiveState", "inactive"),
        sub=values.get("SubState", "dead"),
        file_state=values.get("UnitFileState", ""),
        stale=values.get("NeedDaemonReload") == "yes",
        can_reload=values.get("CanReload") == "yes",
        type=values.get("Type", ""),
        remains=values.get("RemainAfterExit") == "yes",
        result=values.get("Result") or "success",
        reload_result=values.get("ReloadResult") or "success",
        # Of conditions never looked at, the result is "no" as well.
        conditions_met=values.get("ConditionResult") != "no" or not moment("ConditionTimestamp"),
        restarts=int(values.get("NRestarts") or 0),
        exit_status=values.get("ExecMainStatus", ""),
        main_pid=int(values.get("MainPID") or 0),
        main_started=moment("ExecMainStartTimestamp"),
        activated=moment("InactiveExitTimestamp"),
        became_active=moment("ActiveEnterTimestamp"),
        state_changed=moment("StateChangeTimestamp"),
        fragment=values.get("FragmentPath", ""),
        source=values.get("SourcePath", ""),
        drop_ins=tuple(values.get("DropInPaths", "").split()),
    )


def parse_timestamp(text: str) -> int:
    """Read a time as --timestamp=us+utc prints it."""
    if text in ("", "n/a", "0"):
        return 0
    match = _TIMESTAMP.match(text)
    if match is None:
        raise ServiceUnitsError(f"systemctl printed the time {text!r}, which cannot be read")
    seconds = calendar.timegm(time.strptime(match[1], "%Y-%m-%d %H:%M:%S"))
    return seconds * 1_000_000 + int((match[2] or "0").ljust(6, "0"))


def is_sysv(unit: Unit) -> bool:
    """Whether a unit was made from an init script, whose enablement systemd does not know."""
    return unit.file_state == "generated" and unit.source.startswith("/etc/init.d/")


# --- what is newer ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Changes:
    """When paths changed, and those of which a change is known or foreseen.

    `moments` has each watched path's latest change, of a directory the latest below it, and
    nothing for a path that does not exist. `foreseen` are paths that would change (check mode), or
    that have been removed, which no time can tell. `replaced` has, by unit, a file that its main
    process runs or holds open although another is in its place.
    """

    moments: Mapping[str, int] = field(default_factory=dict)
    foreseen: frozenset[str] = frozenset()
    replaced: Mapping[str, str] = field(default_factory=dict)

    def newer_than(self, moment: int, paths: Iterable[str]) -> list[str]:
        """Which paths changed after a moment."""
        return [path for path in paths if self._newer(moment, path)]

    def _newer(self, moment: int, path: str) -> bool:
        below = path.rstrip("/") + "/"
        if any(change == path or change.startswith(below) for change in self.foreseen):
            return True
        changed = self.moments.get(path)
        return changed is not None and changed + TICK > moment


def unit_files(unit: Unit, foreseen: Iterable[str] = ()) -> list[str]:
    """The files that define a unit, where a change is a reason to restart it.

    Those below /run are made anew by generators at each daemon-reload: their times say nothing. The
    administrator's drop-in directory is among them, since a removed drop-in leaves only its time.
    """
    if unit.kind not in RESTARTED_FOR_UNIT_FILE:
        return []
    names = {unit.name}
    if "@" in unit.name:
        names.add(re.sub(r"@.*\.", "@.", unit.name))
    files = [path for path in (unit.fragment, *unit.drop_ins) if not path.startswith("/run/")]
    files += [f"{UNIT_DIRECTORIES[0]}/{name}.d" for name in sorted(names)]
    # Not loaded yet, so systemd does not know that they will be the unit's.
    files += [
        path
        for path in foreseen
        if os.path.dirname(path) in UNIT_DIRECTORIES and os.path.basename(path) in names
    ]
    return [path for path in dict.fromkeys(files) if path]


def replaced_file(maps: str, links: Iterable[str]) -> str:
    """A file of a package that a process uses although it is gone; nothing if there is none.

    `maps` is /proc/<pid>/maps, `links` are where /proc/<pid>/fd/* lead; see proc(5). An upgrade
    puts new files in the place of those that are running, which the kernel then calls deleted.
    """
    mapped = (line.split(maxsplit=5)[-1] for line in maps.splitlines())
    for path in (*mapped, *links):
        name, _space, deleted = path.rpartition(" ")
        if deleted == "(deleted)" and name.startswith(("/usr/", "/opt/")):
            return name
    return ""


def watched_paths(
    wanted: Iterable[Wanted], units: Mapping[str, Unit], foreseen: Iterable[str]
) -> set[str]:
    """Every path whose time matters."""
    paths: set[str] = set()
    for item in wanted:
        if item.state == "started":
            paths.update(item.restart_if_newer, item.reload_if_newer)
            paths.update(unit_files(units[item.name], foreseen))
    return paths


# --- what has to be done ----------------------------------------------------------------------


@dataclass(frozen=True)
class Action:
    """What one unit needs; `run` is start, restart, reload, wait or nothing."""

    wanted: Wanted
    unit: Unit
    unmask: bool = False
    mask: bool = False
    enable: bool = False
    disable: bool = False
    stop: bool = False
    run: str = ""
    reasons: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The unit's name."""
        return self.wanted.name

    @property
    def changes(self) -> bool:
        """Whether anything of this is a change; waiting is none."""
        switches = (self.unmask, self.mask, self.enable, self.disable, self.stop)
        return any(switches) or self.run not in ("", "wait")


def needs_daemon_reload(wanted: Iterable[Wanted], units: Mapping[str, Unit]) -> bool:
    """Whether systemd should read unit files again before anything is decided."""
    return any(
        units[item.name].stale or (units[item.name].load == "not-found" and item.state == "started")
        for item in wanted
    )


def refuse_unknown(wanted: Iterable[Wanted], units: Mapping[str, Unit]) -> None:
    """Refuse to start or enable what does not exist or cannot be loaded."""
    needed = [item.name for item in wanted if item.state == "started" or item.enabled]
    missing = [name for name in needed if units[name].load == "not-found"]
    if missing:
        raise ServiceUnitsError(
            f"{', '.join(missing)}: no such unit on this host; install the package that brings it, "
            "or correct its name"
        )
    broken = [name for name in needed if units[name].load in ("error", "bad-setting")]
    if broken:
        raise ServiceUnitsError(
            f"{', '.join(broken)}: systemd cannot load it; "
            f"systemd-analyze verify {broken[0]} says why"
        )


def decide(wanted: Iterable[Wanted], units: Mapping[str, Unit], changes: Changes) -> list[Action]:
    """Compare what is wanted with what is there, in the list's order."""
    return [_decide_one(item, units[item.name], changes) for item in wanted]


def _decide_one(item: Wanted, unit: Unit, changes: Changes) -> Action:
    action = Action(item, unit)
    if item.masked:
        return replace(
            action,
            mask=not unit.masked,
            stop=_occupied(unit),
            disable=_is_enabled(unit),
        )
    if item.state != "started":
        return replace(
            action,
            stop=_occupied(unit) or (item.state == "absent" and unit.active == "failed"),
            disable=not item.enabled and _is_enabled(unit),
            enable=item.enabled and _lacks_enabling(unit),
            unmask=item.state == "stopped" and unit.masked,
        )
    run, reasons = _decide_run(item, unit, changes)
    return replace(
        action,
        unmask=unit.masked,
        enable=item.enabled and _lacks_enabling(unit),
        disable=not item.enabled and _is_enabled(unit),
        run=run,
        reasons=tuple(reasons),
    )


def _decide_run(item: Wanted, unit: Unit, changes: Changes) -> tuple[str, list[str]]:
    if not unit.satisfied and unit.active != "activating":
        return "start", []
    if unit.passes and unit.active == "activating":
        # It is at work; what it missed is done by the next run.
        return "", []
    restart = (*item.restart_if_newer, *unit_files(unit, changes.foreseen))
    reasons = changes.newer_than(unit.started, restart)
    if item.name in changes.replaced:
        reasons.append(changes.replaced[item.name])
    if reasons:
        return "restart", reasons
    reasons = changes.newer_than(unit.loaded_configuration, item.reload_if_newer)
    if reasons:
        reloads = unit.can_reload and unit.active == "active"
        return "reload" if reloads else "restart", reasons
    return "" if unit.satisfied else "wait", []


def _occupied(unit: Unit) -> bool:
    return unit.active not in ("inactive", "failed")


def _is_enabled(unit: Unit) -> bool:
    return unit.file_state in ("enabled", "enabled-runtime")


def _lacks_enabling(unit: Unit) -> bool:
    """Whether enabling a unit would do something.

    A static, generated or transient unit has nothing to enable, and an alias is enabled under its
    own name. Indirect says of an instance that only others are enabled, but of a plain unit that
    enabling it means enabling those it names.
    """
    if not unit.known:
        return True
    if unit.file_state == "indirect":
        return "@" in unit.name
    return unit.file_state in ("disabled", "linked", "linked-runtime", "enabled-runtime", "bad")


def batches(actions: Iterable[Action]) -> list[list[Action]]:
    """Group what runs into as few calls as the order allows.

    Starts go together up to one that has to answer first; a restart or a reload takes away
    something that worked, so each is alone and must have succeeded before the next.
    """
    result: list[list[Action]] = []
    open_batch = False
    for action in actions:
        if not action.run:
            continue
        if action.run == "start" and open_batch:
            result[-1].append(action)
        else:
            result.append([action])
        open_batch = action.run == "start" and action.wanted.wait_for is None
    return result


# --- what a person sees -----------------------------------------------------------------------

_LISTS: tuple[tuple[str, Callable[[Action], bool]], ...] = (
    ("unmasked", lambda action: action.unmask),
    ("masked", lambda action: action.mask),
    ("enabled", lambda action: action.enable),
    ("disabled", lambda action: action.disable),
    ("stopped", lambda action: action.stop),
    ("started", lambda action: action.run == "start"),
    ("restarted", lambda action: action.run == "restart"),
    ("reloaded", lambda action: action.run == "reload"),
)
LISTS = tuple(name for name, _test in _LISTS)


def lists_of(actions: Iterable[Action]) -> dict[str, list[str]]:
    """The names of the units by what happens to them."""
    taken = list(actions)
    return {key: [action.name for action in taken if test(action)] for key, test in _LISTS}


def diff_of(actions: Iterable[Action]) -> dict[str, str]:
    """Before and after, one line for each unit that changes."""
    before, after = [], []
    for action in actions:
        if action.changes:
            before.append(f"{action.name}: {action.unit.summary}\n")
            words = [key for key, test in _LISTS if test(action)]
            reason = f", since newer: {', '.join(action.reasons)}" if action.reasons else ""
            after.append(f"{action.name}: {', '.join(words)}{reason}\n")
    return {
        "before_header": "units",
        "after_header": "units",
        "before": "".join(before),
        "after": "".join(after),
    }


def failure_text(unit: Unit, verb: str, said: str, journal: str) -> str:
    """Say which unit failed, in which state it is, and what it wrote last."""
    state = f"{unit.active} ({unit.sub})"
    if unit.result != "success":
        state += f", result {unit.result}"
        if unit.exit_status not in ("", "0"):
            state += f", exit status {unit.exit_status}"
    if not unit.conditions_met:
        state += ", its conditions (Condition…=) are not met"
    lines = [f"{unit.name}: could not {verb} it; it is {state}."]
    if said.strip():
        lines.append(said.strip())
    lines.append("Its journal ends with:")
    lines.append(journal.rstrip() or "(nothing)")
    return "\n".join(lines)
