# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Swift's own functional and S3 suites, of the version deployed, against a running federation.

  swift_upstream.py [--site SITE] [--ca-file FILE] [--only EXPRESSION]
                    [options of ansible-playbook, as -i INVENTORY]

Makes users, keys and settings for them with the playbook operations/swift_upstream_tests, runs both
suites through the site's TLS endpoints, removes users and data, and compares every failure and skip
with those explained in docs/upstream_suites.md. Ends with `N passed, N failed, N skipped`, where
only what is not explained counts as failed. Leaves JUnit files and logs in tests/output/.
"""

from __future__ import annotations

import argparse
import fnmatch
import os
import re
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parent.parent
EXPLAINED = ROOT / "docs" / "upstream_suites.md"
OUTPUT = ROOT / "tests" / "output"
SETTINGS = ROOT / ".cache" / "swift-upstream"
VENV = ROOT / ".cache" / "swift-upstream-venv"
# Less than this was executed: something is not set up, and the suites skip in silence.
LEAST = {"functional": 600, "s3api": 400}
FENCE = re.compile(
    r"^```(failed|skipped)(?: from Python 3\.(\d+) on)?\n(.*?)^```$", re.MULTILINE | re.DOTALL
)

Outcomes = dict[str, tuple[str, str]]
Explained = list[tuple[str, str]]


def explained(text: str, python: int) -> Explained:
    """The outcomes and test names (or patterns) that the document explains for Python 3.N."""
    return [
        (outcome, name.strip())
        for outcome, since, names in FENCE.findall(text)
        if python >= int(since or 0)
        for name in names.splitlines()
        if name.strip()
    ]


def outcomes(junit: Path) -> Outcomes:
    """Test name -> what became of it and the message, as pytest wrote it."""
    found: Outcomes = {}
    for case in ElementTree.parse(junit).getroot().iter("testcase"):  # noqa: S314  our pytest's
        name = f"{case.get('classname')}.{case.get('name')}"
        outcome, message = "passed", ""
        for kind in case:
            if kind.tag in ("failure", "error", "skipped"):
                outcome = "skipped" if kind.tag == "skipped" else "failed"
                message = (kind.get("message") or "").strip().partition("\n")[0]
        if found.get(name, ("",))[0] != "failed":  # a test and its teardown are two cases
            found[name] = (outcome, message)
    return found


def judge(found: Outcomes, known: Explained) -> tuple[list[str], list[str]]:
    """What is wrong and what is only out of date, as lines for people."""
    wrong, stale = [], []
    for name, (outcome, message) in sorted(found.items()):
        fits = any(outcome == o and fnmatch.fnmatchcase(name, p) for o, p in known)
        if outcome != "passed" and not fits:
            wrong.append(f"{outcome}, unexplained: {name}: {message}")
    for outcome, pattern in known:
        named = {name: fnmatch.fnmatchcase(name, pattern) for name in found}
        matching = [found[name][0] for name, fits in named.items() if fits]
        if not matching:
            stale.append(f"explained, but there is no such test: {pattern}")
        elif outcome not in matching:
            stale.append(f"explained as {outcome}, but {matching[0]}: {pattern}")
    return wrong, stale


def playbook(state: str, arguments: argparse.Namespace, more: list[str]) -> int:
    """Make users and settings for the suites, or take them away with all data."""
    lock = (ROOT / "requirements" / "swift-upstream.txt").read_text(encoding="utf-8")
    version = re.search(r"^swift==(\S+)", lock, re.MULTILINE)
    variables = {
        "directory": str(SETTINGS), "state": state, "version": version[1] if version else "",
    }  # fmt: skip
    if arguments.site:
        variables["site"] = arguments.site
    command: list[str | Path] = [
        ROOT / ".venv" / "bin" / "ansible-playbook",
        ROOT / "playbooks" / "operations" / "swift_upstream_tests.yml", *more,
    ]  # fmt: skip
    for name, value in variables.items():
        command += ["-e", f"swift_upstream_tests_{name}={value}"]
    environment = {**os.environ, "LC_ALL": "C.UTF-8", "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")}
    return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode


def results(suite: str, only: str | None) -> Path:
    return OUTPUT / f"swift-{suite}{'-part' if only else ''}.xml"


def start(suite: str, only: str | None, ca_file: Path) -> subprocess.Popen[bytes]:
    """Run a suite as upstream does: one test after the other."""
    # Boto 2 brings its own authorities and heeds no variable.
    boto = SETTINGS / "boto.cfg"
    boto.write_text(f"[Boto]\nca_certificates_file = {ca_file}\n", encoding="utf-8")
    environment = {
        **os.environ,
        "SWIFT_TEST_CONFIG_FILE": str(SETTINGS / "test.conf"),
        # Without this a missing file would make the suite test servers of its own.
        "SWIFT_TEST_IN_PROCESS": "0",
        "SSL_CERT_FILE": str(ca_file),
        "REQUESTS_CA_BUNDLE": str(ca_file),
        "AWS_CA_BUNDLE": str(ca_file),
        "BOTO_CONFIG": str(boto),
        "LC_ALL": "C.UTF-8",
    }
    junit = results(suite, only)
    junit.unlink(missing_ok=True)
    chosen = ["-k", only] if only else []
    with junit.with_suffix(".log").open("wb") as log:
        return subprocess.Popen(
            [VENV / "bin" / "python", "-m", "pytest", "-v", "--tb=short", "-p", "no:cacheprovider",
             "-c", os.devnull, "--rootdir=.", f"--junitxml={junit}", *chosen, f"test/{suite}"],
            cwd=VENV / "suites", env=environment, stdout=log, stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip


def report(seconds: float, only: str | None) -> int:
    """Print what became of both suites, or a part; 1 if anything is unexplained."""
    version = subprocess.run(
        [VENV / "bin" / "python", "-c", "import sys; print(sys.version_info[1])"],
        stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    known = explained(EXPLAINED.read_text(encoding="utf-8"), int(version.stdout))
    total: Outcomes = {}
    wrong: list[str] = []
    for suite, least in LEAST.items():
        junit = results(suite, only)
        found = outcomes(junit) if junit.exists() else {}
        count = Counter(outcome for outcome, _message in found.values())
        executed = count["passed"] + count["failed"]
        print(
            f"{suite}: {executed} executed, {count['passed']} passed, {count['failed']} failed, "
            f"{count['skipped']} skipped"
        )
        if executed < least and not only:
            wrong.append(f"{suite}: only {executed} tests were executed, see {junit.stem}.log")
        total.update(found)
    unexplained, stale = judge(total, known)
    if only:
        stale = []
        if not total:
            wrong.append(f"no test is called {only}")
    wrong += unexplained
    for line in wrong + stale:
        print(f"  {line}")
    for outcome in ("failed", "skipped"):
        names = [name for name, found in total.items() if found[0] == outcome]
        open_ = sum(line.startswith(f"{outcome}, unexplained") for line in unexplained)
        print(f"{outcome}: {len(names) - open_} explained in {EXPLAINED.name}, {open_} not")
    passed = sum(outcome == "passed" for outcome, _message in total.values())
    print(f"{seconds:.0f} s; {len(stale)} explanations out of date")
    print(f"{passed} passed, {len(wrong)} failed, {len(total) - passed - len(unexplained)} skipped")
    return int(bool(wrong))


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--site", help="whose endpoints; by default the first site's")
    demo = Path(os.environ.get("INFN_CLOUD_DEMO_DIR") or ROOT / ".demo") / "ca.pem"
    parser.add_argument("--ca-file", type=Path, help="authorities of the endpoints' certificates")
    parser.add_argument("--only", metavar="EXPRESSION", help="as of pytest -k")
    parser.add_argument("--report", action="store_true", help="only judge the last run again")
    arguments, more = parser.parse_known_args()
    # The demo's authority is no public one.
    system = Path("/etc/ssl/certs/ca-certificates.crt")
    ca_file = (arguments.ca_file or (demo if demo.exists() and not more else system)).absolute()
    if arguments.report:
        return report(0, arguments.only)
    for environment in ("test", "swift-upstream"):
        subprocess.run([ROOT / "scripts" / "setup", environment], check=True)
    OUTPUT.mkdir(exist_ok=True)
    if playbook("present", arguments, more):
        return 2
    began = time.monotonic()
    suites: list[subprocess.Popen[bytes]] = []
    try:
        suites = [start(suite, arguments.only, ca_file) for suite in LEAST]
        for suite in suites:
            suite.wait()
    finally:
        for suite in suites:
            suite.terminate()
            suite.wait()
        removed = playbook("absent", arguments, more)
    return report(time.monotonic() - began, arguments.only) or int(removed != 0)


if __name__ == "__main__":
    sys.exit(main())
