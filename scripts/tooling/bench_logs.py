# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The demo's logs: how soon a line is found, and how many a second come through the whole way.

The alternative beside it gives up everything that makes the way safe: the same lines, straight
into the store, by one client on a host with a node, 500 a request.
"""

from __future__ import annotations

import json
import secrets
import shlex
import statistics
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from tooling.hosts import shell

ROOT = Path(__file__).resolve().parents[2]
LINES = 20000

# As fast as a service can write them.
WRITE = """
import sys, syslog
syslog.openlog("bench")
for number in range(int(sys.argv[2])):
    syslog.syslog(f"{sys.argv[1]} number {number} of a service that has much to say today")
"""
# When so many lines with a word are found, in seconds since 1970.
FOUND = """
import json, subprocess, sys, time
while True:
    said = subprocess.run(["logs", "find", "--json", "--lines", "0", sys.argv[1]],
                          stdout=subprocess.PIPE, check=True).stdout
    if json.loads(said)["total"] >= int(sys.argv[2]):
        break
    time.sleep(0.1)
print(time.time())
"""
# With the collector's own login, and its own program's connection.
STRAIGHT = """
import importlib.machinery, importlib.util, json, pathlib, sys, tempfile, time
loader = importlib.machinery.SourceFileLoader("writer", "/usr/local/sbin/log-collector-writer")
module = importlib.util.module_from_spec(importlib.util.spec_from_loader("writer", loader))
loader.exec_module(module)
settings = json.loads(pathlib.Path("/etc/log-collector/writer.json").read_text())
day = time.strftime("logs-%Y.%m.%d", time.gmtime())
with tempfile.TemporaryDirectory() as state:
    writer = module.Writer(settings, pathlib.Path(state))
    line = json.loads(sys.argv[3])
    lines = []
    for number in range(int(sys.argv[2])):
        text = f"{sys.argv[1]} number {number} of a service that has much to say today"
        document = json.dumps(line | {"message": text})
        lines.append(module.Line(day, f"{sys.argv[1]}-{number}", document))
    print(time.time())
    for number in range(0, len(lines), 500):
        writer.write(lines[number : number + 500])
"""


class Bench:
    def __init__(self, demo: Path) -> None:
        inventory = yaml.safe_load((ROOT / "inventories/demo/federation.yml").read_text("utf-8"))
        hosts = {host["name"]: host for site in inventory["sites"] for host in site["hosts"]}
        self.demo, self.hosts = demo, list(hosts)
        self.stores = [name for name, host in hosts.items() if "log_store" in host["services"]]
        self.collectors = [
            name for name, host in hosts.items() if "log_collector" in host["services"]
        ]

    def run(self, host: str, program: str, *arguments: str) -> list[float]:
        said = shell(self.demo, host, f"python3 - {shlex.join(arguments)}", program)
        return [float(word) for word in said.split()]

    def found(self, mark: str, lines: int) -> float:
        return self.run(self.stores[-1], FOUND, mark, str(lines))[0]

    def soon(self) -> float:
        """Seconds from the call of logger at the first site to the search at the last."""
        mark = f"b{secrets.token_hex(8)}"
        began = float(shell(self.demo, self.hosts[0], f"date +%s.%N; logger -t bench {mark}"))
        return self.found(mark, 1) - began

    def burst(self, hosts: list[str]) -> float:
        """Lines a second that all hosts together write as fast as they can, until all are found."""
        mark, each = f"b{secrets.token_hex(8)}", LINES // len(hosts)
        began = time.time()
        everywhere([partial(self.run, host, WRITE, mark, str(each)) for host in hosts])
        return each * len(hosts) / (self.found(mark, each * len(hosts)) - began)

    def straight(self) -> float:
        """Lines a second of one client of the store, until all are found."""
        (host, mark) = (self.collectors[-1], f"b{secrets.token_hex(8)}")
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        line = {
            "@timestamp": now, "event.ingested": now, "host.name": host, "cloud.region": "bench",
            "service.name": "bench", "process.pid": "1", "log.level": "info",
            "log.syslog.facility.name": "user", "observer.name": host,
        }  # fmt: skip
        (began,) = self.run(host, STRAIGHT, mark, str(LINES), json.dumps(line))
        return LINES / (self.found(mark, LINES) - began)


def everywhere(jobs: list[Callable[[], Any]]) -> None:
    threads = [threading.Thread(target=job) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def run(demo: Path, *, rounds: int, save: Callable[[str, Any], None]) -> None:
    bench = Bench(demo)
    seconds = [bench.soon() for _round in range(10)]
    print(
        f"a line is found after {statistics.median(seconds):.1f} s, at most {max(seconds):.1f} s "
        f"(median and worst of {len(seconds)})"
    )
    ways = {
        "one host": lambda: bench.burst(bench.hosts[:1]),
        "all hosts": lambda: bench.burst(bench.hosts),
        "straight into the store": bench.straight,
    }
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for _round in range(rounds):
        for name, way in ways.items():
            rates[name].append(way())
    figures = {name: statistics.median(found) for name, found in rates.items()}
    for name, rate in figures.items():
        share = rate / figures["straight into the store"]
        print(f"{name}: {rate:.0f} lines a second ({share:.2f})")
    save("logs", {"seconds": seconds, "lines a second": figures})
