# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""From a site's description to the question that a process of its own asks.

PRIVATE to the collection: it may change without notice.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import typing as t
from collections.abc import Callable
from pathlib import Path

import yaml
from ansible.errors import AnsibleError
from ansible_collections.infn.cloud.plugins.module_utils._federation_cloud import (
    CONTAINERS,
    OPENSTACK,
    PluginOptions,
)
from ansible_collections.infn.cloud.plugins.module_utils._federation_model import (
    Federation,
    Site,
)

from ._credentials import CredentialReader, public_part, secrets_in
from ._provider import Answer, Deadline, Provider, ProviderError, Request
from ._site_answers import Plan
from ._site_cache import Key
from ._site_pool import Question

if t.TYPE_CHECKING:
    from ansible.parsing.dataloader import DataLoader


def planner(loader: DataLoader, place: Path, federation: Federation) -> Callable[[Site], Plan]:
    """What says how a site is asked. place is the directory of federation.yml."""
    # One for all sites: many have their credentials in the same file.
    reader = CredentialReader(place, os.environ, functools.partial(_read, loader))
    vault = getattr(loader, "_vault", None)
    return functools.partial(_plan, reader, vault, place, federation)


def _plan(
    reader: CredentialReader, vault: t.Any, place: Path, federation: Federation, site: Site
) -> Plan:
    """How one site is asked. Credentials go into the question, never into what names its answer.

    Raises ProviderError when the site cannot be asked.
    """
    policy, source = federation.policy, site.source
    credentials = reader.resolve(source.provider, source.credentials)
    options = source.options
    make = _provider(source.provider, place, vault)

    def ask(deadline: Deadline) -> Answer:
        request = Request(
            site.name, options, credentials, deadline, policy.details, policy.metadata_groups
        )
        return make(request).answer()

    parts = [
        source.provider,
        public_part(dataclasses.asdict(options)) if options else None,
        public_part(credentials),
        policy.details,
        policy.metadata_groups,
        _content(options, place),
    ]
    return Plan(
        Key(federation.name, site.name, parts),
        Question(site.name, federation.timeout(site), ask, secrets_in(credentials)),
    )


def _read(loader: DataLoader, path: Path) -> object:
    try:
        return loader.load_from_file(str(path), cache="none")
    except (AnsibleError, yaml.YAMLError) as error:
        raise ProviderError(f"{path} cannot be read: {' '.join(str(error).split())}") from error


def _provider(name: str, place: Path, vault: t.Any) -> Callable[[Request], Provider]:
    """Imported when a site wants it, before its process is made: they share what was imported."""
    if name == OPENSTACK:
        from ._provider_openstack import (
            OpenStackProvider,
        )

        return OpenStackProvider
    if name == CONTAINERS:
        from ._provider_containers import (
            ContainersProvider,
        )

        return ContainersProvider
    from ._provider_plugin import PluginProvider

    secrets = getattr(vault, "secrets", None)
    return lambda request: PluginProvider(request, place, secrets)


def _content(options: object, place: Path) -> str | None:
    """What another plugin's own file says, since its answer is an answer to that."""
    if not isinstance(options, PluginOptions) or options.config_file is None:
        return None
    path = place / Path(options.config_file).expanduser()
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise ProviderError(f"{path}: {error.strerror}; correct options, config_file") from error
