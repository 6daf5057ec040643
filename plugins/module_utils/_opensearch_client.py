# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads from and writes to OpenSearch what _opensearch_objects says.

PRIVATE to the collection: it may change without notice.
"""

from __future__ import annotations

import json
import os
import ssl
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple
from urllib.error import HTTPError, URLError
from urllib.parse import quote

from ansible.module_utils.urls import open_url
from ansible_collections.infn.cloud.plugins.module_utils._opensearch_objects import (
    Change,
    differs,
    found,
    path,
    wish,
)

# A server that starts refuses the connection; one whose security index is not there yet says 503,
# or 500 after ten seconds.
STARTING = (500, 502, 503, 504)


# Where the cluster is, and who asks: documented in plugins/doc_fragments/_login.py.
LOGIN: dict[str, Any] = {
    "url": {"type": "str", "required": True},
    "ca_file": {"type": "path", "required": True},
    "client_certificate": {"type": "str", "required": True},
    "client_key": {"type": "str", "required": True, "no_log": True},
}


class OpenSearchError(Exception):
    """What the server did not do, why, and what to do about it."""


class Answer(NamedTuple):
    status: int
    body: dict[str, Any]


class Client:
    """The server, as whoever the certificate is for, or another user by password."""

    def __init__(self, params: Mapping[str, Any], certificate: str, key: str) -> None:
        self._url = params["url"].rstrip("/")
        self._ca = params["ca_file"]
        self._timeout = params["timeout"]
        self._files = (certificate, key)
        if not os.path.exists(self._ca):
            raise OpenSearchError(f"ca_file: there is no file {self._ca} on this host")

    def call(
        self, method: str, where: str, body: Any = None, user: tuple[str, str] | None = None
    ) -> Answer:
        login: dict[str, Any] = {"client_cert": self._files[0], "client_key": self._files[1]}
        if user:
            login = {"url_username": user[0], "url_password": user[1], "force_basic_auth": True}
        try:
            answer = open_url(
                self._url + quote(where, safe="/?=&,_*"),
                method=method,
                data=None if body is None else json.dumps(body),
                headers={"Content-Type": "application/json"},
                ca_path=self._ca,
                timeout=30,
                use_proxy=False,
                **login,
            )
            return Answer(answer.status, json.loads(answer.read() or b"{}"))
        except HTTPError as error:
            text = error.read().decode(errors="replace")
            try:
                body = json.loads(text)
            except ValueError:
                body = {"error": text[:300]}
            return Answer(error.code, body if isinstance(body, dict) else {"error": body})
        except (URLError, OSError) as error:
            if isinstance(getattr(error, "reason", error), ssl.SSLCertVerificationError):
                raise OpenSearchError(
                    f"{self._url}: {error}; {self._ca} must be the authority that signed it"
                ) from error
            return Answer(0, {"error": str(error)})

    def get(self, where: str) -> Answer:
        """Wait for a server that starts; any other answer is one."""
        end = time.monotonic() + self._timeout
        while True:
            answer = self.call("GET", where)
            if answer.status not in (0, *STARTING):
                return answer
            if time.monotonic() > end:
                raise OpenSearchError(
                    f"{self._url} did not answer within {self._timeout} s: {answer.body}; "
                    "see 'journalctl -u opensearch' on each node"
                )
            time.sleep(1)

    def lets_in(self, name: str, password: str) -> bool:
        answer = self.call("GET", "/_plugins/_security/authinfo", user=(name, password))
        if answer.status in (200, 401):
            return answer.status == 200
        raise OpenSearchError(f"{self._url}: whether {name} may log in: {refusal(answer)}")


def refusal(answer: Answer) -> str:
    if answer.status in (401, 403):
        return (
            f"HTTP {answer.status}: the client certificate is not that of an administrator "
            "(plugins.security.authcz.admin_dn)"
        )
    return f"HTTP {answer.status}: {json.dumps(answer.body)[:600]}"


@contextmanager
def connected(params: Mapping[str, Any]) -> Iterator[Client]:
    """A client whose certificate is in files for as long as it takes: TLS reads nothing else."""
    with tempfile.TemporaryDirectory() as directory:
        names = []
        for name in ("client_certificate", "client_key"):
            names.append(os.path.join(directory, name))
            with open(
                names[-1], "w", opener=lambda file, flags: os.open(file, flags, 0o600)
            ) as out:
                out.write(params[name])
        yield Client(params, *names)


def health(params: Mapping[str, Any]) -> dict[str, Any]:
    """Wait until every line has all its copies on so many nodes; say what there is."""
    where = f"/_cluster/health?wait_for_status=green&wait_for_nodes={params['nodes']}&timeout=2s"
    with connected(params) as client:
        end = time.monotonic() + params["timeout"]
        while True:
            answer = client.call("GET", where)
            if answer.status in (401, 403):
                raise OpenSearchError(f"{params['url']}: {refusal(answer)}")
            if answer.status == 200 or time.monotonic() > end:
                break
            time.sleep(0.5)
    if answer.status == 200:
        return answer.body
    if answer.status == 408:
        raise OpenSearchError(
            f"{params['url']}: the cluster is {answer.body.get('status')}, with "
            f"{answer.body.get('number_of_nodes')} of {params['nodes']} nodes and "
            f"{answer.body.get('unassigned_shards')} copies missing, after {params['timeout']} s; "
            "see 'journalctl -u opensearch' on each node"
        )
    raise OpenSearchError(
        f"{params['url']} did not answer within {params['timeout']} s: {answer.body}; "
        "see 'journalctl -u opensearch' there"
    )


def reconcile(params: Mapping[str, Any], *, commit: bool) -> list[Change]:
    """Compare what the server has with what params declare and, if commit, make it so."""
    with connected(params) as client:
        changes = []
        for item in wish(params):
            answer = client.get(path(item))
            if answer.status not in (200, 404):
                raise OpenSearchError(f"{item.kind} {item.name}: {refusal(answer)}")
            current = found(item, answer.body) if answer.status == 200 else None
            wrong = (
                item.kind == "user"
                and current is not None
                and item.body is not None
                and not client.lets_in(item.name, item.body["password"])
            )
            if wrong or differs(item, current):
                changes.append(Change(item, current))
        for change in changes if commit else []:
            method = "DELETE" if change.item.body is None else "PUT"
            answer = client.call(method, change.path, change.item.body)
            if answer.status not in (200, 201):
                raise OpenSearchError(f"{change.item.kind} {change.item.name}: {refusal(answer)}")
        return changes
