# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Everything that `make test` promises, in this order:

  quick    lint, sanity, unit tests (scripts/test-quick)
  modules  tests/integration: modules against real devices and servers, without the hosts
  demo     the demo federation from nothing, by the command that users run
  again    the same from the built and installed collection, in an empty directory: no change
  verify   Molecule's default scenario on the same hosts: tests/demo as a client
  drills   playbooks/drills: a site goes away under load, nothing is lost
  remove   the backbone taken off its hosts by playbook, and put to the test that nothing is left
  clean    the demo's removal, and that nothing of it is left

Arguments choose some of them; `all` stands for all, with those that take longer:

  ringlife a storage node and a disk join, leave and die; a lost builder (docs/operations/rings.md)
  settings settings that the demo has not, switched on and off; drills and tests that take minutes
  longer   the other drills
  upstream Swift's own functional and S3 suites (docs/upstream_suites.md)
  upgrade  Swift to Debian's next release, under load
  clouds   tests/clouds: sites joined, examined and left, on two real OpenStack clouds of their own
  check    the backbone in check mode: no change announced where there is none
  gone     the backbone removed once more: nothing to do
  bare     new hosts (before the demo), and the backbone on them in check mode
  azure    the inventory of Azure by its own plugin and libraries, which are large, against a fake

Ends with one line, `N passed, N failed, N skipped`.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import demo as demo_script
from swift_upstream import outcomes

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv" / "bin"
DEMO = ROOT / ".demo"
OUTPUT = ROOT / "tests" / "output"
STATE = Path("/var/lib/infn-cloud-demo")
REMOVE = (str(VENV / "ansible-playbook"), "playbooks/operations/remove_backbone.yml")
CLOSING = re.compile(r"^(\d+) passed, (\d+) failed, (\d+) skipped$", re.M)


class Tally:
    """What was counted, step by step."""

    def __init__(self) -> None:
        self.passed = self.failed = self.skipped = 0
        self.lines: list[str] = []
        self.no_demo = False

    def add(self, what: str, passed: int, failed: int, skipped: int, seconds: float) -> None:
        self.passed += passed
        self.failed += failed
        self.skipped += skipped
        said = f"{passed} passed, {failed} failed, {skipped} skipped, {seconds:.0f} s"
        self.lines.append(f"{what}: {said}")
        print(f"== {what}: {said}", flush=True)

    def check(self, what: str, good: bool, seconds: float = 0, output: str = "") -> bool:
        """Count one check; of what failed, its reason is said again at the end."""
        self.add(what, int(good), int(not good), 0, seconds)
        self.lines += [] if good else [f"  | {line}" for line in demo_script.reason(output)]
        return good


def environment(**more: str) -> dict[str, str]:
    path = f"{VENV}:{os.environ.get('PATH', '/usr/bin')}:/usr/sbin:/sbin"
    return {
        **os.environ, "LC_ALL": "C.UTF-8", "PATH": path, "INFN_CLOUD_DEMO_DIR": str(DEMO),
        "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "NO_COLOR": "1", **more,
    }  # fmt: skip


def call(*command: str, cwd: Path = ROOT, **more: str) -> tuple[int, str]:
    """Run a command, show what it prints as it comes, return its exit status and output."""
    print(f"\n$ {' '.join(command)}", flush=True)
    lines = []
    with subprocess.Popen(
        command, cwd=cwd, env=environment(**more), text=True, errors="replace",
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    ) as child:  # fmt: skip
        for line in child.stdout or ():
            print(line, end="", flush=True)
            lines.append(line)
    return child.returncode, "".join(lines)


def as_root(*command: str) -> tuple[str, ...]:
    return command if os.geteuid() == 0 else ("sudo", "--preserve-env", "--", *command)


def changes(output: str) -> int:
    """The changes in Ansible's recaps."""
    return sum(int(found) for found in re.findall(r"changed=(\d+)", output))


def pytest(tally: Tally, what: str, results: Path, *arguments: str) -> None:
    """Run tests as root; what failed is said again at the end, where a long output ends too."""
    began = time.monotonic()
    results.parent.mkdir(exist_ok=True)
    results.unlink(missing_ok=True)
    code, _output = call(*as_root(str(VENV / "python"), "-m", "pytest", "-q",
                                  "-p", "no:cacheprovider", "--durations=40",
                                  f"--junitxml={results}", *arguments))  # fmt: skip
    add_junit(tally, what, results, code, time.monotonic() - began)


def add_junit(tally: Tally, what: str, path: Path, code: int, seconds: float) -> None:
    """Count a JUnit file; a missing one is a failure, and so is an exit status without one."""
    found = outcomes(path) if path.exists() else {}
    count = Counter(outcome for outcome, _message in found.values())
    tally.lines += [
        f"  FAILED {name}: {message[:300]}"
        for name, (outcome, message) in found.items()
        if outcome == "failed"
    ]
    failed = count["failed"] or int(code != 0 or not count["passed"])
    tally.add(what, count["passed"], failed, count["skipped"], seconds)


def quick(tally: Tally) -> None:
    counted(tally, "quick", "scripts/test-quick")


def report_is_good() -> bool:
    report = json.loads((DEMO / "report.json").read_text(encoding="utf-8"))
    regions = {replica["region"] for replica in report["object"]["replicas"]}
    return bool(report["ok"]) and regions == {1, 2, 3} and len(report["object"]["read_back"]) == 2


def demo(tally: Tally) -> None:
    began = time.monotonic()
    code, output = call(sys.executable, "scripts/demo.py", "up")
    good = code == 0 and report_is_good()
    seconds = time.monotonic() - began
    tally.no_demo = not tally.check("demo: from nothing to three replicas", good, seconds, output)


def again(tally: Tally) -> None:
    """Users have the collection, not its repository; and a second run changes nothing."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="infn-cloud-") as temporary:
        place = Path(temporary)
        collections = str(place / "collections")
        galaxy = (str(VENV / "ansible-galaxy"), "collection")
        call(*galaxy, "build", "--output-path", temporary)
        built = [str(path) for path in place.glob("infn-cloud-*.tar.gz")]
        # Without the checkout's own path, in which Galaxy would find the collection already.
        call(*galaxy, "install", "--no-deps", "--collections-path", collections, *built,
             ANSIBLE_COLLECTIONS_PATH=collections)  # fmt: skip
        used = place / "collections/ansible_collections/infn/cloud/playbooks/backbone.yml"
        tally.check("again: the collection builds and installs", used.exists())
        empty = place / "empty"
        empty.mkdir()
        demo_up = (sys.executable, str(ROOT / "scripts" / "demo.py"), "up")
        code, output = call(*demo_up, cwd=empty, ANSIBLE_COLLECTIONS_PATH=collections)
    seconds = time.monotonic() - began
    good = code == 0 and report_is_good()
    if tally.check("again: the installed collection goes on", good, seconds, output):
        report = json.loads((DEMO / "report.json").read_text(encoding="utf-8"))
        tally.check("again: the second run changes nothing", report["changed"] == 0)


def check(tally: Tally) -> None:
    began = time.monotonic()
    code, output = call(
        str(VENV / "ansible-playbook"), "playbooks/backbone.yml", "--check", "--diff"
    )
    good = code == 0 and changes(output) == 0
    tally.check("check: check mode announces no change", good, time.monotonic() - began, output)


def verify(tally: Tally) -> None:
    # Molecule remembers by itself which hosts it made; these were made by `make demo`.
    began = time.monotonic()
    results = DEMO / "verify.xml"
    results.unlink(missing_ok=True)
    code, _output = call(*as_root(str(VENV / "molecule"), "verify"))
    add_junit(tally, "verify: tests/demo", results, code, time.monotonic() - began)


def ringlife(tally: Tally) -> None:
    """Through the years with a second storage node, which goes again."""
    pytest(tally, "ringlife: the life of the rings", DEMO / "ringlife.xml", "tests/demo", "-x",
           "-m", "ringlife")  # fmt: skip


def settings(tally: Tally) -> None:
    """Encryption, limits, authorities and transfers, switched on over data and off again."""
    pytest(tally, "settings: switched on and off", DEMO / "settings.xml", "tests/demo",
           "-m", "settings")  # fmt: skip


def modules(tally: Tally) -> None:
    for server in ("keystone", "kms"):
        if call("scripts/setup", server)[0]:
            tally.check(f"modules: scripts/setup {server}", False)
    # Most of the time one waits for a process that it started.
    pytest(tally, "modules: tests/integration", OUTPUT / "integration.xml", "tests/integration",
           "--numprocesses", "2", "--dist", "loadfile")  # fmt: skip


def drill(tally: Tally, name: str, **variables: object) -> None:
    """Run one drill; its report is in .demo/drills, its table on the screen."""
    began = time.monotonic()
    brief = {"drill_seconds_before": 5, "drill_seconds_fault": 15, "drill_seconds_after": 5}
    chosen = json.dumps({"drill_federation": "demo", **brief, **variables})
    code, output = call(
        str(VENV / "ansible-playbook"), f"playbooks/drills/{name}.yml", "-e", chosen
    )
    what = " ".join([name, *map(str, variables.values())])
    tally.check(f"drill {what}", code == 0, time.monotonic() - began, output)


def drills(tally: Tally) -> None:
    drill(tally, "site_outage")


def longer(tally: Tally) -> None:
    drill(tally, "disk_loss")
    drill(tally, "wan_partition")
    drill(tally, "bit_rot")
    drill(tally, "wan_partition", drill_direction="in")
    drill(tally, "wan_partition", drill_direction="out")
    drill(tally, "disk_loss", drill_loss="readonly")
    drill(tally, "storage_host_kill")
    drill(tally, "proxy_kill")
    drill(tally, "ring_push_interrupted")
    drill(tally, "galera_member_kill")
    drill(tally, "galera_total_outage")


def counted(tally: Tally, what: str, *command: str) -> None:
    """Run a command that ends with `N passed, N failed, N skipped`."""
    began = time.monotonic()
    code, output = call(*command)
    found = CLOSING.findall(output)
    passed, failed, skipped = (int(number) for number in found[-1]) if found else (0, 1, 0)
    tally.add(what, passed, failed or int(code != 0), skipped, time.monotonic() - began)


def upstream(tally: Tally) -> None:
    counted(tally, "upstream: Swift's own suites", sys.executable, "scripts/swift_upstream.py")


def upgrade(tally: Tally) -> None:
    """To the Swift of Debian's next release, while clients use it."""
    began = time.monotonic()
    run = str(VENV / "ansible-playbook")
    code, _output = call(run, "tests/upgrade/offer_newer_swift.yml")
    tally.check("upgrade: a newer Swift is on offer", code == 0, time.monotonic() - began)

    def versions(output: str) -> list[str]:
        return re.findall(r"Swift (\d[\d.]*)", output)

    code, output = call(run, "playbooks/operations/swift_upgrade.yml", "--check")
    before = versions(output)
    tally.check("upgrade: the dry run announces it", code == 0 and changes(output) > 0)
    drill(tally, "swift_upgrade")
    code, output = call(run, "playbooks/operations/swift_upgrade.yml")
    tally.check("upgrade: a second run changes nothing", code == 0 and changes(output) == 0)
    after = versions(output)
    tally.check(f"upgrade: {before} became {after}", len(after) == 1 and after != before)


def clouds(tally: Tally) -> None:
    """They stand beside the demo and go when the tests are done; their image stays."""
    began = time.monotonic()
    code, _output = call(*as_root("scripts/clouds", "up"))
    if tally.check("clouds: two of them are up", code == 0, time.monotonic() - began):
        pytest(tally, "clouds: tests/clouds", OUTPUT / "clouds.xml", "tests/clouds")
    code, _output = call(*as_root("scripts/clouds", "down"))
    tally.check("clouds: they are gone", code == 0)


def azure(tally: Tally) -> None:
    began = time.monotonic()
    code, _output = call("scripts/setup", "azure")
    if tally.check("azure: its libraries", code == 0, time.monotonic() - began):
        pytest(tally, "azure: the inventory", OUTPUT / "azure.xml",
               "tests/integration/test_azure_inventory.py")  # fmt: skip


def remove(tally: Tally) -> None:
    """Take the backbone off its hosts again."""
    began = time.monotonic()
    code, output = call(*REMOVE)
    refused = code != 0 and changes(output) == 0 and "backbone_allow_data_loss=true" in output
    tally.check("remove: refused unless asked for by name", refused)
    code, output = call(*REMOVE, "-e", "backbone_allow_data_loss=true")
    tally.check("remove: the backbone", code == 0 and changes(output) > 0, output=output)
    look = (
        "systemctl list-units --plain --no-legend --state=active,failed 'swift*' haproxy* keystone*"
        " mariadb* garb* memcached* nftables* named* knot* 'dns-*' postfix* dovecot* rspamd*"
        " valkey* unbound* opensearch* 'elk-*' 'log-*'; ls -d /etc/opensearch /var/lib/opensearch"
        " /usr/share/opensearch /etc/log-collector /var/lib/log-collector /etc/log-shipper"
        " /var/lib/log-shipper /usr/local/sbin/log* /etc/bind /etc/knot /etc/postfix"
        " /var/spool/postfix /etc/dovecot /etc/rspamd /etc/valkey /etc/unbound"
        " /var/lib/bind /var/lib/knot /usr/local/lib/infn-cloud-dns /etc/dns-health*"
        " /etc/swift /etc/haproxy /etc/keystone"
        " /var/lib/mysql /etc/mysql/galera /etc/galera /var/lib/keystone /usr/local/sbin/keystone*"
        " /etc/ssh/sshd_config.d/50-keystone* /etc/systemd/system/keystone*"
        " /etc/systemd/system/swift* 2>/dev/null; grep xfs /etc/fstab; nft list tables; true"
    )
    code, output = call(
        str(VENV / "ansible"), "backbone", "-m", "ansible.builtin.shell", "-a", look, "-o"
    )
    said = [line.split("(stdout) ")[1] for line in output.splitlines() if "(stdout) " in line]
    nothing = code == 0 and len(said) == 6 and not any(said)
    tally.check(f"remove: nothing is left {'' if nothing else said}", nothing)
    tally.lines[-1] += f", all of it {time.monotonic() - began:.0f} s"


def gone(tally: Tally) -> None:
    began = time.monotonic()
    code, output = call(*REMOVE, "-e", "backbone_allow_data_loss=true")
    good = code == 0 and changes(output) == 0
    tally.check("gone: removed again, nothing to do", good, time.monotonic() - began, output)


def bare(tally: Tally) -> None:
    """What every new user does first: look what would happen to machines that have nothing."""
    began = time.monotonic()
    code, _output = call(sys.executable, "scripts/demo.py", "hosts")
    tally.check("bare: hosts", code == 0, time.monotonic() - began)
    began = time.monotonic()
    # The demo's image comes without, and the dry run says so.
    call(str(VENV / "ansible"), "backbone", "--become", "-a", "apt-get update -qq")
    code, output = call(str(VENV / "ansible-playbook"), "playbooks/backbone.yml", "--check")
    good = code == 0 and changes(output) > 0
    tally.check("bare: a dry run on new hosts", good, time.monotonic() - began, output)
    call(sys.executable, "scripts/demo.py", "down")


def leftovers() -> list[str]:
    """Whatever of the demo and of running test clouds is still on this machine."""
    found = [str(path) for path in (STATE, Path("/run/infn-cloud-demo"), DEMO) if path.exists()]
    probes = {
        "loop device": ["losetup", "--noheadings", "--output", "BACK-FILE"],
        "mount": ["cat", "/proc/mounts"],
        "address": ["ip", "-o", "-4", "address"],
        "packet filter": ["nft", "list", "tables"],
    }
    for kind, command in probes.items():
        done = subprocess.run(
            as_root(*command), text=True, stdout=subprocess.PIPE, check=True, env=environment()
        )
        found += [
            f"{kind}: {line.strip()}" for line in done.stdout.splitlines()
            if re.search(r"infn.cloud.demo|/var/lib/demo/|\b10\.20[12]\.", line)
        ]  # fmt: skip
    return found


def clean(tally: Tally) -> None:
    began = time.monotonic()
    call(*as_root(str(VENV / "molecule"), "destroy"))
    code, _output = call(sys.executable, "scripts/demo.py", "down")
    left = leftovers()
    for line in left:
        print(f"still there: {line}")
    tally.check(
        "clean: nothing of the demo is left", code == 0 and not left, time.monotonic() - began
    )


STEPS = {
    "quick": quick, "modules": modules, "bare": bare, "demo": demo, "again": again,
    "check": check, "verify": verify, "drills": drills, "ringlife": ringlife,
    "settings": settings, "longer": longer, "upstream": upstream, "upgrade": upgrade,
    "clouds": clouds, "azure": azure, "remove": remove, "gone": gone, "clean": clean,
}  # fmt: skip
# What makes no sense on a demo that did not come up; its removal does.
ON_THE_DEMO = {
    "again", "check", "verify", "drills", "ringlife", "settings", "longer", "upstream", "upgrade",
}  # fmt: skip
LONGER = {
    "ringlife", "settings", "longer", "upstream", "upgrade", "clouds", "azure", "bare", "check",
    "gone",
}  # fmt: skip


def main() -> int:
    everything = sys.argv[1:] in ([], ["all"])
    chosen = sys.argv[1:]
    if everything:
        chosen = [name for name in STEPS if chosen or name not in LONGER]
    unknown = [name for name in chosen if name not in STEPS]
    if unknown:
        print(f"{__doc__}\nno such step: {', '.join(unknown)}", file=sys.stderr)
        return 2
    began, tally = time.monotonic(), Tally()
    if subprocess.run([ROOT / "scripts" / "setup", "test"], check=False).returncode:
        # A machine without python3-venv: the same first step as `make demo` takes.
        subprocess.run(as_root(str(ROOT / "scripts" / "bootstrap")), check=True)
        subprocess.run([ROOT / "scripts" / "setup", "test"], check=True)
    if everything or "bare" in chosen:
        running = ["pgrep", "-f", "conmon.*infn-cloud-demo"]
        if subprocess.run(running, stdout=subprocess.DEVNULL, check=False).returncode == 0:
            print(
                "a demo is running here: 'make demo-down' first, or choose steps", file=sys.stderr
            )
            return 2
    if everything:
        subprocess.run(as_root(str(ROOT / "scripts" / "testbed"), "clean"), check=True)
        shutil.rmtree(DEMO, ignore_errors=True)
    for name in chosen:
        if tally.no_demo and name in ON_THE_DEMO:
            tally.add(f"{name}: not run, there is no demo", 0, 1, 0, 0)
            continue
        try:
            STEPS[name](tally)
        except (OSError, ValueError, KeyError, subprocess.SubprocessError) as error:
            tally.check(f"{name}: {type(error).__name__}: {error}", False)
    print("\n" + "\n".join(tally.lines))
    print(f"all of it: {time.monotonic() - began:.0f} s")
    print(f"{tally.passed} passed, {tally.failed} failed, {tally.skipped} skipped")
    return int(tally.failed > 0)


if __name__ == "__main__":
    sys.exit(main())
