# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What scripts/testbed says of a machine that cannot carry the demo, before it changes anything.

Each machine is this one, changed in a private mount namespace that ends with the command.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTBED = (Path(__file__).resolve().parents[2] / "scripts" / "testbed").read_text("utf-8")
STATE = Path("/var/lib/infn-cloud-demo")
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, for mount namespaces")


def check(before: str, user: str = "root") -> subprocess.CompletedProcess[str]:
    """Run `testbed check` after some shell commands in a mount namespace of its own.

    By standard input: another user may not be able to read this checkout.
    """
    script = f'{before}\nexec setpriv --reuid="$1" --clear-groups bash -s check'
    return subprocess.run(
        ["unshare", "--mount", "sh", "-ec", script, "sh", user], input=TESTBED, text=True,
        capture_output=True, check=False, timeout=60,
    )  # fmt: skip


@pytest.fixture(autouse=True)
def no_demo() -> Iterator[None]:
    if (STATE / "storage").exists():
        pytest.skip("a demo is on this machine, so its room and memory are not asked for")
    made = not STATE.exists()
    yield
    if made and STATE.exists():
        STATE.rmdir()


def other_release(folder: Path, text: str) -> str:
    release = folder / "os-release"
    release.write_text(text, encoding="utf-8")
    return f"mount --bind '{release}' /etc/os-release"


def test_this_machine_will_do() -> None:
    done = check("true")
    assert done.returncode == 0, done.stderr


def test_no_root() -> None:
    done = check("true", user="65534")
    assert done.returncode != 0
    assert "run it with sudo, or as root" in done.stderr


def test_another_system(tmp_path: Path) -> None:
    done = check(other_release(tmp_path, "ID=fedora\nVERSION_ID=44\n"))
    assert done.returncode != 0
    assert "fedora 44" in done.stderr
    assert "Debian 12 and 13" in done.stderr


def test_an_older_debian(tmp_path: Path) -> None:
    done = check(other_release(tmp_path, 'ID=debian\nVERSION_ID="11"\n'))
    assert done.returncode != 0
    assert "Debian 12 and 13" in done.stderr


def test_no_room() -> None:
    done = check(f"mkdir -p {STATE} && mount -t tmpfs -o size=1g tmpfs {STATE}")
    assert done.returncode != 0
    assert "this needs 12 GiB" in done.stderr
    assert "mount a larger disk there" in done.stderr


def test_networks_that_collide() -> None:
    network = "ip link add d0 type veth; ip address add 10.201.9.1/24 dev d0; ip link set d0 up"
    done = subprocess.run(
        ["unshare", "--net", "sh", "-ec", f"{network}; exec bash -s check"],
        input=TESTBED, text=True,
        capture_output=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode != 0
    assert "already routes parts of 10.201.0.0/16" in done.stderr
