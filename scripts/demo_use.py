# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Use the demo federation as its users would, through the public endpoints; write use.json."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import boto3
import dns.query
import dns.tsigkeyring
import dns.update
import yaml
from botocore.config import Config
from botocore.exceptions import ClientError
from keystoneauth1 import session
from keystoneauth1.identity import v3
from swiftclient.client import Connection

from tooling.hosts import shell
from tooling.mail import submission
from tooling.names import ask, chain, project_key, signed

ROOT = Path(__file__).resolve().parent.parent
DEMO = Path(os.environ.get("INFN_CLOUD_DEMO_DIR") or ROOT / ".demo").absolute()
INVENTORY = str(ROOT / "inventories" / "demo" / "federation.yml")
CONTAINER, NAME = "demo", "letter"
CONTENT = (b"Three regions, three replicas, and nothing asked of the application.\n" * 4096)[
    :262144
]


def settings(path: Path) -> dict[str, str]:
    """NAME=value lines of a shell file, with or without export."""
    words = shlex.split(path.read_text(encoding="utf-8"), comments=True)
    return dict(word.split("=", 1) for word in words if "=" in word)


def ansible_json(*command: str) -> Any:
    """What an Ansible command prints as JSON."""
    environment = {**os.environ}
    environment.pop("ANSIBLE_CALLBACKS_ENABLED", None)
    done = subprocess.run(
        [str(Path(sys.executable).parent / command[0]), "-i", INVENTORY, *command[1:]],
        check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT,
        env={**environment, "ANSIBLE_STDOUT_CALLBACK": "ansible.posix.json",
             "ANSIBLE_LOAD_CALLBACK_PLUGINS": "1"},
    )  # fmt: skip
    return json.loads(done.stdout)


def connect(site: str) -> tuple[Connection, str]:
    """A Swift connection through one site, and its account."""
    rc = settings(DEMO / f"openrc-{site}")
    auth = v3.Password(
        auth_url=rc["OS_AUTH_URL"], username=rc["OS_USERNAME"], password=rc["OS_PASSWORD"],
        project_name=rc["OS_PROJECT_NAME"], user_domain_id="default", project_domain_id="default",
    )  # fmt: skip
    keystone = session.Session(auth=auth, verify=rc["OS_CACERT"], timeout=30)
    connection = Connection(
        session=keystone, cacert=rc["OS_CACERT"], retries=2,
        os_options={"region_name": rc["OS_REGION_NAME"]},
    )  # fmt: skip
    return connection, f"AUTH_{keystone.get_project_id()}"


def s3(site: str) -> Any:
    env = settings(DEMO / f"s3-{site}.env")
    return boto3.client(
        "s3", endpoint_url=env["AWS_ENDPOINT_URL"], region_name=env["AWS_DEFAULT_REGION"],
        verify=env["AWS_CA_BUNDLE"], aws_access_key_id=env["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=env["AWS_SECRET_ACCESS_KEY"],
        config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 2}),
    )  # fmt: skip


def names(sites: dict[str, Any], zone: str) -> dict[str, Any]:
    """Write a name as a project does, and follow it from the federation's zone as a client does."""
    servers = {
        name: host["address"]
        for name, site in sites.items()
        for host in site["hosts"].values()
        if "dns_secondary" in host["services"]
    }  # fmt: skip
    child = f"cms.{zone}"
    keyring = dns.tsigkeyring.from_text(dict([project_key(DEMO)]))
    update = dns.update.UpdateMessage(child, keyring=keyring)
    address = f"192.0.2.{time.time_ns() // 10**9 % 254 + 1}"
    update.replace("portal", 5, "A", address)
    through = next(iter(servers))
    began = time.monotonic()
    code = dns.query.tcp(update, servers[through], timeout=10).rcode()
    seen: dict[str, int] = {}
    while code == 0 and len(seen) < len(servers) and time.monotonic() - began < 10:
        for site in servers.keys() - seen:
            answer = ask(servers[site], f"portal.{child}", "A").answer
            if any(address == getattr(one, "address", "") for rrset in answer for one in rrset):
                seen[site] = round((time.monotonic() - began) * 1000)
    safe = {}
    for site, server in servers.items():
        records = signed(server, f"portal.{child}", "A", chain(server, zone, child))
        safe[site] = [one.address for one in records] == [address]
    leads: list[str] = []
    # A site that was busy a moment ago may have been left out; it is back when it answered twice.
    while len(leads) < len(sites) and time.monotonic() - began < 40:
        answer = ask(servers[through], f"cloud.{zone}", "A").answer
        leads = [one.address for rrset in answer for one in rrset]
        time.sleep(0.2)
    return {
        "zone": child, "written_through": through, "status": code, "milliseconds": seen,
        "signed": safe, "federation_name": {f"cloud.{zone}": sorted(leads)},
        "ok": seen.keys() == servers.keys() == safe.keys() and all(safe.values())
        and len(leads) == len(sites),
    }  # fmt: skip


def lines(sites: dict[str, Any]) -> dict[str, Any]:
    """Write a line to the log of a host at each site, and find it in the store as a reader does."""
    has = {
        host: what["services"] for site in sites.values() for host, what in site["hosts"].items()
    }
    store = [host for host, services in has.items() if "log_store" in services][-1]
    mark = f"letter-{time.time_ns()}"
    began: dict[str, float] = {}
    seen: dict[str, float] = {}
    for name, site in sites.items():
        shell(DEMO, next(iter(site["hosts"])), f"logger -t demo {mark}")
        began[name] = time.monotonic()
    while seen.keys() != sites.keys() and time.monotonic() - began[name] < 30:
        said = shell(DEMO, store, f"logs find --json --service demo '\"{mark}\"'")
        for line in json.loads(said)["lines"]:
            where = line["cloud.region"]
            seen.setdefault(where, round(time.monotonic() - began[where], 1))
    return {"store": store, "seconds": seen, "ok": seen.keys() == sites.keys()}


def mail(sites: dict[str, Any], zone: str) -> dict[str, Any]:
    """Whether a service may hand in mail at each site as itself, and not as somebody else.

    Nothing is sent: the demo has nobody to receive it. tests/demo/test_mail.py has.
    """
    relays = {
        site: (name, host["address"])
        for site, what in sites.items()
        for name, host in what["hosts"].items()
        if "smtp_relay" in host["services"]
    }
    secret = yaml.safe_load((DEMO / "secrets.yml").read_text(encoding="utf-8"))["demo_smtp_secret"]
    own, foreign = f"monitoring@{zone}", f"somebody@{zone}"
    said: dict[str, dict[str, str]] = {}
    for site, (name, address) in relays.items():
        with submission(f"{name}.{zone}", address, DEMO / "ca.pem") as smtp:
            smtp.login("monitoring", secret)
            said[site] = {}
            for sender in (own, foreign):
                smtp.mail(sender)
                code, text = smtp.rcpt("reader@example.org")
                said[site][sender] = f"{code} {text.decode()}"
                smtp.rset()
    return {
        "said": said,
        "ok": len(said) == len(sites)
        and all(one[own][:3] == "250" and one[foreign][:3] == "553" for one in said.values()),
    }


def main() -> int:
    variables = ansible_json("ansible-inventory", "--list")
    anyone = next(iter(variables["_meta"]["hostvars"].values()))
    sites = anyone["federation_sites"]
    sites = dict(sorted(sites.items(), key=lambda item: item[1]["region"]))
    first, *others = sites

    print(f"TASK [write an object through {first}] ***", flush=True)
    connection, account = connect(first)
    connection.put_container(CONTAINER)
    connection.put_object(CONTAINER, NAME, CONTENT, content_type="text/plain")

    read_back = {}
    for site in others:
        print(f"TASK [read it back through {site}] ***", flush=True)
        began = time.monotonic()
        body = connect(site)[0].get_object(CONTAINER, NAME)[1]
        read_back[site] = {
            "equal": body == CONTENT,
            "milliseconds": round((time.monotonic() - began) * 1000),
        }

    print("TASK [ask the object servers for its replicas] ***", flush=True)
    where = {"objects": [{"account": account, "container": CONTAINER, "object": NAME}]}
    answer = ansible_json(
        "ansible", "swift_builder", "-m", "infn.cloud.swift_object_info", "-a", json.dumps(where)
    )
    found = next(iter(answer["plays"][0]["tasks"][0]["hosts"].values()))["objects"][0]

    print(f"TASK [write through {others[-1]} and read through {others[0]} by S3] ***", flush=True)
    bucket = "demo-s3"
    try:
        s3(others[-1]).create_bucket(Bucket=bucket)
    except ClientError as error:
        if error.response["Error"]["Code"] != "BucketAlreadyOwnedByYou":
            raise
    s3(others[-1]).put_object(Bucket=bucket, Key=NAME, Body=CONTENT)
    by_s3 = s3(others[0]).get_object(Bucket=bucket, Key=NAME)["Body"].read()

    print("TASK [write a name as a project, and follow it through its signatures] ***", flush=True)
    naming = names(sites, anyone["federation_domain"])

    print("TASK [hand in mail at each site as a service] ***", flush=True)
    mailing = mail(sites, anyone["federation_domain"])

    print("TASK [write a line to a log at each site, and find it in the store] ***", flush=True)
    logged = lines(sites)

    digest = hashlib.md5(CONTENT, usedforsecurity=False).hexdigest()
    replicas = [
        {**{key: replica[key] for key in ("region", "device", "status", "etag")},
         "host": replica["host"] or replica["ip"]}
        for replica in found["replicas"]
    ]  # fmt: skip
    regions = {replica["region"] for replica in replicas if replica["etag"] == digest}
    report = {
        "sites": {
            name: {
                "region": site["region"],
                "hosts": list(site["hosts"]),
                "identity": f"https://{site['endpoint']}:5000/v3",
                "object_store": f"https://{site['endpoint']}:8080/v1",
            }
            for name, site in sites.items()
        },
        "object": {
            "bytes": len(CONTENT), "account": account, "container": CONTAINER, "name": NAME,
            "written_through": first, "replicas": replicas, "read_back": read_back,
        },
        "s3": {"written_through": others[-1], "read_through": others[0], "equal": by_s3 == CONTENT},
        "dns": naming,
        "mail": mailing,
        "logs": logged,
        "ok": len(regions) == len(sites)
        and naming["ok"]
        and mailing["ok"]
        and logged["ok"]
        and by_s3 == CONTENT
        and all(read["equal"] for read in read_back.values()),
    }  # fmt: skip
    (DEMO / "use.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    if not report["ok"]:
        print(f"ERROR! the federation did not do what it promises: {json.dumps(report)}")
    return 0 if report["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
