# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the collection costs, against named alternatives measured in the same run.

  bench.py rings       the module swift_ring's whole plan and commit, and its check mode, against
                       the bare RingBuilder's rebalance and save, each in a process of its own
  bench.py second-run  the backbone deployed a second time: seconds, tasks, seconds per host
  bench.py swift       objects and MB a second through our proxies, without and with TLS, against a
                       minimal proxy written by hand on the same host and rings; --without-mesh:
                       and all of it without the mesh between the sites
  bench.py inventory   the inventory plugin against openstack.cloud.openstack on the same fake
                       clouds, and against a static YAML inventory of the same hosts
  bench.py dns         a project's zone from the playbook to all name servers, a record to all of
                       them, and questions per second, against BIND with every option as it comes
  bench.py logs        how soon a line of a host is found, and how many lines a second come through
                       the whole way, against the same lines straight into the store

Prints ratios and leaves the figures in tests/output/bench-<name>.json. Timings are no tests.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
OUTPUT = ROOT / "tests" / "output"
SWIFT = ROOT / ".cache" / "swift-upstream-venv" / "bin" / "python"  # has Swift's library
REGIONS = 3

BARE = """
import json, sys
from swift.common.ring import RingBuilder
wish = json.load(open(sys.argv[1]))["ANSIBLE_MODULE_ARGS"]
file = f"{wish['builder_dir']}/{wish['ring']}"
if sys.argv[2] == "new":
    builder = RingBuilder(wish["part_power"], wish["replicas"], wish["min_part_hours"])
else:
    builder = RingBuilder.load(file + ".builder")
builder.set_overload(wish["overload"])
have = {(dev["ip"], dev["device"]) for dev in builder.devs if dev}
for dev in wish["devices"]:
    if (dev["ip"], dev["device"]) not in have:
        builder.add_dev(dict(dev))
builder.rebalance(seed=wish["seed"])
builder.save(file + ".builder")
builder.get_ring().save(file + ".ring.gz")
"""


def devices(number: int) -> list[dict[str, Any]]:
    """Disks of servers with twenty each, spread evenly over the regions."""
    return [
        {
            "region": index % REGIONS + 1, "zone": 1 + index // REGIONS // 20 % 4,
            "ip": f"10.{index % REGIONS + 1}.{index // REGIONS // 20}.1", "port": 6200,
            "device": f"d{index // REGIONS % 20}", "weight": 100.0,
        }
        for index in range(number)
    ]  # fmt: skip


def measure(command: Sequence[str | Path], environment: dict[str, str]) -> dict[str, float]:
    """Seconds of wall clock and processor, and peak memory, of one child process."""
    began = time.monotonic()
    with tempfile.TemporaryFile() as output:
        child = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
        _pid, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        wall = time.monotonic() - began
        if child.returncode:
            output.seek(0)
            sys.exit(f"{command}: {output.read().decode(errors='replace')[-2000:]}")
    return {"wall": wall, "cpu": usage.ru_utime + usage.ru_stime, "mib": usage.ru_maxrss / 1024}


def median(rounds: list[dict[str, float]]) -> dict[str, float]:
    return {name: statistics.median(one[name] for one in rounds) for name in rounds[0]}


def save(name: str, figures: dict[str, Any]) -> None:
    OUTPUT.mkdir(exist_ok=True)
    path = OUTPUT / f"bench-{name}.json"
    path.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    print(f"figures: {path.relative_to(ROOT)}")


def rings(arguments: argparse.Namespace) -> None:
    """A new ring, and the same with a twentieth more devices: module, check mode, bare builder."""
    subprocess.run([ROOT / "scripts" / "setup", "swift-upstream"], check=True)
    subprocess.run([ROOT / "scripts" / "setup", "test"], check=True)
    core = next((ROOT / ".venv" / "lib").glob("python3.*/site-packages/ansible"), None)
    if core is None:
        sys.exit(".venv has no ansible-core: run scripts/setup test")
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="infn-cloud-bench-") as temporary:
        place = Path(temporary)
        (place / "lib").mkdir()
        (place / "lib" / "ansible").symlink_to(core)
        collections = ROOT / ".cache" / "collections" / "ansible_collections"
        (place / "lib" / "ansible_collections").symlink_to(collections)
        environment = {**os.environ, "PYTHONPATH": str(place / "lib"), "PYTHONWARNINGS": "ignore"}
        module: list[str | Path] = [
            SWIFT,
            "-m",
            "ansible_collections.infn.cloud.plugins.modules.swift_ring",
        ]
        grown = devices(arguments.devices * 21 // 20)
        before = place / "before"
        for what, wished in (("new", devices(arguments.devices)), ("grow", grown)):
            rounds: dict[str, list[dict[str, float]]] = {"bare": [], "module": [], "check": []}
            for number in range(arguments.rounds):
                for kind, measured in rounds.items():
                    directory = place / f"{what}-{kind}-{number}"
                    directory.mkdir()
                    if what == "grow":
                        for file in before.iterdir():
                            if file.is_file():
                                (directory / file.name).write_bytes(file.read_bytes())
                    wish = {
                        "ring": "object", "builder_dir": str(directory), "seed": 1,
                        "part_power": arguments.part_power, "replicas": 3.0, "min_part_hours": 24,
                        # 1,000 devices are not quite the same number in three regions.
                        "overload": 0.1,
                        "devices": wished, "_ansible_check_mode": kind == "check",
                    }  # fmt: skip
                    file = place / "wish.json"
                    file.write_text(json.dumps({"ANSIBLE_MODULE_ARGS": wish}), encoding="utf-8")
                    child: list[str | Path] = [SWIFT, "-c", BARE, file, what]
                    if kind != "bare":
                        child = [*module, file]
                    measured.append(measure(child, environment))
                    if what == "new" and kind == "module" and not before.exists():
                        directory.rename(before)
            figures[what] = {kind: median(measured) for kind, measured in rounds.items()}
    print(f"2^{arguments.part_power} partitions, {arguments.devices} devices, {REGIONS} regions,")
    print(f"3 replicas; median of {arguments.rounds}; times the bare builder in brackets")
    for what, kinds in figures.items():
        for kind, one in kinds.items():
            shares = {name: value / kinds["bare"][name] for name, value in one.items()}
            print(
                f"{what:5} {kind:7} {one['wall']:7.1f} s ({shares['wall']:.2f})"
                f" {one['cpu']:7.1f} s CPU ({shares['cpu']:.2f})"
                f" {one['mib']:6.0f} MiB ({shares['mib']:.2f})"
            )
    save("rings", figures)


def second_run(arguments: argparse.Namespace) -> None:
    """The backbone again: nothing may change, so all of it is the price of looking."""
    command = [
        ROOT / ".venv" / "bin" / "ansible-playbook",
        ROOT / "playbooks" / "backbone.yml", *arguments.more,
    ]  # fmt: skip
    environment = {**os.environ, "LC_ALL": "C.UTF-8", "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")}
    began = time.monotonic()
    done = subprocess.run(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=False
    )
    seconds = time.monotonic() - began
    recap = re.findall(r"^(\S+)\s+: ok=(\d+)\s+changed=(\d+).*failed=(\d+)", done.stdout, re.M)
    if done.returncode or not recap:
        sys.exit(f"the backbone failed:\n{done.stdout[-2000:]}")
    figures = {
        "seconds": seconds,
        "hosts": len(recap),
        "tasks": len(re.findall(r"^TASK \[", done.stdout, re.M)),
        "host_tasks": sum(int(ok) for _host, ok, _changed, _failed in recap),
        "changed": sum(int(changed) for _host, _ok, changed, _failed in recap),
        "seconds_per_host": seconds / len(recap),
    }
    for name, value in figures.items():
        print(f"{name}: {value:.1f}" if isinstance(value, float) else f"{name}: {value}")
    save("second-run", figures)


def playbook(name: str, *options: str | Path, log: Path) -> None:
    """Run a playbook of the collection; its output goes to a file."""
    command = [ROOT / ".venv" / "bin" / "ansible-playbook", ROOT / "playbooks" / name, *options]
    environment = {**os.environ, "LC_ALL": "C.UTF-8", "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")}
    with log.open("ab") as output:
        done = subprocess.run(command, cwd=ROOT, env=environment, stdout=output, check=False)
    if done.returncode:
        sys.exit(f"the playbook {name} failed, see {log.relative_to(ROOT)}")


Rates = dict[tuple[str, int, int], dict[str, float]]


def rates(arguments: argparse.Namespace, log: Path) -> Rates:
    """Objects per second by (method, bytes, clients) and door."""
    raw = OUTPUT / "bench-swift-raw.json"
    raw.unlink(missing_ok=True)
    variables = {
        "swift_bench_output": str(raw), "swift_bench_sizes": arguments.sizes,
        "swift_bench_clients": arguments.clients, "swift_bench_rounds": arguments.rounds,
    }  # fmt: skip
    chosen = ("-e", json.dumps(variables), *arguments.more)
    playbook("operations/swift_bench.yml", *chosen, log=log)
    seconds: dict[tuple[str, int, int], dict[str, list[float]]] = {}
    objects: dict[tuple[int, int], int] = {}
    for one in json.loads(raw.read_text(encoding="utf-8")):
        key = (one["method"], one["size"], one["clients"])
        seconds.setdefault(key, {}).setdefault(one["door"], []).append(one["seconds"])
        objects[key[1:]] = one["objects"]
    return {
        key: {door: objects[key[1:]] / statistics.median(all_) for door, all_ in doors.items()}
        for key, doors in seconds.items()
    }


def ratio(found: Rates, door: str, other: str) -> float:
    return statistics.geometric_mean(one[door] / one[other] for one in found.values())


def swift(arguments: argparse.Namespace) -> None:
    """Our pipeline, and the TLS before it, against the least that serves Swift's interface."""
    OUTPUT.mkdir(exist_ok=True)
    log = OUTPUT / "bench-swift.log"
    log.write_bytes(b"")
    found = rates(arguments, log)
    if arguments.without_mesh:
        mesh = ("--tags", "wan_mesh", *arguments.more)
        try:
            playbook("backbone.yml", *mesh, "-e", "wan_mesh_state=absent", log=log)
            for key, doors in rates(arguments, log).items():
                found[key] |= {f"{door} in clear": rate for door, rate in doors.items()}
        finally:
            playbook("backbone.yml", *mesh, log=log)
    print(f"{'':4} {'bytes':>9} {'clients':>7}  objects/s, MB/s (times the minimal proxy's)")
    for (method, size, clients), doors in found.items():
        shown = "  ".join(
            f"{door} {rate:.1f}, {rate * size / 1e6:.2f} ({rate / doors['minimal']:.2f})"
            for door, rate in doors.items()
        )
        print(f"{method:4} {size:9} {clients:7}  {shown}")
    for door in ("ours", "tls"):
        print(f"{door}: {ratio(found, door, 'minimal'):.3f} times the minimal proxy, geom. mean")
    print(f"TLS: {ratio(found, 'tls', 'ours'):.3f} times ours without it")
    if arguments.without_mesh:
        for door in ("minimal", "ours", "tls"):
            print(f"mesh, {door}: {ratio(found, door, f'{door} in clear'):.3f} times in clear")
    figures = [
        {"method": method, "size": size, "clients": clients, "objects/s": doors}
        for (method, size, clients), doors in found.items()
    ]
    save("swift", {"measurements": figures})


def inventory(arguments: argparse.Namespace) -> None:
    """Many sites at once, many hosts at one, and one site that is dead."""
    from tooling import bench_inventory

    with tempfile.TemporaryDirectory(prefix="infn-cloud-bench-") as temporary:
        figures = bench_inventory.run(
            Path(temporary), measure,
            rounds=arguments.rounds, sites=arguments.sites, hosts=arguments.hosts,
        )  # fmt: skip
    save("inventory", figures)


def demo_directory() -> Path:
    return Path(os.environ.get("INFN_CLOUD_DEMO_DIR") or ROOT / ".demo").resolve()


def names(arguments: argparse.Namespace) -> None:
    """The demo's name servers."""
    from tooling import bench_dns

    bench_dns.run(demo_directory(), rounds=arguments.rounds, save=save)


def logs(arguments: argparse.Namespace) -> None:
    """The demo's logs."""
    from tooling import bench_logs

    bench_logs.run(demo_directory(), rounds=arguments.rounds, save=save)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("rings")
    command.add_argument("--part-power", type=int, default=18)
    command.add_argument("--devices", type=int, default=1000)
    command.add_argument("--rounds", type=int, default=3)
    command.set_defaults(run=rings)
    command = commands.add_parser("second-run")
    command.add_argument("more", nargs="*", help="options of ansible-playbook, after --")
    command.set_defaults(run=second_run)
    command = commands.add_parser("swift")
    command.add_argument("--sizes", type=int, nargs="+", default=[1 << 10, 1 << 20, 1 << 26])
    command.add_argument("--clients", type=int, nargs="+", default=[1, 4, 16])
    command.add_argument("--rounds", type=int, default=3)
    command.add_argument(
        "--without-mesh", action="store_true",
        help="measure without the mesh as well; it comes back with new keys",
    )  # fmt: skip
    command.add_argument("more", nargs="*", help="options of ansible-playbook, after --")
    command.set_defaults(run=swift)
    command = commands.add_parser("inventory")
    command.add_argument("--sites", type=int, nargs="+", default=[1, 4, 16])
    command.add_argument("--hosts", type=int, nargs="+", default=[5000, 50000])
    command.add_argument("--rounds", type=int, default=3)
    command.set_defaults(run=inventory)
    command = commands.add_parser("dns")
    command.add_argument("--rounds", type=int, default=3)
    command.set_defaults(run=names)
    command = commands.add_parser("logs")
    command.add_argument("--rounds", type=int, default=3)
    command.set_defaults(run=logs)
    arguments = parser.parse_args()
    arguments.run(arguments)
    return 0


if __name__ == "__main__":
    sys.exit(main())
