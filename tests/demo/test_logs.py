# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Logs: a line written on any host is found in the store, without its secrets, and none is lost."""

from __future__ import annotations

import concurrent.futures
import contextlib
import functools
import json
import secrets
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from .conftest import REPOSITORY, eventually, signed_by_the_demo

TAG = "demo-test"
# Numbered lines of one host at a steady rate.
WRITE = """
import json, sys, syslog, time
given = json.load(sys.stdin)
syslog.openlog(given["tag"])
for number in range(given["lines"]):
    syslog.syslog(given["token"] + f" {number}")
    time.sleep(1 / given["rate"])
"""
# One request to the store from one of its own hosts, since nobody else reaches it.
REQUEST = """
import base64, json, ssl, sys, tempfile, urllib.error, urllib.request
given = json.load(sys.stdin)
tls = ssl.create_default_context(cafile="/etc/opensearch/tls/ca.pem")
headers = {"Content-Type": "application/x-ndjson" if given["lines"] else "application/json"}
if given["user"]:
    login = ":".join(given["user"]).encode()
    headers["Authorization"] = "Basic " + base64.b64encode(login).decode()
if given["certificate"]:
    with tempfile.NamedTemporaryFile("w") as file:
        file.write(given["certificate"])
        file.flush()
        tls.load_cert_chain(file.name)
body = given["lines"] or given["body"]
request = urllib.request.Request(
    given["url"], method=given["method"], headers=headers, data=body.encode() if body else None
)
try:
    answer = urllib.request.urlopen(request, context=tls, timeout=60)
except urllib.error.HTTPError as error:
    answer = error
print(json.dumps([answer.status, answer.read().decode()]))
"""
# What a collector says to the first frame of a client with a certificate, or without: or nothing.
GREET = """
import json, socket, ssl, sys, tempfile
given = json.load(sys.stdin)
tls = ssl.create_default_context()
tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
if given["certificate"]:
    with tempfile.NamedTemporaryFile("w") as file:
        file.write(given["certificate"])
        file.flush()
        tls.load_cert_chain(file.name)
try:
    with socket.create_connection((given["address"], 6515), timeout=5) as plain:
        with tls.wrap_socket(plain) as secure:
            secure.sendall(b"1 open 30 relp_version=0\\ncommands=syslog\\n")
            print(secure.recv(100).decode())
except OSError:
    pass
"""


class Logs:
    """The store, who may use it, and what hosts write."""

    def __init__(self, demo: Any) -> None:
        self.demo = demo
        self.stores: list[str] = demo.groups("log_store")
        self.collectors: list[str] = demo.groups("log_collector")
        tls = demo.directory / "tls"
        self.admin = "".join((tls / f"logs-admin.{end}").read_text() for end in ("pem", "key"))
        self.users = {
            name: (user, demo.secrets[f"logs_{name}_password"])
            for name, user in {"writer": "log-writer", "reader": "log-reader"}.items()
        }

    def request(
        self, method: str, path: str, *, user: str = "", certificate: str = "", body: Any = None,
        lines: Sequence[Any] = (),
    ) -> tuple[int, Any]:  # fmt: skip
        store = self.stores[0]
        given = {
            "url": f"https://{self.demo.hosts[store]}:9200{path}", "method": method,
            "user": self.users.get(user), "certificate": certificate,
            "body": "" if body is None else json.dumps(body),
            "lines": "".join(json.dumps(line) + "\n" for line in lines),
        }  # fmt: skip
        said = self.demo.shell(store, f"python3 -c '{REQUEST}'", stdin=json.dumps(given).encode())
        status, text = json.loads(said)
        with contextlib.suppress(json.JSONDecodeError):
            return status, json.loads(text)
        return status, text

    def find(self, text: str, *options: str, service: str = TAG) -> list[dict[str, Any]]:
        """Lines of a service, for sudo logs what it is asked to look for."""
        command = f"logs find --json --lines 10000 --service {service} {' '.join(options)} '{text}'"
        return json.loads(self.demo.shell(self.stores[0], command))["lines"]

    def write(self, hosts: Sequence[str], token: str, lines: int, rate: float) -> None:
        """Numbered lines on each of the hosts at once."""
        given = {"tag": TAG, "token": token, "lines": lines, "rate": rate}
        self.demo.on(
            hosts, f"python3 -c '{WRITE}'", stdin=json.dumps(given).encode(),
            timeout=int(lines / rate) + 60,
        )  # fmt: skip

    def block(self, wished: bool) -> None:
        """What the store itself does with an index when its disk is full."""
        body = {"index.blocks.read_only_allow_delete": True if wished else None}
        answer = self.request("PUT", "/logs-*/_settings", certificate=self.admin, body=body)
        assert answer[0] == 200, answer

    def again(self) -> int:
        """Lines that came to the store more than once, as the collectors counted."""
        said = self.demo.on(self.collectors, "cat /var/lib/log-collector/statistics.json")
        return sum(json.loads(one)["again"] for one in said.values())


@pytest.fixture(scope="module")
def logs(demo) -> Logs:
    return Logs(demo)


def token() -> str:
    return f"t{secrets.token_hex(8)}"


# --- a line is found


def test_a_line_of_each_host_is_found_within_seconds(demo, logs) -> None:
    """From the call of logger to a search at another site's node."""
    mark = token()
    hosts = list(demo.hosts)
    began = time.time()
    demo.on(hosts, f"logger -t {TAG} -p daemon.warning '{mark} of '$(hostname)")
    logged = time.time()

    def all_there() -> dict[str, dict[str, Any]]:
        found = {line["host.name"]: line for line in logs.find(mark)}
        assert sorted(found) == sorted(hosts)
        return found

    found = eventually(all_there, 20, every=0.2)
    seconds = time.time() - logged
    print(f"seconds from log call to searchable: {seconds:.1f}")
    for host, line in found.items():
        site = demo.site_of(host)
        assert line["message"] == f"{mark} of {host}"
        assert line["cloud.region"] == site.name
        assert line["service.name"] == TAG
        assert line["log.level"] == "warning"
        assert line["observer.name"] in site.gateways, "its own site's collector took it"
        written = time.mktime(time.strptime(line["@timestamp"][:19], "%Y-%m-%dT%H:%M:%S"))
        assert abs(written - time.timezone - began) < 10, line["@timestamp"]
        assert line["event.ingested"] >= line["@timestamp"][:19]
    assert seconds <= 5


def test_lines_are_found_by_service_and_host(demo, logs) -> None:
    """What services write goes to the journal, whichever way, and from there to the store."""
    host, unit = demo.storage[0], "systemd-tmpfiles-clean.service"
    demo.shell(host, f"systemctl start {unit}")

    def found() -> None:
        lines = logs.find(unit, "--host", host, "--minutes", "1", service="systemd")
        assert lines
        assert {line["host.name"] for line in lines} == {host}
        assert all(unit in line["message"] for line in lines)

    eventually(found, 10)


SECRETS = [
    "X-Auth-Token: gAAAAABn{}",
    "a token on its own, gAAAAABn{}, in a sentence",
    "Authorization: Basic {}",
    "{{'Authorization': 'Bearer {}'}}",
    "GET /v1/AUTH_x/c?temp_url_sig={}&temp_url_expires=1",
    "connect to mysql://keystone:{}@10.0.0.1/keystone",
    "password={} for user x",
    "AUTH PLAIN {}",
    "AUTHENTICATE SCRAM-SHA-256 {}",
    "eyJh{0}.{0}.{0} of a client",
]


def test_secrets_never_reach_the_store(demo, logs) -> None:
    mark, secret = token(), secrets.token_hex(12)
    lines = [f"{mark} {text.format(secret)}" for text in SECRETS]
    demo.shell(demo.gateways[0], f"logger -t {TAG}", stdin="\n".join(lines).encode())

    def there() -> list[dict[str, Any]]:
        found = logs.find(mark)
        assert len(found) == len(SECRETS)
        return found

    for line in eventually(there, 20):
        assert secret not in json.dumps(line)
        assert "***" in line["message"], line["message"]
    assert logs.find(secret) == []
    # The words around it are still there.
    assert any("for user x" in line["message"] for line in there())


# --- who may do what


def test_nobody_may_do_more_than_needed(logs) -> None:
    index = f"/logs-{time.strftime('%Y.%m.%d', time.gmtime())}"
    create = [{"create": {"_index": index[1:], "_id": token()}}, {"message": "of a stranger"}]
    search = ("GET", "/logs-*/_search")
    for method, path in [search, ("GET", "/"), ("GET", "/_cluster/health"), ("POST", "/_bulk")]:
        assert logs.request(method, path)[0] == 401, "anonymous"
    assert logs.request(*search, user="reader")[0] == 200
    assert logs.request(*search, user="writer")[0] == 403
    for user in ("reader", "writer"):
        assert logs.request("DELETE", index, user=user)[0] == 403
        assert logs.request("DELETE", f"{index}/_doc/1", user=user)[0] == 403
        assert logs.request("GET", "/_plugins/_security/api/internalusers", user=user)[0] == 403
        assert logs.request("PUT", "/other", user=user)[0] == 403
    status, said = logs.request("POST", "/_bulk", user="reader", lines=create)
    assert status == 403 or said["errors"], said


def test_a_line_that_comes_again_is_refused_and_none_is_deleted(logs) -> None:
    """What collectors do; OpenSearch has no permission to add that is none to write over."""
    index, name = f"logs-{time.strftime('%Y.%m.%d', time.gmtime())}", token()
    create = [{"create": {"_index": index, "_id": name}}, {"message": name}]
    status, said = logs.request("POST", "/_bulk", user="writer", lines=create)
    assert status == 200 and not said["errors"], said
    again = logs.request("POST", "/_bulk", user="writer", lines=create)[1]
    assert again["items"][0]["create"]["status"] == 409, again
    delete = [{"delete": {"_index": index, "_id": name}}]
    gone = logs.request("POST", "/_bulk", user="writer", lines=delete)[1]
    assert gone["items"][0]["delete"]["status"] == 403, gone


def test_collectors_talk_to_known_hosts_only(demo, logs) -> None:
    host, collector = demo.storage[0], logs.collectors[0]

    def greet(certificate: str) -> str:
        given = {"address": demo.hosts[collector], "certificate": certificate}
        return demo.shell(host, f"python3 -c '{GREET}'", stdin=json.dumps(given).encode())

    own = demo.shell(host, "cat /etc/log-shipper/certificate.pem /etc/log-shipper/key.pem")
    assert "200 OK" in greet(own)
    stranger = "".join(signed_by_the_demo(demo.directory, "stranger.demo.test"))
    assert "200 OK" not in greet(stranger), "of our own authority, with another name"
    assert "200 OK" not in greet("")


def test_no_key_that_could_make_another_is_on_a_node(demo, logs) -> None:
    authority = (demo.directory / "tls" / "ca.key").read_text().splitlines()[1]
    admin = (demo.directory / "tls" / "logs-admin.key").read_text().splitlines()[1]
    script = "grep -rlFf /dev/stdin /etc /var/lib /root /tmp /home; true"
    given = f"{authority}\n{admin}\n".encode()
    assert demo.on(logs.stores, script, stdin=given) == dict.fromkeys(logs.stores, "")


# --- what administrators do


def objects(demo, *options: str) -> Any:
    """The tasks of the role that look after users, roles and templates, alone."""
    run = demo.ansible(
        "ansible", "log_store", "--playbook-dir", REPOSITORY / "playbooks", "--become",
        "-m", "ansible.builtin.include_role", "-a", "name=infn.cloud.elk tasks_from=objects",
        *options, timeout=300,
    )  # fmt: skip
    assert run.rc == 0, run.text
    return run.changed


def test_what_somebody_changed_is_changed_back(demo, logs) -> None:
    """The template, and the role of the reader, who may suddenly write."""
    path = "/_index_template/logs"
    _status, before = logs.request("GET", path, certificate=logs.admin)
    body = before["index_templates"][0]["index_template"]
    body["template"]["settings"]["index"]["number_of_replicas"] = "0"
    assert logs.request("PUT", path, certificate=logs.admin, body=body)[0] == 200
    role = "/_plugins/_security/api/roles/log-reader"
    more = {"cluster_permissions": ["*"], "index_permissions": []}
    assert logs.request("PUT", role, certificate=logs.admin, body=more)[0] == 200
    assert objects(demo, "--check") == 1
    assert objects(demo) == 1
    _status, after = logs.request("GET", path, certificate=logs.admin)
    settings = after["index_templates"][0]["index_template"]["template"]["settings"]["index"]
    assert settings["number_of_replicas"] == "1"
    _status, said = logs.request("GET", role, certificate=logs.admin)
    assert said["log-reader"]["cluster_permissions"] == ["cluster:monitor/health"]
    assert objects(demo) == 0


def test_days_are_kept_as_long_as_declared(demo, logs) -> None:
    """By the node that leads, however often and wherever its timer runs."""
    days = demo.variables["_meta"]["hostvars"][logs.stores[0]]["elk_retention_days"]
    kept, gone = (
        f"logs-{time.strftime('%Y.%m.%d', time.gmtime(time.time() - 86400 * age))}"
        for age in (days, days + 1)
    )
    for index in (kept, gone):
        assert logs.request("PUT", f"/{index}", certificate=logs.admin)[0] in (200, 400), index
    demo.on(logs.stores, "systemctl start elk-upkeep.service")
    assert logs.request("HEAD", f"/{gone}", certificate=logs.admin)[0] == 404
    assert logs.request("DELETE", f"/{kept}", certificate=logs.admin)[0] == 200


class Copies:
    """What is in the object storage, as the copies' own user sees it through another site."""

    def __init__(self, demo: Any) -> None:
        password = demo.secrets["logs_backup_password"]
        site = list(demo.sites)[-1]
        who = {"username": "log-backup", "password": password, "project_name": "log-backup"}
        self.swift = demo.swift(site, demo.session(site, **who))

    def of(self, day: str) -> dict[str, dict[str, Any]]:
        """Objects by name."""
        return {
            one["name"]: one
            for one in self.swift.get_container("logs", prefix=f"{day}/", full_listing=True)[1]
        }


def add(logs: Logs, index: str, names: Sequence[str]) -> None:
    lines: list[Any] = []
    for name in names:
        document = {"@timestamp": "2026-01-01T00:00:00Z", "message": name, "more": [name]}
        lines += [{"create": {"_index": index, "_id": name}}, document]
    status, said = logs.request("POST", "/_bulk", certificate=logs.admin, lines=lines)
    assert status == 200 and not said["errors"], said


def test_a_day_is_copied_deleted_and_brought_back(demo, logs) -> None:
    """A day that is over for too long goes when it has a copy; the copy has each of its lines."""
    days = demo.variables["_meta"]["hostvars"][logs.stores[0]]["elk_retention_days"]
    date = time.gmtime(time.time() - 86400 * (days + 2))
    day, wish = time.strftime("logs-%Y.%m.%d", date), time.strftime("%Y-%m-%d", date)
    restored = day.replace("logs-", "logs-restored-")
    copies = Copies(demo)
    upkeep = "systemctl start elk-upkeep.service"
    names = [token() for _number in range(4500)]
    try:
        # Without a place for the copy, nothing is deleted.
        add(logs, day, names[:-1])
        wrong = (
            'sed -i.kept \'s/"name": "log-backup"/"name": "nobody"/\' /etc/opensearch/upkeep.json'
        )
        demo.on(logs.stores, f"{wrong}; {upkeep}; true")
        demo.on(logs.stores, "mv /etc/opensearch/upkeep.json.kept /etc/opensearch/upkeep.json")
        assert logs.request("HEAD", f"/{day}", certificate=logs.admin)[0] == 200
        assert not copies.of(day)

        demo.on(logs.stores, upkeep)
        assert logs.request("HEAD", f"/{day}", certificate=logs.admin)[0] == 404
        assert set(copies.of(day)) == {f"{day}/4499/000001.gz", f"{day}/4499/manifest.json"}
        headers = copies.swift.head_object("logs", f"{day}/4499/manifest.json")
        assert int(headers["x-delete-at"]) > time.time() + 86400 * 300
        assert f"{wish}         4499 lines" in demo.shell(logs.stores[1], "logs backups")

        said = demo.shell(logs.stores[0], f"logs restore {wish}")
        assert f"4499 lines are in {restored}, 4499 of them were not there" in said
        said = demo.shell(logs.stores[0], f"logs restore {wish}")
        assert f"4499 lines are in {restored}, 0 of them were not there" in said
        for name in (names[0], names[-2]):
            source = logs.request("GET", f"/{restored}/_source/{name}", user="reader")[1]
            assert source["message"] == name and source["more"] == [name]

        # It stays, until nobody needs it.
        before = copies.of(day)
        demo.on(logs.stores, upkeep)
        assert logs.request("HEAD", f"/{restored}", certificate=logs.admin)[0] == 200
        assert copies.of(day) == before, "what is copied is not copied again"
        demo.shell(logs.stores[0], f"logs forget {wish}")
        assert logs.request("HEAD", f"/{restored}", certificate=logs.admin)[0] == 404

        # A day that has more lines now than its copy: it is copied anew, the old copy goes.
        add(logs, day, names)
        demo.on(logs.stores, upkeep)
        assert set(copies.of(day)) == {f"{day}/4500/000001.gz", f"{day}/4500/manifest.json"}

        part = f"{day}/4500/000001.gz"
        data = copies.swift.get_object("logs", part)[1]
        copies.swift.put_object("logs", part, data[:-1] + b"x")
        refused = demo.shell(logs.stores[0], f"logs restore {wish} 2>&1; true")
        assert f"/{part} is not what was written" in refused
        absent = demo.shell(logs.stores[0], "logs restore 2001-01-01 2>&1; true")
        assert "there is no whole copy of logs-2001.01.01" in absent
    finally:
        for index in (day, restored):
            logs.request("DELETE", f"/{index}", certificate=logs.admin)
        for name in copies.of(day):
            copies.swift.delete_object("logs", name)


@pytest.mark.settings
def test_nodes_restart_one_at_a_time(demo, logs) -> None:
    """While lines are written; the cluster answers all the time, and none is lost."""
    command = "systemctl show --property ActiveEnterTimestampMonotonic --value opensearch.service"
    before = demo.on(logs.stores, command)
    with writing(logs, list(demo.hosts), 1200, 10, within=120):
        run = demo.play("operations/elk_restart")
    assert run.rc == 0, run.text
    after = demo.on(logs.stores, command)
    assert all(int(after[host]) > int(before[host]) for host in logs.stores)


@pytest.mark.settings
def test_passwords_change_while_lines_are_written(demo, logs) -> None:
    """The store first, then the collectors, which keep what it refuses until it takes it."""
    users = {"elk_writer_password": "writer", "elk_reader_password": "reader"}
    new = {name: secrets.token_urlsafe(24) for name in [*users, "elk_upkeep_password"]}

    play = functools.partial(demo.apply, "elk,log_collector")
    old = dict(logs.users)
    try:
        with writing(logs, demo.storage, 600, 10, within=120):
            assert play(**new) > 0
            for name, user in users.items():
                logs.users[user] = (old[user][0], new[name])
        assert logs.request("GET", "/logs-*/_count", user="reader")[0] == 200
        logs.users = dict(old)
        assert logs.request("GET", "/logs-*/_count", user="reader")[0] == 401, "not the old ones"
        demo.shell(logs.stores[0], "systemctl start elk-upkeep.service")
        assert play(**new) == 0
    finally:
        logs.users = old
        play()


# --- none is lost


@pytest.fixture
def whole(demo, logs) -> Iterator[None]:
    """Everything runs again afterwards."""
    yield
    heal = """
        nft delete table inet demo_test 2>/dev/null
        umount --lazy /var/lib/log-shipper 2>/dev/null && systemctl kill --signal KILL log-shipper
        systemctl reset-failed log-collector opensearch log-shipper log-shipper-gate 2>/dev/null
        for unit in opensearch log-collector log-shipper-gate log-shipper; do
            [ "$(systemctl is-enabled $unit 2>/dev/null)" != enabled ] || systemctl start $unit
        done
        true
    """
    demo.on(list(demo.hosts), heal, timeout=90)
    green(logs)
    logs.block(False)


def green(logs: Logs, seconds: float = 90) -> None:
    def look() -> None:
        status, said = logs.request("GET", "/_cluster/health", certificate=logs.admin)
        assert status == 200 and said["status"] == "green", said

    eventually(look, seconds)


@contextlib.contextmanager
def writing(
    logs: Logs, hosts: Sequence[str], lines: int, rate: float, *, within: float
) -> Iterator[None]:
    """Hosts write numbered lines while something is done to them; each must be found, once."""
    mark, before = token(), logs.again()
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        written = pool.submit(logs.write, hosts, mark, lines, rate)
        time.sleep(3)
        yield
        written.result()
    began = time.monotonic()
    wished = Counter((host, number) for host in hosts for number in range(lines))
    found: Counter[tuple[str, int]] = Counter()

    def look() -> None:
        found.clear()
        found.update((one["host.name"], int(one["message"].split()[1])) for one in logs.find(mark))
        lost = wished - found
        assert not lost, f"{lost.total()} of {wished.total()} lines lost: {sorted(lost)[:10]}"

    eventually(look, within)
    seconds = time.monotonic() - began
    print(
        f"{wished.total()} lines written, {(wished - found).total()} lost, "
        f"{logs.again() - before} sent again; "
        f"all found {seconds:.1f} s after the last was written"
    )
    assert found == wished, "each of them once"


@pytest.mark.drill
def test_no_line_is_lost_when_a_collector_and_a_node_die(demo, logs, whole) -> None:
    """While all hosts write: a collector is killed with what it has in hand, then a node stops."""
    with writing(logs, list(demo.hosts), 400, 20, within=90):
        demo.shell(logs.collectors[0], "systemctl kill --signal KILL log-collector.service")
        time.sleep(3)
        demo.shell(logs.stores[-1], "systemctl kill --signal KILL opensearch.service")
        time.sleep(5)
        demo.shell(logs.stores[-1], "systemctl start opensearch.service", timeout=90)


@pytest.mark.settings
def test_a_burst_is_written_whole(demo, logs) -> None:
    """As fast as one host's services can write; nobody limits them."""
    mark, lines, host = token(), 20000, demo.storage[0]
    began = time.monotonic()
    logs.write([host], mark, lines, 10**6)
    written = time.monotonic() - began

    def all_there() -> None:
        said = demo.shell(logs.stores[0], f"logs find --json --lines 0 --service {TAG} '{mark}'")
        assert json.loads(said)["total"] == lines

    eventually(all_there, 120, every=0.5)
    seconds = time.monotonic() - began
    print(
        f"{lines} lines of one host written in {written:.1f} s, all found after {seconds:.1f} s: "
        f"{lines / seconds:.0f} per second"
    )


CUT = """
    nft -f - <<RULES
table inet demo_test {
    chain input { type filter hook input priority -20; iif lo accept; tcp dport 22 accept; drop; }
    chain output { type filter hook output priority -20; oif lo accept; tcp sport 22 accept; drop; }
}
RULES
"""


@pytest.mark.drill
@pytest.mark.settings
def test_no_line_is_lost_when_a_site_is_cut_off(demo, logs, whole) -> None:
    away = list(demo.site_of(logs.stores[-1]).hosts)
    with writing(logs, list(demo.hosts), 1000, 20, within=180):
        demo.on(away, CUT)
        time.sleep(30)
        demo.on(away, "nft delete table inet demo_test")


@pytest.mark.drill
@pytest.mark.settings
def test_no_line_is_lost_with_a_full_disk_and_a_full_store(demo, logs, whole) -> None:
    """A shipper that cannot write down where it was, a store that takes nothing, and restarts."""
    host = demo.storage[0]
    full = """
        set -e
        cp -a /var/lib/log-shipper /run/demo-test
        mount -t tmpfs -o size=64k none /var/lib/log-shipper
        cp -a /run/demo-test/. /var/lib/log-shipper
        rm -r /run/demo-test
        chown log-shipper: /var/lib/log-shipper
        ! dd if=/dev/zero of=/var/lib/log-shipper/junk bs=4k 2>/dev/null
        systemctl kill --signal KILL log-shipper.service
    """
    with writing(logs, [host], 600, 20, within=90):
        demo.shell(host, full)
        logs.block(True)
        time.sleep(6)
        demo.on(logs.collectors, "systemctl stop log-collector.service", timeout=60)
        time.sleep(3)
        demo.shell(host, "systemctl kill --signal KILL log-shipper.service")
        demo.on(logs.collectors, "systemctl start log-collector.service", timeout=60)
        time.sleep(6)
        demo.on(logs.collectors, "systemctl kill --signal KILL log-collector.service")
        time.sleep(3)
        logs.block(False)
