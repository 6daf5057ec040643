# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Storage policies as data: what cannot be, what may not change, and what follows from them.

PRIVATE to the collection: it may change without notice.

Pure: one list of policies goes in; faults, the regions and replicas of each object ring, and the
affinities of a proxy come out. Nothing here knows Ansible, the network or Swift's library.
"""

from __future__ import annotations

import configparser
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Dict, List, Optional, Tuple

REPLICATION = "replication"
ERASURE_CODING = "erasure_coding"
# What Swift takes as a policy's name.
NAME = re.compile(r"[A-Za-z0-9-]+")
SECTION = re.compile(r"storage-policy:(\d+)")
SEGMENT_SIZE = 1048576
# How each code's parameters are named in swift.conf.
CODE = {
    "scheme": "ec_type",
    "data": "ec_num_data_fragments",
    "parity": "ec_num_parity_fragments",
    "segment_size": "ec_object_segment_size",
}
# Swift refuses this code with so many parity fragments, because it can lose data.
WEAK_CODE, WEAK_FROM = "isa_l_rs_vand", 5


@dataclass(frozen=True)
class Policy:
    """One storage policy, as declared."""

    index: int
    name: str
    kind: str = REPLICATION
    default: bool = False
    deprecated: bool = False
    aliases: Tuple[str, ...] = ()
    # Names of the regions that its objects lie in; empty for all.
    regions: Tuple[str, ...] = ()
    replicas: Optional[float] = None
    part_power: Optional[int] = None
    # scheme, data, parity and segment_size of an erasure code.
    code: Tuple[Tuple[str, str], ...] = ()
    read_order: Tuple[str, ...] = ()
    write_local: bool = False

    @classmethod
    def of(cls, item: Mapping[str, Any]) -> Policy:
        """Read what was declared; what is missing has its default."""
        code = item.get("erasure_code") or {}
        return cls(
            index=int(item["index"]),
            name=str(item["name"]),
            kind=item.get("type") or REPLICATION,
            default=bool(item.get("default", False)),
            deprecated=bool(item.get("deprecated", False)),
            aliases=tuple(item.get("aliases") or ()),
            regions=tuple(item.get("regions") or ()),
            replicas=item.get("replicas"),
            part_power=item.get("part_power"),
            code=tuple((key, str(value)) for key, value in code.items()),
            read_order=tuple(item.get("read_order") or ()),
            write_local=bool(item.get("write_local", False)),
        )

    @property
    def names(self) -> Tuple[str, ...]:
        """Everything that a user may call it."""
        return (self.name, *self.aliases)

    @property
    def fragments(self) -> int:
        """How many fragments of an object there are, each on a disk of its own."""
        code = dict(self.code)
        return int(code.get("data", 0)) + int(code.get("parity", 0))

    @property
    def ring(self) -> str:
        """The name of its ring."""
        return f"object-{self.index}" if self.index else "object"

    @property
    def copies(self) -> float:
        """Replicas of a partition in its ring: for an erasure code, a place per fragment."""
        if self.kind == ERASURE_CODING:
            return self.fragments
        return 3 if self.replicas is None else self.replicas

    def __str__(self) -> str:
        return f"policy {self.index} ({self.name})"


def read(items: Iterable[Mapping[str, Any]]) -> List[Policy]:
    """Read all policies, in the order of their indices."""
    return sorted((Policy.of(item) for item in items), key=lambda policy: policy.index)


# --- what cannot be ----------------------------------------------------------------------------


def faults_of(policies: Sequence[Policy], regions: Sequence[str] = ()) -> List[str]:
    """Name everything that keeps these policies from being those of one cluster."""
    faults: List[str] = []
    indices = [policy.index for policy in policies]
    faults += [
        f"index {index} is taken by {indices.count(index)} policies: give each its own"
        for index in sorted(set(indices))
        if indices.count(index) > 1
    ]
    if 0 not in indices:
        faults.append("no policy has index 0, which containers without a policy have: add it")
    if sum(policy.default for policy in policies) != 1:
        faults.append("needs exactly one default: set default: true on one policy")
    owner: Dict[str, Policy] = {}
    for policy in policies:
        faults += [f"{policy}: {text}" for text in _faults_of_one(policy, regions)]
        for name in policy.names:
            if other := owner.get(name.lower()):
                faults.append(f"{policy}: the name '{name}' is taken by {other}; choose another")
            owner[name.lower()] = policy
    return faults


def _faults_of_one(policy: Policy, regions: Sequence[str]) -> Iterable[str]:
    if policy.index < 0:
        yield "an index is 0 or more"
    for name in policy.names:
        if not NAME.fullmatch(name):
            yield f"the name '{name}' may only hold letters, digits and dashes"
        if policy.index and name.lower() == "policy-0":
            yield "Swift keeps the name Policy-0 for index 0"
    if policy.default and policy.deprecated:
        yield "the default cannot be deprecated: make another policy the default first"
    if regions:
        for name in sorted({*policy.regions, *policy.read_order}.difference(regions)):
            yield f"there is no region '{name}'; the federation has {', '.join(sorted(regions))}"
    if policy.kind not in (REPLICATION, ERASURE_CODING):
        yield f"type is {REPLICATION} or {ERASURE_CODING}, not '{policy.kind}'"
    elif policy.kind == ERASURE_CODING:
        yield from _faults_of_code(policy)
    else:
        if policy.code:
            yield f"has an erasure_code: set type: {ERASURE_CODING}, or take the code away"
        if policy.copies < 1:
            yield f"replicas is {policy.copies:g}; it must be 1 or more"


def _faults_of_code(policy: Policy) -> Iterable[str]:
    code = dict(policy.code)
    missing = [name for name in ("scheme", "data", "parity") if not code.get(name)]
    if missing:
        yield f"erasure_code needs {', '.join(missing)}"
        return
    if policy.replicas is not None:
        yield "an erasure code has data and parity fragments instead of replicas: leave it out"
    for name in ("data", "parity"):
        if not code[name].isdigit() or int(code[name]) < 1:
            yield f"erasure_code.{name} is {code[name]}; it must be 1 or more"
    if (
        code["scheme"] == WEAK_CODE
        and code["parity"].isdigit()
        and int(code["parity"]) >= WEAK_FROM
    ):
        yield (
            f"{WEAK_CODE} can lose data with {code['parity']} parity fragments: take"
            " isa_l_rs_cauchy"
        )


def parse(text: str) -> configparser.RawConfigParser:
    """Read a file of sections, as Swift's are."""
    parser = configparser.RawConfigParser(strict=False)
    parser.read_string(text)
    return parser


# --- what may not change -----------------------------------------------------------------------


def changes_of(policies: Sequence[Policy], found: str) -> List[str]:
    """Name each change to the policies of a swift.conf that would hide objects from their users.

    Objects lie in directories with the policy's number, containers remember the number, and
    fragments are only understood with the code that made them. The name may change.
    """
    try:
        parser = parse(found)
    except configparser.Error as error:
        return [f"the policies in swift.conf cannot be read: {error}"]
    declared = {policy.index: policy for policy in policies}
    faults = []
    for section in parser.sections():
        match = SECTION.fullmatch(section)
        if not match:
            continue
        was = dict(parser[section])
        index = int(match[1])
        policy = declared.get(index)
        if policy is None:
            faults.append(
                f"policy {index} ({was.get('name', '')}) is there and is not declared any more:"
                " containers that have it could not be read; declare it again with"
                " deprecated: true, which keeps new containers away"
            )
            continue
        kind = was.get("policy_type", REPLICATION)
        if kind != policy.kind:
            faults.append(
                f"{policy}: its type is {kind} and cannot become {policy.kind}; give the new"
                " type an index of its own and deprecate this one"
            )
        elif kind == ERASURE_CODING:
            faults += _changes_of_code(policy, was)
    return faults


def _changes_of_code(policy: Policy, was: Mapping[str, str]) -> Iterable[str]:
    wished = {"segment_size": str(SEGMENT_SIZE), **dict(policy.code)}
    for name, option in CODE.items():
        before = was.get(option, str(SEGMENT_SIZE) if name == "segment_size" else "")
        if before != wished.get(name):
            yield (
                f"{policy}: erasure_code.{name} is {before} and cannot become"
                f" {wished.get(name)}: its fragments could not be read; declare a new policy"
            )


# --- what follows ------------------------------------------------------------------------------


def affinity(policy: Policy, here: str, numbers: Mapping[str, int]) -> Dict[str, Any]:
    """Give a proxy's settings for one policy, as Swift writes them; empty where none differ.

    It reads from its own region first, then in the order that the policy says. Where the policy
    wants it, it writes into its own region first; replication brings the others their copies.
    """
    settings: Dict[str, Any] = {}
    if policy.read_order:
        order = [name for name in (here, *policy.read_order) if name in numbers]
        order = list(dict.fromkeys(order))
        settings["read_affinity"] = ", ".join(
            f"r{numbers[name]}={100 * place}" for place, name in enumerate(order, 1)
        )
    if policy.write_local and here in (policy.regions or numbers):
        settings["write_affinity"] = f"r{numbers[here]}"
        settings["write_affinity_handoff_delete_count"] = "auto"
    return {"index": policy.index, **settings} if settings else {}
