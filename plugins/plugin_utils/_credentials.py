# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""From where credentials are to what they are: clouds.yaml, the environment, or a file.

PRIVATE to the collection: it may change without notice.

The result is secret: it goes to the process that asks the site and nowhere else. What identifies
an answer in the cache is made of the parts that are not (see public_part).
"""

from __future__ import annotations

import os
import stat
import typing as t
from collections.abc import Callable, Mapping
from pathlib import Path

from ansible_collections.infn.cloud.plugins.module_utils._federation_cloud import (
    OPENSTACK,
    SECRET,
    Credentials,
)

from ._provider import ProviderError

Entry = Mapping[str, t.Any]
Reader = Callable[[Path], t.Any]

# Options of Keystone's login that a variable may give, beside those of the session below.
SESSION_KEYS = frozenset({"auth_type", "cacert", "region_name", "interface", "cert", "key"})


class CredentialReader:
    """Reads references; read parses a YAML file, also an encrypted one."""

    def __init__(self, place: Path, environment: Mapping[str, str], read: Reader) -> None:
        # Relative files are beside federation.yml.
        self._place = place
        self._environment = environment
        self._read = read
        # Many sites have their entries in one file, which takes longer to parse than a site to ask.
        self._files: dict[str, tuple[Path | None, Entry]] = {}

    def resolve(self, provider: str, reference: Credentials | None) -> Entry:
        """For openstack an entry as in clouds.yaml, else environment variables."""
        if reference is None:
            return {}
        if reference.cloud is not None:
            return self._cloud(reference.cloud)
        if reference.env is not None:
            found = self._variables(f"{reference.env}_")
            return _entry_of_variables(found) if provider == OPENSTACK else found
        return self._file(str(reference.file))

    def _variables(self, prefix: str) -> dict[str, str]:
        found = {
            name[len(prefix) :]: value
            for name, value in self._environment.items()
            if name.startswith(prefix) and len(name) > len(prefix) and value
        }
        if not found:
            raise ProviderError(
                f"no environment variable begins with {prefix}; set them, or correct"
                " credentials, env"
            )
        return found

    def _file(self, name: str) -> Entry:
        path = self._place / Path(name).expanduser()
        try:
            mode = path.stat().st_mode
        except OSError as error:
            raise ProviderError(f"{path}: {error.strerror}; correct credentials, file") from error
        if mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise ProviderError(f"{path}: others may read it; chmod 600 {path}")
        return _mapping(self._read(path), str(path))

    def _cloud(self, name: str) -> Entry:
        """An entry of clouds.yaml with its profile below it and secure.yaml's secrets above."""
        path, clouds = self._first("clouds", "OS_CLIENT_CONFIG_FILE")
        if path is None:
            raise ProviderError(
                "there is no clouds.yaml in the current directory, ~/.config/openstack or"
                " /etc/openstack, and OS_CLIENT_CONFIG_FILE names none"
            )
        entries = _mapping(clouds.get("clouds"), f"{path}, clouds")
        if name not in entries:
            known = ", ".join(sorted(map(str, entries))) or "none"
            raise ProviderError(f"{path} has no cloud {name}; it has {known}")
        entry = _mapping(entries[name], f"{path}, cloud {name}")
        profile = entry.get("profile", entry.get("cloud"))
        if profile is not None:
            public_path, public = self._first("clouds-public", "OS_CLIENT_VENDOR_FILE")
            profiles = _mapping(public.get("public-clouds"), f"{public_path}, public-clouds")
            if profile not in profiles:
                raise ProviderError(
                    f"{path}, cloud {name}: profile {profile} is not in clouds-public.yaml, and"
                    " profiles that come with other programs are not read; write out its auth_url"
                )
            entry = _merge(_mapping(profiles[profile], str(profile)), entry)
        secure_path, secure = self._first("secure", "OS_CLIENT_SECURE_FILE")
        secrets = _mapping(secure.get("clouds"), f"{secure_path}, clouds")
        return _merge(entry, _mapping(secrets.get(name), f"{secure_path}, cloud {name}"))

    def _first(self, stem: str, variable: str) -> tuple[Path | None, Entry]:
        """The first file of this name where OpenStack's programs look for it."""
        if stem not in self._files:
            self._files[stem] = self._look(stem, variable)
        return self._files[stem]

    def _look(self, stem: str, variable: str) -> tuple[Path | None, Entry]:
        named = self._environment.get(variable)
        places = (Path.cwd(), Path.home() / ".config" / "openstack", Path("/etc/openstack"))
        candidates = [Path(named)] if named else []
        candidates += [place / f"{stem}{end}" for place in places for end in (".yaml", ".yml")]
        for path in candidates:
            if os.access(path, os.R_OK) and path.is_file():
                return path, _mapping(self._read(path), str(path))
        return None, {}


def _entry_of_variables(variables: Mapping[str, str]) -> Entry:
    """AUTH_URL, USERNAME and so on, as the entry of clouds.yaml that says the same."""
    entry: dict[str, t.Any] = {"auth": {}}
    for name, value in variables.items():
        key = name.lower()
        if key in SESSION_KEYS:
            entry[key] = value
        elif key not in ("identity_api_version", "auth_plugin", "cloud"):
            entry["auth"][key] = value
    return entry


def _mapping(value: object, what: str) -> Entry:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise ProviderError(f"{what}: expected a mapping")
    return value


def _merge(below: Entry, above: Entry) -> Entry:
    merged = dict(below)
    for key, value in above.items():
        if isinstance(value, Mapping) and isinstance(merged.get(key), Mapping):
            merged[key] = _merge(merged[key], value)
        else:
            merged[key] = value
    return merged


def public_part(value: t.Any) -> t.Any:
    """The same without anything whose name says that it is secret."""
    if isinstance(value, Mapping):
        return {
            str(key): public_part(item)
            for key, item in value.items()
            if not SECRET.search(str(key))
        }
    if isinstance(value, (list, tuple)):
        return [public_part(item) for item in value]
    return value


def secrets_in(value: t.Any) -> list[str]:
    """The texts that must not be shown."""
    found: list[str] = []
    if isinstance(value, Mapping):
        for key, item in value.items():
            if isinstance(item, str) and len(item) > 3 and SECRET.search(str(key)):
                found.append(str(item))
            else:
                found.extend(secrets_in(item))
    elif isinstance(value, (list, tuple)):
        for item in value:
            found.extend(secrets_in(item))
    return found
