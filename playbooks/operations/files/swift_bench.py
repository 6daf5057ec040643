# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes, reads and removes objects through several doors of one Swift, in turn.

Takes a JSON object on standard input (doors: name -> URL of the account; token, sizes, clients,
rounds, bytes: how much a measurement moves at least) and prints the seconds of each measurement.
"""

from __future__ import annotations

import http.client
import json
import os
import ssl
import sys
import threading
import time
from collections.abc import Callable
from urllib.parse import urlsplit

CONTAINER = f"bench-{os.getpid()}"
Call = Callable[[http.client.HTTPConnection, str], None]


def connect(url: str) -> http.client.HTTPConnection:
    place = urlsplit(url)
    if place.scheme == "https":
        context = ssl.create_default_context()
        return http.client.HTTPSConnection(place.netloc, context=context, timeout=120)
    return http.client.HTTPConnection(place.netloc, timeout=120)


def ask(
    door: http.client.HTTPConnection, method: str, path: str, token: str, body: bytes = b""
) -> int:
    door.request(method, path, body=body, headers={"X-Auth-Token": token})
    answer = door.getresponse()
    length = 0
    while piece := answer.read(1 << 20):
        length += len(piece)
    if answer.status >= 300 and not (method == "DELETE" and answer.status == 404):
        raise RuntimeError(f"{method} {path}: {answer.status}")
    return length


def together(url: str, names: list[str], clients: int, call: Call) -> float:
    """Seconds until so many clients have made the call for all names, each on one connection."""
    path, errors = urlsplit(url).path, []

    def work(mine: list[str]) -> None:
        try:
            door = connect(url)
            for name in mine:
                call(door, f"{path}/{CONTAINER}/{name}")
            door.close()
        except (OSError, RuntimeError, http.client.HTTPException) as error:
            errors.append(error)

    threads = [
        threading.Thread(target=work, args=(names[number::clients],)) for number in range(clients)
    ]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return time.monotonic() - began


def main() -> None:
    wish = json.load(sys.stdin)
    token, doors = wish["token"], wish["doors"]
    first = next(iter(doors.values()), "")
    door, path = connect(first), urlsplit(first).path
    ask(door, "PUT", f"{path}/{CONTAINER}", token)
    names: list[str] = []
    measured = []

    def delete(door: http.client.HTTPConnection, path: str) -> None:
        ask(door, "DELETE", path, token)

    try:
        for size in wish["sizes"]:
            body = os.urandom(size)

            def put(door: http.client.HTTPConnection, path: str, body: bytes = body) -> None:
                ask(door, "PUT", path, token, body)

            def get(door: http.client.HTTPConnection, path: str, size: int = size) -> None:
                if ask(door, "GET", path, token) != size:
                    raise RuntimeError(f"GET {path}: cut short")

            for clients in wish["clients"]:
                number = max(clients, min(64, wish["bytes"] // size))
                for turn in range(wish["rounds"]):
                    # Who is first changes, so that nobody always finds the caches warm.
                    order = list(doors)[turn % len(doors) :] + list(doors)[: turn % len(doors)]
                    for name in order:
                        names = [f"{size}-{clients}-{turn}-{name}-{i}" for i in range(number)]
                        one = {"door": name, "size": size, "clients": clients, "objects": number}
                        for method, call in (("PUT", put), ("GET", get)):
                            seconds = together(doors[name], names, clients, call)
                            measured.append({**one, "method": method, "seconds": seconds})
                        together(doors[name], names, clients, delete)
                        names = []
    finally:
        if names:
            together(first, names, 1, delete)
        ask(connect(first), "DELETE", f"{path}/{CONTAINER}", token)
    json.dump(measured, sys.stdout)


if __name__ == "__main__":
    main()
