# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs every check that needs no host and no root, two at a time, and counts."""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace

from tooling.tree import COLLECTION, ROOT, environment, own_files, own_paths, playbooks, roles

AT_ONCE = 2
TIMEOUT = 900
CACHE = ROOT / ".cache"
OLDEST_TARGET = "3.9"
PYTEST = ("-m", "pytest", "-q", "-p", "no:cacheprovider")


@dataclass
class Outcome:
    """What a step counted, and what to read when something failed or was left out."""

    passed: int = 0
    failed: int = 0
    skipped: list[str] = field(default_factory=list)
    details: str = ""

    def add(self, other: Outcome) -> None:
        self.passed += other.passed
        self.failed += other.failed
        self.skipped += other.skipped
        self.details += other.details

    @property
    def word(self) -> str:
        if self.failed:
            return "failed"
        return "ok" if self.passed or not self.skipped else "skipped"


def run(
    *command: str | Path, cwd: Path = ROOT, env: dict[str, str] | None = None
) -> tuple[int, str]:
    try:
        done = subprocess.run(
            [str(part) for part in command],
            cwd=cwd,
            env=environment() | (env or {}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            timeout=TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return 124, f"{command[0]}: no answer in {TIMEOUT} s\n"
    return done.returncode, done.stdout


def check(*command: str | Path, cwd: Path = ROOT, env: dict[str, str] | None = None) -> Outcome:
    """One command that says yes or no."""
    code, output = run(*command, cwd=cwd, env=env)
    if code == 0:
        return Outcome(passed=1)
    shown = " ".join(str(part) for part in command[:8])
    return Outcome(failed=1, details=f"$ {shown}{' …' if len(command) > 8 else ''}\n{output}")


def skip(reason: str) -> Outcome:
    return Outcome(skipped=[reason])


# --- lint ---------------------------------------------------------------------------------------


def yamllint() -> Outcome:
    own = [f for f in own_files() if f.suffix in {".yml", ".yaml"} or f.name.endswith("lint")]
    return check("yamllint", "--strict", *own)


def ruff_check() -> Outcome:
    return check("ruff", "check", "--quiet", ".", *scripts_in("python"))


def ruff_format() -> Outcome:
    return check("ruff", "format", "--diff", "--quiet", ".", *scripts_in("python"))


def mypy() -> Outcome:
    plugins = f".cache/collections/ansible_collections/{COLLECTION.replace('.', '/')}/plugins"
    return check("mypy", "--no-error-summary", plugins, "scripts/tooling")


def ansible_lint() -> Outcome:
    # Without ~/.ansible: a collection of this name that is installed there would be what it reads.
    with tempfile.TemporaryDirectory(prefix="infn-cloud-lint-") as scratch:
        home = {"ANSIBLE_HOME": scratch}
        return check("ansible-lint", "--offline", "--strict", "--nocolor", "-q", env=home)


def shellcheck() -> Outcome:
    if not shutil.which("shellcheck"):
        return skip("no such program here: apt install shellcheck")
    # SC1091: a file of the machine that a script reads is not here to follow.
    return check("shellcheck", "--exclude=SC1091", *scripts_in("bash"), *scripts_in("sh"))


def changelog() -> Outcome:
    return check("antsibull-changelog", "lint")


def scripts_in(language: str) -> list[Path]:
    """Files without a suffix that a shebang gives to this interpreter."""
    shebang = re.compile(rb"#!(?:\S*/env )?(?:\S*/)?" + language.encode() + rb"[\d.]*(?:\s|$)")
    plain = (path for path in own_files() if path.suffix in {"", ".sh"})
    return [path for path in plain if shebang.match((ROOT / path).read_bytes()[:80])]


# --- ansible-test sanity ------------------------------------------------------------------------


def sanity() -> Outcome:
    # Without the program that test cannot run; our own shellcheck step counts what that leaves out.
    options = () if shutil.which("shellcheck") else ("--skip-test", "shellcheck")
    return ansible_test(f"{sys.version_info.major}.{sys.version_info.minor}", *options)


def sanity_oldest_target() -> Outcome:
    python = interpreter(OLDEST_TARGET)
    if not python:
        return skip(f"no Python {OLDEST_TARGET} here, the oldest that targets may have")
    return ansible_test(
        OLDEST_TARGET, "--test", "compile", "--test", "import", first_on_path=python.parent
    )


def interpreter(version: str) -> Path | None:
    """A Python of this version that works; pyenv's shims often do not."""
    candidates = [Path(found)] if (found := shutil.which(f"python{version}")) else []
    pyenv = os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv"
    candidates += sorted(Path(pyenv).glob(f"versions/{version}.*/bin/python{version}"))
    for python in candidates:
        if run(python, "-c", "import ensurepip")[0] == 0:
            return python
    return None


def ansible_test(version: str, *options: str, first_on_path: Path | None = None) -> Outcome:
    """Run it on a clean copy: it wants …/ansible_collections/NAMESPACE/NAME and no spaces."""
    home = CACHE / "ansible-test-home"
    offer_pip(home, version)
    env = {"HOME": str(home)}
    if first_on_path:
        env["PATH"] = f"{ROOT}/.venv/bin:{first_on_path}:{os.environ['PATH']}"
    with tempfile.TemporaryDirectory(prefix="infn-cloud-sanity-") as scratch:
        copy = Path(scratch, "ansible_collections", *COLLECTION.split("."))
        copy_tree(copy)
        code, output = run(
            *("ansible-test", "sanity", "--python", version, "--junit", "--color", "no"),
            *options,
            cwd=copy,
            env=env,
        )
        outcome = junit((copy / "tests/output/junit").glob("*.xml"))
    if code and not outcome.failed:  # it stopped before it could report
        outcome.failed = 1
    if outcome.failed:
        telling = re.findall(r"^(?:ERROR|FATAL|WARNING|See|\[ERROR).*$", output, re.MULTILINE)
        outcome.details = "\n".join(telling) or output
    return outcome


def offer_pip(home: Path, version: str) -> None:
    """ansible-test downloads a script that installs pip, unless it finds one in its cache.

    Python brings pip itself: a script that says so makes the tests run without that download.
    """
    from ansible_test._internal.python_requirements import get_venv_packages

    pip = get_venv_packages(SimpleNamespace(version=version))["pip"].replace(".", "_")
    script = home / f".ansible/test/cache/get_pip_{pip}.py"
    script.parent.mkdir(parents=True, exist_ok=True)
    script.write_text("import ensurepip\n\nensurepip.bootstrap(upgrade=True, default_pip=True)\n")


def copy_tree(destination: Path) -> None:
    for path in own_paths():
        (destination / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / path, destination / path, follow_symlinks=False)


# --- pytest -------------------------------------------------------------------------------------


def unit_newest() -> Outcome:
    return pytest(Path(sys.executable), "tests/unit", "--ignore=tests/unit/test_repository.py")


def unit_oldest() -> Outcome:
    """The plugins only: the tools of the repository need a newer Python."""
    code, output = run(ROOT / "scripts/setup", "oldest")
    if code == 3:
        return skip(output.strip())
    if code:
        return Outcome(failed=1, details=output)
    return pytest(CACHE / "venv-oldest/bin/python", "tests/unit/plugins")


def repository() -> Outcome:
    """Interfaces, examples, generated pages, licences, words."""
    return pytest(Path(sys.executable), "tests/unit/test_repository.py")


def pytest(python: Path, *arguments: str) -> Outcome:
    with tempfile.TemporaryDirectory(prefix="infn-cloud-unit-") as scratch:
        report = Path(scratch, "junit.xml")
        bytecode = {"PYTHONDONTWRITEBYTECODE": "1"}
        code, output = run(python, *PYTEST, f"--junitxml={report}", *arguments, env=bytecode)
        outcome = junit([report] if report.exists() else [])
    if code and not outcome.failed:
        outcome.failed = 1
    if outcome.failed:
        outcome.details = output
    return outcome


def junit(reports: Iterable[Path]) -> Outcome:
    outcome = Outcome()
    for report in reports:
        for case in ET.parse(report).getroot().iter("testcase"):  # noqa: S314 (our own file)
            reason = case.find("skipped")
            if reason is not None and not reason.get("message"):
                continue  # ansible-test had nothing to apply this test to
            if reason is not None:
                outcome.skipped.append(f"{case.get('name')}: {reason.get('message')}")
            elif case.find("failure") is not None or case.find("error") is not None:
                outcome.failed += 1
            else:
                outcome.passed += 1
    return outcome


# --- the artifact -------------------------------------------------------------------------------


def artifact() -> Outcome:
    """The collection builds, installs, and works where there is nothing but itself."""
    build = CACHE / "build"
    shutil.rmtree(build, ignore_errors=True)
    galaxy = ("ansible-galaxy", "collection")
    outcome = check(*galaxy, "build", "--force", "--output-path", build)
    if outcome.failed:
        return outcome
    (archive,) = build.glob("*.tar.gz")
    outcome.add(strangers(archive))
    with tempfile.TemporaryDirectory(prefix="infn-cloud-artifact-") as scratch:
        collections = Path(scratch, "collections")
        empty = Path(scratch, "empty")
        empty.mkdir()
        env = environment(collections) | {"ANSIBLE_HOME": scratch, "HOME": scratch}
        outcome.add(
            check(*galaxy, "install", "--offline", "-p", collections, archive, cwd=empty, env=env)
        )
        if outcome.failed:
            return outcome
        for kind in ("module", "inventory", "filter", "role"):
            outcome.add(check("ansible-doc", "-t", kind, "--list", COLLECTION, cwd=empty, env=env))
        named = [".".join((COLLECTION, *path.with_suffix("").parts)) for path in playbooks()]
        examples = [example for role in roles() for example in sorted(role.glob("examples/*.yml"))]
        # All at once: to start Ansible takes longer than to read one of them.
        syntax = ("ansible-playbook", "--syntax-check", "-i", "localhost,")
        read = check(*syntax, *named, *examples, cwd=empty, env=env)
        outcome.add(replace(read, passed=read.passed and len(named) + len(examples)))
    return outcome


def strangers(archive: Path) -> Outcome:
    """Files in the archive that are no files of the project."""
    with tarfile.open(archive) as tar:
        packed = {member.name for member in tar if not member.isdir()}
    known = {path.as_posix() for path in own_paths()} | {"MANIFEST.json", "FILES.json"}
    extra = sorted(packed - known)
    if not extra:
        return Outcome(passed=1)
    listed = "\n".join(extra[:50])
    return Outcome(failed=1, details=f"{archive.name} holds what git ignores:\n{listed}\n")


# --- all of it ----------------------------------------------------------------------------------

# The longest first.
STEPS: dict[str, Callable[[], Outcome]] = {
    "ansible-lint": ansible_lint,
    "sanity": sanity,
    "unit-newest-core": unit_newest,
    "unit-oldest-core": unit_oldest,
    "mypy": mypy,
    "sanity-oldest-python": sanity_oldest_target,
    "artifact": artifact,
    "repository": repository,
    "changelog": changelog,
    "yamllint": yamllint,
    "ruff-check": ruff_check,
    "ruff-format": ruff_format,
    "shellcheck": shellcheck,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("step", nargs="*", help="only these steps")
    parser.add_argument("--list", action="store_true", help="name the steps")
    arguments = parser.parse_args()
    if unknown := sorted(set(arguments.step) - set(STEPS)):
        parser.error(f"no such step: {', '.join(unknown)}; there are {', '.join(STEPS)}")
    if arguments.list:
        print("\n".join(STEPS))
        return 0
    total = Outcome()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        tasks = [
            pool.submit(timed, name, step)
            for name, step in STEPS.items()
            if not arguments.step or name in arguments.step
        ]
        for task in as_completed(tasks):
            name, outcome, seconds = task.result()
            report(name, outcome, seconds)
            outcome.skipped = [f"{name}: {reason}" for reason in outcome.skipped]
            total.add(outcome)
    for reason in total.skipped:
        print(f"skipped: {reason}")
    print(f"{total.passed} passed, {total.failed} failed, {len(total.skipped)} skipped")
    return 1 if total.failed else 0


def timed(name: str, step: Callable[[], Outcome]) -> tuple[str, Outcome, float]:
    start = time.monotonic()
    return name, step(), time.monotonic() - start


def report(name: str, outcome: Outcome, seconds: float) -> None:
    counts = f"{outcome.passed} passed, {outcome.failed} failed, {len(outcome.skipped)} skipped"
    print(f"{name:<22} {outcome.word:<8} {seconds:6.1f} s  {counts}", flush=True)
    if outcome.failed:
        for line in outcome.details.rstrip().splitlines():
            print(f"    {line}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
