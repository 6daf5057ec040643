# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the inventory costs, beside openstack.cloud.openstack and a static file of the same hosts.

All of them list the same fake clouds (tooling.fake_openstack), which run in a process of their own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from tooling.fake_openstack import PASSWORD
from tooling.tree import ROOT

Figures = dict[str, float]
Measure = Callable[[Sequence[str | Path], dict[str, str]], Figures]
LOGIN = {"username": "reader", "user_domain_name": "Default", "password": PASSWORD}
ANSWER = 2.0  # seconds after which a site sends its servers
PATIENCE = 20  # seconds that a dead site gets
COMMAND = (sys.executable, "-W", "ignore", "-m", "ansible.cli.inventory")
# As AWX asks for an inventory (awx/main/management/commands/inventory_import.py): what a group says
# is told once, with the group, instead of with each of its hosts.
ASK = ("--list", "--export")


@contextmanager
def clouds(sites: int, servers: int, *more: str) -> Iterator[list[str]]:
    command = [
        *(sys.executable, "-m", "tooling.fake_openstack", "--sites", str(sites)),
        *("--servers", str(servers), *more),
    ]
    with subprocess.Popen(
        command, cwd=ROOT / "scripts", stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        try:
            yield json.loads(child.stdout.readline() if child.stdout else "[]")
        finally:
            child.terminate()


class Bench:
    def __init__(self, place: Path, measure: Measure, rounds: int) -> None:
        self.place = place
        self.rounds = rounds
        self._measure = measure
        keep = {k: v for k, v in os.environ.items() if not k.startswith(("ANSIBLE_", "OS_"))}
        self.environment = keep | {
            "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".cache" / "collections"),
            "ANSIBLE_CONFIG": str(place / "none.cfg"),
            "ANSIBLE_HOME": str(place / "home"),
            "ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED": "true",
            "OS_CLIENT_CONFIG_FILE": str(place / "clouds.yaml"),
            "LC_ALL": "C.UTF-8",
        }

    def measure(self, file: str) -> Figures:
        """The median of the rounds."""
        command: list[str | Path] = [*COMMAND, "-i", self.place / file, *ASK]
        found = [self._measure(command, self.environment) for _round in range(self.rounds)]
        return {key: sorted(one[key] for one in found)[len(found) // 2] for key in found[0]}

    def listed(self, file: str, *more: str) -> str:
        command: list[str | Path] = [*COMMAND, "-i", self.place / file, *ASK, *more]
        done = subprocess.run(
            command, env=self.environment, capture_output=True, text=True, check=True
        )
        return str(done.stdout)

    def write(self, urls: list[str], **top: Any) -> None:
        """federation.yml and the same for the other plugin."""
        names = [f"s{number}" for number in range(len(urls))]
        entries = {
            name: {
                "auth": LOGIN | {"auth_url": f"{url}/v3", "project_id": "p1"},
                "region_name": "RegionOne",
            }
            for name, url in zip(names, urls, strict=True)
        }
        self._dump("clouds.yaml", {"clouds": entries})
        cloud = {"coupling": "federated", "provider": "openstack"}
        self._dump(
            "federation.yml",
            {
                "plugin": "infn.cloud.federation",
                "federation": {"name": "bench", "domain": "bench.test"},
                "deadline": 600,
                "sites": [
                    {"name": name, "credentials": {"cloud": name}, **cloud} for name in names
                ],
                **top,
            },
        )
        self._dump(
            "openstack.yml",
            {
                "plugin": "openstack.cloud.openstack",
                "clouds_yaml_path": [str(self.place / "clouds.yaml")],
                "expand_hostvars": False,
                "fail_on_errors": True,
            },
        )

    def _dump(self, name: str, content: Any) -> None:
        (self.place / name).write_text(yaml.safe_dump(content), encoding="utf-8")

    def concurrency(self, sites: int, servers: int) -> dict[str, Figures]:
        with clouds(sites, servers, "--delay", str(ANSWER)) as urls:
            self.write(urls)
            return {"ours": self.measure("federation.yml"), "peer": self.measure("openstack.yml")}

    def size(self, servers: int) -> dict[str, Figures]:
        with clouds(1, servers) as urls:
            self.write(urls)
            found = {"ours": self.measure("federation.yml")}
            self.write(urls, refresh_after=86400)
            text = self.listed("federation.yml", "--yaml")
            (self.place / "static.yml").write_text(text, encoding="utf-8")
            found["warm"] = self.measure("federation.yml")
        found["static"] = self.measure("static.yml")
        return found

    def dead(self, sites: int, servers: int) -> dict[str, Any]:
        with clouds(sites, servers, "--delay", str(ANSWER), "--dead", "1") as urls:
            self.write(urls, deadline=PATIENCE)
            figures: dict[str, Any] = dict(self.measure("federation.yml"))
            hosts = json.loads(self.listed("federation.yml"))["_meta"]["hostvars"]
            return figures | {"hosts": len(hosts), "expected": (sites - 1) * servers}


def run(
    place: Path, measure: Measure, *, rounds: int, sites: list[int], hosts: list[int]
) -> dict[str, Any]:
    """Measure all of it, printing as it comes."""
    bench = Bench(place, measure, rounds)
    figures: dict[str, Any] = {"concurrency": {}, "size": {}}
    print(f"sites that answer in {ANSWER:g} s, 20 servers each; median of {rounds}")
    for number in sites:
        found = bench.concurrency(number, 20)
        figures["concurrency"][number] = found
        ours, peer = found["ours"]["wall"], found["peer"]["wall"]
        print(f"{number:6} sites: {ours:6.1f} s, openstack.cloud {peer:6.1f} s ({ours / peer:.2f})")
    print("hosts at one site; times the static file in brackets: wall, processor, largest process")
    for number in hosts:
        found = bench.size(number)
        figures["size"][number] = found
        floor = found["static"]
        for kind, one in found.items():
            shares = {key: value / floor[key] for key, value in one.items()}
            print(
                f"{number:6} hosts, {kind:6}: {one['wall']:6.1f} s ({shares['wall']:.2f})"
                f" {one['cpu']:6.1f} s ({shares['cpu']:.2f})"
                f" {one['mib']:6.0f} MiB ({shares['mib']:.2f})"
            )
    figures["dead"] = dead = bench.dead(16, 20)
    print(
        f"one dead of 16, deadline {PATIENCE} s: {dead['wall']:.1f} s,"
        f" {dead['hosts']} of {dead['expected']} hosts of the others"
    )
    return figures
