# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads from and writes to Keystone what a plan of _keystone_resources says.

PRIVATE to the collection: it may change without notice.

One authenticated session, and paths below the given URL: a Keystone that has no catalogue yet, or
one that names unreachable endpoints, can be set up all the same.
"""

from __future__ import annotations

import os
import time
import traceback
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Callable, NamedTuple, Optional
from urllib.parse import quote

from ansible_collections.infn.cloud.plugins.module_utils._keystone_resources import (
    IN_A_DOMAIN,
    Item,
    Operation,
    Ref,
    Snapshot,
    display,
    make_plan,
    passwords_to_try,
    read_wish,
)

KEYSTONEAUTH_ERROR: Optional[str] = None
try:
    from keystoneauth1 import exceptions as keystone_errors
    from keystoneauth1.identity import v3
    from keystoneauth1.session import Session
except ImportError:
    KEYSTONEAUTH_ERROR = traceback.format_exc()

# Seconds to wait for the answer to one request. A list of many users takes its time.
REQUEST_TIMEOUT = 60
# Where the kinds live that Keystone keeps for logins by another identity provider. Who makes one
# chooses its id.
FEDERATION = {
    "mapping": "/OS-FEDERATION/mappings",
    "identity_provider": "/OS-FEDERATION/identity_providers",
    "protocol": "/OS-FEDERATION/identity_providers/{}/protocols",
}
# What a proxy in front of Keystone says while Keystone starts.
STARTING = (502, 503, 504)

_NAME: dict[str, Any] = {"type": "str", "required": True}
_DOMAIN: dict[str, Any] = {"type": "str", "default": "Default"}
# How a module logs in as an administrator or a user of one project; doc fragment _login.keystone.
LOGIN: dict[str, Any] = {
    "auth": {
        "type": "dict",
        "required": True,
        "options": {
            "auth_url": _NAME,
            "username": _NAME,
            "password": {"type": "str", "required": True, "no_log": True},
            "project_name": _NAME,
            "user_domain_name": _DOMAIN,
            "project_domain_name": _DOMAIN,
            "cacert": {"type": "path"},
        },
    },
    "timeout": {"type": "int", "default": 30},
}
# Which of a site's endpoints a module uses; doc fragment _login.site.
SITE: dict[str, Any] = {
    "region": {"type": "str"},
    "interface": {
        "type": "str",
        "choices": ["public", "internal", "admin"],
        "default": "public",
    },
}


class KeystoneError(Exception):
    """What Keystone did not do, why, and what to do about it."""

    def __init__(self, message: str, done: Sequence[Operation] = ()) -> None:
        super().__init__(message)
        self.done = tuple(done)


class Outcome(NamedTuple):
    operations: list[Operation]
    ids: dict[str, dict[str, str]]


def reconcile(params: Mapping[str, Any], *, commit: bool) -> Outcome:
    """Compare what Keystone has with what params declare and, if commit, make it so."""
    wish = read_wish(params)
    client = Client(params["auth"], params["timeout"])
    client.wait_until_ready()
    current = client.read(wish)
    wrong = {
        item.ref
        for item, user_id in passwords_to_try(wish, current)
        if not client.lets_in(user_id, item.password or "")
    }
    plan = make_plan(wish, current, wrong)
    if commit:
        client.carry_out(plan, current)
    ids: dict[str, dict[str, str]] = {}
    for item in wish:
        found = current.id(item.ref) if item.present else None
        if found is not None:
            ids.setdefault(item.kind, {})[display(item.kind, item.key)] = found
    return Outcome(plan, ids)


class Client:
    def __init__(self, auth: Mapping[str, Any], timeout: int, *, catalogue: bool = False) -> None:
        self._catalogue = catalogue
        url = auth["auth_url"].rstrip("/")
        self._url = url if url.endswith("/v3") else url + "/v3"
        credential = auth.get("application_credential_id")
        self._who = (
            f"application credential {credential}"
            if credential
            else f"user {auth['username']} of domain {auth['user_domain_name']}"
        )
        self._timeout = timeout
        cacert = auth.get("cacert")
        if cacert and not os.path.exists(cacert):
            raise KeystoneError(f"auth.cacert: there is no file {cacert} on this host")
        self._session = Session(
            auth=self._login(auth), verify=cacert or True, timeout=REQUEST_TIMEOUT
        )

    def _login(self, auth: Mapping[str, Any]) -> Any:
        # Without a catalogue the answer is shorter; who talks to Keystone alone needs none.
        if auth.get("application_credential_id"):
            return v3.ApplicationCredential(
                auth_url=self._url,
                application_credential_id=auth["application_credential_id"],
                application_credential_secret=auth["application_credential_secret"],
                include_catalog=self._catalogue,
            )
        return v3.Password(
            auth_url=self._url,
            username=auth["username"],
            password=auth["password"],
            user_domain_name=auth["user_domain_name"],
            project_name=auth["project_name"],
            project_domain_name=auth["project_domain_name"],
            include_catalog=self._catalogue,
        )

    @property
    def url(self) -> str:
        """Keystone's URL, with its version."""
        return str(self._url)

    @property
    def session(self) -> Any:
        """The session, for services other than Keystone."""
        return self._session

    def wait_until_ready(self) -> None:
        """Log in, and wait for a Keystone that does not answer yet, at most for the timeout."""
        end = time.monotonic() + self._timeout
        while True:
            # A host that swallows packets must not hold one attempt longer than all of them.
            self._session.timeout = max(1.0, min(REQUEST_TIMEOUT, end - time.monotonic()))
            try:
                self.ask("log in", self._session.get_token)
                break
            except KeystoneError as error:
                if not _may_be_starting(error.__cause__) or time.monotonic() + 1 >= end:
                    raise
                time.sleep(1)
        self._session.timeout = REQUEST_TIMEOUT

    def read(self, wish: Sequence[Item]) -> Snapshot:
        """Fetch the lists that the wish asks about, and no others."""
        current = Snapshot()
        wanted = {item.ref for item in wish}.union(*(item.needs() for item in wish))
        kinds = {ref.kind for ref in wanted}
        if kinds.intersection(IN_A_DOMAIN):
            kinds.add("domain")
        for kind in ("region", "domain", "role", "service"):
            if kind in kinds:
                name = {"region": "id", "service": "type"}.get(kind, "name")
                for found in self._list(f"{kind}s"):
                    current.add(kind, (found[name],), found)
        if "endpoint" in kinds:
            self._read_endpoints(current)
        for kind in ("mapping", "identity_provider"):
            if kind in kinds:
                for found in self._list(f"{kind}s", FEDERATION[kind]):
                    current.add(kind, (found["id"],), found)
        for provider in sorted({ref.key[0] for ref in wanted if ref.kind == "protocol"}):
            if current.get(Ref("identity_provider", (provider,))) is not None:
                path = FEDERATION["protocol"].format(quote(provider, safe=""))
                for found in self._list("protocols", path):
                    current.add("protocol", (provider, found["id"]), found)
        # A domain that is to go is looked through: what is in it would go as well.
        emptied = {item.key[0] for item in wish if item.kind == "domain" and not item.present}
        for kind in IN_A_DOMAIN:
            domains = {ref.key[0] for ref in wanted if ref.kind == kind} | emptied
            for domain in sorted(domains):
                names = {ref.key[1] for ref in wanted if ref.kind == kind and ref.key[0] == domain}
                self._read_domain(current, kind, domain, names)
        actors = {item.identity["actor"] for item in wish if item.kind == "role_assignment"}
        for actor in actors:
            if isinstance(actor, Ref):
                self._read_assignments(current, actor)
        return current

    def _read_endpoints(self, current: Snapshot) -> None:
        for found in self._list("endpoints"):
            service = current.ref("service", found["service_id"])
            # Without a region an endpoint is none of those that can be declared.
            if service is not None and found["region_id"]:
                key = (service.key[0], found["interface"], found["region_id"])
                current.add("endpoint", key, found)

    def _read_domain(self, current: Snapshot, kind: str, domain: str, names: set[str]) -> None:
        domain_id = current.id(Ref("domain", (domain,)))
        if domain_id is None:
            return
        listed = self._list(f"{kind}s", domain_id=domain_id)
        have = {found["name"] for found in listed}
        if listed.truncated:
            # Keystone's list_limit: who is not in the list may still be there.
            for name in sorted(names - have):
                listed.extend(self._list(f"{kind}s", domain_id=domain_id, name=name))
        for found in listed:
            current.add(kind, (domain, found["name"]), found)

    def _read_assignments(self, current: Snapshot, actor: Ref) -> None:
        actor_id = current.id(actor)
        if actor_id is None:
            return
        for found in self._list("role_assignments", **{f"{actor.kind}.id": actor_id}):
            scope = found["scope"]
            if "OS-INHERIT:inherited_to" in scope:
                continue  # holds below the scope, not on it
            kind = next(name for name in ("project", "domain", "system") if name in scope)
            scope_id = "" if kind == "system" else scope[kind]["id"]
            current.assignments.add((actor.kind, actor_id, found["role"]["id"], kind, scope_id))

    def lets_in(self, user_id: str, password: str) -> bool:
        """Whether the user can log in. Unscoped, so that a missing role does not matter."""
        user = {"id": user_id, "password": password}
        identity = {"methods": ["password"], "password": {"user": user}}
        answer = self._request(
            "POST",
            "/auth/tokens",
            "compare the password of a user",
            json={"auth": {"identity": identity, "scope": "unscoped"}},
            authenticated=False,
            refused_is_fine=True,
            log=False,
        )
        # With a receipt the password was right, and Keystone asks for a second factor.
        return answer.status_code == 201 or "Openstack-Auth-Receipt" in answer.headers

    def carry_out(self, plan: Sequence[Operation], current: Snapshot) -> None:
        """Do what the plan says; current learns the ids of what is created on the way."""
        for number, operation in enumerate(plan):
            try:
                if operation.kind == "role_assignment":
                    self._assign(operation, current)
                else:
                    self._change(operation, current)
            except KeystoneError as error:
                message = f"{error} ({number} of {len(plan)} operations were done before)"
                raise KeystoneError(message, plan[:number]) from error

    def _assign(self, operation: Operation, current: Snapshot) -> None:
        ids = {name: current.id(ref) for name, ref in operation.references.items()}
        scope = operation.references.get("scope")
        where = "system" if scope is None else f"{scope.kind}s/{ids['scope']}"
        actor = operation.references["actor"]
        path = f"/{where}/{actor.kind}s/{ids['actor']}/roles/{ids['role']}"
        method = "PUT" if operation.action == "create" else "DELETE"
        self._request(method, path, str(operation))

    def _change(self, operation: Operation, current: Snapshot) -> None:
        path = f"/{operation.kind}s"
        body = {
            name: current.id(value) if isinstance(value, Ref) else value
            for name, value in operation.body.items()
        }
        if operation.kind in FEDERATION:
            path = FEDERATION[operation.kind].format(quote(operation.key[0], safe=""))
            body.pop("identity_provider", None)  # it is in the path
        if operation.action == "create" and operation.kind in FEDERATION:
            path += f"/{quote(operation.key[-1], safe='')}"
            answer = self._request("PUT", path, str(operation), json={operation.kind: body})
            current.add(operation.kind, operation.key, self._json(answer, path)[operation.kind])
            return
        if operation.action == "create":
            answer = self._request("POST", path, str(operation), json={operation.kind: body})
            current.add(operation.kind, operation.key, self._json(answer, path)[operation.kind])
            return
        path += f"/{operation.id}"
        if operation.action == "update":
            self._request("PATCH", path, str(operation), json={operation.kind: body})
            return
        if operation.kind == "domain":
            # Keystone's own guard: only a disabled domain can be deleted.
            disabled = {"domain": {"enabled": False}}
            self._request("PATCH", path, str(operation), json=disabled)
        self._request("DELETE", path, str(operation))

    def _list(self, collection: str, where: str = "", **query: str) -> _Listed:
        listed = _Listed()
        path = where or f"/{collection}"
        page: Mapping[str, Any] = {}
        while True:
            answer = self._request("GET", path, f"list the {collection}", params=query)
            page = self._json(answer, path)
            listed.extend(page.get(collection, []))
            following = (page.get("links") or {}).get("next")
            if not following:
                break
            # Keystone builds the link from the URL that it believes to have: only the query counts.
            path, query = f"{where or '/' + collection}?{following.partition('?')[2]}", {}
        listed.truncated = bool(page.get("truncated"))
        return listed

    def _json(self, answer: Any, path: str) -> Mapping[str, Any]:
        try:
            content = answer.json()
        except ValueError as error:
            raise KeystoneError(
                f"{self._url}{path} is not Keystone; check auth.auth_url"
            ) from error
        return content if isinstance(content, dict) else {}

    def _request(
        self,
        method: str,
        path: str,
        what: str,
        *,
        refused_is_fine: bool = False,
        **options: Any,
    ) -> Any:
        def send() -> Any:
            answer = self._session.request(
                self._url + path,
                method,
                raise_exc=False,
                # Only what changes nothing is repeated: a lost answer is no lost request.
                connect_retries=2 if method == "GET" else 0,
                **options,
            )
            fine = (401,) if refused_is_fine else ()
            if answer.status_code >= 400 and answer.status_code not in fine:
                raise keystone_errors.http.from_response(answer, method, self._url + path)
            return answer

        return self.ask(what, send)

    def ask(self, what: str, call: Callable[[], Any]) -> Any:
        """Make the call, and of everything that keystoneauth raises a sentence with a remedy."""
        try:
            return call()
        except keystone_errors.SSLError as error:
            remedy = "give the file of the CA as auth.cacert, and a name that the certificate has"
            raise self._failure(what, "TLS failed", error, remedy) from error
        except keystone_errors.RetriableConnectionFailure as error:
            remedy = (
                f"check that it runs and can be reached from here (waited up to {self._timeout} s)"
            )
            raise self._failure(what, "no connection", error, remedy) from error
        except keystone_errors.HttpError as error:
            reason = f"HTTP {error.http_status}"
            raise self._failure(what, reason, error, self._remedy(error)) from error
        except (keystone_errors.ClientException, OSError) as error:
            remedy = "check that auth.auth_url is the URL of a Keystone"
            raise self._failure(what, "no usable answer", error, remedy) from error

    def _failure(self, what: str, why: str, error: Exception, remedy: str) -> KeystoneError:
        return KeystoneError(f"{self._url}: could not {what}: {why}: {error}; {remedy}")

    def _remedy(self, error: Any) -> str:
        status = error.http_status
        if status == 401:
            return f"check auth.password, auth.project_name and the domains of {self._who}"
        if status == 403:
            return f"{self._who} needs the role admin, or the object is protected or in use"
        if status == 404:
            return "check auth.auth_url, or run again if somebody removed the object meanwhile"
        if status == 409:
            return (
                "it appeared meanwhile, or one exists whose name differs in case only;"
                " run again or correct the name"
            )
        if status >= 500:
            return "look into Keystone's log, and run again"
        return "correct the value"


class _Listed(list[dict[str, Any]]):
    """A list that Keystone may have cut short."""

    truncated = False


def _may_be_starting(error: Optional[BaseException]) -> bool:
    if isinstance(error, keystone_errors.SSLError):
        return False
    if isinstance(error, keystone_errors.RetriableConnectionFailure):
        return True
    return isinstance(error, keystone_errors.HttpError) and error.http_status in STARTING


def describe(operations: Iterable[Any]) -> dict[str, dict[str, object]]:
    """The operations as the two sides of a diff."""
    before: dict[str, object] = {}
    after: dict[str, object] = {}
    for operation in operations:
        title = f"{operation.kind} {operation.name}"
        if operation.action != "create":
            before[title] = {name: change["before"] for name, change in operation.changes.items()}
        if operation.action != "delete":
            after[title] = {name: change["after"] for name, change in operation.changes.items()}
    return {"before": before, "after": after}
