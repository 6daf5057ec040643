# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Application credentials of Keystone: what has to be done about one of them, and the doing.

PRIVATE to the collection: it may change without notice.

A credential cannot be changed, and its secret is told once. So each is a generation of a name: a
new generation is made beside the old one, and the old one goes when nobody uses it any more.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any, Optional

from ansible_collections.infn.cloud.plugins.module_utils._keystone_client import (
    Client,
    KeystoneError,
)

# Roles bring others with them, and Keystone lists those as well. It tells the rules to admins only;
# these are the ones that every Keystone starts with.
IMPLIED = {"admin": "manager", "manager": "member", "member": "reader"}
FORMAT = "%Y-%m-%dT%H:%M:%S"


class CredentialError(Exception):
    """What cannot be done, and what to do about it; nothing was changed."""


@dataclass(frozen=True)
class Wish:
    """A credential as it was declared."""

    name: str
    generation: str
    present: bool = True
    description: Optional[str] = None
    roles: Sequence[str] = ()
    expires_at: Optional[datetime] = None
    access_rules: Sequence[Mapping[str, str]] = ()
    remove_others: bool = False

    @property
    def full_name(self) -> str:
        return f"{self.name}-{self.generation}"


@dataclass(frozen=True)
class Plan:
    """What has to be done: whether to make the credential, and which ones to remove."""

    create: bool = False
    remove: Sequence[Mapping[str, Any]] = field(default=())

    def __bool__(self) -> bool:
        return self.create or bool(self.remove)


def read_time(text: str) -> datetime:
    """Read a time; without an offset it is UTC, as Keystone's are."""
    try:
        moment = datetime.fromisoformat(text.strip().replace("Z", "+00:00"))
    except ValueError as error:
        raise CredentialError(
            f"expires_at is '{text}'; give a time such as 2027-01-31T00:00:00Z"
        ) from error
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=timezone.utc)
    return moment.astimezone(timezone.utc).replace(microsecond=0)


def read_wish(params: Mapping[str, Any]) -> Wish:
    """Read the module's parameters."""
    generation = params["generation"]
    if not generation or "-" in generation:
        raise CredentialError(
            f"generation is '{generation}'; it must be a text without a dash, such as 2 or 2027"
        )
    expires_at = params.get("expires_at")
    return Wish(
        name=params["name"],
        generation=generation,
        present=params["state"] == "present",
        description=params.get("description"),
        roles=tuple(params.get("roles") or ()),
        expires_at=read_time(expires_at) if expires_at else None,
        access_rules=tuple(params.get("access_rules") or ()),
        remove_others=params["remove_others"],
    )


def make_plan(
    wish: Wish, current: Sequence[Mapping[str, Any]], known: Optional[str], now: datetime
) -> Plan:
    """Compare the wish with the credentials of the user.

    `known` is the id whose secret is at hand, or None if the secret is nobody's business here.
    """
    family = [each for each in current if each["name"].rpartition("-")[0] == wish.name]
    mine = [each for each in family if each["name"] == wish.full_name]
    others = [each for each in family if each["name"] != wish.full_name]
    if not wish.present:
        return Plan(remove=[*mine, *(others if wish.remove_others else ())])
    if wish.expires_at and wish.expires_at <= now:
        raise CredentialError(
            f"{wish.full_name}: expires_at {wish.expires_at.strftime(FORMAT)} is in the past;"
            " give a later time and a new generation"
        )
    remove = others if wish.remove_others else []
    if not mine:
        return Plan(create=True, remove=remove)
    faults = _differences(wish, mine[0])
    if known is not None and known != mine[0]["id"]:
        faults.append("its secret is not in the file, and Keystone does not tell it again")
    expires_at = mine[0].get("expires_at")
    if expires_at and read_time(expires_at) <= now:
        faults.append(f"it expired at {expires_at}")
    if faults:
        raise CredentialError(
            f"{wish.full_name} is there and cannot be changed: {'; '.join(faults)}. Give a new"
            " generation, which is made beside it, or remove it first with state=absent"
        )
    return Plan(remove=remove)


def _rules(rules: Sequence[Mapping[str, str]]) -> list[tuple[str, str, str]]:
    return sorted((rule["service"], rule["method"], rule["path"]) for rule in rules)


def with_implied(roles: Sequence[str]) -> set[str]:
    """Give the roles with those that they bring with them."""
    found = set(roles)
    for role in roles:
        while role in IMPLIED:
            role = IMPLIED[role]
            found.add(role)
    return found


def _differences(wish: Wish, found: Mapping[str, Any]) -> list[str]:
    faults = []
    roles = sorted(role["name"] for role in found.get("roles", ()))
    if wish.roles and with_implied(wish.roles) != with_implied(roles):
        wished = ", ".join(sorted(wish.roles))
        faults.append(
            f"it has the roles {', '.join(roles)}, not {wished} (name implied roles as well)"
        )
    rules = _rules(found.get("access_rules") or ())
    if rules != _rules(wish.access_rules):
        faults.append("its access rules are others")
    expires_at = found.get("expires_at")
    if (read_time(expires_at) if expires_at else None) != wish.expires_at:
        wished = wish.expires_at.strftime(FORMAT) if wish.expires_at else "never"
        faults.append(f"it expires at {expires_at or 'no time'}, not {wished}")
    if found.get("unrestricted"):
        faults.append("it is unrestricted")
    return faults


class Owner(Client):
    """The user whose credentials they are; nobody else can make them, not even an admin."""

    @property
    def _path(self) -> str:
        return f"/users/{self._session.get_user_id()}/application_credentials"

    def credentials(self) -> list[dict[str, Any]]:
        answer = self._request("GET", self._path, "list the application credentials")
        found: list[dict[str, Any]] = self._json(answer, self._path)["application_credentials"]
        project = self._session.get_project_id()
        return [each for each in found if each["project_id"] == project]

    def create(self, wish: Wish) -> Mapping[str, Any]:
        body: dict[str, Any] = {"name": wish.full_name, "unrestricted": False}
        if wish.description is not None:
            body["description"] = wish.description
        if wish.roles:
            body["roles"] = [{"name": name} for name in wish.roles]
        if wish.expires_at:
            body["expires_at"] = wish.expires_at.strftime(FORMAT) + ".000000Z"
        if wish.access_rules:
            body["access_rules"] = [dict(rule) for rule in wish.access_rules]
        answer = self._request(
            "POST",
            self._path,
            f"make the application credential {wish.full_name}",
            json={"application_credential": body},
            log=False,
        )
        made: Mapping[str, Any] = self._json(answer, self._path)["application_credential"]
        return made

    def remove(self, credential: Mapping[str, Any]) -> None:
        what = f"remove the application credential {credential['name']}"
        self._request("DELETE", f"{self._path}/{credential['id']}", what)

    def _remedy(self, error: Any) -> str:
        if error.http_status == 403:
            return (
                f"{self._who} needs each of the roles in the project; an application credential"
                " makes no others"
            )
        return super()._remedy(error)


def clouds_yaml(name: str, auth_url: str, made: Mapping[str, Any], more: Mapping[str, str]) -> str:
    """The text of a file that OpenStack's clients read; JSON is YAML too."""
    auth = {
        "auth_url": auth_url,
        "application_credential_id": made["id"],
        "application_credential_secret": made["secret"],
    }
    cloud = {"auth_type": "v3applicationcredential", "auth": auth, **more}
    return json.dumps({"clouds": {name: cloud}}, indent=2) + "\n"


def known_id(path: str, name: str) -> str:
    """The id of the credential whose secret a file has; empty if there is none."""
    try:
        with open(path, encoding="utf-8") as file:
            return str(json.load(file)["clouds"][name]["auth"]["application_credential_id"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def write(path: str, text: str) -> None:
    """Put a text into a file that only its owner can read, all of it or nothing."""
    folder = os.path.dirname(path) or "."
    handle, part = tempfile.mkstemp(dir=folder, prefix=".application-credential-")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(part)
        raise


def carry_out(params: Mapping[str, Any], *, commit: bool) -> dict[str, Any]:
    """Do what the module is asked for, and give its result."""
    wish = read_wish(params)
    path = params.get("path")
    if path and wish.present and not os.access(os.path.dirname(path) or ".", os.W_OK):
        raise CredentialError(f"{os.path.dirname(path)} is no directory to write to; make it first")
    owner = Owner(params["auth"], params["timeout"])
    owner.wait_until_ready()
    current = owner.credentials()
    plan = make_plan(
        wish, current, known_id(path, wish.name) if path else None, datetime.now(timezone.utc)
    )
    names = [each["name"] for each in current]
    removed = [each["name"] for each in plan.remove]
    after = [name for name in names if name not in removed]
    after += [wish.full_name] if plan.create else []
    result: dict[str, Any] = {
        "changed": bool(plan),
        "diff": {
            "before": {"application_credentials": sorted(names)},
            "after": {"application_credentials": sorted(after)},
        },
        "removed": removed,
    }
    found: Mapping[str, Any] = next(
        (each for each in current if each["name"] == wish.full_name), {}
    )
    if commit and plan.create:
        found = owner.create(wish)
        if path:
            try:
                write(
                    path, clouds_yaml(wish.name, params["auth"]["auth_url"], found, _more(params))
                )
            except OSError as error:
                # Nobody has its secret: it would only be in the way of the next call.
                owner.remove(found)
                raise KeystoneError(
                    f"{path}: {error.strerror}; the credential is gone again"
                ) from error
        else:
            result["secret"] = found["secret"]
    if commit:
        # The old ones go last: until then they work.
        for each in plan.remove:
            owner.remove(each)
    if wish.present and found:
        result["id"] = found["id"]
    if commit and not wish.present and path and removed and os.path.exists(path):
        os.unlink(path)
    return result


def _more(params: Mapping[str, Any]) -> dict[str, str]:
    names = {"region_name": params.get("region_name"), "cacert": params["auth"].get("cacert")}
    return {name: value for name, value in names.items() if value}
