# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writers and readers on the object store, as a careful client with a list of sites behaves.

PRIVATE to the collection: it may change without notice.

A client has a site of its own and goes to the next one when a request fails; it comes back after a
while. It checks what it reads, as every client should: Swift notices damage only while it sends.
Each request has a connection of its own, so that every failure is the site's and not that of a
connection that was kept too long.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import random
import socket
import ssl
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import IO, Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple
from urllib.parse import quote, urlsplit

from ansible_collections.infn.cloud.plugins.module_utils._load_journal import (
    MISSING,
    OK,
    UNREADABLE,
    WRONG,
    Acknowledged,
    Journal,
    Reading,
)

# Seconds for which a client stays away from a site that failed.
AWAY = 5.0
# Requests at once when everything is read back or removed.
AT_ONCE = 8
# A token is replaced this many seconds before it expires.
MARGIN = 120
# Objects that a listing names at once.
PAGE = 1000

# Who the clients are and where they go, as modules take it; doc fragment _login.clients.
CLIENTS: Dict[str, Any] = {
    "auth": {
        "type": "dict",
        "options": {
            "username": {"type": "str", "required": True},
            "password": {"type": "str", "required": True, "no_log": True},
            "project_name": {"type": "str", "required": True},
            "user_domain_name": {"type": "str", "default": "Default"},
            "project_domain_name": {"type": "str", "default": "Default"},
            "cacert": {"type": "path"},
        },
    },
    "sites": {
        "type": "list",
        "elements": "dict",
        "options": {
            "region": {"type": "str", "required": True},
            "auth_url": {"type": "str", "required": True},
        },
    },
}


class LoadError(Exception):
    """The load cannot begin; the text names the site and what to do."""


class Failure(Exception):
    """A request failed; the text is the kind of failure, the same for all of that kind."""


@dataclass(frozen=True)
class Site:
    """Where a client may go: the region in Keystone's catalogue, and Keystone's URL there."""

    region: str
    auth_url: str

    @property
    def name(self) -> str:
        """Name the site, as figures and messages do."""
        return self.region


@dataclass(frozen=True)
class Answer:
    """What a server said."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def md5_of(body: bytes) -> str:
    """Give the checksum that Swift calls an object's ETag."""
    return hashlib.md5(body, usedforsecurity=False).hexdigest()


def kind_of(error: Exception) -> str:
    """Name a failure of the network by what a person would look for."""
    if isinstance(error, socket.timeout):
        return "timeout"
    if isinstance(error, ConnectionRefusedError):
        return "refused"
    if isinstance(error, ssl.SSLCertVerificationError):
        return "certificate"
    if isinstance(error, (ConnectionError, http.client.HTTPException, ssl.SSLError)):
        return "cut off"
    return (getattr(error, "strerror", None) or error.__class__.__name__).lower()


def ask(
    method: str,
    url: str,
    *,
    context: Optional[ssl.SSLContext],
    timeout: float,
    headers: Optional[Mapping[str, str]] = None,
    body: Optional[bytes] = None,
) -> Answer:
    """Make one request; raise Failure if there is no whole answer."""
    parts = urlsplit(url)
    path = parts.path + (f"?{parts.query}" if parts.query else "")
    connection: http.client.HTTPConnection
    if parts.scheme == "https":
        connection = http.client.HTTPSConnection(parts.netloc, timeout=timeout, context=context)
    else:
        connection = http.client.HTTPConnection(parts.netloc, timeout=timeout)
    try:
        connection.request(method, path, body=body, headers=dict(headers or {}))
        response = connection.getresponse()
        return Answer(
            response.status,
            {name.lower(): value for name, value in response.getheaders()},
            response.read(),
        )
    except (OSError, http.client.HTTPException) as error:
        raise Failure(kind_of(error)) from error
    finally:
        connection.close()


def password_login(auth: Mapping[str, Any]) -> Dict[str, Any]:
    """Give what Keystone is asked for the token of a user in a project."""
    user = {
        "name": auth["username"],
        "password": auth["password"],
        "domain": {"name": auth["user_domain_name"]},
    }
    project = {
        "name": auth["project_name"],
        "domain": {"name": auth["project_domain_name"]},
    }
    return {
        "auth": {
            "identity": {"methods": ["password"], "password": {"user": user}},
            "scope": {"project": project},
        }
    }


class Identity:
    """The login that all clients of a load share: one token, valid at every site."""

    def __init__(
        self,
        auth: Mapping[str, Any],
        sites: Sequence[Site],
        context: Optional[ssl.SSLContext],
        timeout: float,
    ) -> None:
        self._auth, self._sites = auth, sites
        self._context, self._timeout = context, timeout
        self._lock = threading.Lock()
        self._token: Optional[str] = None
        self._until = 0.0
        self._urls: Dict[str, str] = {}

    def token(self, first: Site) -> str:
        """Give a token that is still good; log in at one's own site first, then at the others."""
        with self._lock:
            if self._token is None or time.time() > self._until:
                self._token = self._login_somewhere(first)
            return self._token

    def forget(self, token: str) -> None:
        """Have the next request log in again, if nobody else has done so."""
        with self._lock:
            if self._token == token:
                self._token = None

    def url(self, site: Site) -> str:
        """Give the account's URL at a site, out of Keystone's catalogue."""
        try:
            return self._urls[site.region]
        except KeyError:
            raise Failure("no endpoint in the catalogue") from None

    @property
    def account(self) -> str:
        """Name the account, as the rings know it."""
        return next(iter(self._urls.values())).rstrip("/").rpartition("/")[2]

    def _login_somewhere(self, first: Site) -> str:
        failure = Failure("login: no site")
        for site in [first, *(one for one in self._sites if one != first)]:
            try:
                return self._login(site)
            except Failure as error:
                failure = error
        raise failure

    def _login(self, site: Site) -> str:
        url = site.auth_url.rstrip("/")
        url += "/auth/tokens" if url.endswith("/v3") else "/v3/auth/tokens"
        try:
            answer = ask(
                "POST",
                url,
                context=self._context,
                timeout=self._timeout,
                headers={"Content-Type": "application/json"},
                body=json.dumps(password_login(self._auth)).encode(),
            )
        except Failure as error:
            raise Failure(f"login: {error}") from error
        if answer.status != 201 or "x-subject-token" not in answer.headers:
            raise Failure(f"login: HTTP {answer.status}")
        try:
            said = json.loads(answer.body)["token"]
            self._until = time.time() + _seconds_left(said) - MARGIN
            self._urls = {
                endpoint["region_id"]: endpoint["url"]
                for service in said.get("catalog", [])
                if service["type"] == "object-store"
                for endpoint in service["endpoints"]
                if endpoint["interface"] == "public"
            }
        except (ValueError, KeyError, TypeError) as error:
            raise Failure("login: no token in the answer") from error
        if not self._urls:
            raise Failure("login: no object-store in the catalogue")
        return answer.headers["x-subject-token"]


def _seconds_left(token: Mapping[str, Any]) -> float:
    """Tell how long a token lives: both times are Keystone's, whatever this host's clock says."""

    def seconds(text: str) -> float:
        return time.mktime(time.strptime(text.partition(".")[0].rstrip("Z"), "%Y-%m-%dT%H:%M:%S"))

    return seconds(token["expires_at"]) - seconds(token["issued_at"])


class Store:
    """The object store behind its sites, seen by one user."""

    def __init__(self, params: Mapping[str, Any]) -> None:
        self.sites = [Site(**site) for site in params["sites"]]
        if not self.sites:
            raise LoadError("sites is empty: name at least one")
        cacert = params["auth"].get("cacert")
        try:
            context = ssl.create_default_context(cafile=cacert)
        except (OSError, ssl.SSLError) as error:
            raise LoadError(f"auth.cacert: {cacert}: {error}") from error
        self._context, self._timeout = context, params["timeout"]
        self.identity = Identity(params["auth"], self.sites, context, params["timeout"])
        try:
            self.identity.token(self.sites[0])
        except Failure as error:
            raise LoadError(
                f"user {params['auth']['username']} of project {params['auth']['project_name']} "
                f"cannot log in at any of {', '.join(site.name for site in self.sites)}: {error}"
            ) from error
        for site in self.sites:
            try:
                self.identity.url(site)
            except Failure as error:
                raise LoadError(f"region {site.region}: {error}") from error

    def ask(
        self,
        site: Site,
        method: str,
        path: str,
        body: Optional[bytes] = None,
        headers: Optional[Mapping[str, str]] = None,
    ) -> Answer:
        """Ask one site, with a new token if it no longer takes the old one."""
        for again in (True, False):
            token = self.identity.token(site)
            answer = ask(
                method,
                self.identity.url(site) + path,
                context=self._context,
                timeout=self._timeout,
                headers={"X-Auth-Token": token, **(headers or {})},
                body=body,
            )
            if answer.status != 401 or not again:
                break
            self.identity.forget(token)
        return answer

    def put(self, site: Site, container: str, name: str, body: bytes) -> None:
        """Write an object; return only if the store has acknowledged these very bytes."""
        etag = md5_of(body)
        answer = self.ask(site, "PUT", _path(container, name), body, {"ETag": etag})
        if answer.status != 201:
            raise Failure(f"HTTP {answer.status}")
        if answer.headers.get("etag", "").strip('"') != etag:
            raise Failure("checksum")

    def get(self, site: Site, container: str, name: str) -> bytes:
        """Read an object, and compare it with the checksum that comes with it."""
        answer = self.ask(site, "GET", _path(container, name))
        if answer.status != 200:
            raise Failure(f"HTTP {answer.status}")
        if md5_of(answer.body) != answer.headers.get("etag", "").strip('"'):
            raise Failure("checksum")
        return answer.body

    def make(self, container: str) -> None:
        """Make the container, through whichever site does it."""
        failures = []
        for site in self.sites:
            try:
                answer = self.ask(site, "PUT", _path(container))
            except Failure as error:
                failures.append(f"{site.name}: {error}")
                continue
            if answer.status in (201, 202):
                return
            failures.append(f"{site.name}: HTTP {answer.status}")
        raise LoadError(f"container {container} cannot be made: {'; '.join(failures)}")


def _path(container: str, name: Optional[str] = None) -> str:
    path = f"/{quote(container, safe='')}"
    return path if name is None else f"{path}/{quote(name)}"


# --- load --------------------------------------------------------------------------------------


class Writer:
    """The journal's pen: one line per event, on the disk before anybody counts on it."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file
        self._lock = threading.Lock()

    def note(self, event: str, *, durable: bool = False, **entry: Any) -> None:
        """Write one line; a durable one survives a crash of this machine."""
        line = json.dumps({"event": event, **entry}) + "\n"
        with self._lock:
            self._file.write(line)
            self._file.flush()
            if durable:
                os.fsync(self._file.fileno())


class Known:
    """The objects that were acknowledged so far, for the readers to choose from."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._objects: List[Tuple[str, str]] = []

    def add(self, name: str, sha256: str) -> None:
        """Remember an object."""
        with self._lock:
            self._objects.append((name, sha256))

    def choose(self, dice: random.Random) -> Optional[Tuple[str, str]]:
        """Choose one, every other time among the newest, where delays show."""
        with self._lock:
            if not self._objects:
                return None
            return dice.choice(self._objects[-20:] if dice.random() < 0.5 else self._objects)

    def __len__(self) -> int:
        return len(self._objects)


class Client:
    """One of the load's clients: a home, the other sites, and where it does not go for now."""

    def __init__(self, store: Store, home: Site, container: str, pen: Writer) -> None:
        self.store, self.home, self.container, self._pen = store, home, container, pen
        self._away: Dict[str, float] = {}

    def order(self) -> List[Site]:
        """Give the sites in the order in which to try them."""
        now = time.monotonic()
        sites = [self.home, *(site for site in self.store.sites if site != self.home)]
        return sorted(sites, key=lambda site: self._away.get(site.name, 0.0) > now)

    def request(self, op: str, name: str, do: Callable[[Site], Any]) -> Tuple[Optional[Site], Any]:
        """Try every site once; return the one that did it and its answer, or None."""
        failure = ""
        for site in self.order():
            at, began = time.time(), time.monotonic()
            result, failed = None, None
            try:
                result = do(site)
            except Failure as error:
                failed = failure = str(error)
                self._away[site.name] = time.monotonic() + AWAY
            entry: Dict[str, Any] = {"op": op, "site": site.name, "name": name, "at": at}
            entry["seconds"] = round(time.monotonic() - began, 4)
            if failed is not None:
                entry["failure"] = failed
            self._pen.note("attempt", **entry)
            if failed is None:
                return site, result
        self._pen.note("gave_up", op=op, name=name, at=time.time(), failure=failure)
        return None, None

    def write(self, name: str, body: bytes, known: Known) -> None:
        """Write one object and, once it is acknowledged, put that on record."""
        site, _done = self.request(
            "PUT", name, lambda at: self.store.put(at, self.container, name, body)
        )
        if site is None:
            return
        sha256 = hashlib.sha256(body).hexdigest()
        self._pen.note(
            "acknowledged",
            durable=True,
            name=name,
            bytes=len(body),
            md5=md5_of(body),
            sha256=sha256,
            site=site.name,
            at=time.time(),
        )
        known.add(name, sha256)

    def read(self, name: str, sha256: str) -> None:
        """Read one object that was acknowledged, and compare it with what was written."""
        site, body = self.request("GET", name, lambda at: self.store.get(at, self.container, name))
        if site is not None and hashlib.sha256(body).hexdigest() != sha256:
            self._pen.note("wrong", name=name, site=site.name, at=time.time())


def size_of(dice: random.Random, least: int, most: int) -> int:
    """Choose a size: as many small objects as large ones, on a scale of powers."""
    return int(least * (most / least) ** dice.random())


def run_load(params: Mapping[str, Any]) -> Dict[str, Any]:
    """Write and read for a while, or until the stop file appears; return what was counted."""
    store = Store(params)
    container = params["container"]
    store.make(container)
    known, stop = Known(), threading.Event()
    crew = [
        (home, role, number)
        for home in store.sites
        for role in ("writer", "reader")
        for number in range(params[f"{role}s"])
    ]
    pause = len(crew) / params["rate"]

    def work(home: Site, role: str, number: int, pen: Writer) -> None:
        dice = random.Random()  # noqa: S311  a load is no secret
        client = Client(store, home, container, pen)
        count, due = 0, time.monotonic() + dice.random() * pause
        while not stop.wait(max(0.0, due - time.monotonic())):
            # Who was held up does not catch up: the rate is a limit.
            due = max(due, time.monotonic() - pause) + pause
            if role == "writer":
                count += 1
                size = size_of(dice, params["min_bytes"], params["max_bytes"])
                client.write(f"{home.name}-{number}-{count:06d}", os.urandom(size), known)
            else:
                chosen = known.choose(dice)
                if chosen is not None:
                    client.read(*chosen)

    began = time.monotonic()
    with open(params["journal"], "x", encoding="ascii") as file:
        pen = Writer(file)
        names = [site.name for site in store.sites]
        pen.note(
            "begin",
            durable=True,
            account=store.identity.account,
            container=container,
            sites=names,
            at=time.time(),
        )
        with ThreadPoolExecutor(len(crew)) as pool:
            try:
                workers = [pool.submit(work, *member, pen) for member in crew]
                while time.monotonic() - began < params["seconds"]:
                    if os.path.exists(params["stop_file"]):
                        break
                    if any(worker.done() for worker in workers):
                        break  # none ends by itself: its error is raised below
                    time.sleep(0.2)
            finally:
                stop.set()
        for worker in workers:
            worker.result()
        pen.note("end", durable=True, at=time.time())
    return {"acknowledged": len(known), "seconds": round(time.monotonic() - began, 1)}


# --- after it ----------------------------------------------------------------------------------


def read_back(
    params: Mapping[str, Any], journal: Journal, *, tries: int, pause: float = 1.0
) -> List[Reading]:
    """Read every acknowledged object through every site, that site alone."""
    store = Store(params)

    def look(question: Tuple[Site, Acknowledged]) -> Reading:
        site, wanted = question
        reading = Reading(site.name, wanted.name, UNREADABLE, "was not read")
        for attempt in range(tries):
            if attempt:
                time.sleep(pause)
            try:
                body = store.get(site, journal.container, wanted.name)
            except Failure as error:
                found = MISSING if str(error) == "HTTP 404" else UNREADABLE
                # Bytes that differ from their own checksum twice are damage, not an accident.
                found = WRONG if str(error) == "checksum" else found
                reading = Reading(site.name, wanted.name, found, str(error))
                continue
            if hashlib.sha256(body).hexdigest() == wanted.sha256:
                return Reading(site.name, wanted.name, OK)
            return Reading(site.name, wanted.name, WRONG, f"{len(body)} other bytes")
        return reading

    questions = [(site, wanted) for wanted in journal.acknowledged.values() for site in store.sites]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(look, questions))


def remove_load(params: Mapping[str, Any], *, commit: bool) -> int:
    """Remove the container with all that is in it; return how many objects there were, or -1."""
    store = Store(params)
    container, site = params["container"], store.sites[0]
    removed = -1

    def delete(name: str) -> None:
        status = store.ask(site, "DELETE", _path(container, name)).status
        if status not in (204, 404):
            raise Failure(f"{container}/{name}: HTTP {status}")

    try:
        for _round in range(30):
            answer = store.ask(site, "GET", f"{_path(container)}?limit={PAGE}")
            if answer.status == 404:
                return removed
            names = answer.body.decode().split()
            removed = max(removed, 0) + len(names)
            if not commit:
                return removed
            with ThreadPoolExecutor(AT_ONCE) as pool:
                for _none in pool.map(delete, names):
                    pass
            if len(names) < PAGE:
                status = store.ask(site, "DELETE", _path(container)).status
                if status in (204, 404):
                    return removed
                # 409: a listing that lags behind. Look again.
                time.sleep(2)
    except Failure as error:
        raise LoadError(f"container {container} at {site.name}: {error}") from error
    raise LoadError(f"container {container} is not empty after 30 rounds: remove it by hand")
