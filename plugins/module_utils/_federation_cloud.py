# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a site of federation.yml says about its cloud, and about its part in the federation.

PRIVATE to the collection: it may change without notice.

Pure. The cloud: which provider lists its machines, with which credentials and options. The part:
identity provider, agreements (SLA) and defaults, as the Federation-Registry's feeder file, the
federation-manager's payload, clouds.yaml and the authorization lines of the Infrastructure Manager
want them.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Optional, Union

from ansible_collections.infn.cloud.plugins.module_utils._federation_reader import (
    DOMAIN,
    EMAIL,
    PLAIN,
    REGION_NAME,
    URL,
    Rule,
    Section,
    is_variable_name,
    kind,
    once,
)

STATIC, OPENSTACK, PLUGIN, CONTAINERS = PROVIDERS = ("static", "openstack", "plugin", "containers")
SOURCE_KEYS = ("provider", "credentials", "options", "timeout")
MEMBERSHIP_KEYS = (
    "sla", "identity_provider", "support_emails", "default_public_net", "default_private_net",
    "private_net_proxy", "image_tags", "network_tags",
)  # fmt: skip
QUOTAS = (
    "instances", "cores", "ram_mb", "volumes", "gigabytes", "per_volume_gigabytes", "snapshots",
    "floating_ips", "networks", "subnets", "routers", "ports", "security_groups",
    "security_group_rules",
)  # fmt: skip
# What the answer of another inventory plugin can be read for; see PluginOptions.map.
FACTS = ("id", "name", "address", "state", "project", "zone", "image", "flavor")

UUID = Rule(
    re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"),
    "use the UUID of the document, such as 3b2c1d9e-0a4f-4c55-8d21-5f3a1b2c3d4e",
)
PREFIX = Rule(
    re.compile(r"[A-Z][A-Z0-9_]{0,60}[A-Z0-9]"),
    "use what the names of the variables begin with, such as OS for OS_AUTH_URL",
)
PLUGIN_NAME = Rule(
    re.compile(r"[a-z0-9_]+\.[a-z0-9_]+(\.[a-z0-9_]+)+"),
    "use the whole name of an inventory plugin, such as amazon.aws.aws_ec2",
)
PATH = Rule(
    re.compile(r"[A-Za-z0-9._-]+(\.[A-Za-z0-9._-]+)*"),
    "use the name of a variable of that plugin, with dots into dictionaries, such as tags.Name",
)
COMMAND = Rule(
    re.compile(r"[^{}\x00-\x1f\x7f]{1,200}"), "use one word of the command without braces"
)
# Word by word: aws_secret_access_key is one, secret_name_prefix_length is none.
SECRET = re.compile(
    r"(?:\A|[_-])(?:password|passwd|passphrase|secret|token|credential|(?:api|private|access)_?key)\Z",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Credentials:
    """Where the credentials are: exactly one of the three is set. They are never in the file.

    cloud names an entry of clouds.yaml. env is the prefix of environment variables: with BARI,
    BARI_AUTH_URL is Keystone's URL for provider openstack, and BARI_AWS_PROFILE becomes AWS_PROFILE
    of another inventory plugin. file is a YAML mapping, also encrypted by ansible-vault: an entry
    such as clouds.yaml has, or the environment variables of another inventory plugin.
    """

    cloud: Optional[str] = None
    env: Optional[str] = None
    file: Optional[str] = None


@dataclass(frozen=True)
class AddressChoice:
    """Which of a server's addresses Ansible connects to; the first that fits."""

    network: Optional[str] = None
    # By default a floating address before a fixed one, and IPv4 before IPv6.
    kind: Optional[str] = None
    version: Optional[int] = None


@dataclass(frozen=True)
class OpenStackOptions:
    auth_url: Optional[str] = None
    region: Optional[str] = None
    interface: str = "public"
    # Names or ids; empty means all that the credentials may list.
    projects: tuple[str, ...] = ()
    # One listing of every project's servers, which takes an administrator of Nova.
    all_projects: bool = False
    filters: Optional[Mapping[str, str]] = None
    ca_file: Optional[str] = None
    page_size: int = 1000
    address: AddressChoice = AddressChoice()


@dataclass(frozen=True)
class PluginOptions:
    """Another inventory plugin: its name, and its configuration here or in a file of its own."""

    name: str = ""
    config: Optional[Mapping[str, Any]] = None
    config_file: Optional[str] = None
    # Fact to the variable of that plugin that tells it.
    map: Optional[Mapping[str, str]] = None
    keep_vars: tuple[str, ...] = ()


@dataclass(frozen=True)
class ContainersOptions:
    command: tuple[str, ...] = ("podman",)
    label: Optional[str] = None


Options = Union[None, OpenStackOptions, PluginOptions, ContainersOptions]


@dataclass(frozen=True)
class Source:
    """Who lists the machines of a site."""

    provider: str
    credentials: Optional[Credentials]
    options: Options
    timeout: Optional[int]


@dataclass(frozen=True)
class IdentityProvider:
    """What the site's Keystone calls the federation's issuer. The issuer is compared exactly."""

    name: str
    protocol: str
    issuer: str


@dataclass(frozen=True)
class Proxy:
    host: str
    user: str


@dataclass(frozen=True)
class Sla:
    """What one group of the identity service may use at the site. preference: 1 comes first."""

    group: str
    issuer: str
    project: str
    doc_uuid: str
    start_date: datetime.date
    end_date: datetime.date
    preference: Optional[int]
    # Key to limit; -1 means no limit.
    quotas: Mapping[str, int]

    def in_force(self, day: datetime.date) -> bool:
        return self.start_date <= day <= self.end_date


@dataclass(frozen=True)
class Membership:
    sla: tuple[Sla, ...]
    identity_provider: Optional[IdentityProvider]
    support_emails: tuple[str, ...]
    default_public_net: Optional[str]
    default_private_net: Optional[str]
    private_net_proxy: Optional[Proxy]
    image_tags: tuple[str, ...]
    network_tags: tuple[str, ...]


# --- the cloud ----------------------------------------------------------------------------------


def read_source(site: Section, where: str, problems: list[str]) -> Source:
    provider = site.choice("provider", PROVIDERS)
    credentials = _read_credentials(site, f"{where}, credentials", problems)
    if provider == OPENSTACK and "credentials" not in site:
        site.missing("credentials", "give one of cloud, env, file")
    elif provider in (STATIC, CONTAINERS) and "credentials" in site:
        site.problem("credentials", f"provider {provider} uses none; remove them")
    elif credentials and credentials.cloud and provider == PLUGIN:
        site.problem("credentials", "only provider openstack reads clouds.yaml; give env or file")
    timeout = site.whole_number("timeout", most=86400)
    if provider == STATIC and "timeout" in site:
        site.problem("timeout", "provider static asks nobody; remove it")
    return Source(
        provider=provider,
        credentials=credentials,
        options=_read_options(provider, site, f"{where}, options", problems),
        timeout=timeout,
    )


def _read_credentials(site: Section, where: str, problems: list[str]) -> Optional[Credentials]:
    raw = site.get("credentials")
    if raw is None:
        return None
    if isinstance(raw, Mapping):
        secrets = [str(key) for key in raw if SECRET.search(str(key))]
        if secrets:
            # The value is not repeated: the message goes to terminals and logs.
            problems.append(
                f"{where}, {secrets[0]}: secrets are not written here; put them into clouds.yaml,"
                " the environment or a file of their own, and give cloud, env or file"
            )
            return None
    section = Section(raw, where, problems, {"cloud", "env", "file"})
    found = Credentials(
        cloud=section.optional("cloud", PLAIN),
        env=section.optional("env", PREFIX),
        file=section.optional("file", PLAIN),
    )
    if isinstance(raw, Mapping) and sum(key in section for key in ("cloud", "env", "file")) != 1:
        problems.append(f"{where}: give exactly one of cloud, env, file")
    return found


def _read_options(provider: str, site: Section, where: str, problems: list[str]) -> Options:
    raw = site.get("options")
    if provider == OPENSTACK:
        return _read_openstack({} if raw is None else raw, where, problems)
    if provider == PLUGIN:
        if raw is None:
            site.missing("options", "name the inventory plugin there")
            return None
        return _read_plugin(raw, where, problems)
    if provider == CONTAINERS:
        section = Section({} if raw is None else raw, where, problems, {"command", "label"})
        return ContainersOptions(
            command=tuple(
                str(word)
                for word in section.sequence("command", required=False)
                if section.check_text("command", word, COMMAND)
            )
            or ContainersOptions.command,
            label=section.optional("label", PLAIN),
        )
    if raw is not None and provider == STATIC:
        site.problem("options", "provider static has none; remove them")
    return None


def _read_openstack(raw: object, where: str, problems: list[str]) -> OpenStackOptions:
    section = Section(
        raw,
        where,
        problems,
        {
            "auth_url", "region", "interface", "projects", "all_projects", "filters", "ca_file",
            "page_size", "address",
        },
    )  # fmt: skip
    filters = section.mapping("filters")
    for key, value in (filters or {}).items():
        if not isinstance(key, str) or not isinstance(value, (str, int, float)):
            section.problem("filters", f"expected names with texts, found {key}: {kind(value)}")
    options = OpenStackOptions(
        auth_url=section.optional("auth_url", URL),
        region=section.optional("region", REGION_NAME),
        interface=section.choice("interface", ("public", "internal", "admin"), default="public"),
        projects=section.texts("projects", PLAIN),
        all_projects=section.switch("all_projects", False),
        filters={str(key): str(value) for key, value in (filters or {}).items()},
        ca_file=section.optional("ca_file", PLAIN),
        page_size=section.whole_number("page_size", most=1000) or OpenStackOptions.page_size,
        address=_read_address(section.get("address"), f"{where}, address", problems),
    )
    if options.all_projects and options.projects:
        problems.append(f"{where}, projects: all_projects lists them all; remove one of the two")
    return options


def _read_address(raw: object, where: str, problems: list[str]) -> AddressChoice:
    if raw is None:
        return AddressChoice()
    section = Section(raw, where, problems, {"network", "kind", "version"})
    version = section.get("version")
    if version not in (None, 4, 6):
        section.problem("version", f"expected 4 or 6, found {kind(version)}")
    return AddressChoice(
        network=section.optional("network", PLAIN),
        kind=section.choice("kind", ("floating", "fixed"), default="") or None,
        version=int(str(version)) if version in (4, 6) else None,
    )


def _read_plugin(raw: object, where: str, problems: list[str]) -> PluginOptions:
    keys = {"name", "config", "config_file", "map", "keep_vars"}
    section = Section(raw, where, problems, keys)
    config = section.mapping("config")
    if isinstance(raw, Mapping) and ("config" in section) == ("config_file" in section):
        problems.append(f"{where}: give exactly one of config, config_file")
    for path in _secrets(config or {}, "config"):
        section.problem(
            path,
            "secrets are not written here; give credentials: {env: …} or {file: …}, or a template",
        )
    facts = section.mapping("map")
    for fact, path in (facts or {}).items():
        if fact not in FACTS:
            section.problem("map", f"{fact} is no fact; known: {', '.join(FACTS)}")
        else:
            section.check_text("map", path, PATH)
    kept = []
    for name in section.sequence("keep_vars", required=False):
        if is_variable_name(name):
            kept.append(str(name))
        else:
            section.problem("keep_vars", f"{name} is no variable name")
    return PluginOptions(
        name=section.text("name", PLUGIN_NAME),
        config=config,
        config_file=section.optional("config_file", PLAIN),
        map={str(fact): str(path) for fact, path in (facts or {}).items()},
        keep_vars=tuple(kept),
    )


def _secrets(value: object, path: str) -> list[str]:
    """Keys below which a secret stands in plain text. A template fetches it from somewhere else."""
    found: list[str] = []
    if isinstance(value, Mapping):
        for key, item in value.items():
            inner = f"{path}.{key}"
            if isinstance(item, str) and SECRET.search(str(key)) and item and "{{" not in item:
                found.append(inner)
            found.extend(_secrets(item, inner))
    elif isinstance(value, (list, tuple)):
        for item in value:
            found.extend(_secrets(item, path))
    return found


# --- the part in the federation ------------------------------------------------------------------


def read_membership(site: Section, where: str, problems: list[str]) -> Membership:
    identity = _read_identity(site.get("identity_provider"), where, problems)
    slas = tuple(
        sla
        for number, raw in enumerate(site.sequence("sla", required=False), 1)
        if (sla := _read_sla(raw, f"{where}, sla number {number}", problems)) is not None
    )
    for number, sla in enumerate(slas, 1):
        if identity is None:
            if "identity_provider" not in site:
                site.missing("identity_provider", "an SLA is of no use without the site's own")
            break
        if identity.issuer and sla.issuer and sla.issuer != identity.issuer:
            remedy = (
                "they differ in the slash at the end, and issuers are compared letter by letter"
                if sla.issuer.rstrip("/") == identity.issuer.rstrip("/")
                else "write the same"
            )
            problems.append(
                f"{where}, sla number {number}, issuer: {sla.issuer} is not the identity provider's"
                f" {identity.issuer}; {remedy}"
            )
    _check_slas(slas, where, problems)
    proxy = site.get("private_net_proxy")
    return Membership(
        sla=slas,
        identity_provider=identity,
        support_emails=site.texts("support_emails", EMAIL),
        default_public_net=site.optional("default_public_net", PLAIN),
        default_private_net=site.optional("default_private_net", PLAIN),
        private_net_proxy=_read_proxy(proxy, f"{where}, private_net_proxy", problems),
        image_tags=site.texts("image_tags", PLAIN),
        network_tags=site.texts("network_tags", PLAIN),
    )


def _read_identity(raw: object, where: str, problems: list[str]) -> Optional[IdentityProvider]:
    if raw is None:
        return None
    keys = {"name", "protocol", "issuer"}
    section = Section(raw, f"{where}, identity_provider", problems, keys)
    return IdentityProvider(
        name=section.text("name", REGION_NAME),
        protocol=section.text("protocol", REGION_NAME),
        issuer=section.text("issuer", URL),
    )


def _read_proxy(raw: object, where: str, problems: list[str]) -> Optional[Proxy]:
    if raw is None:
        return None
    section = Section(raw, where, problems, {"host", "user"})
    return Proxy(host=section.text("host", DOMAIN), user=section.text("user", REGION_NAME))


def _read_sla(raw: object, where: str, problems: list[str]) -> Optional[Sla]:
    before = len(problems)
    section = Section(
        raw,
        where,
        problems,
        {
            "group", "issuer", "project", "doc_uuid", "start_date", "end_date", "preference",
            "quotas",
        },
    )  # fmt: skip
    start, end = section.date("start_date"), section.date("end_date")
    quotas = _read_quotas(section.get("quotas"), f"{where}, quotas", problems)
    group = section.text("group", PLAIN)
    issuer = section.text("issuer", URL)
    project = section.text("project", PLAIN)
    doc_uuid = section.text("doc_uuid", UUID).lower()
    preference = section.whole_number("preference")
    if start is not None and end is not None and end < start:
        section.problem("end_date", f"{end} is before start_date {start}; exchange or correct them")
    if start is None or end is None or len(problems) > before:
        return None
    return Sla(group, issuer, project, doc_uuid, start, end, preference, quotas)


def _read_quotas(raw: object, where: str, problems: list[str]) -> Mapping[str, int]:
    if raw is None:
        return {}
    section = Section(raw, where, problems, set(QUOTAS))
    found = {key: section.whole_number(key, least=-1) for key in QUOTAS}
    return {key: value for key, value in found.items() if value is not None}


def _check_slas(slas: tuple[Sla, ...], where: str, problems: list[str]) -> None:
    """One project has one agreement, and one agreement belongs to one group.

    The registry ties a project to one SLA, and an SLA to one group: a second would win silently.
    """
    once(
        ((sla.project, f"{where}, sla of {sla.group}") for sla in slas),
        "project",
        problems,
    )
    groups: dict[str, str] = {}
    for sla in slas:
        first = groups.setdefault(sla.doc_uuid, sla.group)
        if first != sla.group:
            problems.append(
                f"{where}, sla of {sla.group}, doc_uuid: {sla.doc_uuid} is the agreement of"
                f" {first}; give each group its own"
            )
