# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The demo's name servers: how fast projects and records come, beside BIND as Debian ships it."""

from __future__ import annotations

import json
import os
import re
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dns.exception
import dns.query
import dns.rdatatype
import dns.tsigkeyring
import dns.update
import yaml

from tooling.hosts import shell
from tooling.names import ask, project_key

ROOT = Path(__file__).resolve().parents[2]
HOST = "bari-gw1"  # carries the peer, and the load
PATIENCE = 60

# A primary and a secondary with every option of BIND's left as it is, on one host.
STOCK = """
set -e
export DEBIAN_FRONTEND=noninteractive
apt-get install -y -qq dnsperf bind9-dnsutils >/dev/null
rm -rf /var/cache/bind/stock; install -d -o bind -g bind /var/cache/bind/stock
cd /var/cache/bind/stock
tsig-keygen stock >key; chown bind key
for side in primary:5300 secondary:5301; do
    name=${side%:*} port=${side#*:}
    install -d -o bind -g bind $name
    {
        echo "include \\"$PWD/key\\";"
        echo "options { directory \\"$PWD/$name\\"; pid-file \\"$PWD/$name/pid\\";"
        echo "session-keyfile \\"$PWD/$name/session.key\\"; recursion no; listen-on-v6 { none; };"
        echo "listen-on port $port { 127.0.0.1; }; }; controls { };"
        if [ $name = primary ]; then
            echo "zone \\"@ZONE@\\" { type primary; file \\"zone\\"; allow-update { key stock; };"
            echo "allow-transfer { key stock; }; also-notify { 127.0.0.1 port 5301; }; };"
        else
            echo "zone \\"@ZONE@\\" { type secondary; file \\"zone\\";"
            echo "primaries { 127.0.0.1 port 5300 key stock; }; };"
        fi
    } >$name.conf
done
dig +noall +answer -k /root/bench.key @127.0.0.1 @ZONE@ AXFR | sed '$d' |
    grep -Ev "\\s(RRSIG|NSEC|DNSKEY|CDS|CDNSKEY|TYPE65534)\\s" >primary/zone
chown bind primary/zone
named -u bind -c $PWD/primary.conf; named -u bind -c $PWD/secondary.conf
for i in $(seq 50); do
    dig +short @127.0.0.1 -p 5301 @ZONE@ SOA | grep -q . && break; sleep 0.1
done
"""
STOCK_OFF = """
for name in primary secondary; do kill $(cat /var/cache/bind/stock/$name/pid) || true; done
sleep 1; rm -rf /var/cache/bind/stock /root/bench.key /root/bench.queries /root/cms.key
DEBIAN_FRONTEND=noninteractive apt-get purge -y -qq dnsperf bind9-dnsutils >/dev/null
"""
# Loops on the host itself, so that no connection is made anew for each look.
UPDATES = """
import sys, time, subprocess, dns.query, dns.message, dns.update, dns.tsigkeyring
port_update, keyfile, zone, rounds = int(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4])
watch = [one.split(":") for one in sys.argv[5:]]
words = open(keyfile).read().split('"')
ring = dns.tsigkeyring.from_text({words[1]: words[3]})
for number in range(rounds):
    address = f"192.0.2.{number + 1}"
    update = dns.update.UpdateMessage(zone, keyring=ring)
    update.replace("bench", 1, "A", address)
    began = time.monotonic()
    assert dns.query.tcp(update, "127.0.0.1", port=port_update, timeout=10).rcode() == 0
    for server, port in watch:
        question = dns.message.make_query("bench." + zone, "A")
        while address not in str(dns.query.udp(question, server, port=int(port), timeout=5)):
            if time.monotonic() - began > 30: sys.exit("not served")
            time.sleep(0.002)
    print(time.monotonic() - began, flush=True)
"""


class Bench:
    def __init__(self, demo: Path) -> None:
        self.demo = demo
        inventory = yaml.safe_load((ROOT / "inventories/demo/federation.yml").read_text("utf-8"))
        hosts = {h["name"]: h for site in inventory["sites"] for h in site["hosts"]}
        self.zone = inventory["federation"]["domain"]
        self.servers = {
            name: host["address"] for name, host in hosts.items()
            if "dns_secondary" in host["services"]
        }  # fmt: skip
        self.projects: list[str] = []
        self.secret = yaml.safe_load((demo / "secrets.yml").read_text(encoding="utf-8"))

    def shell(self, host: str, script: str, stdin: str = "") -> str:
        return shell(self.demo, host, script, stdin)

    # --- a project, from the playbook to all name servers

    def play(self, state: str) -> float:
        """Bring the projects of this bench to a state; seconds."""
        projects = [{"name": name, "state": state} for name in self.projects]
        settings = self.demo / "bench-projects.json"
        settings.write_text(json.dumps({"demo_dns_more_projects": projects}), encoding="utf-8")
        began = time.monotonic()
        environment = {
            **os.environ, "LC_ALL": "C.UTF-8", "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "INFN_CLOUD_DEMO_DIR": str(self.demo),
        }  # fmt: skip
        with (self.demo / "bench-dns.log").open("ab") as log:
            subprocess.run(
                [str(ROOT / ".venv/bin/ansible-playbook"),
                 str(ROOT / "playbooks/operations/dns_projects.yml"), "-e", f"@{settings}"],
                cwd=ROOT, env=environment, stdout=log, stderr=log, check=True,
            )  # fmt: skip
        settings.unlink()
        return time.monotonic() - began

    def delegated(self, zone: str, server: str) -> bool:
        """Whether a server has the zone, signed, and its DS in the parent."""
        for kind in ("SOA", "DS"):
            try:
                answer = ask(server, zone, kind, seconds=2)
            except dns.exception.DNSException:
                return False
            kinds = {rrset.rdtype for rrset in answer.answer}
            if not {dns.rdatatype.from_text(kind), dns.rdatatype.RRSIG} <= kinds:
                return False
        return True

    def new_zone(self, name: str) -> dict[str, float]:
        zone, seen = f"{name}.{self.zone}", 0.0
        began = time.monotonic()

        def watch() -> None:
            nonlocal seen
            for server in self.servers.values():
                while not self.delegated(zone, server):
                    if time.monotonic() - began > PATIENCE:
                        return
                    time.sleep(0.02)
            seen = time.monotonic() - began

        watcher = threading.Thread(target=watch)
        watcher.start()
        self.projects.append(name)
        whole = self.play("present")
        watcher.join()
        if not seen:
            sys.exit(f"{zone} is not served, see {self.demo}/bench-dns.log")
        return {"served": seen, "playbook": whole}

    # --- records and questions

    def updates(self, port: int, key: str, zone: str, rounds: int, *watch: str) -> list[float]:
        command = f"python3 - {port} {key} {zone} {rounds} {' '.join(watch)}"
        return [float(line) for line in self.shell(HOST, command, UPDATES).split()]

    def questions(self, port: int, seconds: int) -> float:
        said = self.shell(
            HOST, f"dnsperf -s 127.0.0.1 -p {port} -d /root/bench.queries -l {seconds} -c 4 -T 1"
        )
        return float(re.findall(r"Queries per second:\s+([\d.]+)", said)[0])


def run(demo: Path, *, rounds: int, save: Callable[[str, dict[str, Any]], None]) -> None:
    bench = Bench(demo)
    figures: dict[str, Any] = {}
    try:
        figures["new zone"] = [bench.new_zone(f"bench{number}") for number in range(rounds)]
    finally:
        bench.play("absent")
    served = statistics.median(one["served"] for one in figures["new zone"])
    whole = statistics.median(one["playbook"] for one in figures["new zone"])
    print(f"a project's zone, signed and delegated at all servers: {served:.1f} s", end="")
    print(f" after the playbook began (goal 3.0), which takes {whole:.1f} s; median of {rounds}")

    child = f"cms.{bench.zone}"
    key = (demo / "dns-cms.key").read_text(encoding="utf-8")
    transfer = bench.secret["dns_transfer_secret"]
    bench.shell(HOST, "umask 077; cat >/root/cms.key", key)
    statement = f'key "transfer" {{ algorithm hmac-sha256; secret "{transfer}"; }};\n'
    bench.shell(HOST, "umask 077; cat >/root/bench.key", statement)
    try:
        bench.shell(HOST, STOCK.replace("@ZONE@", child))
        watch = [f"{server}:53" for server in bench.servers.values()]
        ours = bench.updates(53, "/root/cms.key", child, 20, *watch)
        stock = bench.updates(5300, "/var/cache/bind/stock/key", child, 5, "127.0.0.1:5301")
        figures["update"] = {"ours": ours, "stock": stock}
        a, b = statistics.median(ours), statistics.median(stock)
        print(f"an update at all {len(watch)} secondaries: {a:.3f} s,", end="")
        print(f" at most {max(ours):.3f} (goal 0.2);")
        print(f"  stock BIND, one secondary on the same host: {b:.3f} s ({a / b:.3f})")
        queries = "".join(f"{name}.{child} {kind}\n" for name in ("bench", "nothing", "www")
                          for kind in ("A", "AAAA"))  # fmt: skip
        bench.shell(HOST, "cat >/root/bench.queries", queries)
        speeds = [(bench.questions(53, 5), bench.questions(5301, 5)) for _round in range(rounds)]
        figures["questions"] = speeds
        ratio = statistics.median(one / other for one, other in speeds)
        print(f"questions per second: {statistics.median(one for one, _o in speeds):.0f},", end="")
        print(f" stock BIND with the same zone {statistics.median(o for _n, o in speeds):.0f}"
              f" ({ratio:.2f}, goal 0.95); median of {rounds}")  # fmt: skip
    finally:
        bench.shell(HOST, STOCK_OFF)
        ring = dns.tsigkeyring.from_text(dict([project_key(demo)]))
        update = dns.update.UpdateMessage(child, keyring=ring)
        update.delete("bench")
        dns.query.tcp(update, bench.servers[HOST], timeout=10)
    save("dns", figures)
