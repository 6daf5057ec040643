# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The drills refuse where they must, find a loss that is there, and leave nothing broken."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.drill

REPOSITORY = Path(__file__).resolve().parents[2]
SHORT = {
    "drill_seconds_before": 5, "drill_seconds_fault": 8, "drill_seconds_after": 2, "drill_rate": 6,
    "drill_writers": 1, "drill_readers": 1, "drill_window": 3,
}  # fmt: skip
PROBE = "nft list tables; cat /proc/mounts; systemctl list-units --plain --state=failed"


def start(demo, drill: str, **variables: Any) -> subprocess.Popen[str]:
    """Run a drill as an administrator does, in a process group of its own."""
    chosen = json.dumps({"drill_federation": "demo", **SHORT, **variables})
    playbook = REPOSITORY / "playbooks" / "drills" / f"{drill}.yml"
    return subprocess.Popen(
        [Path(sys.executable).parent / "ansible-playbook", playbook, "--extra-vars", chosen],
        cwd=REPOSITORY, env=os.environ | {"INFN_CLOUD_DEMO_DIR": str(demo.directory)}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
    )  # fmt: skip


def records(demo) -> Path:
    return demo.directory / "drills"


def marker(demo) -> dict[str, str]:
    path = records(demo) / "running.json"
    return json.loads(path.read_text()) if path.exists() else {}


def until(seconds: float, what: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := what():
            return found
        time.sleep(0.2)
    pytest.fail(f"not within {seconds} s")


def entries(demo, event: str) -> list[dict[str, Any]]:
    """What the journal of the running drill says so far."""
    path = records(demo) / marker(demo).get("id", "none") / "journal.jsonl"
    if not path.exists():
        return []
    whole = [line for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]
    return [entry for line in whole if (entry := json.loads(line))["event"] == event]


@pytest.fixture
def healed(demo) -> Iterator[None]:
    """Whatever a test leaves, the next one finds a federation that is well."""
    yield
    run = demo.ansible(
        "ansible-playbook", "playbooks/drills/heal.yml", "-e", "drill_federation=demo"
    )
    assert run.rc == 0, run.text


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"drill_federation": "production"},
        {"drill_federation": "demo", "drills_allowed": ""},
        {"drill_federation": "other", "drills_allowed": "other"},
    ],
    ids=lambda variables: (
        ", ".join(f"{key}={value}" for key, value in variables.items()) or "unasked"
    ),
)
def test_a_federation_that_did_not_ask_for_it_is_not_broken(demo, variables) -> None:
    chosen = json.dumps(variables)
    for drill in ("site_outage", "heal"):
        path = f"playbooks/drills/{drill}.yml"
        run = demo.ansible("ansible-playbook", path, "--extra-vars", chosen)
        assert run.rc != 0
        assert "drills_allowed: demo" in run.text, run.text
        assert not run.changed, run.stats


def test_every_drill_has_the_guard() -> None:
    """Only the frame of all drills breaks anything, and it begins with the guard."""
    drills = sorted((REPOSITORY / "playbooks" / "drills").glob("*.yml"))
    for path in drills:
        if path.stem != "heal":
            assert "include_tasks: tasks/drill.yml" in path.read_text(), path
    frame = (REPOSITORY / "playbooks" / "drills" / "tasks" / "drill.yml").read_text()
    assert frame.index("guard.yml") < frame.index("block:")


ERASE = """
import json, os, shutil, sys
from swift.common.utils import hash_path, set_swift_dir, storage_directory
set_swift_dir("/etc/swift")
for target in json.load(sys.stdin):
    name = hash_path(target["account"], target["container"], target["object"])
    place = storage_directory("objects", target["partition"], name)
    shutil.rmtree(os.path.join("/srv/node", target["device"], place))
"""


@pytest.mark.settings
def test_a_loss_is_found(demo, healed) -> None:
    """One acknowledged object is erased from all disks behind the drill's back: lost=1."""
    drill = start(demo, "proxy_kill", drill_redundancy_timeout=20)
    try:
        victim = until(180, lambda: entries(demo, "acknowledged"))[0]["name"]
        account = entries(demo, "begin")[0]["account"]
        name = (account, marker(demo)["id"], victim)
        (place,) = until(60, lambda: [one for one in demo.places([name]) if one["complete"]])
        for replica in place["replicas"]:
            target = dict(zip(("account", "container", "object"), name))
            target |= {"partition": place["partition"], "device": replica["device"]}
            script = f"python3 -c '{ERASE}'"
            demo.shell(replica["host"], script, stdin=json.dumps([target]).encode())
        identity = marker(demo)["id"]
        said, _none = drill.communicate(timeout=500)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(drill.pid, signal.SIGKILL)
    assert drill.returncode != 0, said
    report = json.loads((records(demo) / identity / "report.json").read_text())
    assert (report["lost"], report["corrupted"], report["unreadable"]) == (1, 0, 0), report
    assert report["incomplete"] == 1, report
    assert f"{victim} through" in report["lost_objects"][0], report
    assert "1 are lost" in said, said


@pytest.mark.settings
def test_an_interrupted_drill_is_healed(demo, healed) -> None:
    """Killed in the middle of an outage: refused until healed, healed by one command, once."""
    hosts = list(demo.hosts)
    before = demo.on(hosts, PROBE)
    drill = start(demo, "site_outage", drill_seconds_fault=120)
    try:
        suffering = demo.sites[until(180, lambda: marker(demo))["site"]]
        probe = "nft list table inet infn_cloud_drill"
        until(180, lambda: demo.shell(suffering.storage[0], probe, check=False))
    finally:
        os.killpg(drill.pid, signal.SIGKILL)
        drill.communicate()
    assert any(before[host] != text for host, text in demo.on(hosts, PROBE).items())

    run = demo.ansible(
        "ansible-playbook", "playbooks/drills/proxy_kill.yml", "-e", "drill_federation=demo"
    )
    assert run.rc != 0 and "infn.cloud.drills.heal" in run.text, run.text

    heal = ("ansible-playbook", "playbooks/drills/heal.yml", "-e", "drill_federation=demo")
    run = demo.ansible(*heal)
    assert run.rc == 0, run.text
    assert demo.on(hosts, PROBE) == before
    run = demo.ansible(*heal)
    assert run.rc == 0, run.text
    assert not run.changed, run.stats
