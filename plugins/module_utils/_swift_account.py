# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""An account of Swift and its containers: what was declared as headers, compared, and sent.

PRIVATE to the collection: it may change without notice.

The upper part compares and is pure; the lower part asks the proxies.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Dict, List, Optional, Tuple
from urllib.parse import quote

from ansible_collections.infn.cloud.plugins.module_utils._keystone_client import Client

HIDDEN = "(not shown)"
# No quota, as the module's users say it.
UNLIMITED = -1
TEMP_URL_KEYS = ("X-Account-Meta-Temp-URL-Key", "X-Account-Meta-Temp-URL-Key-2")
SECRETS = frozenset(name.lower() for name in (*TEMP_URL_KEYS, "X-Container-Sync-Key"))
LEGACY_QUOTA = "X-Account-Meta-Quota-Bytes"
# The header of each option of a container.
CONTAINER = {
    "quota_bytes": "X-Container-Meta-Quota-Bytes",
    "quota_count": "X-Container-Meta-Quota-Count",
    "read": "X-Container-Read",
    "write": "X-Container-Write",
    "sync_to": "X-Container-Sync-To",
    "sync_key": "X-Container-Sync-Key",
    "versions": "X-Versions-Enabled",
    "web_index": "X-Container-Meta-Web-Index",
    "cors_origins": "X-Container-Meta-Access-Control-Allow-Origin",
}

Headers = Dict[str, str]


class AccountError(Exception):
    """What cannot be, or was refused, and what to do about it."""


@dataclass(frozen=True)
class Change:
    """One request, and what it changes: each header before and after."""

    method: str
    container: Optional[str]
    headers: Mapping[str, str] = field(default_factory=dict)
    before: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """What is changed."""
        return "account" if self.container is None else f"container {self.container}"

    def sides(self) -> Tuple[Dict[str, str], Dict[str, str]]:
        """Both sides of the difference, without secrets."""
        return _shown(self.before), _shown(self.headers)


def _shown(headers: Mapping[str, str]) -> Dict[str, str]:
    return {
        name: HIDDEN if value and name.lower() in SECRETS else value
        for name, value in sorted(headers.items())
    }


def _text(option: str, value: Any) -> str:
    if option in ("quota_bytes", "quota_count"):
        return "" if value == UNLIMITED else str(value)
    if option == "versions":
        return "True" if value else "False"
    if option == "cors_origins":
        return " ".join(value)
    return str(value)


def account_headers(wish: Mapping[str, Any]) -> Headers:
    """Give the headers of an account as it was declared; what was left out has none."""
    headers = {
        f"X-Account-{kind}": _text(option, wish[option])
        for option, kind in (("quota_bytes", "Quota-Bytes"), ("quota_count", "Quota-Count"))
        if wish.get(option) is not None
    }
    for policy, quota in (wish.get("policy_quota_bytes") or {}).items():
        headers[f"X-Account-Quota-Bytes-Policy-{policy}"] = _text("quota_bytes", int(quota))
    keys = wish.get("temp_url_keys")
    if keys is not None:
        if len(keys) > len(TEMP_URL_KEYS):
            raise AccountError(f"temp_url_keys: an account has at most {len(TEMP_URL_KEYS)} keys")
        headers.update(zip(TEMP_URL_KEYS, [*keys, "", ""]))
    for name, value in (wish.get("metadata") or {}).items():
        headers[f"X-Account-Meta-{name}"] = str(value)
    return headers


def container_headers(wish: Mapping[str, Any]) -> Headers:
    """Give the headers of a container as it was declared; what was left out has none."""
    headers = {
        header: _text(option, wish[option])
        for option, header in CONTAINER.items()
        if wish.get(option) is not None
    }
    for name, value in (wish.get("metadata") or {}).items():
        headers[f"X-Container-Meta-{name}"] = str(value)
    return headers


def _differing(wished: Headers, found: Mapping[str, str]) -> Tuple[Headers, Headers]:
    """Give the headers to send, and what is there instead."""
    there = {name.lower(): value for name, value in found.items()}
    # What never was enabled has no header.
    there.setdefault("x-versions-enabled", "False")
    send = {name: value for name, value in wished.items() if there.get(name.lower(), "") != value}
    return send, {name: there.get(name.lower(), "") for name in send}


def plan_account(wish: Mapping[str, Any], found: Mapping[str, str]) -> List[Change]:
    """Compare an account with its headers."""
    there = {name.lower(): value for name, value in found.items()}
    wished = account_headers(wish)
    # A quota set in the old way still holds where there is no new one, so it goes with the change.
    legacy = there.get(LEGACY_QUOTA.lower(), "")
    there.setdefault("x-account-quota-bytes", legacy)
    send, before = _differing(wished, there)
    if "X-Account-Quota-Bytes" in send and legacy:
        send[LEGACY_QUOTA], before[LEGACY_QUOTA] = "", legacy
    return [Change("POST", None, send, before)] if send else []


def plan_container(wish: Mapping[str, Any], found: Optional[Mapping[str, str]]) -> List[Change]:
    """Compare a container with its headers; None stands for one that is not there."""
    name = wish["name"]
    if wish.get("state") == "absent":
        return [] if found is None else [Change("DELETE", name)]
    wished = container_headers(wish)
    policy = wish.get("policy")
    if found is None:
        first = {"X-Storage-Policy": policy} if policy else {}
        return [Change("PUT", name, {**wished, **first})]
    there = next((value for key, value in found.items() if key.lower() == "x-storage-policy"), "")
    if policy and policy.lower() != there.lower():
        raise AccountError(
            f"container {name} has the storage policy {there} and cannot get {policy}: make another"
            " container, and copy the objects"
        )
    send, before = _differing(wished, found)
    return [Change("POST", name, send, before)] if send else []


def faults_of(containers: Sequence[Mapping[str, Any]]) -> List[str]:
    """Name what is wrong with the containers by themselves."""
    names = [wish["name"] for wish in containers]
    faults = [f"container {name} is declared twice" for name in set(names) if names.count(name) > 1]
    faults += [f"container '{name}': a name holds no '/'" for name in names if "/" in name]
    return faults + [
        f"container {wish['name']}: sync_to needs a sync_key, and the other way round"
        for wish in containers
        if bool(wish.get("sync_to")) != bool(wish.get("sync_key"))
    ]


# --- asking ------------------------------------------------------------------------------------


class Account:
    """An account at one site's endpoint, as the user of `auth` reaches it."""

    def __init__(self, params: Mapping[str, Any]) -> None:
        client = Client(params["auth"], params["timeout"])
        client.wait_until_ready()
        self._client = client
        name = params.get("account") or f"AUTH_{client.session.get_project_id()}"
        self.name = name
        self._url = f"{params['url'].rstrip('/')}/{quote(name)}"

    def _request(self, method: str, container: Optional[str], headers: Mapping[str, str]) -> Any:
        url = self._url if container is None else f"{self._url}/{quote(container)}"

        def send() -> Any:
            return self._client.session.request(
                url,
                method,
                headers=dict(headers),
                raise_exc=False,
                redirect=False,
                # The headers may hold keys.
                log=False,
            )

        return self._client.ask(f"{method} {url}", send)

    def headers(self, container: Optional[str] = None) -> Optional[Mapping[str, str]]:
        """Give the headers that there are, or None if there is no such thing."""
        answer = self._request("HEAD", container, {})
        # 410: it was deleted, and what it had is being removed.
        if answer.status_code in (404, 410):
            return None
        self._check(answer, "HEAD", container)
        return dict(answer.headers)

    def carry_out(self, change: Change) -> None:
        """Send one change."""
        answer = self._request(change.method, change.container, change.headers)
        self._check(answer, change.method, change.container)

    def _check(self, answer: Any, method: str, container: Optional[str]) -> None:
        if answer.status_code < 300:
            return
        remedy = {
            401: "the proxy does not take the token; look into its log",
            403: "the user may not: quotas of an account, and its end, need ResellerAdmin, "
            "containers a role that operates the account",
            409: "the container is not empty; remove its objects first",
        }.get(answer.status_code, "look into the proxy's log")
        what = self.name if container is None else f"{self.name}/{container}"
        detail = " ".join(answer.text.split())[:200]
        raise AccountError(f"{method} {what}: HTTP {answer.status_code}: {remedy} ({detail})")


def reconcile(params: Mapping[str, Any], *, commit: bool) -> Dict[str, Any]:
    """Do what the module is asked for, and give its result."""
    containers = params.get("containers") or []
    if faults := faults_of(containers):
        raise AccountError("; ".join(faults))
    if params.get("state") == "absent" and not params.get("account"):
        raise AccountError("state absent deletes all that an account has: name it with account")
    account = Account(params)
    changes: List[Change] = []
    if params.get("state") == "absent":
        changes += [] if account.headers() is None else [Change("DELETE", None)]
    elif account_headers(params):
        changes += plan_account(params, account.headers() or {})
    for wish in containers:
        changes += plan_container(wish, account.headers(wish["name"]))
    if commit:
        for change in changes:
            account.carry_out(change)
    before: Dict[str, Dict[str, str]] = {}
    after: Dict[str, Dict[str, str]] = {}
    for change in changes:
        before[change.name], after[change.name] = change.sides()
    return {
        "changed": bool(changes),
        "account": account.name,
        "changes": [f"{change.method} {change.name}" for change in changes],
        "diff": {"before": before, "after": after},
    }
