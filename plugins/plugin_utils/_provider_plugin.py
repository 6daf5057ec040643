# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lists the hosts of a site with any other inventory plugin of Ansible.

PRIVATE to the collection: it may change without notice.

The plugin fills an inventory of its own, in the process of this site. Of what it found, plain JSON
comes back: id, name, address and a few facts, which well-known plugins tell under known names and
others under those that options, map gives; the names of its groups; and the variables that
options, keep_vars names. Its other variables would not be ours: a cloud's user could choose
ansible_connection or the group swift_storage by a tag.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import tempfile
import typing as t
from collections.abc import Mapping
from pathlib import Path

import yaml
from ansible.errors import AnsibleError
from ansible.inventory.data import InventoryData
from ansible.parsing.dataloader import DataLoader
from ansible.parsing.yaml.dumper import AnsibleDumper
from ansible.plugins.loader import inventory_loader
from ansible.utils.display import Display
from ansible_collections.infn.cloud.plugins.module_utils._federation_cloud import (
    SECRET,
    PluginOptions,
)

from ._provider import Answer, Instance, Provider, ProviderError, Request

# What these plugins call the facts. A list is tried in order.
KNOWN: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "amazon.aws.aws_ec2": {
        "id": ("instance_id",),
        "name": ("tags.Name", "instance_id"),
        "address": ("public_ip_address", "private_ip_address"),
        "state": ("state.name",),
        "project": ("owner_id",),
        "zone": ("placement.availability_zone",),
        "image": ("image_id",),
        "flavor": ("instance_type",),
    },
    "azure.azcollection.azure_rm": {
        "id": ("vmid", "id"),
        "name": ("name",),
        "address": ("public_ipv4_address", "private_ipv4_addresses"),
        "state": ("powerstate",),
        "project": ("resource_group",),
        "zone": ("location",),
        "image": ("image.offer", "image.id"),
        "flavor": ("virtual_machine_size",),
    },
    "community.general.opennebula": {
        "id": ("id",),
        "name": ("name",),
        "address": ("v4_first_ip", "v6_first_ip"),
        "project": ("GNAME",),
    },
    "openstack.cloud.openstack": {
        "id": ("openstack.id",),
        "name": ("openstack.name",),
        "state": ("openstack.status",),
        "zone": ("openstack.location.zone",),
        "flavor": ("openstack.flavor.original_name",),
        "image": ("openstack.image.name",),
    },
}
# These print that they were refused something, and go on with what they have: a list that is not
# whole. (Others, such as ansible.builtin.script, print errors that mean nothing.)
GOES_ON = frozenset({"azure.azcollection.azure_rm"})
# Variables of a connection that are harmless whoever chose them, once they look like one.
ADDRESS, PORT, USER = "ansible_host", "ansible_port", "ansible_user"


class PluginProvider(Provider):
    def __init__(self, request: Request, place: Path, vault: t.Any = None) -> None:
        """Relative files are beside federation.yml, in place; vault is what the loader knows."""
        super().__init__(request)
        if not isinstance(request.options, PluginOptions):
            raise ProviderError("options of another provider")
        self.options: PluginOptions = request.options
        self.place = place
        self.vault = vault
        self.facts: dict[str, tuple[str, ...]] = dict(KNOWN.get(self.options.name, {}))
        self.facts.update({fact: (path,) for fact, path in (self.options.map or {}).items()})

    def answer(self) -> Answer:
        # In the process of this site; nobody else sees it.
        os.environ.update({name: str(value) for name, value in self.request.credentials.items()})
        if self.options.config_file is not None:
            inventory = self._parse(self.place / Path(self.options.config_file).expanduser())
        else:
            with tempfile.TemporaryDirectory(prefix="infn-cloud-") as scratch:
                # Many plugins ask that the file be called like them.
                path = Path(scratch, f"{self.options.name.rsplit('.', 1)[-1]}.yml")
                config = {"plugin": self.options.name, **(self.options.config or {})}
                if self.options.name.startswith("ansible.builtin."):
                    del config["plugin"]  # these take their content from the file, nothing else
                with path.open("w", encoding="utf-8") as stream:
                    yaml.dump(config, stream, Dumper=AnsibleDumper)
                inventory = self._parse(path)
        return Answer([self._instance(host) for host in inventory.hosts.values()], 0)

    def _parse(self, path: Path) -> InventoryData:
        name = self.options.name
        plugin = inventory_loader.get(name)
        if plugin is None:
            raise ProviderError(f"no inventory plugin {name} here; install its collection")
        loader = DataLoader()
        if self.vault is not None:
            loader.set_vault_secrets(self.vault)
        inventory = InventoryData()
        if not path.is_file():
            raise ProviderError(f"{path} does not exist; correct options, config_file")
        if not plugin.verify_file(str(path)):
            raise ProviderError(f"{name} does not take a file called {path.name}; see its page")
        errors: list[str] = []
        try:
            with _errors_printed(errors):
                # Never its cache: how old an answer is, is ours to know.
                plugin.parse(inventory, loader, str(path), cache=False)
        except AnsibleError as error:
            raise ProviderError(f"{name}: {' '.join(str(error).split())[:400]}") from error
        except (ImportError, NameError) as error:
            # Some pass over the libraries that they do not find, until they use them.
            raise ProviderError(
                f"{name}: {error}; most likely a library that it needs is missing: install the"
                " requirements of its collection"
            ) from error
        if errors and name in GOES_ON:
            raise ProviderError(
                f"{name} did not list everything: {' '.join(' '.join(errors).split())[:400]}"
            )
        inventory.reconcile_inventory()
        return inventory

    def _instance(self, host: t.Any) -> Instance:
        variables = host.get_vars()
        for group in sorted(host.get_groups(), key=lambda one: (one.depth, one.name)):
            variables = {**group.get_vars(), **variables}
        facts = {fact: self._fact(variables, paths) for fact, paths in self.facts.items() if fact}
        address = facts.get("address")
        if "address" not in (self.options.map or {}) or address is None:
            address = _text(variables.get(ADDRESS)) or address
        kept: dict[str, t.Any] = {}
        for name in (PORT, USER, *self.options.keep_vars):
            if name in variables:
                kept[name] = _plain(variables[name], f"variable {name} of {host.name}")
        found = Instance(
            id=facts.get("id") or str(host.name),
            name=facts.get("name") or str(host.name),
            address=address,
            state=facts.get("state"),
            project=facts.get("project"),
            zone=facts.get("zone"),
            image=facts.get("image"),
            flavor=facts.get("flavor"),
            groups=sorted(
                str(group.name)
                for group in host.get_groups()
                if group.name not in ("all", "ungrouped")
            ),
            variables=kept,
        )
        if self.request.details:
            found.details = {
                str(name): _plain(_without_secrets(value), f"variable {name} of {host.name}")
                for name, value in variables.items()
                if not SECRET.search(str(name)) and name not in ("inventory_file", "inventory_dir")
            }
        return found

    def _fact(self, variables: Mapping[str, t.Any], paths: tuple[str, ...]) -> str | None:
        for path in paths:
            value: t.Any = variables
            for part in path.split("."):
                value = value.get(part) if isinstance(value, Mapping) else None
            if isinstance(value, (list, tuple)):
                value = value[0] if value else None
            if found := _text(value):
                return found
        return None


@contextlib.contextmanager
def _errors_printed(errors: list[str]) -> t.Iterator[None]:
    """Collects what is printed as an error meanwhile; Azure's plugin prints dictionaries."""
    display = Display()
    printed = display.error

    def error(msg: object, *_: object, **_more: object) -> None:
        if isinstance(msg, Mapping):
            inner = msg.get("error")
            inner = inner if isinstance(inner, Mapping) else msg
            msg = " ".join(str(inner[key]) for key in ("url", "code", "message") if key in inner)
        errors.append(str(msg))
        printed(str(msg))

    vars(display)["error"] = error
    try:
        yield
    finally:
        del vars(display)["error"]


def _text(value: object) -> str | None:
    """A plain copy of text or number. Newer cores attach to texts where they came from."""
    if isinstance(value, bool) or not isinstance(value, (str, int, float)) or value == "":
        return None
    return "".join(str(value))


def _without_secrets(value: t.Any) -> t.Any:
    if isinstance(value, Mapping):
        return {
            str(key): _without_secrets(item)
            for key, item in value.items()
            if not SECRET.search(str(key))
        }
    if isinstance(value, (list, tuple)):
        return [_without_secrets(item) for item in value]
    return value


def _plain(value: t.Any, what: str) -> t.Any:
    """The same through JSON. What is encrypted does not go there, into a cache that is not."""

    def other(item: object) -> str:
        if isinstance(item, (datetime.date, datetime.datetime)):
            return item.isoformat()
        raise ProviderError(
            f"{what} is a {type(item).__name__}, neither text, number, list nor dictionary; "
            "remove it from keep_vars"
        )

    return json.loads(json.dumps(value, default=other))
