# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One name for several sites, which leads to those that are alive.

Each name server looks for itself and writes what it sees into its own copy of a small zone. So a
site that dies takes its own name server with it, and the others need nobody to tell them.
"""

from __future__ import annotations

import concurrent.futures
import http.client
import ipaddress
import socket
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Watch:
    """Who is alive: a site falls after `fall` failures in a row, and rises after `rise` successes.

    While nobody at all seems to be alive, it is this server that sees nothing; then the last answer
    stays.
    """

    sites: Sequence[str]
    fall: int = 2
    rise: int = 2
    living: list[str] = field(default_factory=list)
    _alive: dict[str, bool] = field(default_factory=dict)
    _streaks: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.living = list(self.sites)
        self._alive = dict.fromkeys(self.sites, True)
        self._streaks = dict.fromkeys(self.sites, 0)

    def observe(self, seen: Mapping[str, str]) -> list[str]:
        """Take in what was seen ('' is good, else the reason); messages of what changed."""
        messages = []
        for site in self.sites:
            streak = self._streaks[site]
            streak = min(streak, 0) - 1 if seen[site] else max(streak, 0) + 1
            self._streaks[site] = streak
            if self._alive[site] and streak <= -self.fall:
                self._alive[site] = False
                messages.append(f"{site} is away: {seen[site]}")
            elif not self._alive[site] and streak >= self.rise:
                self._alive[site] = True
                messages.append(f"{site} is back")
        alive = [site for site in self.sites if self._alive[site]]
        if messages and not alive:
            messages.append("nobody seems to be alive: the last answer stays")
        self.living = alive or self.living
        return messages


def probe(check: Mapping[str, Any], context: ssl.SSLContext, timeout: float) -> str:
    """Ask one service; '' if it answers with a status below 400, else why not."""
    where = f"{check['host']}:{check['port']}"
    try:
        with (
            socket.create_connection((check["address"], check["port"]), timeout) as plain,
            context.wrap_socket(plain, server_hostname=check["host"]) as link,
        ):
            connection = http.client.HTTPConnection(check["host"], check["port"], timeout=timeout)
            connection.sock = link
            connection.request("GET", check["path"], headers={"Connection": "close"})
            status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        return f"{where}: {error or type(error).__name__}"
    return "" if status < 400 else f"{where}: status {status}"


def look(
    sites: Mapping[str, Sequence[Mapping[str, Any]]], context: ssl.SSLContext, timeout: float
) -> dict[str, str]:
    """Ask all services of all sites at once."""
    checks = [(site, check) for site, listed in sites.items() for check in listed]
    with concurrent.futures.ThreadPoolExecutor(max(1, len(checks))) as pool:
        found = list(pool.map(lambda one: probe(one[1], context, timeout), checks))
    result = dict.fromkeys(sites, "")
    for (site, _check), reason in zip(checks, found):
        result[site] = result[site] or reason
    return result


def records(addresses: Sequence[str], ttl: int, challenge: str = "") -> list[dict[str, Any]]:
    """The record sets of the zone: addresses, and where a certificate for its name is proved."""
    values = [challenge.rstrip(".") + "."] if challenge else []
    state = "present" if values else "absent"
    result: list[dict[str, Any]] = [
        {"name": "_acme-challenge", "type": "CNAME", "values": values, "ttl": ttl, "state": state}
    ]
    for kind, version in (("A", 4), ("AAAA", 6)):
        values = [one for one in addresses if ipaddress.ip_address(one).version == version]
        state = "present" if values else "absent"
        result.append({"name": "@", "type": kind, "values": values, "ttl": ttl, "state": state})
    return result
