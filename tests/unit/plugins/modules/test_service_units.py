# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""service_units as a module, with a stand-in for systemctl that keeps its units in a file."""

from __future__ import annotations

import json
import os
import shlex
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[4]
ANSIBLE = Path(sys.executable).with_name("ansible")

pytestmark = pytest.mark.skipif(
    not ANSIBLE.exists(), reason=f"ansible-core is not installed beside {sys.executable}"
)

SYSTEMCTL = """import json, os, sys, time
place = os.path.dirname(os.path.abspath(__file__))
path = os.path.join(place, "units.json")
units = json.load(open(path))
words = [word for word in sys.argv[1:] if not word.startswith("-")]
verb, names = words[0], words[1:]
with open(os.path.join(place, "calls"), "a") as log:
    if verb not in ("show", "is-enabled"):
        log.write(" ".join(words) + "\\n")

def moment(seconds):
    if not seconds:
        return ""
    text = time.strftime("%a %Y-%m-%d %H:%M:%S", time.gmtime(seconds))
    return "%s.%06d UTC" % (text, seconds % 1 * 1000000)

def show(name):
    unit = units.get(name, {"LoadState": "not-found", "ActiveState": "inactive"})
    values = {"Id": name, "LoadState": "loaded", "SubState": "x", "Type": "simple", **unit}
    values["ExecMainStartTimestamp"] = moment(unit.get("at", 0))
    values["StateChangeTimestamp"] = moment(unit.get("changed", 0))
    return "".join("%s=%s\\n" % item for item in values.items())

code = 0
if verb == "show":
    print("\\n".join(show(name) for name in names))
elif verb == "is-enabled":
    print(units[names[0]]["sysv"])
elif verb == "daemon-reload":
    for unit in units.values():
        unit.pop("NeedDaemonReload", None)
else:
    for name in names:
        unit = units[name]
        if verb in ("start", "restart"):
            unit.update(at=time.time(), changed=time.time(), ActiveState="active", Result="success")
            if unit.get("breaks"):
                unit.update(ActiveState="failed", Result="exit-code", ExecMainStatus="1")
                sys.stderr.write("Job for %s failed.\\n" % name)
                code = 1
            if unit.get("dies"):
                unit["NRestarts"] = "2"
        elif verb == "reload":
            unit["changed"] = time.time()
        elif verb == "stop":
            unit["ActiveState"] = "inactive"
        elif verb == "reset-failed":
            unit["ActiveState"] = "inactive"
        elif verb == "unmask":
            unit.update(LoadState="loaded", UnitFileState="disabled")
        elif verb == "mask":
            unit.update(LoadState="masked", UnitFileState="masked")
        else:
            unit.update(UnitFileState=verb + "d", sysv=verb + "d")
json.dump(units, open(path, "w"))
sys.exit(code)
"""
# Python is named in here, since a shebang cannot hold a path with a space.
START = '#!/bin/sh\nexec {python} "$(dirname "$0")/{script}" "$@"\n'
JOURNALCTL = '#!/bin/sh\necho "$@" >> "$(dirname "$0")/journal-calls"\necho "cannot bind to port"\n'


class Host:
    """A host whose systemctl is a stand-in."""

    def __init__(self, path: Path, **units) -> None:
        self.path = path
        python = shlex.quote(sys.executable)
        (path / "systemctl.py").write_text(SYSTEMCTL)
        for name, text in (
            ("python", f'#!/bin/sh\nexec {python} "$@"\n'),
            ("systemctl", START.format(python=python, script="systemctl.py")),
            ("journalctl", JOURNALCTL),
        ):
            script = path / name
            script.write_text(text)
            script.chmod(0o755)
        (path / "ansible.cfg").write_text("[defaults]\n")
        self.put({f"{name}.service": unit for name, unit in units.items()})

    def put(self, units) -> None:
        (self.path / "units.json").write_text(json.dumps(units))

    def get(self):
        return json.loads((self.path / "units.json").read_text())

    def calls(self):
        path = self.path / "calls"
        lines = path.read_text().splitlines() if path.exists() else []
        path.unlink(missing_ok=True)
        return lines

    def run(self, *units, options=(), ok=True, timeout=5, **more):
        arguments = {"units": [*units], "timeout": timeout, **more}
        environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")},
            "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".cache" / "collections"),
            "ANSIBLE_CONFIG": str(self.path / "ansible.cfg"),
            "ANSIBLE_NOCOLOR": "true",
            "PATH": f"{self.path}:{os.environ['PATH']}",
        }
        command = [
            str(ANSIBLE), "localhost", "-i", "localhost,", "-c", "local",
            "-e", f"ansible_python_interpreter={self.path / 'python'}",
            "-m", "infn.cloud.service_units", "-a", json.dumps(arguments), *options,
        ]  # fmt: skip
        run = subprocess.run(
            command, cwd=self.path, env=environment, capture_output=True, text=True, check=False,
            timeout=60,
        )  # fmt: skip
        self.printed = printed = run.stdout + run.stderr
        assert (run.returncode == 0) == ok, printed
        start = run.stdout.index("{", run.stdout.index("=>"))
        result, _end = json.JSONDecoder().raw_decode(run.stdout[start:])
        return result


def active(age=3600, **more):
    began = time.time() - age
    return {
        "ActiveState": "active",
        "UnitFileState": "enabled",
        "CanReload": "yes",
        "at": began,
        "changed": began,
        **more,
    }


STOPPED = {"ActiveState": "inactive", "UnitFileState": "disabled"}


def test_units_are_started_and_enabled_together_and_then_left_alone(tmp_path):
    host = Host(tmp_path, a=dict(STOPPED), b=dict(STOPPED), c=active())
    units = ({"name": "a"}, {"name": "b"}, {"name": "c"})
    predicted = host.run(*units, options=("--check", "--diff"))
    assert "+a.service: enabled, started\n" in host.printed
    assert host.calls() == []
    result = host.run(*units)
    assert host.calls() == ["enable a.service b.service", "start a.service b.service"]
    for each in (predicted, result):
        assert each["changed"]
        assert each["started"] == each["enabled"] == ["a.service", "b.service"]
    again = host.run(*units)
    assert not again["changed"]
    assert host.calls() == []


def test_newer_configuration_restarts_one_by_one_and_once(tmp_path):
    host = Host(tmp_path, a=active(), b=active(), c=active())
    directory = tmp_path / "conf.d"
    directory.mkdir()
    (directory / "x").write_text("")
    units = (
        {"name": "a", "restart_if_newer": [str(directory)]},
        {"name": "b", "reload_if_newer": [str(directory / "x"), "/no/such/file"]},
        {"name": "c", "restart_if_newer": ["/no/such/file"]},
    )
    result = host.run(*units)
    assert (result["restarted"], result["reloaded"]) == (["a.service"], ["b.service"])
    assert host.calls() == ["restart a.service", "reload b.service"]
    again = host.run(*units)
    assert not again["changed"]
    # A time in the future is none.
    later = time.time() + 3600
    os.utime(directory / "x", (later, later))
    time.sleep(0.1)
    assert host.run(*units)["changed"]
    assert not host.run(*units)["changed"]


def test_a_predicted_or_removed_file_restarts(tmp_path):
    host = Host(tmp_path, a=active())
    path = str(tmp_path / "gone")
    unit = {"name": "a", "restart_if_newer": [path]}
    assert not host.run(unit)["changed"]
    assert host.run(unit, changed_files=[path], options=("--check",))["restarted"] == ["a.service"]
    assert host.run(unit, changed_files=[path])["restarted"] == ["a.service"]


def test_the_first_failure_stops_and_says_why(tmp_path):
    host = Host(tmp_path, a=active(breaks=True), b=active())
    config = tmp_path / "config"
    config.write_text("")
    units = [{"name": name, "restart_if_newer": [str(config)]} for name in ("a", "b")]
    result = host.run(*units, ok=False)
    assert result["msg"].startswith("a.service: could not restart it; it is failed (x), result")
    assert "Job for a.service failed." in result["msg"]
    assert result["msg"].endswith("Its journal ends with:\ncannot bind to port")
    assert (tmp_path / "journal-calls").read_text() == "--no-pager -u a.service -n 15 -o cat\n"
    assert host.calls() == ["restart a.service"]
    assert result["changed"]


def test_a_unit_that_comes_back_by_itself_has_failed(tmp_path):
    host = Host(tmp_path, a={**STOPPED, "dies": True})
    result = host.run({"name": "a"}, ok=False)
    assert "It ended soon after it was started." in result["msg"]


def test_it_waits_for_an_answer(tmp_path):
    host = Host(tmp_path, a=dict(STOPPED), b=dict(STOPPED))
    path = str(tmp_path / "socket")
    with socket.create_server(("127.0.0.1", 0)) as port, socket.socket(socket.AF_UNIX) as unix:
        unix.bind(path)
        unix.listen()
        host.run(
            {"name": "a", "wait_for": {"port": port.getsockname()[1]}},
            {"name": "b", "wait_for": {"path": path}},
        )
        assert host.calls()[1:] == ["start a.service", "start b.service"]
    silent = {"name": "a", "wait_for": {"path": str(tmp_path / "silent")}}
    host.put({"a.service": STOPPED})
    result = host.run(silent, ok=False, timeout=1)
    assert "silent did not answer within 1 seconds" in result["msg"]


def test_units_are_stopped_disabled_masked_and_unmasked(tmp_path):
    masked = {"ActiveState": "inactive", "LoadState": "masked", "UnitFileState": "masked"}
    failed = {"ActiveState": "failed", "UnitFileState": "static"}
    host = Host(tmp_path, a=active(), b=active(), c=masked, d=failed, e=active())
    units = (
        {"name": "a", "state": "stopped"},
        {"name": "b", "masked": True},
        {"name": "c"},
        {"name": "d", "state": "absent"},
        {"name": "e", "state": "stopped", "enabled": True},
        {"name": "unknown", "state": "absent"},
    )
    result = host.run(*units)
    assert host.calls() == [
        "unmask c.service",
        "stop a.service b.service e.service",
        "reset-failed d.service",
        "disable a.service b.service",
        "mask b.service",
        "enable c.service",
        "start c.service",
    ]
    assert (result["unmasked"], result["masked"]) == (["c.service"], ["b.service"])
    assert not host.run(*units)["changed"]


def test_an_unknown_unit_is_an_error_but_a_change_in_check_mode(tmp_path):
    host = Host(tmp_path)
    result = host.run({"name": "nova"}, ok=False)
    assert result["msg"].startswith("nova.service: no such unit on this host")
    assert host.calls() == ["daemon-reload"]
    result = host.run({"name": "nova"}, options=("--check",))
    assert (result["started"], result["enabled"]) == (["nova.service"], ["nova.service"])
    assert host.calls() == []


def test_unit_files_are_read_again_and_that_is_no_change(tmp_path):
    host = Host(tmp_path, a=active(NeedDaemonReload="yes"))
    assert not host.run({"name": "a"})["changed"]
    assert host.calls() == ["daemon-reload"]


def test_an_init_script_is_enabled_by_its_own_means(tmp_path):
    script = active(UnitFileState="generated", SourcePath="/etc/init.d/a", sysv="disabled")
    host = Host(tmp_path, a=script)
    assert host.run({"name": "a"})["enabled"] == ["a.service"]
    units = host.get()
    units["a.service"]["UnitFileState"] = "generated"
    host.put(units)
    assert not host.run({"name": "a"})["changed"]
