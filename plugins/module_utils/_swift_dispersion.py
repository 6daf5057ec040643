# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Dispersion: samples that lie in known partitions, and how many of their copies are in place.

The samples are containers and small objects in an account of Swift's own, whose name no user can
have. They are written and listed with Swift's internal client, as its daemons do: straight to the
storage servers, with no user, no password and no Keystone that would have to be up. Names are those
of swift-dispersion-populate.

The upper part plans and counts and is pure; the lower part asks.
"""

from __future__ import annotations

import io
import itertools
import math
import time
import traceback
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from threading import Lock
from typing import Any, Callable, Dict, Iterable, List, Mapping, Optional, Sequence, Tuple

from ansible_collections.infn.cloud.plugins.module_utils import _swift_objects
from ansible_collections.infn.cloud.plugins.module_utils._swift_objects import (
    MAX_THREADS,
    Answer,
    Node,
    Place,
    RequestError,
    Target,
)

SWIFT_IMPORT_ERROR: Optional[str] = None
try:
    from eventlet import GreenPool, Timeout
    from swift.common import utils
    from swift.common.exceptions import RingLoadError, SwiftException
    from swift.common.internal_client import InternalClient, UnexpectedResponse
    from swift.common.ring import Ring
    from swift.common.storage_policy import POLICIES, reload_storage_policies
    from swift.common.wsgi import ConfigString
except ImportError:
    SWIFT_IMPORT_ERROR = traceback.format_exc()

# Questions to one server that fail in a row before it is asked no more: a host that is down costs
# one timeout then, not one for each sample.
GIVE_UP = 8
# Samples that are written at once.
WRITERS = 16
# Tries of the internal client, which waits 2, 4, … seconds between them.
TRIES = 3

# A proxy of one process, without the users' middlewares: what container sync runs as well.
PROXY = """
[DEFAULT]
swift_dir = {swift_dir}
log_name = infn-cloud-dispersion

[pipeline:main]
pipeline = catch_errors proxy-server

[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
conn_timeout = 3

[filter:catch_errors]
use = egg:swift#catch_errors
"""


@dataclass(frozen=True)
class Sampled:
    """A ring that is sampled: the containers' own, or that of a storage policy's objects."""

    kind: str
    policy: str
    index: int
    deprecated: bool = False

    @property
    def container(self) -> Optional[str]:
        """Give the container of the samples; containers lie in none."""
        return f"dispersion_objects_{self.index}" if self.kind == "object" else None

    @property
    def prefix(self) -> str:
        """Give what the names of the samples begin with."""
        return "dispersion_" if self.kind == "object" else f"dispersion_{self.index}_"

    def target(self, account: str, name: str) -> Target:
        """Give what one sample is found by."""
        return Target(account, self.container or name, name if self.container else None)

    def __str__(self) -> str:
        return f"policy {self.policy}" if self.kind == "object" else "containers"


# --- planning ----------------------------------------------------------------------------------


def samples_wanted(partitions: int, coverage: float, least: int) -> int:
    """Say how many partitions are sampled: a share of the ring, and not too few of a small one."""
    return min(partitions, max(least, math.ceil(partitions * coverage / 100)))


def names_to_add(
    names: Iterable[str], partition_of: Callable[[str], int], prefix: str, wanted: int
) -> List[str]:
    """Choose the names that are missing: one for each partition, and none for one that has one.

    What is there stays. Where the ring has got more partitions, the samples still lie in as many
    different ones, and only the share that they are too few by is added.
    """
    taken = {partition_of(name) for name in names}
    added: List[str] = []
    for suffix in itertools.count():
        if len(taken) >= wanted:
            break
        name = f"{prefix}{suffix}"
        partition = partition_of(name)
        if partition not in taken:
            taken.add(partition)
            added.append(name)
    return added


# --- counting ----------------------------------------------------------------------------------


def percent(found: int, expected: int) -> float:
    """Give a share in percent, rounded down: 100 is said only of all."""
    return math.floor(10000 * found / expected) / 100 if expected else 0.0


def share(found: int, expected: int) -> Dict[str, Any]:
    """Give the three figures that tell how many copies there are."""
    return {
        "copies_expected": expected,
        "copies_found": found,
        "copies_found_percent": percent(found, expected),
    }


def in_place(answer: Answer) -> bool:
    """Tell whether a server has its copy."""
    return answer.status is not None and 200 <= answer.status < 300


def count(
    asked: Sequence[Tuple[Place, Sequence[Answer]]], listed: int, partitions: int
) -> Dict[str, Any]:
    """Count the copies of one ring's samples, altogether and by region."""
    missing: Counter[int] = Counter()
    expected: Counter[int] = Counter()
    found: Counter[int] = Counter()
    replicas = max((len(place.nodes) for place, _answers in asked), default=0)
    for place, answers in asked:
        missing[sum(not in_place(answer) for answer in answers)] += 1
        for node, answer in zip(place.nodes, answers):
            expected[node.region] += 1
            found[node.region] += in_place(answer)
    return {
        **share(sum(found.values()), sum(expected.values())),
        "missing": {str(copies): missing[copies] for copies in range(replicas + 1)},
        "regions": {
            str(region): share(found[region], expected[region]) for region in sorted(expected)
        },
        "samples": len(asked),
        "overlapping": listed - len(asked),
        "partitions": partitions,
        "coverage_percent": percent(len(asked), partitions),
    }


def one_each(places: Iterable[Place]) -> List[Place]:
    """Leave one sample for each partition."""
    chosen: Dict[int, Place] = {}
    for place in places:
        chosen.setdefault(place.partition, place)
    return list(chosen.values())


@dataclass
class Servers:
    """What the servers were like to talk to; it is shared by all that ask."""

    failed: Counter[Node] = field(default_factory=Counter)
    answered: Counter[Node] = field(default_factory=Counter)
    in_a_row: Counter[Node] = field(default_factory=Counter)
    last_error: Dict[Node, str] = field(default_factory=dict)
    unmounted: Dict[str, None] = field(default_factory=dict)
    retries: int = 0
    lock: Lock = field(default_factory=Lock)

    @staticmethod
    def server(node: Node) -> Node:
        """Give the server that a device belongs to, as a node without a device."""
        return Node(node.region, node.zone, node.ip, node.port, "", node.host, False)

    def given_up(self, node: Node) -> Optional[str]:
        """Say why a server is asked no more; None while it is."""
        with self.lock:
            server = self.server(node)
            return self.last_error[server] if self.in_a_row[server] >= GIVE_UP else None

    def note(self, node: Node, answer: Answer, *, again: bool) -> None:
        """Note how a question to a server ended."""
        with self.lock:
            server = self.server(node)
            self.retries += again
            if answer.error is None:
                self.answered[server] += 1
                self.in_a_row[server] = 0
            else:
                self.failed[server] += 1
                self.in_a_row[server] += 1
                self.last_error[server] = answer.error
            if answer.status == 507:
                self.unmounted[f"{node.host} ({node.ip}:{node.port}/{node.device})"] = None

    def lists(self) -> Dict[str, Any]:
        """Give the module's results about servers."""
        silent = [server for server in self.failed if not self.answered[server]]
        faulty = [server for server in self.failed if self.answered[server]]

        def say(server: Node) -> str:
            return f"{server.host} ({server.ip}:{server.port}): {self.last_error[server]}"

        return {
            "not_reached": sorted(map(say, silent)),
            "errors": sorted(
                f"{say(server)} ({self.failed[server]} of "
                f"{self.failed[server] + self.answered[server]} questions)"
                for server in faulty
            ),
            "unmounted": sorted(self.unmounted),
            "retries": self.retries,
        }


# --- asking ------------------------------------------------------------------------------------


def ask(
    servers: Servers,
    place: Place,
    node: Node,
    policy: int,
    *,
    timeout: float,
    retries: int,
    until: float,
) -> Answer:
    """Ask one server for one sample, again if it does not answer."""
    answer = Answer(error="not asked")
    for attempt in range(1 + retries):
        reason = servers.given_up(node)
        if reason is not None:
            return Answer(error=reason)
        answer = _swift_objects.ask(place, node, policy, timeout, until)
        servers.note(node, answer, again=attempt > 0)
        if answer.error is None or time.monotonic() >= until:
            break
    return answer


def ask_all(
    servers: Servers,
    places: Sequence[Place],
    policy: int,
    *,
    timeout: float,
    retries: int,
    until: float,
) -> List[Tuple[Place, List[Answer]]]:
    """Ask every primary of every sample at once."""
    questions = [(place, node) for place in places for node in place.nodes]

    def one(question: Tuple[Place, Node]) -> Answer:
        return ask(servers, *question, policy, timeout=timeout, retries=retries, until=until)

    with ThreadPoolExecutor(max_workers=max(1, min(MAX_THREADS, len(questions)))) as pool:
        answers = pool.map(one, questions)
        return [(place, list(itertools.islice(answers, len(place.nodes)))) for place in places]


class Samples:
    """The samples of one cluster, by its rings and through the internal client."""

    def __init__(self, swift_dir: str, account: str) -> None:
        self.swift_dir, self.account = swift_dir, account
        try:
            # The place of everything depends on two values in there. Swift itself ends the process
            # if it finds none.
            utils.set_swift_dir(swift_dir)
            reload_storage_policies()
            self.client = InternalClient(
                ConfigString(PROXY.format(swift_dir=swift_dir)), "infn.cloud dispersion", TRIES
            )
        except (OSError, RingLoadError) as error:
            raise RequestError(
                f"{swift_dir}: {error}: run this as root on a host that has the rings"
            ) from error
        except SystemExit as error:
            raise RequestError(
                f"{swift_dir}/swift.conf: {error}: run this on a host of the cluster"
            ) from error

    def sampled(self) -> List[Sampled]:
        """Give what is sampled: containers, and the objects of each policy."""
        default = POLICIES.default
        return [
            Sampled("container", default.name, int(default)),
            *(
                Sampled("object", policy.name, int(policy), policy.is_deprecated)
                for policy in POLICIES
            ),
        ]

    def ring(self, what: Sampled) -> Any:
        """Load a ring; it may not be there yet."""
        name = "container" if what.kind == "container" else "object"
        if what.kind == "object" and what.index:
            name = f"object-{what.index}"
        try:
            return Ring(self.swift_dir, ring_name=name)
        except (OSError, RingLoadError) as error:
            raise RequestError(
                f"{what}: {error}: publish a ring for it, or take it out of swift.conf"
            ) from error

    def names(self, what: Sampled) -> List[str]:
        """List the samples that are there."""
        if what.container is None:
            items = self.client.iter_containers(self.account, prefix=what.prefix)
        else:
            items = self.client.iter_objects(self.account, what.container, prefix=what.prefix)
        return [item["name"] for item in self.listing(what, items)]

    def listing(self, what: Sampled, items: Iterable[Mapping[str, Any]]) -> List[Mapping[str, Any]]:
        """Read a listing to its end."""
        try:
            return list(items)
        except (UnexpectedResponse, SwiftException, OSError, Timeout) as error:
            raise RequestError(
                f"{what}: the samples in {self.account} cannot be listed ({error}): "
                "none of the servers of their listing answers"
            ) from error

    def place(self, what: Sampled, ring: Any, name: str) -> Place:
        """Say where a sample belongs."""
        target = what.target(self.account, name)
        partition, primaries = ring.get_nodes(*target.names)
        return Place(target, partition, tuple(Node.of(node, handoff=False) for node in primaries))

    def to_add(self, what: Sampled, coverage: float, least: int) -> List[str]:
        """Choose the samples that one ring lacks."""
        ring = self.ring(what)
        return names_to_add(
            self.names(what),
            lambda name: int(ring.get_part(*what.target(self.account, name).names)),
            what.prefix,
            samples_wanted(ring.partition_count, coverage, least),
        )

    def put(self, what: Sampled, name: str) -> Optional[str]:
        """Write one sample; say what went wrong."""
        try:
            if what.container is None:
                self.client.create_container(self.account, name)
            else:
                body = io.BytesIO(name.encode())
                length = {"Content-Length": str(len(name))}
                self.client.upload_object(body, self.account, what.container, name, length)
        except (UnexpectedResponse, SwiftException, OSError, Timeout) as error:
            return f"{what.target(self.account, name)}: {error}"
        return None

    def delete(self, what: Sampled, name: str) -> Optional[str]:
        """Remove one sample; say what went wrong."""
        try:
            if what.container is None:
                self.client.delete_container(self.account, name)
            else:
                self.client.delete_object(self.account, what.container, name)
        except (UnexpectedResponse, SwiftException, OSError, Timeout) as error:
            return f"{what.target(self.account, name)}: {error}"
        return None

    def make_container(self, what: Sampled) -> None:
        """Make the container of a policy's samples."""
        try:
            policy = {"X-Storage-Policy": what.policy}
            self.client.create_container(self.account, what.container, policy)
        except (UnexpectedResponse, SwiftException, OSError, Timeout) as error:
            raise RequestError(
                f"{what}: the container of its samples cannot be made ({error}): "
                "see that most of the container servers answer"
            ) from error

    def remove_container(self, what: Sampled) -> None:
        """Remove the container of a policy's samples."""
        try:
            self.client.delete_container(self.account, what.container)
        except (UnexpectedResponse, SwiftException, OSError, Timeout) as error:
            raise RequestError(
                f"{self.account}/{what.container} cannot be removed yet ({error}): run it again "
                "once all container servers know that it is empty"
            ) from error


def every(work: Callable[[str], Optional[str]], names: Sequence[str], doing: str) -> None:
    """Do the same with every sample, several at once; complain of the first that failed."""
    faults = [fault for fault in GreenPool(WRITERS).imap(work, names) if fault]
    if faults:
        raise RequestError(
            f"{len(faults)} of {len(names)} samples could not be {doing}, the first: {faults[0]}; "
            "run it again, it goes on from here"
        )


def populate(params: Mapping[str, Any], *, write: bool) -> Dict[str, Any]:
    """Write the samples that are missing, or remove all."""
    faults = []
    if not 0 < params["coverage"] <= 100:
        faults.append(f"coverage is a share of the partitions in percent, not {params['coverage']}")
    if params["samples_min"] < 1:
        faults.append("samples_min is less than 1")
    if faults:
        raise RequestError("; ".join(faults))
    samples = Samples(params["swift_dir"], params["account"])
    wished = params["state"] == "present"
    changes: Dict[str, int] = {}
    for what in samples.sampled():
        if wished:
            if what.deprecated:
                continue
            names = samples.to_add(what, params["coverage"], params["samples_min"])
        else:
            names = samples.names(what)
        if not names:
            continue
        changes[str(what)] = len(names)
        if not write:
            continue
        if wished:
            if what.container is not None:
                samples.make_container(what)
            every(partial(samples.put, what), names, "written")
        else:
            every(partial(samples.delete, what), names, "removed")
            if what.container is not None:
                samples.remove_container(what)
    return {"changed": bool(changes), "samples": changes}


def dispersion(params: Mapping[str, Any]) -> Dict[str, Any]:
    """Tell how many copies of the samples are where they belong."""
    faults = [
        f"{name} must be more than 0 seconds"
        for name in ("timeout", "deadline")
        if not params[name] > 0
    ]
    if params["retries"] < 0:
        faults.append("retries is less than 0")
    if faults:
        raise RequestError("; ".join(faults))
    begun = time.monotonic()
    samples, servers = Samples(params["swift_dir"], params["account"]), Servers()
    found: Dict[str, Any] = {"object": {}, "container": {}}
    problems: List[str] = []
    for what in samples.sampled():
        try:
            ring = samples.ring(what)
            names = samples.names(what)
        except RequestError as error:
            problems.append(str(error))
            continue
        if not names:
            problems.append(f"{what}: there are no samples: make them with swift_dispersion")
        asked = ask_all(
            servers,
            one_each(samples.place(what, ring, name) for name in names),
            what.index,
            timeout=params["timeout"],
            retries=params["retries"],
            until=begun + params["deadline"],
        )
        figures = {
            "policy_index": what.index,
            **count(asked, len(names), ring.partition_count),
        }
        if what.kind == "container":
            found["container"] = figures
        else:
            found["object"][what.policy] = figures
    return {
        "dispersion": found,
        **servers.lists(),
        "problems": problems,
        "seconds": round(time.monotonic() - begun, 2),
    }
