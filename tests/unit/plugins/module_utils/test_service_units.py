# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What systemctl prints, and what units need, without systemd."""

from __future__ import annotations

from dataclasses import replace

import pytest
from ansible_collections.infn.cloud.plugins.module_utils._service_units import (
    TICK,
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
    parse_timestamp,
    parse_units,
    refuse_unknown,
    replaced_file,
    unit_files,
    unit_name,
    watched_paths,
)

# In the form of systemd 252: no value for a time that never was, properties in its own order.
SHOWN = """\
Type=notify
NRestarts=0
ReloadResult=success
ExecMainStartTimestamp=Mon 2026-11-23 16:13:10.250000 UTC
ExecMainStatus=0
RemainAfterExit=no
Result=success
Id=swift-object.service
DropInPaths=/etc/systemd/system/swift-object.service.d/limits.conf /run/systemd/system/x.conf
LoadState=loaded
ActiveState=active
SubState=running
FragmentPath=/lib/systemd/system/swift-object.service
SourcePath=
UnitFileState=enabled
NeedDaemonReload=no
CanReload=yes
ConditionResult=yes
StateChangeTimestamp=Mon 2026-11-23 16:13:12.710917 UTC
InactiveExitTimestamp=Mon 2026-11-23 16:13:10 UTC
ActiveEnterTimestamp=Mon 2026-11-23 16:13:12.710917 UTC

Type=
Id=foo.service
DropInPaths=
LoadState=not-found
ActiveState=inactive
SubState=dead
FragmentPath=
UnitFileState=
NeedDaemonReload=no
ConditionResult=no
ConditionTimestamp=
StateChangeTimestamp=
ExecMainStartTimestamp=

Id=mariadb.service
Type=forking
LoadState=loaded
ActiveState=failed
SubState=failed
Result=exit-code
ExecMainStatus=1
ConditionResult=no
ConditionTimestamp=Mon 2026-11-23 16:13:10 UTC
UnitFileState=generated
SourcePath=/etc/init.d/mariadb
NRestarts=5
"""
START = parse_timestamp("Mon 2026-11-23 16:13:10.250000 UTC")
SECOND = 1_000_000

RUNNING = Unit(
    name="a.service",
    load="loaded",
    active="active",
    sub="running",
    file_state="enabled",
    can_reload=True,
    type="notify",
    main_started=START,
    activated=START - SECOND,
    became_active=START + SECOND,
    state_changed=START + SECOND,
)
STOPPED = replace(
    RUNNING, active="inactive", sub="dead", file_state="disabled", main_started=0, activated=0
)
UNKNOWN = Unit(name="a.service")
WANTED = Wanted("a.service", restart_if_newer=("/etc/a",), reload_if_newer=("/etc/r",))
ABSENT = Wanted("a.service", state="absent", enabled=False)


def decide_one(wanted, unit, changes=None):
    (action,) = decide([wanted], {wanted.name: unit}, changes or Changes())
    return action


def changed(path, moment):
    return Changes({path: moment})


class TestParsingUnits:
    def test_defaults_follow_the_state(self):
        wanted = parse_units(
            [
                {"name": "a"},
                {"name": "b.timer", "state": "stopped"},
                {"name": "c@x", "masked": True},
                {"name": "d", "state": "stopped", "enabled": True},
            ]
        )
        assert [(item.name, item.state, item.enabled) for item in wanted] == [
            ("a.service", "started", True),
            ("b.timer", "stopped", False),
            ("c@x.service", "stopped", False),
            ("d.service", "stopped", True),
        ]

    def test_it_answers_at_a_port_or_a_socket(self):
        ports = {"port": 6200, "address": None, "path": None}
        (wanted,) = parse_units([{"name": "a", "wait_for": ports}])
        assert wanted.wait_for == WaitFor(port=6200)
        assert str(wanted.wait_for) == "127.0.0.1 port 6200"
        assert str(WaitFor(path="/run/a.sock")) == "/run/a.sock"

    @pytest.mark.parametrize(
        ("units", "message"),
        [
            ([{"name": "a"}, {"name": "a.service"}], "a.service: listed twice"),
            ([{"name": "a*"}], "not the name of one unit"),
            ([{"name": ""}], "not the name of one unit"),
            ([{"name": "a", "masked": True, "state": "started"}], "neither started nor enabled"),
            ([{"name": "a", "masked": True, "enabled": True}], "neither started nor enabled"),
            ([{"name": "a", "state": "absent", "enabled": True}], "cannot be enabled"),
            ([{"name": "a", "wait_for": {}}], "needs a port or a path"),
            ([{"name": "a", "wait_for": {"port": 1, "path": "/a"}}], "one of them"),
        ],
    )
    def test_what_contradicts_itself_is_refused(self, units, message):
        with pytest.raises(ServiceUnitsError, match=message):
            parse_units(units)

    def test_names_are_completed(self):
        assert unit_name("a") == "a.service"
        assert unit_name("a.b") == "a.b.service"
        assert unit_name("srv-node-d1.mount") == "srv-node-d1.mount"
        assert unit_name(r"srv-a\x2db@c.timer") == r"srv-a\x2db@c.timer"


class TestParsingShow:
    def test_blocks_belong_to_the_names_in_their_order(self):
        units = parse_show(SHOWN, ["swift-object.service", "foo.service", "mysql.service"])
        first, second, third = units.values()
        assert first == Unit(
            name="swift-object.service",
            load="loaded",
            active="active",
            sub="running",
            file_state="enabled",
            can_reload=True,
            type="notify",
            exit_status="0",
            main_started=START,
            activated=START - SECOND // 4,
            became_active=START + 2_460_917,
            state_changed=START + 2_460_917,
            fragment="/lib/systemd/system/swift-object.service",
            drop_ins=(
                "/etc/systemd/system/swift-object.service.d/limits.conf",
                "/run/systemd/system/x.conf",
            ),
        )
        assert (second.known, second.started, second.summary) == (False, 0, "unknown")
        assert (second.conditions_met, third.conditions_met) == (True, False)
        assert (third.name, third.result, third.restarts) == ("mysql.service", "exit-code", 5)
        assert is_sysv(third)
        assert not is_sysv(first)

    def test_a_missing_block_is_refused(self):
        with pytest.raises(ServiceUnitsError, match="printed 3 units where 1 were asked for"):
            parse_show(SHOWN, ["swift-object.service"])

    def test_times_are_microseconds(self):
        assert parse_timestamp("Thu 1970-01-01 00:00:01.5 UTC") == 1_500_000
        assert parse_timestamp("1970-01-01 00:00:01 UTC") == SECOND
        assert [parse_timestamp(text) for text in ("", "n/a", "0")] == [0, 0, 0]
        with pytest.raises(ServiceUnitsError, match="cannot be read"):
            parse_timestamp("Mon 2026-11-23 17:13:12 CET")


class TestStartTime:
    def test_it_is_the_main_processs_start_not_the_end_of_a_slow_one(self):
        assert RUNNING.started == START

    def test_of_forking_and_oneshot_units_it_is_the_activation(self):
        assert replace(RUNNING, type="forking").started == START - SECOND
        assert replace(RUNNING, type="oneshot").started == START - SECOND

    def test_a_timer_has_no_process(self):
        timer = replace(RUNNING, name="a.timer", type="", main_started=0)
        assert timer.started == START - SECOND

    def test_a_failed_reload_has_not_read_the_configuration(self):
        assert RUNNING.loaded_configuration == START + SECOND
        assert replace(RUNNING, reload_result="exit-code").loaded_configuration == START


class TestDecisions:
    def test_nothing_is_done_to_what_is_as_wanted(self):
        action = decide_one(WANTED, RUNNING, changed("/etc/a", START - SECOND))
        assert not action.changes
        assert not action.run
        assert not decide_one(ABSENT, UNKNOWN).changes
        assert not decide_one(Wanted("a.service", state="stopped", enabled=False), UNKNOWN).changes

    def test_a_stopped_unit_is_started_and_enabled(self):
        action = decide_one(WANTED, STOPPED, changed("/etc/a", START + SECOND))
        assert (action.run, action.enable) == ("start", True)

    @pytest.mark.parametrize("state", ["inactive", "failed", "deactivating", "maintenance"])
    def test_whatever_is_not_running_is_started(self, state):
        assert decide_one(WANTED, replace(RUNNING, active=state)).run == "start"

    def test_newer_configuration_restarts(self):
        action = decide_one(WANTED, RUNNING, changed("/etc/a", START + 1))
        assert (action.run, action.reasons) == ("restart", ("/etc/a",))

    def test_a_replaced_program_restarts_what_wants_it(self):
        changes = Changes(replaced={"a.service": "/usr/sbin/a"})
        action = decide_one(replace(WANTED, restart_if_replaced=True), RUNNING, changes)
        assert (action.run, action.reasons) == ("restart", ("/usr/sbin/a",))

    def test_a_file_written_within_the_clocks_tick_counts_as_newer(self):
        assert decide_one(WANTED, RUNNING, changed("/etc/a", START - TICK + 1)).run == "restart"
        assert decide_one(WANTED, RUNNING, changed("/etc/a", START - TICK)).run == ""

    def test_a_change_during_a_slow_start_restarts(self):
        unit = replace(RUNNING, became_active=START + 60 * SECOND)
        assert decide_one(WANTED, unit, changed("/etc/a", START + 30 * SECOND)).run == "restart"

    def test_newer_configuration_reloads_what_can(self):
        changes = changed("/etc/r", START + 2 * SECOND)
        assert decide_one(WANTED, RUNNING, changes).run == "reload"
        assert decide_one(WANTED, replace(RUNNING, can_reload=False), changes).run == "restart"
        reloaded = replace(RUNNING, state_changed=START + 3 * SECOND)
        assert decide_one(WANTED, reloaded, changes).run == ""
        failed = replace(reloaded, reload_result="exit-code")
        assert decide_one(WANTED, failed, changes).run == "reload"

    def test_a_reload_does_not_stand_in_for_a_restart(self):
        unit = replace(RUNNING, state_changed=START + 3 * SECOND)
        assert decide_one(WANTED, unit, changed("/etc/a", START + SECOND)).run == "restart"

    def test_a_foreseen_change_restarts_also_below_a_directory(self):
        for path in ("/etc/a", "/etc/a/b/c"):
            assert decide_one(WANTED, RUNNING, Changes({}, frozenset({path}))).run == "restart"
        assert decide_one(WANTED, RUNNING, Changes({}, frozenset({"/etc/ab"}))).run == ""

    def test_a_unit_about_to_be_active_is_awaited_unless_its_configuration_is_newer(self):
        unit = replace(RUNNING, active="activating", sub="auto-restart")
        action = decide_one(WANTED, unit)
        assert (action.run, action.changes) == ("wait", False)
        assert decide_one(WANTED, unit, changed("/etc/a", START + SECOND)).run == "restart"

    def test_a_passing_unit_counts_as_started_once_it_has_succeeded(self):
        unit = replace(STOPPED, type="oneshot", main_started=START, activated=START)
        assert decide_one(WANTED, unit).run == ""
        assert decide_one(WANTED, unit, changed("/etc/a", START + SECOND)).run == "restart"
        assert decide_one(WANTED, replace(unit, result="exit-code")).run == "start"
        assert decide_one(WANTED, replace(unit, main_started=0)).run == "start"
        assert decide_one(WANTED, replace(unit, remains=True)).run == "start"
        at_work = replace(unit, active="activating")
        assert decide_one(WANTED, at_work, changed("/etc/a", START + SECOND)).run == ""

    @pytest.mark.parametrize(
        ("state", "enable", "disable"),
        [
            ("enabled", False, True),
            ("disabled", True, False),
            ("linked", True, False),
            ("static", False, False),
            ("generated", False, False),
            ("alias", False, False),
            ("transient", False, False),
            ("indirect", False, False),
            ("", False, False),
        ],
    )
    def test_what_cannot_be_enabled_is_left_alone(self, state, enable, disable):
        unit = replace(RUNNING, file_state=state)
        assert decide_one(WANTED, unit).enable is enable
        assert decide_one(replace(WANTED, enabled=False), unit).disable is disable

    def test_an_instance_of_which_others_are_enabled_is_enabled(self):
        unit = replace(RUNNING, name="a@b.service", file_state="indirect")
        assert decide_one(Wanted("a@b.service"), unit).enable

    def test_stopping_and_masking(self):
        action = decide_one(Wanted("a.service", "stopped", enabled=False), RUNNING)
        assert (action.stop, action.disable, action.mask) == (True, True, False)
        masking = Wanted("a.service", "stopped", enabled=False, masked=True)
        action = decide_one(masking, RUNNING)
        assert (action.stop, action.disable, action.mask) == (True, True, True)
        masked = replace(STOPPED, load="masked", file_state="masked")
        assert not decide_one(masking, masked).changes
        assert decide_one(Wanted("a.service", "stopped", enabled=False), masked).unmask
        assert decide_one(WANTED, masked).unmask
        assert decide_one(masking, UNKNOWN).mask
        assert not decide_one(ABSENT, masked).changes

    def test_absent_also_forgets_a_failure(self):
        failed = replace(STOPPED, active="failed")
        assert decide_one(ABSENT, failed).stop
        assert not decide_one(Wanted("a.service", "stopped", enabled=False), failed).stop

    def test_an_unknown_unit_would_be_started_and_enabled(self):
        action = decide_one(WANTED, UNKNOWN)
        assert (action.run, action.enable) == ("start", True)
        assert action.changes

    def test_an_unknown_or_broken_unit_is_refused(self):
        with pytest.raises(ServiceUnitsError, match=r"a\.service: no such unit on this host"):
            refuse_unknown([WANTED], {"a.service": UNKNOWN})
        with pytest.raises(ServiceUnitsError, match="systemd-analyze verify a"):
            refuse_unknown([WANTED], {"a.service": replace(STOPPED, load="bad-setting")})
        refuse_unknown([ABSENT], {"a.service": UNKNOWN})

    def test_unit_files_are_read_again_when_stale_or_missing(self):
        assert needs_daemon_reload([ABSENT], {"a.service": replace(RUNNING, stale=True)})
        assert needs_daemon_reload([WANTED], {"a.service": UNKNOWN})
        assert not needs_daemon_reload([ABSENT], {"a.service": UNKNOWN})
        assert not needs_daemon_reload([WANTED], {"a.service": RUNNING})


class TestUnitFiles:
    UNIT = replace(
        RUNNING,
        name="a@b.service",
        fragment="/lib/systemd/system/a@.service",
        drop_ins=("/etc/systemd/system/a@.service.d/x.conf", "/run/systemd/system/y.conf"),
    )

    def test_a_units_own_files_restart_it_but_none_made_by_generators(self):
        assert unit_files(self.UNIT) == [
            "/lib/systemd/system/a@.service",
            "/etc/systemd/system/a@.service.d/x.conf",
            "/etc/systemd/system/a@.service.d",
            "/etc/systemd/system/a@b.service.d",
        ]
        action = decide_one(
            Wanted("a@b.service"), self.UNIT, changed("/lib/systemd/system/a@.service", START)
        )
        assert action.run == "restart"

    def test_a_process_that_runs_what_was_replaced(self):
        maps = (
            "5f3a0000-5f3b0000 r-xp 00000000 fe:00 131 /usr/sbin/rsyslogd{}\n"
            "7f120000-7f130000 rw-p 00000000 00:00 0 \n"
            "7f130000-7f140000 rw-s 00000000 00:01 9 /dev/zero (deleted)\n"
            "7f140000-7f150000 r--s 00000000 00:01 9 /tmp/a file (deleted)\n"
        )
        links = ["socket:[44]", "/tmp/gone (deleted)", "/usr/share/opensearch/lib/core.jar"]
        assert replaced_file(maps.format(""), links) == ""
        assert replaced_file(maps.format(" (deleted)"), links) == "/usr/sbin/rsyslogd"
        gone = [f"{link} (deleted)" for link in links]
        assert replaced_file(maps.format(""), gone) == "/usr/share/opensearch/lib/core.jar"

    def test_mounts_and_sockets_are_not_restarted_for_them(self):
        for name in ("a.mount", "a.socket"):
            assert unit_files(replace(self.UNIT, name=name)) == []

    def test_a_unit_file_that_would_be_written_counts(self):
        foreseen = frozenset({"/etc/systemd/system/a.service", "/etc/systemd/system/b.service"})
        assert "/etc/systemd/system/a.service" in unit_files(RUNNING, foreseen)
        assert "/etc/systemd/system/b.service" not in unit_files(RUNNING, foreseen)
        action = decide_one(Wanted("a.service"), RUNNING, Changes({}, foreseen))
        assert action.run == "restart"
        drop_in = frozenset({"/etc/systemd/system/a.service.d/x.conf"})
        assert decide_one(Wanted("a.service"), RUNNING, Changes({}, drop_in)).run == "restart"

    def test_only_paths_of_started_units_are_watched(self):
        assert watched_paths([WANTED], {"a.service": RUNNING}, ()) == {
            "/etc/a",
            "/etc/r",
            "/etc/systemd/system/a.service.d",
        }
        assert watched_paths([ABSENT], {"a.service": RUNNING}, ()) == set()


class TestOrder:
    def actions(self, **runs):
        wait = WaitFor(port=1)
        result = []
        for name, run in runs.items():
            wanted = Wanted(f"{name}.service", wait_for=wait if name.startswith("w") else None)
            action = decide_one(wanted, replace(RUNNING, name=wanted.name))
            result.append(replace(action, run=run))
        return result

    def test_starts_go_together_up_to_one_that_must_answer(self):
        actions = self.actions(a="start", idle="", wb="start", c="start", d="start")
        assert [[action.name for action in batch] for batch in batches(actions)] == [
            ["a.service", "wb.service"],
            ["c.service", "d.service"],
        ]

    def test_restarts_reloads_and_waits_are_alone_in_their_order(self):
        actions = self.actions(a="start", b="restart", c="restart", d="start", e="reload", f="wait")
        assert [len(batch) for batch in batches(actions)] == [1] * 6

    def test_lists_and_diff_name_the_units(self):
        action = decide_one(WANTED, RUNNING, changed("/etc/a", START + SECOND))
        lists = lists_of([action, decide_one(WANTED, RUNNING)])
        assert lists["restarted"] == ["a.service"]
        assert sum(len(names) for names in lists.values()) == 1
        diff = diff_of([action])
        assert diff["before"] == "a.service: active (running), enabled\n"
        assert diff["after"] == "a.service: restarted, since newer: /etc/a\n"

    def test_a_failure_names_unit_state_and_journal(self):
        unit = replace(STOPPED, active="failed", sub="failed", result="exit-code", exit_status="78")
        assert failure_text(unit, "restart", "Job failed.\n", "cannot bind\n") == (
            "a.service: could not restart it; it is failed (failed), result exit-code, "
            "exit status 78.\nJob failed.\nIts journal ends with:\ncannot bind"
        )
        text = failure_text(replace(STOPPED, conditions_met=False), "start", "", "")
        assert "its conditions (Condition…=) are not met" in text
        assert text.endswith("(nothing)")
