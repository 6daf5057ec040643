# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ask many Swift servers what they see, all at once, and compare the answers.

The upper part reads answers and compares them and is pure; the lower part asks.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Dict, List, Mapping, Optional, Sequence

# Checks whose path ends with the kind of server.
PER_KIND = ("replication", "auditor")
CHECKS = (
    "ringmd5",
    "swiftconfmd5",
    "unmounted",
    "replication",
    "auditor",
    "diskusage",
    "async",
    "quarantined",
    "driveaudit",
    "version",
    "time",
)
# An object server with thousands of disks answers with a few hundred KiB.
MAX_ANSWER = 8 * 1024 * 1024
MAX_THREADS = 32


class RequestError(Exception):
    """The question itself is wrong; the text says how to put it."""


class ReconError(Exception):
    """A server gave no usable answer; `reached` tells whether it spoke HTTP at all."""

    def __init__(self, message: str, *, reached: bool) -> None:
        super().__init__(message)
        self.reached = reached


@dataclass(frozen=True)
class Server:
    """One Swift server: `host` is its name in messages, `address` is where it is asked."""

    host: str
    address: str
    port: int
    kind: str

    def __str__(self) -> str:
        address = f"[{self.address}]" if ":" in self.address else self.address
        return f"{self.host} ({self.kind} {address}:{self.port})"


@dataclass
class Answer:
    """What one server said."""

    server: Server
    reached: bool = True
    error: Optional[str] = None
    facts: Dict[str, Any] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Tell whether every question was answered."""
        return self.error is None

    def as_dict(self) -> Dict[str, Any]:
        """Give the module's result for this server."""
        return {
            "host": self.server.host,
            "address": self.server.address,
            "port": self.server.port,
            "kind": self.server.kind,
            "ok": self.ok,
            "reached": self.reached,
            "error": self.error,
            **self.facts,
        }


# --- reading -----------------------------------------------------------------------------------


def path_of(check: str, kind: str) -> str:
    """Say where a check is asked."""
    return f"/recon/{check}/{kind}" if check in PER_KIND else f"/recon/{check}"


def read_answer(check: str, body: bytes) -> Any:
    """Read the answer to one check; raise ValueError for what Swift would not say."""
    try:
        content = json.loads(body.decode("utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"the answer is no JSON ({error})") from error
    if check in ("ringmd5", "swiftconfmd5"):
        if not isinstance(content, dict) or not all(
            value is None or isinstance(value, str) for value in content.values()
        ):
            raise ValueError("the answer maps no files to checksums")
        return {os.path.basename(path): value for path, value in content.items()}
    if check == "unmounted":
        if not isinstance(content, list) or not all(
            isinstance(item, dict) and isinstance(item.get("device"), str) for item in content
        ):
            raise ValueError("the answer lists no devices")
        return sorted(item["device"] for item in content)
    if check == "version":
        if not isinstance(content, dict) or not isinstance(content.get("version"), str):
            raise ValueError("the answer names no version")
        return content["version"]
    return content


# --- comparing ---------------------------------------------------------------------------------


def agreement(answers: Sequence[Answer], check: str) -> Dict[str, Dict[str, List[str]]]:
    """Group hosts by what they have: file, checksum, hosts. Null is a file that is not used."""
    groups: Dict[str, Dict[str, List[str]]] = {}
    for answer in answers:
        for name, checksum in (answer.facts.get(check) or {}).items():
            if checksum is None:
                continue
            hosts = groups.setdefault(name, {}).setdefault(checksum, [])
            if answer.server.host not in hosts:
                hosts.append(answer.server.host)
    return groups


def disagreements(
    answers: Sequence[Answer], expect: Optional[Mapping[str, str]] = None
) -> List[str]:
    """Say which servers have other rings than expected, or than the others.

    A server that could not be reached says nothing about its rings and is no disagreement; one
    that answered nonsense is, because it serves.
    """
    messages = []
    rings = agreement(answers, "ringmd5")
    wanted = {os.path.basename(name): md5.lower() for name, md5 in (expect or {}).items()}
    for name, md5 in sorted(wanted.items()):
        if name not in rings:
            messages.append(f"{name}: no server reports it: publish the rings")
        for answer in answers:
            found = (answer.facts.get("ringmd5") or {}).get(name)
            if found is not None and found.lower() != md5:
                messages.append(
                    f"{answer.server}: {name} is {found}, expected {md5}: publish the rings to it"
                )
    for name, groups in sorted(rings.items()):
        if name not in wanted and len(groups) > 1:
            sides = "; ".join(
                f"{checksum} on {', '.join(sorted(hosts))}"
                for checksum, hosts in sorted(groups.items())
            )
            messages.append(f"{name}: hosts have different rings: {sides}")
    for name, groups in sorted(agreement(answers, "swiftconfmd5").items()):
        if len(groups) > 1:
            sides = "; ".join(
                f"{checksum} on {', '.join(sorted(hosts))}"
                for checksum, hosts in sorted(groups.items())
            )
            messages.append(f"{name}: hosts have different files: {sides}")
    messages += [
        f"{answer.server}: {answer.error}" for answer in answers if answer.error and answer.reached
    ]
    return messages


def agreed_on(answers: Sequence[Answer], expect: Mapping[str, str]) -> bool:
    """Tell whether the servers that answered have the expected rings.

    Every expected ring is reported by one of them at least, none reports another, and none that
    was reached kept its rings to itself.
    """
    rings = agreement(answers, "ringmd5")
    return all(
        {found.lower() for found in rings.get(os.path.basename(name), {})} == {md5.lower()}
        for name, md5 in expect.items()
    ) and not any(answer.reached and "ringmd5" not in answer.facts for answer in answers)


# --- asking ------------------------------------------------------------------------------------


def fetch(server: Server, path: str, timeout: float) -> bytes:
    """Ask one question; the whole exchange ends after `timeout` seconds.

    The socket's own timeout starts again with every byte that drips in, so a timer closes it.
    Straight to the address: a proxy of the environment has no business between Swift's servers.
    """
    connection = http.client.HTTPConnection(server.address, server.port, timeout=timeout)
    expired = threading.Event()
    # http.client lets go of the socket once it has the headers, so it is kept here.
    links: List[socket.socket] = []

    def expire() -> None:
        expired.set()
        for link in links:
            # It may be closed already, and that is what is wanted.
            with contextlib.suppress(OSError):
                link.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(timeout, expire)
    timer.daemon = True
    timer.start()
    reached = False
    try:
        connection.connect()
        links.append(connection.sock)
        if expired.is_set():
            raise ReconError(f"GET {path}: timed out after {timeout:g} s", reached=False)
        connection.request("GET", path, headers={"Accept": "application/json"})
        response = connection.getresponse()
        reached = True
        body = response.read(MAX_ANSWER + 1)
        if expired.is_set():
            raise ReconError(f"GET {path}: timed out after {timeout:g} s", reached=True)
        if response.status != 200:
            hint = ": is recon in the server's pipeline?" if response.status == 404 else ""
            raise ReconError(
                f"GET {path}: HTTP {response.status} {response.reason}{hint}", reached=True
            )
        if len(body) > MAX_ANSWER:
            raise ReconError(f"GET {path}: the answer is too long", reached=True)
        if response.length:
            # read(amount) does not complain about an answer that ends early.
            raise ReconError(f"GET {path}: the answer is cut off", reached=True)
        return body
    except (OSError, http.client.HTTPException) as error:
        if expired.is_set() or isinstance(error, socket.timeout):
            text = f"timed out after {timeout:g} s"
        elif isinstance(error, http.client.HTTPException):
            reached = True
            text = f"broken HTTP answer ({error.__class__.__name__})"
        else:
            text = error.strerror or str(error)
        raise ReconError(f"GET {path}: {text}", reached=reached) from error
    finally:
        timer.cancel()
        connection.close()


def ask(server: Server, checks: Sequence[str], timeout: float, until: float) -> Answer:
    """Ask one server its questions, one after the other; a server that is down costs one timeout.

    A question that it answers badly does not keep it from answering the others.
    """
    answer = Answer(server)
    for check in checks:
        left = until - time.monotonic()
        if left <= 0:
            answer.error = answer.error or "not asked in time: raise deadline"
            answer.reached = bool(answer.facts)
            break
        path = path_of(check, server.kind)
        try:
            answer.facts[check] = read_answer(check, fetch(server, path, min(timeout, left)))
        except ReconError as error:
            answer.error = answer.error or str(error)
            if not error.reached:
                answer.reached = bool(answer.facts)
                break
        except ValueError as error:
            answer.error = answer.error or f"GET {path}: {error}"
    return answer


def ask_all(
    servers: Sequence[Server], checks: Sequence[str], *, timeout: float, deadline: float
) -> List[Answer]:
    """Ask all servers at once; give their answers in the order of the question."""
    until = time.monotonic() + deadline
    with ThreadPoolExecutor(max_workers=max(1, min(MAX_THREADS, len(servers)))) as pool:
        return list(pool.map(lambda server: ask(server, checks, timeout, until), servers))


def recon(params: Mapping[str, Any]) -> Dict[str, Any]:
    """Do what the module is asked for."""
    faults = [
        f"{item['host']}: {item['port']} is no port: use 1 to 65535"
        for item in params["servers"]
        if not 0 < item["port"] < 65536
    ]
    faults += [
        f"{name} must be more than 0 seconds"
        for name in ("timeout", "deadline")
        if not params[name] > 0
    ]
    if params.get("expect") is not None and "ringmd5" not in params["checks"]:
        faults.append("expect compares rings: add ringmd5 to checks")
    if faults:
        raise RequestError("; ".join(faults))
    servers = [Server(**item) for item in params["servers"]]
    answers = ask_all(
        servers, params["checks"], timeout=params["timeout"], deadline=params["deadline"]
    )
    expect: Optional[Mapping[str, str]] = params.get("expect")
    result: Dict[str, Any] = {
        "servers": [answer.as_dict() for answer in answers],
        # Not "unreachable": Ansible takes that for the state of the host that asked.
        "not_reached": [
            f"{answer.server}: {answer.error}" for answer in answers if not answer.reached
        ],
        "ring_agreement": agreement(answers, "ringmd5"),
        "swiftconf_agreement": agreement(answers, "swiftconfmd5"),
        "disagreements": disagreements(answers, expect),
    }
    if expect is not None:
        result["agreed"] = agreed_on(answers, expect)
    return result
