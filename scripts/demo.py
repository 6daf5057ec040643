# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The demo federation: makes it, deploys the backbone on it, uses it as a client, reports.

  demo up     makes what is missing, changes what differs; again at any time
  demo hosts  makes the hosts alone, with nothing of the backbone on them
  demo down   removes every trace, also of a run that was interrupted
  demo report prints the last report again

Needs Debian 12 or 13, and root or sudo. Leaves in .demo/ what a person or a tool needs:
ssh_config, openrc-<site>, s3-<site>.env, ca.pem, report.json, report.html, and a log per phase.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DEMO = Path(os.environ.get("INFN_CLOUD_DEMO_DIR") or ROOT / ".demo").absolute()
INVENTORY = ROOT / "inventories" / "demo" / "federation.yml"
VENV = ROOT / ".venv" / "bin"
TESTBED = ROOT / "scripts" / "testbed"
TTY = sys.stdout.isatty()
TASK = re.compile(r"^TASK \[(?:infn\.cloud\.)?(.*?)\] \**")
RECAP = re.compile(r"^(\S+)\s+: ok=\d+\s+changed=(\d+)\s+unreachable=(\d+)\s+failed=(\d+)")


class Failed(Exception):
    """A phase did not succeed; the message says which and where its log is."""


def environment() -> dict[str, str]:
    """What every child gets: our settings, a UTF-8 locale (Ansible insists on one)."""
    return {
        **os.environ,
        "LC_ALL": "C.UTF-8",
        "PATH": f"{VENV}:{os.environ.get('PATH', '/usr/bin')}:/usr/sbin:/sbin",
        "INFN_CLOUD_DEMO_DIR": str(DEMO),
        "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_CALLBACKS_ENABLED": "ansible.posix.profile_tasks",
        "PYTHONUNBUFFERED": "1",
    }


def as_root(command: list[str]) -> list[str]:
    """The same command with root's rights, its environment kept."""
    if os.geteuid() == 0:
        return command
    if not shutil.which("sudo"):
        raise Failed("this needs root, and there is no sudo: run it as root, or install sudo")
    keep = ("LC_ALL", "PATH", "INFN_CLOUD_DEMO_DIR", "ANSIBLE_CONFIG", "ANSIBLE_NOCOLOR")
    settings = [f"{name}={environment()[name]}" for name in keep]
    return ["sudo", "--", "env", *settings, *command]


def playbook(name: str) -> list[str]:
    """Run a playbook of the collection; INFN_CLOUD_COLLECTIONS may hold an installed one."""
    if "ANSIBLE_COLLECTIONS_PATH" in os.environ:
        target = f"infn.cloud.{name.replace('/', '.')}"
    else:
        target = str(ROOT / "playbooks" / f"{name}.yml")
    return [str(VENV / "ansible-playbook"), "--inventory", str(INVENTORY), target]


class Progress:
    """One line that says where a phase is: rewritten on a terminal, one a task elsewhere."""

    def __init__(self, title: str) -> None:
        self.title, self.began, self.tasks, self.changed = title, time.monotonic(), 0, 0
        print(f"── {title}", flush=True)

    def line(self, text: str) -> None:
        task = TASK.match(text)
        recap = RECAP.match(text)
        if task:
            self.tasks += 1
            self.show(f"{time.monotonic() - self.began:5.0f} s  {task[1]}")
        elif recap:
            self.changed += int(recap[2])

    def show(self, text: str) -> None:
        width = shutil.get_terminal_size().columns - 4
        print(
            f"\r\033[K   {text[:width]}" if TTY else f"   {text}",
            end="" if TTY else "\n",
            flush=True,
        )

    def done(self) -> float:
        seconds = time.monotonic() - self.began
        self.show(f"{seconds:5.0f} s  done, {self.changed} changes")
        if TTY:
            print()
        return seconds


def run(phase: str, title: str, *commands: list[str]) -> tuple[float, int]:
    """Run the commands of one phase; return its seconds and the changes that Ansible counted."""
    log = DEMO / "log" / f"{phase}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    progress = Progress(title)
    with log.open("w", encoding="utf-8", errors="replace") as out:
        for command in commands:
            with subprocess.Popen(
                command, cwd=ROOT, env=environment(), text=True, errors="replace", bufsize=1,
                stdin=subprocess.DEVNULL if os.geteuid() == 0 else None,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            ) as child:  # fmt: skip
                for text in child.stdout or ():
                    out.write(text)
                    progress.line(text)
            if child.returncode:
                out.flush()
                if TTY:
                    print()
                text = log.read_text(encoding="utf-8", errors="replace")
                print("\n".join(f"   │ {line}" for line in reason(text)))
                raise Failed(
                    f"{title}: failed ({shlex.join(command[:2])} … exit {child.returncode}); "
                    f"all of it is in {log}. Mend the cause and run it again: it goes on."
                )
    return progress.done(), progress.changed


def reason(output: str) -> list[str]:
    """The lines of an output that say what went wrong: Ansible's first error, or its end."""
    lines = output.splitlines()
    marks = ("fatal:", "[ERROR]", "ERROR!", "failed:")
    # Here the lines of a phase come after a bar.
    wrong = [i for i, text in enumerate(lines) if text.strip(" │").startswith(marks)]
    chosen = lines[max(0, wrong[0] - 1) : wrong[0] + 15] if wrong else lines[-15:]
    return [text[:300] for text in chosen]


@contextlib.contextmanager
def memory_peak(result: dict[str, float]) -> Iterator[None]:
    """Watch how much memory the whole machine uses beyond what it used at first, in MiB."""

    def available() -> int:
        text = Path("/proc/meminfo").read_text(encoding="ascii")
        return int(re.search(r"MemAvailable:\s+(\d+)", text)[1]) // 1024  # type: ignore[index]

    first, lowest, stop = available(), available(), threading.Event()

    def watch() -> None:
        nonlocal lowest
        while not stop.wait(1):
            lowest = min(lowest, available())

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        result["memory_peak_mib"] = first - lowest


def owner() -> None:
    """Root's phases leave files of root in .demo; give them to who runs the demo."""
    if os.geteuid() != 0:
        subprocess.run(
            as_root(["chown", "-R", f"{os.getuid()}:{os.getgid()}", str(DEMO)]), check=True
        )


def up(hosts_alone: bool = False) -> int:
    began = time.monotonic()
    phases: dict[str, dict[str, float]] = {}
    totals: dict[str, float] = {}
    DEMO.mkdir(mode=0o700, parents=True, exist_ok=True)

    def phase(name: str, title: str, *commands: list[str]) -> None:
        seconds, changed = run(name, title, *commands)
        phases[name] = {"seconds": round(seconds, 1), "changed": changed}

    with memory_peak(totals):
        phase("check", "Look at this machine", as_root([str(TESTBED), "check"]))
        phase("setup", "Set up Python and Ansible", as_root([str(ROOT / "scripts" / "bootstrap")]),
              [str(ROOT / "scripts" / "setup"), "demo"])  # fmt: skip
        phase("machine", "Prepare the machine under the hosts", as_root([str(TESTBED), "prepare"]))
        phase("hosts", "Make six hosts at three sites", as_root(playbook("demo/create")))
        owner()
        phase("secrets", "Make secrets and certificates", playbook("demo/secrets"))
        if hosts_alone:
            return 0
        phase("deploy", "Deploy the backbone", playbook("backbone"))
        phase("client", "Make a project and its credentials", playbook("demo/client"))
        phase("use", "Use it", [str(VENV / "python"), str(ROOT / "scripts" / "demo_use.py")])
        phase("status", "Look at it as its administrators do", playbook("operations/swift_status"))

    report = json.loads((DEMO / "use.json").read_text(encoding="utf-8"))
    report["phases"] = phases
    report["seconds"] = round(time.monotonic() - began, 1)
    report["changed"] = sum(int(phase["changed"]) for phase in phases.values())
    report["memory_peak_mib"] = totals["memory_peak_mib"]
    (DEMO / "report.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return show_report(report)


def down() -> int:
    progress = Progress("Remove the demo")
    subprocess.run(as_root([str(TESTBED), "clean"]), check=True)
    if DEMO.exists():
        subprocess.run(as_root(["rm", "-rf", "--", str(DEMO)]), check=True)
    progress.done()
    return 0


def same(read: dict) -> str:  # type: ignore[type-arg]
    return "equal" if read["equal"] else "DIFFERENT"


def show_report(report: dict) -> int:  # type: ignore[type-arg]
    """Print what a person wants to know."""
    print("\nThe demo federation")
    for name, site in report["sites"].items():
        print(f"  {name:<8} region {site['region']}   hosts {', '.join(site['hosts'])}")
        print(f"           identity {site['identity']}")
        print(f"           objects  {site['object_store']}")
    wrote = report["object"]
    through = wrote["written_through"]
    print(f"\nOne object of {wrote['bytes']} bytes, written through {through}: its replicas")
    for replica in wrote["replicas"]:
        print(f"  region {replica['region']}  {replica['host']:<12} {replica['device']}  "
              f"HTTP {replica['status']}  {replica['etag']}")  # fmt: skip
    for site, read in wrote["read_back"].items():
        print(f"  read back through {site:<8} {same(read)}, {read['milliseconds']} ms")
    by_s3 = report["s3"]
    print(f"  S3: written through {by_s3['written_through']}, "
          f"read through {by_s3['read_through']}: {same(by_s3)}")  # fmt: skip
    naming = report["dns"]
    print(
        f"\nA name of {naming['zone']}, written by its project through {naming['written_through']}"
    )
    for site, milliseconds in naming["milliseconds"].items():
        safe = "signatures are good" if naming["signed"].get(site) else "NOT SIGNED WELL"
        print(f"  served at {site:<8} after {milliseconds} ms, {safe}")
    for name, addresses in naming["federation_name"].items():
        print(f"  {name} leads to {', '.join(addresses)}")
    logged = report["logs"]
    print(f"\nA line in the log of a host at each site, found through {logged['store']}")
    for site, seconds in logged["seconds"].items():
        print(f"  {site:<8} after {seconds} s")
    print("\nMail of a service, by its credential")
    for site, said in report["mail"]["said"].items():
        for sender, text in said.items():
            print(f"  {site:<8} as {sender:<24} {text[:60]}")
    print("\nPhases       seconds  changes")
    for name, phase in report["phases"].items():
        print(f"  {name:<10} {phase['seconds']:>7}  {int(phase['changed']):>7}")
    print(f"  {'all':<10} {report['seconds']:>7}  {report['changed']:>7}   "
          f"memory {report['memory_peak_mib']} MiB more than before")  # fmt: skip
    client = shlex.quote(str(VENV / "openstack"))
    print(f"\nUse it:   . {shlex.quote(str(DEMO / 'openrc-bari'))}")
    print(f"          {client} object store account show")
    print(f"          ssh -F {shlex.quote(str(DEMO / 'ssh_config'))} bari-st1")
    print(f"See it:   {DEMO / 'report.html'}")
    print("Remove:   make demo-down")
    return 0 if report["ok"] else 1


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("action", choices=["up", "hosts", "down", "report"])
    action = parser.parse_args().action
    try:
        if action in ("up", "hosts"):
            return up(hosts_alone=action == "hosts")
        if action == "down":
            return down()
        return show_report(json.loads((DEMO / "report.json").read_text(encoding="utf-8")))
    except Failed as error:
        print(f"\n{error}", file=sys.stderr)
    except FileNotFoundError as error:
        print(f"\nno demo there ({error.filename}): run 'make demo' first", file=sys.stderr)
    except subprocess.CalledProcessError as error:
        print(f"\n{shlex.join(error.cmd)} failed", file=sys.stderr)
    except KeyboardInterrupt:
        print(
            "\ninterrupted; 'make demo' goes on from here, 'make demo-down' removes it",
            file=sys.stderr,
        )
    return 1


if __name__ == "__main__":
    sys.exit(main())
