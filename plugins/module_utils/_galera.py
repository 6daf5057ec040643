# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the servers of a Galera cluster say, and what may be done about it.

PRIVATE to the collection: it may change without notice.

Pure: `read_grastate`, `read_position` and `describe` read what was printed; `plan_cluster` decides
who begins a cluster and who joins it. The rule behind everything here: a second cluster beside a
living one is worse than no cluster, so whoever cannot be asked counts as one that lives.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

NO_UUID = "00000000-0000-0000-0000-000000000000"
POSITION = re.compile(r"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}):(-?\d+)")
# Directories below the data directory that are no database of a user.
SYSTEM_DATABASES = frozenset(("mysql", "performance_schema", "sys", "#rocksdb", "lost+found"))


class GaleraError(Exception):
    """Says what cannot be understood."""


def read_grastate(text: str) -> dict[str, Any]:
    """The saved state of a server: the cluster it was in, its last write, if it was the last one.

    A number of -1 says that the server runs, or did not end in peace.
    """
    values = dict(re.findall(r"(?m)^(\w+):\s*(\S+)\s*$", text))
    uuid = values.get("uuid", NO_UUID)
    return {
        "saved_uuid": "" if uuid == NO_UUID else uuid,
        "saved_seqno": int(values.get("seqno", "-1")),
        "safe_to_bootstrap": values.get("safe_to_bootstrap") == "1",
    }


def read_position(text: str) -> tuple[str, int]:
    """The cluster and the last write in what galera_recovery printed."""
    found = POSITION.search(text)
    if found is None:
        raise GaleraError(f"no position in what galera_recovery printed: {text.strip()!r}")
    uuid, seqno = found.groups()
    return ("", -1) if uuid == NO_UUID else (uuid, int(seqno))


def describe(status: Mapping[str, str]) -> dict[str, Any]:
    """What a running server says of its cluster, from its status variables."""
    wsrep = status.get("wsrep_on", "OFF").upper() in ("ON", "1")
    return {
        "version": status.get("version", ""),
        "wsrep": wsrep,
        "primary": wsrep and status.get("wsrep_cluster_status") == "Primary",
        "synced": wsrep
        and status.get("wsrep_cluster_status") == "Primary"
        and status.get("wsrep_ready") == "ON"
        and status.get("wsrep_local_state_comment") == "Synced",
        "doing": status.get("wsrep_local_state_comment", ""),
        "size": int(status.get("wsrep_cluster_size", "0") or 0),
        "uuid": status.get("wsrep_cluster_state_uuid", ""),
        "seqno": int(status.get("wsrep_last_committed", "-1") or -1),
        "provider_options": status.get("wsrep_provider_options", ""),
    }


def user_databases(directories: Sequence[str]) -> list[str]:
    """The databases that somebody would miss, by the directories that hold them."""
    return sorted(name for name in directories if name not in SYSTEM_DATABASES)


@dataclass(frozen=True)
class Wish:
    """What is wanted of a cluster, and what was confirmed by name."""

    hosts: Sequence[str]
    lost: Sequence[str] = ()
    bootstrap_host: str = ""
    allow_data_loss: bool = False
    recover: bool = False


@dataclass
class Plan:
    """Who begins the cluster (nobody, if it runs), who joins, and what forbids all of it."""

    bootstrap: str = ""
    join: list[str] = field(default_factory=list)
    members: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        return {
            "bootstrap": self.bootstrap,
            "join": self.join,
            "members": self.members,
            "problems": self.problems,
        }


def plan_cluster(answers: Mapping[str, Mapping[str, Any]], wish: Wish) -> Plan:
    """Decide from what each server said; a host without an answer could not be asked."""
    known = {name: answers[name] for name in wish.hosts if name in answers}
    primaries = [name for name, node in known.items() if node["primary"]]
    if primaries:
        return _plan_joining(known, primaries, wish)
    silent = [name for name in wish.hosts if name not in known and name not in wish.lost]
    if silent:
        names = ", ".join(silent)
        return Plan(
            problems=[
                f"No server that was asked belongs to a running cluster, and {names} could not be "
                "asked: it may run the cluster, and a second one beside it would part the data. "
                f"Bring {names} back; or, only when it is certain that no database runs there, "
                "name it in galera_lost_hosts."
            ]
        )
    veterans = [name for name, node in known.items() if node["saved_uuid"] or node["wsrep"]]
    if veterans and wish.recover:
        return _plan_recovery(known, veterans, wish)
    if veterans:
        return Plan(
            problems=[
                f"The cluster has run before (on {', '.join(veterans)}) and runs nowhere now. "
                "Start it from the server with the latest data: "
                "ansible-playbook infn.cloud.operations.galera_recover"
            ]
        )
    if wish.recover:
        return Plan(
            problems=[
                "No server has ever been in a cluster, so there is nothing to recover: "
                "ansible-playbook infn.cloud.backbone makes one."
            ]
        )
    return _plan_first(known, wish)


def _overwritten(
    known: Mapping[str, Mapping[str, Any]], names: Sequence[str], uuid: str
) -> list[str]:
    """Those who would lose databases by joining: what they have is not the cluster's."""
    return [
        name
        for name in names
        if known[name]["databases"] and not (uuid and known[name]["saved_uuid"] == uuid)
    ]


def _loss(known: Mapping[str, Mapping[str, Any]], names: Sequence[str], source: str) -> list[str]:
    held = "; ".join(f"{name}: {', '.join(known[name]['databases'])}" for name in names)
    return [
        f"Joining would replace databases by those of {source} ({held}). Move them elsewhere, or "
        "say that they may go with galera_allow_data_loss=true."
    ]


def _plan_joining(known: Mapping[str, Mapping[str, Any]], primaries: list[str], wish: Wish) -> Plan:
    uuids = {known[name]["uuid"] for name in primaries}
    alone = [name for name in primaries if known[name]["size"] < len(primaries)]
    if len(uuids) > 1 or alone:
        return Plan(
            problems=[
                f"{', '.join(primaries)} are in different clusters: somebody began a second one. "
                "Choose whose data stays, stop MariaDB on the others, and run "
                "infn.cloud.operations.galera_recover."
            ]
        )
    (uuid,) = uuids
    plan = Plan(members=primaries)
    plan.join = [name for name in known if name not in primaries]
    cut_off = [name for name in plan.join if known[name]["wsrep"]]
    if cut_off:
        plan.problems.append(
            f"{', '.join(cut_off)}: cut off from the cluster, which runs on "
            f"{', '.join(primaries)}. Mend the network between them; it joins by itself then."
        )
    losers = _overwritten(known, plan.join, uuid)
    if losers and not wish.allow_data_loss:
        plan.problems += _loss(known, losers, primaries[0])
    return plan


def _plan_first(known: Mapping[str, Mapping[str, Any]], wish: Wish) -> Plan:
    holders = [name for name, node in known.items() if node["databases"]]
    chosen = wish.bootstrap_host or (holders or list(known) or [""])[0]
    plan = Plan(bootstrap=chosen, join=[name for name in known if name != chosen])
    if chosen not in known:
        return Plan(problems=[f"galera_bootstrap_host={chosen} is none of {', '.join(known)}."])
    losers = [name for name in holders if name != chosen]
    if losers and not wish.bootstrap_host:
        plan.problems.append(
            f"{', '.join(holders)} have databases of their own, and a cluster has one: name the "
            "server whose data stays with galera_bootstrap_host."
        )
    elif losers and not wish.allow_data_loss:
        plan.problems += _loss(known, losers, chosen)
    return plan


def _plan_recovery(known: Mapping[str, Mapping[str, Any]], veterans: list[str], wish: Wish) -> Plan:
    """Elect the server with the last write. Ties go to the one that knows it was the last."""
    others = [name for name in known if name not in veterans]
    # While a server runs its last write is not known yet; whoever carries this out stops it first.
    stopped = [
        name for name in veterans if not known[name]["running"] and not known[name]["starting"]
    ]
    if wish.bootstrap_host:
        if wish.bootstrap_host not in known:
            return Plan(
                problems=[
                    f"galera_bootstrap_host={wish.bootstrap_host} is none of {', '.join(known)}."
                ]
            )
        chosen = wish.bootstrap_host
    else:
        uuids = {known[name]["recovered_uuid"] for name in stopped}
        lacking = [name for name in stopped if not known[name]["recovered_uuid"]]
        if lacking:
            return Plan(
                problems=[
                    f"{', '.join(lacking)}: its last write cannot be read, see `galera_recovery` "
                    "there. If another server surely has all data, name that one with "
                    "galera_bootstrap_host."
                ]
            )
        if len(uuids) > 1:
            shown = "; ".join(f"{name}: {known[name]['recovered_uuid']}" for name in stopped)
            return Plan(
                problems=[
                    f"The servers come from different clusters ({shown}): name the one whose data "
                    "stays with galera_bootstrap_host."
                ]
            )
        chosen = max(
            veterans,
            key=lambda name: (
                known[name]["recovered_seqno"],
                known[name]["safe_to_bootstrap"],
                -veterans.index(name),
            ),
        )
    plan = Plan(bootstrap=chosen, join=[name for name in known if name != chosen])
    losers = [name for name in others if name != chosen and known[name]["databases"]]
    if losers and not wish.allow_data_loss:
        plan.problems += _loss(known, losers, chosen)
    return plan
