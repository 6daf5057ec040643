# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Identity in every site: one database, one set of keys, and no site that the others need."""

from __future__ import annotations

import contextlib
import json
import secrets
import subprocess
from collections.abc import Callable, Iterator

import keystoneauth1.exceptions
import pytest

KEYS = "sudo -u keystone /usr/local/sbin/keystone-keys"
STATUS = "SHOW GLOBAL STATUS WHERE Variable_name LIKE 'wsrep%'"


def status(demo, host: str) -> dict[str, str]:
    """What the database server of a host says of its cluster; nothing if it does not answer."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        said = demo.shell(host, f'mariadb -BNe "{STATUS}"', check=False, timeout=20)
        lines = (line.split("\t", 1) for line in said.splitlines())
        return {line[0]: line[1] for line in lines if len(line) == 2}
    return {}


def synced(demo, hosts: list[str], size: int) -> None:
    for host in hosts:
        said = status(demo, host)
        found = [
            said.get(f"wsrep_{name}")
            for name in ("cluster_status", "local_state_comment", "cluster_size")
        ]
        assert found == ["Primary", "Synced", str(size)], f"{host}: {found}"


def validates(demo, site: str, token: str) -> int:
    """A site's answer to a token that asks for itself."""
    url = f"{demo.sites[site].identity}/auth/tokens"
    return demo.http("GET", url, token=token, headers={"X-Subject-Token": token}).status_code


def tokens(demo, sites) -> dict[str, str]:
    """A new token of each site."""
    try:
        return {name: demo.session(name).get_token() for name in sites}
    except keystoneauth1.exceptions.ClientException as error:
        raise AssertionError(f"no token: {error}") from error


def valid_everywhere(demo, issued: dict[str, str], sites) -> None:
    found = {
        (issuer, site): validates(demo, site, token)
        for issuer, token in issued.items()
        for site in sites
    }
    assert set(found.values()) == {200}, found


def keys(demo, host: str) -> dict[str, dict[str, str]]:
    return json.loads(demo.shell(host, f"{KEYS} status"))


@pytest.fixture(scope="module")
def databases(demo) -> list[str]:
    found = demo.groups("database")
    assert len({demo.site_of(host).name for host in found}) == 3, found
    return found


@pytest.fixture(scope="module")
def holder(demo) -> str:
    return demo.groups("keystone")[0]


# --- everyday life


def test_each_site_answers_for_itself(demo) -> None:
    """Not by another site's Keystone: its own one is up and comes first."""
    for host in demo.groups("keystone"):
        script = "from urllib.request import urlopen; urlopen('http://127.0.0.1:5001/v3')"
        demo.shell(host, "python3 -", stdin=script.encode())
    assert {demo.site_of(host).name for host in demo.groups("keystone")} == set(demo.sites)


def test_a_token_of_one_site_is_valid_in_all(demo) -> None:
    valid_everywhere(demo, tokens(demo, demo.sites), demo.sites)


def test_a_project_made_in_one_site_is_known_in_all(demo, wait) -> None:
    name = f"test-{secrets.token_hex(4)}"
    admin = {"username": "admin", "password": demo.secrets["keystone_admin_password"]}
    token = demo.session("bari", **admin, project_name="admin").get_token()
    url = {site: f"{demo.sites[site].identity}/projects" for site in demo.sites}
    body = {"project": {"name": name, "domain_id": "default"}}
    made = demo.http("POST", url["bari"], token=token, json=body)
    assert made.status_code == 201, made.text
    number = made.json()["project"]["id"]

    def known() -> None:
        found = {
            site: demo.http("GET", f"{url[site]}/{number}", token=token).status_code for site in url
        }
        assert set(found.values()) == {200}, found

    try:
        wait(known, 10)
    finally:
        gone = demo.http("DELETE", f"{url['padova']}/{number}", token=token)
        assert gone.status_code == 204, gone.text


def test_one_cluster_has_all_servers(demo, databases) -> None:
    synced(demo, databases, 3)
    said = [status(demo, host)["wsrep_cluster_state_uuid"] for host in databases]
    assert len(set(said)) == 1, said


def test_replication_goes_by_tls_only(demo, databases) -> None:
    """The port tells nothing in clear, and nobody without our authority's certificate anything."""
    options = "mariadb -BNe \"SHOW VARIABLES LIKE 'wsrep_provider_options'\""
    for host, said in demo.on(databases, options).items():
        assert "socket.ssl = YES" in said, f"{host}: {said}"
    script = """
import socket, ssl, sys
with socket.create_connection((sys.argv[1], 4567), timeout=5) as plain:
    plain.settimeout(3)
    try:
        print("plain:", len(plain.recv(100)))
    except TimeoutError:
        print("plain: silent")
context = ssl.create_default_context()
context.check_hostname = False
context.verify_mode = ssl.CERT_NONE
try:
    with context.wrap_socket(socket.create_connection((sys.argv[1], 4567), timeout=5)) as tls:
        print("stranger:", len(tls.recv(100)))
except (ssl.SSLError, ConnectionError) as error:
    print("stranger: refused")
context.load_cert_chain("/etc/mysql/galera/cert.pem", "/etc/mysql/galera/key.pem")
with context.wrap_socket(socket.create_connection((sys.argv[1], 4567), timeout=5)) as tls:
    print("member:", "welcome" if tls.recv(100) else "refused")
"""
    for host, other in zip(databases, databases[1:] + databases[:1]):
        said = demo.shell(host, f"python3 - {demo.hosts[other]}", stdin=script.encode())
        wished = ["plain: silent", "stranger: refused", "member: welcome"]
        assert said.splitlines() == wished, f"{host} to {other}"


def test_all_data_was_copied_by_tls(demo, databases) -> None:
    """What a server wrote when it joined; the one that began the cluster copied none."""
    script = (
        "journalctl -u mariadb -o cat --no-pager | grep -a 'WSREP_SST.*SSL configuration' || true"
    )
    said = [line for text in demo.on(databases, script).values() for line in text.splitlines()]
    assert said, "no server has ever copied data"
    wrong = [line for line in said if "MODE='VERIFY_CA'" not in line or "encrypt='3'" not in line]
    assert not wrong, wrong


# --- keys


def test_the_sites_have_the_same_keys(demo, holder) -> None:
    found = {host: keys(demo, host) for host in demo.groups("keystone")}
    assert all(one == found[holder] for one in found.values()), found
    timers = demo.on(demo.groups("keystone"), "systemctl is-active keystone-keys.timer || true")
    assert [host for host, said in timers.items() if said.strip() == "active"] == [holder]


def test_ssh_gives_the_holder_nothing_else(demo, holder) -> None:
    other = next(host for host in demo.groups("keystone") if host != holder)
    ssh = (
        "sudo -u keystone ssh -F /dev/null -i /var/lib/keystone/keys/id_ed25519 -o BatchMode=yes"
        f" -o UserKnownHostsFile=/var/lib/keystone/keys/known_hosts keystone@{demo.hosts[other]}"
    )
    for asked in ("id", "'status; id'", ""):
        said = demo.shell(holder, f"{ssh} {asked} 2>&1 </dev/null; echo $?", check=False)
        assert "none of status, send, receive" in said and said.endswith("1\n"), said
    assert json.loads(demo.shell(holder, f"{ssh} status")) == keys(demo, other)
    assert not demo.shell(other, "ls /var/lib/keystone/keys/id_ed25519 || true").strip()


def test_a_rotation_costs_no_token(demo, holder) -> None:
    before, old = keys(demo, holder), tokens(demo, demo.sites)
    run = demo.ansible("ansible-playbook", "playbooks/operations/keystone_rotate_keys.yml")
    if "the oldest key still verifies tokens" in run.text:
        pytest.skip("these keys were rotated as often as living tokens permit")
    assert run.rc == 0, run.text
    after = {host: keys(demo, host) for host in demo.groups("keystone")}
    assert all(found == after[holder] for found in after.values()), after
    newest = max(before["fernet"], key=int)
    assert after[holder]["fernet"][str(int(newest) + 1)] == before["fernet"]["0"]
    valid_everywhere(demo, old, demo.sites)
    valid_everywhere(demo, tokens(demo, demo.sites), demo.sites)


def test_a_host_that_lost_its_keys_gets_them_again(demo, holder) -> None:
    """The holder itself, for whom nobody else may make new ones."""
    before = keys(demo, holder)
    demo.shell(holder, "rm -r /etc/keystone/fernet-keys /etc/keystone/credential-keys")
    run = demo.ansible(
        "ansible-playbook", "playbooks/backbone.yml", "--limit", "keystone", "--tags",
        "keystone_keys", timeout=300,
    )  # fmt: skip
    assert run.rc == 0, run.text
    assert keys(demo, holder) == before
    valid_everywhere(demo, tokens(demo, demo.sites), demo.sites)


# --- drills


@pytest.fixture
def without(demo, wait, podman, databases) -> Iterator[Callable[[str], None]]:
    """Takes a host away until the end of the test."""
    gone: list[str] = []

    def take(host: str) -> None:
        gone.append(host)
        podman("stop", "--time", "30", host)

    try:
        yield take
    finally:
        for host in gone:
            podman("start", host)
        if gone:
            wait(lambda: synced(demo, databases, 3), 120, every=2)


@pytest.mark.drill
@pytest.mark.parametrize("number", [0, 1], ids=["holder", "other"])
def test_no_site_is_needed_by_the_others(demo, databases, holder, without, wait, number) -> None:
    lost = demo.groups("keystone")[number]
    name = f"test-away-{secrets.token_hex(4)}"
    before, old = keys(demo, holder), tokens(demo, demo.sites)
    without(lost)
    left = [site for site in demo.sites if site != demo.site_of(lost).name]

    def serve() -> None:
        issued = tokens(demo, left)
        valid_everywhere(demo, issued | old, left)

    # Whatever else is up: haproxy looks every 2 s, and the cluster forms again.
    wait(serve, 60)
    for site in left:
        swift = demo.swift(site, demo.session(site))
        swift.put_container(name)
        swift.put_object(name, site, contents=site.encode())
        for reader in left:
            assert demo.swift(reader, demo.session(reader)).get_object(name, site)[1] == (
                site.encode()
            )
    if lost != holder:
        said = demo.shell(holder, f"{KEYS} rotate fernet 2>&1", check=False)
        assert "nothing was rotated" in said, said
        assert keys(demo, holder) == before
        valid_everywhere(demo, old, left)
    for site in left[:1]:
        swift = demo.swift(site, demo.session(site))
        for one in left:
            swift.delete_object(name, one)
        swift.delete_container(name)


@pytest.mark.drill
def test_a_site_without_its_database_has_another_keystone_answer(demo, databases, wait) -> None:
    """Its own Keystone runs on and answers GET /v3, but can look nothing up."""
    host = databases[-1]
    site = demo.site_of(host).name
    old = tokens(demo, demo.sites)
    stop = "systemctl kill --signal KILL mariadb; systemctl is-active keystone"
    drop_in = "/run/systemd/system/mariadb.service.d"
    demo.shell(
        host,
        f"mkdir -p {drop_in} && printf '[Service]\\nRestart=no\\n' > {drop_in}/drill.conf"
        f" && systemctl daemon-reload && {stop}",
    )
    try:
        wait(lambda: valid_everywhere(demo, old | tokens(demo, demo.sites), demo.sites), 30)
        said = demo.shell(host, "systemctl is-active mariadb keystone || true").split()
        assert said == ["failed", "active"], said
        for other in set(demo.sites) - {site}:
            assert demo.session(other).get_token()
    finally:
        demo.shell(
            host, f"rm -r {drop_in} && systemctl daemon-reload && systemctl start mariadb",
            timeout=120,
        )  # fmt: skip
        wait(lambda: synced(demo, databases, 3), 60, every=2)


@pytest.mark.drill
@pytest.mark.settings
def test_nothing_is_begun_while_a_host_is_silent(demo, databases) -> None:
    """Two of three are stopped in peace and asked alone: the third one runs the cluster."""
    stopped = databases[:2]
    limit = ":".join(stopped)
    demo.on(stopped, "systemctl stop mariadb")
    try:
        run = demo.ansible(
            "ansible-playbook", "playbooks/operations/galera_recover.yml", "--limit", limit
        )
        assert run.rc != 0 and "could not be asked" in run.text, run.text
        assert databases[2] in run.text and "galera_lost_hosts" in run.text, run.text
        run = demo.ansible(
            "ansible-playbook", "playbooks/backbone.yml", "--limit", limit, "--tags", "galera"
        )
        assert run.rc != 0 and "could not be asked" in run.text, run.text
        assert set(demo.on(stopped, "systemctl is-active mariadb || true").values()) == {
            "inactive\n"
        }
        # With the third one asked, they join it.
        run = demo.ansible(
            "ansible-playbook", "playbooks/operations/galera_recover.yml", timeout=300
        )
        assert run.rc == 0, run.text
        synced(demo, databases, 3)
    finally:
        demo.on(databases, "systemctl start mariadb", timeout=120)


@pytest.mark.drill
@pytest.mark.settings
def test_after_an_outage_of_all_the_last_write_wins(demo, databases, wait) -> None:
    recover = ("ansible-playbook", "playbooks/operations/galera_recover.yml")
    old = tokens(demo, demo.sites)
    # As when the power fails: no farewell, and nobody starts them again.
    drop_in = "/run/systemd/system/mariadb.service.d"
    demo.on(
        databases,
        f"mkdir -p {drop_in} && printf '[Service]\\nRestart=no\\n' > {drop_in}/drill.conf"
        " && systemctl daemon-reload && systemctl kill --signal KILL mariadb",
    )
    try:
        run = demo.ansible("ansible-playbook", "playbooks/backbone.yml", "--limit", "database",
                           "--tags", "galera")  # fmt: skip
        assert run.rc != 0 and "galera_recover" in run.text, run.text
        run = demo.ansible(*recover, timeout=400)
        assert run.rc == 0, run.text
    finally:
        demo.on(databases, f"rm -r {drop_in} && systemctl daemon-reload")
    synced(demo, databases, 3)
    wait(lambda: valid_everywhere(demo, old | tokens(demo, demo.sites), demo.sites), 30)
    again = demo.ansible(*recover, timeout=300)
    assert again.rc == 0, again.text
    assert again.changed == 0, again.text
