# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a federation.yml says, checked as a whole.

PRIVATE to the collection: it may change without notice.

Pure: it receives the parsed file and returns a Federation, or raises FederationError with every
problem it found. What a site says about its cloud and about its part in the federation is in
_federation_cloud; who asks the clouds, in plugin_utils.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Optional

from ansible_collections.infn.cloud.plugins.module_utils._federation_cloud import (
    MEMBERSHIP_KEYS,
    SOURCE_KEYS,
    Membership,
    Source,
    read_membership,
    read_source,
)
from ansible_collections.infn.cloud.plugins.module_utils._federation_reader import (
    DOMAIN,
    GROUP,
    LABEL,
    PLAIN,
    REGION_NAME,
    Address,
    FederationError,
    Network,
    Section,
    is_variable_name,
    kind,
    label,
    once,
)

__all__ = [
    "ANSIBLE_KEYS",
    "Federation",
    "FederationError",
    "Host",
    "Location",
    "Policy",
    "Site",
    "read_federation",
]

BACKBONE = "backbone"
FEDERATED = "federated"
COUPLINGS = (BACKBONE, FEDERATED)
# What becomes of a site that does not answer: its last good answer, nothing, or no inventory.
STALE, SKIP, FAIL = ON_SITE_FAILURE = ("stale", "skip", "fail")

# Groups that exist whatever the file says; a service of that name would silently join them.
RESERVED_GROUPS = frozenset({"all", "ungrouped", *COUPLINGS})
RESERVED_GROUP_PREFIXES = (
    "site_", "region_", "provider_", "federation_",
    "project_", "az_", "image_", "flavor_", "network_", "metadata_", "plugin_",
)  # fmt: skip

# Host variables that this inventory sets itself.
OWN_VARIABLE_PREFIXES = ("site_", "federation_")
# Names that Ansible sets, or reads as keywords and warns about at every play.
# fmt: off
RESERVED_VARIABLES = frozenset({
    "action", "always", "ansible_check_mode", "ansible_collection_name", "ansible_config_file",
    "ansible_dependent_role_names", "ansible_diff_mode", "ansible_facts", "ansible_forks",
    "ansible_host", "ansible_inventory_sources", "ansible_limit", "ansible_local", "ansible_loop",
    "ansible_loop_var", "ansible_parent_role_names", "ansible_parent_role_paths",
    "ansible_play_batch", "ansible_play_hosts", "ansible_play_hosts_all", "ansible_play_name",
    "ansible_play_role_names", "ansible_playbook_python", "ansible_role_name", "ansible_role_names",
    "ansible_run_tags", "ansible_search_path", "ansible_skip_tags", "ansible_verbosity",
    "ansible_version", "any_errors_fatal", "args", "async", "become", "become_exe", "become_flags",
    "become_method", "become_user", "block", "changed_when", "check_mode", "collections",
    "connection", "debugger", "delay", "delegate_facts", "delegate_to", "dict", "diff",
    "environment", "fact_path", "failed_when", "force_handlers", "gather_facts", "gather_timeout",
    "group_names", "groups", "handlers", "hosts", "hostvars", "ignore_errors", "ignore_unreachable",
    "inventory_dir", "inventory_file", "inventory_hostname", "inventory_hostname_short",
    "local_action", "lookup", "loop", "loop_control", "max_fail_percentage", "module_defaults",
    "name", "namespace", "no_log", "notify", "now", "omit", "order", "play_hosts", "playbook_dir",
    "poll", "port", "post_tasks", "pre_tasks", "q", "query", "range", "register", "remote_user",
    "rescue", "retries", "role_name", "role_names", "role_path", "roles", "run_once", "serial",
    "strategy", "tags", "tasks", "throttle", "timeout", "undef", "until", "vars", "vars_files",
    "vars_prompt", "when",
})
# fmt: on

# Top-level keys that the file's readers leave to Ansible and to the constructed options.
ANSIBLE_KEYS = frozenset(
    {"plugin", "strict", "compose", "groups", "keyed_groups", "use_extra_vars", "leading_separator"}
)
POLICY_KEYS = (
    "deadline", "concurrency", "on_site_failure", "max_stale", "refresh_after", "require_sites",
    "details", "metadata_groups", "cache_directory",
)  # fmt: skip


@dataclass(frozen=True)
class Host:
    name: str
    address: Address
    services: tuple[str, ...]
    zone: int
    vars: Mapping[str, Any]


@dataclass(frozen=True)
class Location:
    city: Optional[str]
    latitude: Optional[float]
    longitude: Optional[float]

    def variables(self) -> dict[str, Any]:
        """The place as a variable, null where the file says nothing."""
        return {"city": self.city, "latitude": self.latitude, "longitude": self.longitude}


@dataclass(frozen=True)
class Site:
    name: str
    region: Optional[int]
    region_name: str
    coupling: str
    location: Location
    network: Optional[Network]
    endpoint: Optional[str]
    hosts: tuple[Host, ...]
    source: Source
    membership: Membership
    on_site_failure: Optional[str]

    @property
    def group(self) -> str:
        """The site's group. Labels have no underscore, so two sites never share one."""
        return "site_" + self.name.replace("-", "_")

    def variables(self) -> dict[str, Any]:
        """The variables of the site's group; every site has all of them, null if unknown."""
        return {
            "site_name": self.name,
            "site_region": self.region,
            "site_region_name": self.region_name,
            "site_coupling": self.coupling,
            "site_provider": self.source.provider,
            "site_location": self.location.variables(),
            "site_network": None if self.network is None else str(self.network),
        }


@dataclass(frozen=True)
class Policy:
    """How the sites are asked, and what becomes of those that do not answer. Times in seconds."""

    deadline: int
    concurrency: int
    on_site_failure: str
    max_stale: int
    refresh_after: int
    require_sites: tuple[str, ...]
    details: bool
    metadata_groups: tuple[str, ...]
    cache_directory: Optional[str]


@dataclass(frozen=True)
class Federation:
    name: str
    domain: str
    sites: tuple[Site, ...]
    policy: Policy

    def timeout(self, site: Site) -> int:
        """Seconds that one site may take; never more than all of them together."""
        return min(site.source.timeout or self.policy.deadline, self.policy.deadline)

    def on_failure(self, site: Site) -> str:
        return site.on_site_failure or self.policy.on_site_failure

    def variables(self) -> dict[str, Any]:
        """The variables of the group all: enough for a role not to walk hostvars."""
        return {
            "federation_name": self.name,
            "federation_domain": self.domain,
            "federation_sites": {
                site.name: {
                    "region": site.region,
                    "region_name": site.region_name,
                    "coupling": site.coupling,
                    "provider": site.source.provider,
                    "location": site.location.variables(),
                    "network": None if site.network is None else str(site.network),
                    "endpoint": site.endpoint or f"{site.name}.{self.domain}",
                    "hosts": {
                        host.name: {
                            "address": str(host.address),
                            "services": list(host.services),
                            "zone": host.zone,
                        }
                        for host in site.hosts
                    },
                }
                for site in self.sites
            },
        }


def read_federation(data: object, source: str, *, options: Collection[str] = ()) -> Federation:
    """Check the parsed file and return what it describes.

    source names the file in errors; options are top-level keys that belong to somebody else.
    """
    problems: list[str] = []
    top = Section(data, "", problems, {"federation", "sites", *POLICY_KEYS, *options})
    head = Section(top.get("federation"), "federation", problems, {"name", "domain"})
    federation = Federation(
        name=head.text("name", LABEL),
        domain=head.text("domain", DOMAIN),
        sites=tuple(
            _read_site(raw, label("site", raw, number), problems)
            for number, raw in enumerate(top.sequence("sites", required=True), 1)
        ),
        policy=_read_policy(top),
    )
    if not problems and not federation.sites:
        problems.append("sites: the list is empty; describe at least one site")
    _check_sites(federation.sites, problems)
    _check_hosts(federation.sites, problems)
    names = {site.name for site in federation.sites}
    problems.extend(
        f"require_sites: there is no site {name}; name one of {', '.join(sorted(names))}"
        for name in federation.policy.require_sites
        if name not in names
    )
    if problems:
        raise FederationError(source, problems)
    return federation


def _read_policy(top: Section) -> Policy:
    return Policy(
        deadline=top.whole_number("deadline", most=86400) or 60,
        concurrency=top.whole_number("concurrency", most=256) or 16,
        on_site_failure=top.choice("on_site_failure", ON_SITE_FAILURE, default=STALE),
        max_stale=top.whole_number("max_stale") or 86400,
        refresh_after=top.whole_number("refresh_after", least=0) or 0,
        require_sites=top.texts("require_sites", LABEL),
        details=top.switch("details", False),
        metadata_groups=top.texts("metadata_groups", PLAIN),
        cache_directory=top.optional("cache_directory", PLAIN),
    )


def _read_site(raw: object, where: str, problems: list[str]) -> Site:
    section = Section(
        raw,
        where,
        problems,
        {
            "name", "region", "region_name", "coupling", "location", "network", "endpoint", "hosts",
            "on_site_failure", *SOURCE_KEYS, *MEMBERSHIP_KEYS,
        },
    )  # fmt: skip
    name = section.text("name", LABEL)
    coupling = section.choice("coupling", COUPLINGS)
    network = section.network("network")
    site = Site(
        name=name,
        # A number binds a site to its part of the object storage, which only the backbone has.
        region=section.whole_number("region", required=coupling == BACKBONE),
        region_name=section.text("region_name", REGION_NAME, default=name),
        coupling=coupling,
        location=_read_location(section.get("location"), f"{where}, location", problems),
        network=network,
        endpoint=section.optional("endpoint", DOMAIN),
        hosts=tuple(
            _read_host(host, label(f"{where}, host", host, number), network, problems)
            for number, host in enumerate(section.sequence("hosts", required=False), 1)
        ),
        source=read_source(section, where, problems),
        membership=read_membership(section, where, problems),
        on_site_failure=(
            section.choice("on_site_failure", ON_SITE_FAILURE)
            if "on_site_failure" in section
            else None
        ),
    )
    listed = isinstance(section.get("hosts", ()), (list, tuple))
    if coupling == BACKBONE and listed and not site.hosts:
        section.problem(
            "hosts", "a backbone site has at least one host; list them or remove the site"
        )
    return site


def _read_location(raw: object, where: str, problems: list[str]) -> Location:
    if raw is None:
        return Location(None, None, None)
    section = Section(raw, where, problems, {"city", "latitude", "longitude"})
    latitude = section.degrees("latitude", 90)
    longitude = section.degrees("longitude", 180)
    if ("latitude" in section) != ("longitude" in section):
        problems.append(f"{where}: latitude and longitude go together; give both or neither")
    return Location(section.text("city", PLAIN, default="") or None, latitude, longitude)


def _read_host(raw: object, where: str, network: Optional[Network], problems: list[str]) -> Host:
    section = Section(raw, where, problems, {"name", "address", "services", "zone", "vars"})
    address = section.address("address")
    if address is not None and network is not None and address not in network:
        section.problem(
            "address", f"{address} is outside the site's network {network}; correct one of them"
        )
    return Host(
        name=section.text("name", LABEL),
        # The stand-in is never seen: without an address there is a problem, and no Federation.
        address=address or ipaddress.IPv4Address(0),
        services=_read_services(section),
        zone=section.whole_number("zone", required=False) or 1,
        vars=_read_vars(section),
    )


def _read_services(section: Section) -> tuple[str, ...]:
    services: list[str] = []
    for service in section.sequence("services", required=False):
        if not section.check_text("services", service, GROUP):
            continue
        if service in RESERVED_GROUPS or str(service).startswith(RESERVED_GROUP_PREFIXES):
            section.problem(
                "services", f"{service} is a group of the inventory; rename the service"
            )
        elif service in services:
            section.problem("services", f"{service} is listed twice; remove one")
        else:
            services.append(str(service))
    return tuple(services)


def _read_vars(section: Section) -> Mapping[str, Any]:
    variables = section.get("vars")
    if variables is None:
        return {}
    if not isinstance(variables, Mapping):
        section.problem("vars", f"expected variable names with values, found {kind(variables)}")
        return {}
    for name in variables:
        if not is_variable_name(name):
            section.problem("vars", f"{name} is no variable name; use letters, digits, underscores")
        elif name in RESERVED_VARIABLES or name.startswith(OWN_VARIABLE_PREFIXES):
            remedy = "give it as address" if name == "ansible_host" else "choose another name"
            section.problem("vars", f"{name} is reserved for the inventory or Ansible; {remedy}")
    return variables


def _check_sites(sites: Sequence[Site], problems: list[str]) -> None:
    """What must differ between sites.

    Region numbers and names are compared over all sites, not only over the backbone: a federated
    site with a backbone's number would put its hosts into that region's group. Names are compared
    without case, as Keystone's database does.
    """
    once(((site.name, f"site {site.name}") for site in sites if site.name), "name", problems)
    once(
        ((site.region, f"site {site.name}") for site in sites if site.region is not None),
        "region",
        problems,
    )
    once(
        ((site.region_name.lower(), f"site {site.name}") for site in sites if site.region_name),
        "region_name",
        problems,
    )


def _check_hosts(sites: Sequence[Site], problems: list[str]) -> None:
    """What must differ between hosts; Ansible would silently merge two hosts of one name."""
    hosts = [(site, host) for site in sites for host in site.hosts]
    once(
        ((host.name, f"site {site.name}, host {host.name}") for site, host in hosts if host.name),
        "name",
        problems,
    )
    once(
        (
            (host.address, f"site {site.name}, host {host.name}")
            for site, host in hosts
            if int(host.address) != 0
        ),
        "address",
        problems,
    )
    groups = {*RESERVED_GROUPS, "localhost"}.union(*(host.services for _site, host in hosts))
    problems.extend(
        f"site {site.name}, host {host.name}, name: a group has that name, and Ansible would"
        " confuse them; rename the host"
        for site, host in hosts
        if host.name in groups
    )
