# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where an object, a container or an account really lies: each server of its ring is asked itself.

The upper part reads requests and answers and is pure; the lower part asks.
"""

from __future__ import annotations

import contextlib
import http.client
import itertools
import socket
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple
from urllib.parse import quote

SWIFT_IMPORT_ERROR: Optional[str] = None
try:
    from swift.common import utils
    from swift.common.exceptions import RingLoadError
    from swift.common.ring import Ring
except ImportError:
    SWIFT_IMPORT_ERROR = traceback.format_exc()

MAX_THREADS = 32
# The header that tells the size, by kind.
SIZE = {
    "account": "X-Account-Bytes-Used",
    "container": "X-Container-Bytes-Used",
    "object": "Content-Length",
}


class RequestError(Exception):
    """The question cannot be asked; the text says how to put it, or what is missing."""


@dataclass(frozen=True)
class Target:
    """What is looked for: an object, or a container or account if the rest is left out."""

    account: str
    container: Optional[str] = None
    object: Optional[str] = None
    # The checksum that every copy of an object should have.
    etag: Optional[str] = None

    @property
    def kind(self) -> str:
        """Tell which kind of server has it."""
        if self.object is not None:
            return "object"
        return "account" if self.container is None else "container"

    @property
    def names(self) -> Tuple[str, ...]:
        """Give the names that it is found by, from the account on."""
        return tuple(
            name for name in (self.account, self.container, self.object) if name is not None
        )

    def __str__(self) -> str:
        return "/".join(self.names)


@dataclass(frozen=True)
class Node:
    """A device of the ring that may hold a copy."""

    region: int
    zone: int
    ip: str
    port: int
    device: str
    host: str
    handoff: bool

    @classmethod
    def of(cls, device: Mapping[str, Any], *, handoff: bool) -> Node:
        """Read a device as Swift's ring gives it."""
        return cls(
            region=device["region"],
            zone=device["zone"],
            ip=device["ip"],
            port=device["port"],
            device=device["device"],
            host=device.get("meta") or device["ip"],
            handoff=handoff,
        )


@dataclass(frozen=True)
class Place:
    """Where the ring says that a target lies."""

    target: Target
    partition: int
    nodes: Tuple[Node, ...]


@dataclass(frozen=True)
class Answer:
    """What one server said about one target."""

    status: Optional[int] = None
    error: Optional[str] = None
    etag: Optional[str] = None
    timestamp: Optional[str] = None
    bytes: Optional[int] = None


# --- reading -----------------------------------------------------------------------------------


def read_targets(items: Sequence[Mapping[str, Any]]) -> List[Target]:
    """Read what is asked for; name every fault."""
    targets, faults = [], []
    for number, item in enumerate(items, 1):
        target = Target(
            item["account"], item.get("container"), item.get("object"), item.get("etag")
        )
        targets.append(target)
        if not all(target.names):
            faults.append(f"entry {number} has an empty name: leave the key out instead")
        if any("/" in name for name in (target.account, target.container or "")):
            faults.append(f"entry {number}: the name of an account or container holds no '/'")
        if target.container is None and target.object is not None:
            faults.append(f"entry {number}: {target.object} is an object without a container")
        if target.object is None and target.etag is not None:
            faults.append(f"entry {number}: only an object has an etag")
    if faults:
        raise RequestError("; ".join(faults))
    return targets


def path_of(place: Place, node: Node) -> str:
    """Say where a server is asked for a target."""
    parts = (node.device, str(place.partition), *place.target.names)
    return quote("/" + "/".join(parts))


def read_answer(kind: str, status: int, headers: Mapping[str, str]) -> Answer:
    """Read the answer to HEAD.

    A deleted object leaves a tombstone, which tells when it was deleted: the status is 404 and
    there is a timestamp. What never was there has none.
    """
    found = 200 <= status < 300
    size = headers.get(SIZE[kind], "") if found else ""
    etag = headers.get("Etag") if found else None
    times = (headers.get("X-Backend-Timestamp"), headers.get("X-Timestamp"))
    return Answer(
        status=status,
        etag=etag.strip('"') if etag else None,
        timestamp=next((stamp for stamp in times if stamp and float_of(stamp)), None),
        bytes=int(size) if size.isdigit() else None,
    )


def float_of(stamp: str) -> float:
    """Read Swift's timestamp, which may carry an offset (`_`) behind the seconds."""
    try:
        return float(stamp.split("_")[0])
    except ValueError:
        return 0.0


def describe(place: Place, answers: Sequence[Answer]) -> Dict[str, Any]:
    """Give the module's result for one target."""
    replicas = [{**vars(node), **vars(answer)} for node, answer in zip(place.nodes, answers)]
    holding = [replica for replica in replicas if 200 <= (replica["status"] or 0) < 300]
    wanted = place.target.etag
    wrong = [replica for replica in holding if wanted and replica["etag"] != wanted]
    primaries = [replica for replica in replicas if not replica["handoff"]]
    return {
        "account": place.target.account,
        "container": place.target.container,
        "object": place.target.object,
        "partition": place.partition,
        "replicas": replicas,
        "copies": len(holding),
        "regions": sorted({replica["region"] for replica in holding}),
        "wrong": len(wrong),
        "complete": not wrong and all(replica in holding for replica in primaries),
    }


# --- asking ------------------------------------------------------------------------------------


def locate(targets: Sequence[Target], swift_dir: str, policy: int, handoffs: int) -> List[Place]:
    """Look the targets up in this host's rings."""
    rings: Dict[str, Any] = {}
    places = []
    try:
        # The place of everything depends on two values in there. Swift itself ends the process
        # if it finds none.
        utils.set_swift_dir(swift_dir)
        for target in targets:
            name = target.kind
            if name == "object" and policy:
                name = f"object-{policy}"
            if name not in rings:
                rings[name] = Ring(swift_dir, ring_name=name)
            partition, primaries = rings[name].get_nodes(*target.names)
            more = itertools.islice(rings[name].get_more_nodes(partition), handoffs)
            nodes = [Node.of(device, handoff=False) for device in primaries]
            nodes += [Node.of(device, handoff=True) for device in more]
            places.append(Place(target, partition, tuple(nodes)))
    except (OSError, RingLoadError) as error:
        raise RequestError(
            f"{swift_dir}: {error}: run this as root on a host that has the rings, and name "
            "a policy that exists"
        ) from error
    except SystemExit as error:
        raise RequestError(
            f"{swift_dir}/swift.conf has no swift_hash_path_prefix or suffix, so nothing can be "
            "found: run this on a host of the cluster"
        ) from error
    return places


def head(
    node: Node, path: str, headers: Mapping[str, str], timeout: float
) -> Tuple[int, Mapping[str, str]]:
    """Ask one server; the whole exchange ends after `timeout` seconds.

    The socket's own timeout starts again with every byte, so a timer closes it. Straight to the
    address: a proxy of the environment has no business between Swift's servers.
    """
    connection = http.client.HTTPConnection(node.ip, node.port, timeout=timeout)
    expired = threading.Event()

    def expire() -> None:
        expired.set()
        # It may be closed already, and that is what is wanted.
        with contextlib.suppress(OSError, AttributeError):
            connection.sock.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(timeout, expire)
    timer.daemon = True
    timer.start()
    try:
        connection.request("HEAD", path, headers=dict(headers))
        response = connection.getresponse()
        if expired.is_set():
            # A socket that is shut down looks like the end of the headers.
            raise socket.timeout
        return response.status, dict(response.headers.items())
    except (OSError, http.client.HTTPException) as error:
        if expired.is_set():
            raise socket.timeout from error
        raise
    finally:
        timer.cancel()
        connection.close()


def ask(place: Place, node: Node, policy: int, timeout: float, until: float) -> Answer:
    """Ask one server for one target."""
    left = until - time.monotonic()
    if left <= 0:
        return Answer(error="not asked in time: raise deadline")
    headers = {"X-Backend-Storage-Policy-Index": str(policy)} if place.target.object else {}
    limit = min(timeout, left)
    try:
        status, found = head(node, path_of(place, node), headers, limit)
    except socket.timeout:
        return Answer(error=f"timed out after {limit:g} s")
    except OSError as error:
        return Answer(error=error.strerror or str(error))
    except http.client.HTTPException as error:
        return Answer(error=f"broken HTTP answer ({error.__class__.__name__})")
    return read_answer(place.target.kind, status, found)


def ask_all(
    places: Sequence[Place], policy: int, *, timeout: float, deadline: float
) -> List[Dict[str, Any]]:
    """Ask for all targets at once; give the results in the order of the question."""
    until = time.monotonic() + deadline
    questions = [(place, node) for place in places for node in place.nodes]
    with ThreadPoolExecutor(max_workers=max(1, min(MAX_THREADS, len(questions)))) as pool:
        answers = pool.map(lambda pair: ask(pair[0], pair[1], policy, timeout, until), questions)
        return [describe(place, [next(answers) for _node in place.nodes]) for place in places]


def look(params: Mapping[str, Any]) -> List[Dict[str, Any]]:
    """Do what the module is asked for."""
    faults = [
        f"{name} must be more than 0 seconds"
        for name in ("timeout", "deadline")
        if not params[name] > 0
    ]
    faults += [f"{name} is less than 0" for name in ("handoffs", "policy") if params[name] < 0]
    if faults:
        raise RequestError("; ".join(faults))
    places = locate(
        read_targets(params["objects"]), params["swift_dir"], params["policy"], params["handoffs"]
    )
    return ask_all(places, params["policy"], timeout=params["timeout"], deadline=params["deadline"])
