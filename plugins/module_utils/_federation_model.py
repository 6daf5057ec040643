# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a federation.yml says, checked as a whole.

PRIVATE to the collection: it may change without notice.

Pure: it receives the parsed file and returns a Federation, or raises FederationError with every
problem it found. Where a site's hosts come from ends here: whoever finds hosts elsewhere than in
the file makes the same Host objects, and all that follows stays as it is.
"""

from __future__ import annotations

import difflib
import ipaddress
import keyword
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Optional, Union

Address = Union[ipaddress.IPv4Address, ipaddress.IPv6Address]
Network = Union[ipaddress.IPv4Network, ipaddress.IPv6Network]

BACKBONE = "backbone"
FEDERATED = "federated"
COUPLINGS = (BACKBONE, FEDERATED)
PROVIDERS = ("static",)

# Groups that exist whatever the file says; a service of that name would silently join them.
RESERVED_GROUPS = frozenset({"all", "ungrouped", *COUPLINGS})
RESERVED_GROUP_PREFIXES = ("site_", "region_")

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


@dataclass(frozen=True)
class Rule:
    """What a piece of text must look like, and how to say so."""

    pattern: re.Pattern[str]
    says: str


LABEL = Rule(
    re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"),
    "use 1 to 63 lower-case letters, digits and hyphens, with no hyphen at either end",
)
DOMAIN = Rule(
    re.compile(
        r"(?=.{1,253}\Z)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*"
    ),
    "use a DNS name in lower case without a trailing dot, such as cloud.example.org",
)
GROUP = Rule(
    re.compile(r"[a-z][a-z0-9_]{0,62}"),
    "use lower-case letters, digits and underscores, beginning with a letter (it names a group)",
)
REGION_NAME = Rule(
    re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}"),
    "use 1 to 63 letters, digits, hyphens, underscores and dots, beginning with a letter or digit",
)
# No braces: outside of vars every string is data, and what cannot be a template is never one.
PLAIN = Rule(
    re.compile(r"(?!#jinja2:)[^{}\x00-\x1f\x7f]{1,200}"),
    "use one line of at most 200 characters without braces (templates are for a host's vars only)",
)


class FederationError(Exception):
    """Every problem of one file, in one message."""

    def __init__(self, source: str, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        super().__init__(
            "\n".join([f"{source}: {count}", *(f"  - {problem}" for problem in problems)])
        )


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
            "site_location": self.location.variables(),
            "site_network": None if self.network is None else str(self.network),
        }


@dataclass(frozen=True)
class Federation:
    name: str
    domain: str
    sites: tuple[Site, ...]

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
    top = _Section(data, "", problems, {"federation", "sites", *options})
    head = _Section(top.get("federation"), "federation", problems, {"name", "domain"})
    federation = Federation(
        name=head.text("name", LABEL),
        domain=head.text("domain", DOMAIN),
        sites=tuple(
            _read_site(raw, _label("site", raw, number), problems)
            for number, raw in enumerate(top.sequence("sites", required=True), 1)
        ),
    )
    if not problems and not federation.sites:
        problems.append("sites: the list is empty; describe at least one site")
    _check_sites(federation.sites, problems)
    _check_hosts(federation.sites, problems)
    if problems:
        raise FederationError(source, problems)
    return federation


def _read_site(raw: object, where: str, problems: list[str]) -> Site:
    section = _Section(
        raw,
        where,
        problems,
        {
            "name",
            "region",
            "region_name",
            "coupling",
            "location",
            "provider",
            "network",
            "endpoint",
            "hosts",
        },
    )
    name = section.text("name", LABEL)
    coupling = section.choice("coupling", COUPLINGS)
    section.choice("provider", PROVIDERS)
    network = section.network("network")
    site = Site(
        name=name,
        # A number binds a site to its part of the object storage, which only the backbone has.
        region=section.whole_number("region", required=coupling == BACKBONE),
        region_name=section.text("region_name", REGION_NAME, default=name),
        coupling=coupling,
        location=_read_location(section.get("location"), f"{where}, location", problems),
        network=network,
        endpoint=section.text("endpoint", DOMAIN, default="") or None,
        hosts=tuple(
            _read_host(host, _label(f"{where}, host", host, number), network, problems)
            for number, host in enumerate(section.sequence("hosts", required=False), 1)
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
    section = _Section(raw, where, problems, {"city", "latitude", "longitude"})
    latitude = section.degrees("latitude", 90)
    longitude = section.degrees("longitude", 180)
    if ("latitude" in section) != ("longitude" in section):
        problems.append(f"{where}: latitude and longitude go together; give both or neither")
    return Location(section.text("city", PLAIN, default="") or None, latitude, longitude)


def _read_host(raw: object, where: str, network: Optional[Network], problems: list[str]) -> Host:
    section = _Section(raw, where, problems, {"name", "address", "services", "zone", "vars"})
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


def _read_services(section: _Section) -> tuple[str, ...]:
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


def _read_vars(section: _Section) -> Mapping[str, Any]:
    variables = section.get("vars")
    if variables is None:
        return {}
    if not isinstance(variables, Mapping):
        section.problem("vars", f"expected variable names with values, found {_kind(variables)}")
        return {}
    for name in variables:
        if not _is_variable_name(name):
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
    _once(((site.name, f"site {site.name}") for site in sites if site.name), "name", problems)
    _once(
        ((site.region, f"site {site.name}") for site in sites if site.region is not None),
        "region",
        problems,
    )
    _once(
        ((site.region_name.lower(), f"site {site.name}") for site in sites if site.region_name),
        "region_name",
        problems,
    )


def _check_hosts(sites: Sequence[Site], problems: list[str]) -> None:
    """What must differ between hosts; Ansible would silently merge two hosts of one name."""
    hosts = [(site, host) for site in sites for host in site.hosts]
    _once(
        ((host.name, f"site {site.name}, host {host.name}") for site, host in hosts if host.name),
        "name",
        problems,
    )
    _once(
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


def _once(values: Iterable[tuple[object, str]], key: str, problems: list[str]) -> None:
    first: dict[object, str] = {}
    for value, where in values:
        if value in first:
            other = "an earlier one" if first[value] == where else first[value]
            problems.append(f"{where}, {key}: {value} is taken by {other}; give each its own")
        else:
            first[value] = where


def _is_variable_name(name: object) -> bool:
    return (
        isinstance(name, str)
        and name.isidentifier()
        and name.isascii()
        and not keyword.iskeyword(name)
    )


def _label(noun: str, raw: object, number: int) -> str:
    name = raw.get("name") if isinstance(raw, Mapping) else None
    return f"{noun} {name}" if isinstance(name, str) and name else f"{noun} number {number}"


def _kind(value: object) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return f"the YAML boolean {str(value).lower()} (quote it to make it text)"
    if isinstance(value, (int, float)):
        return f"the number {value}"
    if isinstance(value, str):
        return f"the text {str(value)!r}"
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, (list, tuple)):
        return "a list"
    return f"a value of type {type(value).__name__}"


class _Section:
    """One mapping of the file with the words that name it; collects problems instead of raising."""

    def __init__(self, raw: object, where: str, problems: list[str], keys: Collection[str]) -> None:
        self._where = where
        self._problems = problems
        self._raw: Mapping[Any, Any] = raw if isinstance(raw, Mapping) else {}
        # When the whole mapping is missing or of another type, that is the one thing to say.
        self._silent = not isinstance(raw, Mapping)
        if self._silent:
            wanted = ", ".join(sorted(keys)) if where else "plugin, federation, sites"
            problems.append(
                f"{where or 'the file'}: expected a mapping with {wanted}; found {_kind(raw)}"
            )
        for key in self._raw:
            if key not in keys:
                close = difflib.get_close_matches(str(key), sorted(keys), n=1)
                known = "known keys: " + ", ".join(sorted(keys))
                remedy = f"did you mean {close[0]}?" if close else known
                self.problem(str(key), f"unknown key; {remedy}")

    def __contains__(self, key: str) -> bool:
        return self._raw.get(key) is not None

    def get(self, key: str, default: object = None) -> object:
        value = self._raw.get(key)
        return default if value is None else value

    def problem(self, key: str, text: str) -> None:
        self._problems.append(f"{self._where}, {key}: {text}" if self._where else f"{key}: {text}")

    def missing(self, key: str, remedy: str) -> None:
        if not self._silent:
            self.problem(key, f"missing; {remedy}")

    def check_text(self, key: str, value: object, rule: Rule) -> bool:
        if not isinstance(value, str):
            self.problem(key, f"expected text, found {_kind(value)}")
        elif not rule.pattern.fullmatch(value):
            self.problem(key, f"{str(value)!r} is not valid; {rule.says}")
        else:
            return True
        return False

    def text(self, key: str, rule: Rule, default: Optional[str] = None) -> str:
        value = self.get(key)
        if value is None:
            if default is None:
                self.missing(key, rule.says)
            return default or ""
        return str(value) if self.check_text(key, value, rule) else ""

    def choice(self, key: str, choices: Sequence[str]) -> str:
        value = self.get(key)
        if value is None:
            self.missing(key, "give one of " + ", ".join(choices))
        elif value not in choices:
            self.problem(key, f"expected one of {', '.join(choices)}; found {_kind(value)}")
        else:
            return str(value)
        return ""

    def whole_number(self, key: str, *, required: bool) -> Optional[int]:
        value = self.get(key)
        if value is None:
            if required:
                self.missing(key, "give a whole number from 1 on")
            return None
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            self.problem(key, f"expected a whole number from 1 on, found {_kind(value)}")
            return None
        return int(value)

    def degrees(self, key: str, limit: int) -> Optional[float]:
        value = self.get(key)
        if value is None:
            return None
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not number or not -limit <= float(str(value)) <= limit:
            self.problem(key, f"expected degrees from -{limit} to {limit}, found {_kind(value)}")
            return None
        return float(str(value))

    def sequence(self, key: str, *, required: bool) -> Sequence[object]:
        value = self.get(key)
        if value is None:
            if required:
                self.missing(key, "give a list")
            return ()
        if not isinstance(value, (list, tuple)):
            self.problem(key, f"expected a list, found {_kind(value)}")
            return ()
        return value

    def address(self, key: str) -> Optional[Address]:
        value = self.get(key)
        if value is None:
            self.missing(key, "give the IP address that Ansible connects to")
            return None
        try:
            address = ipaddress.ip_address(str(value))
        except ValueError:
            address = None
        if address is None or int(address) == 0 or address.is_multicast:
            self.problem(key, f"expected the IP address of a host, found {_kind(value)}")
            return None
        return address

    def network(self, key: str) -> Optional[Network]:
        value = self.get(key)
        if value is None:
            return None
        try:
            network = ipaddress.ip_network(str(value), strict=False)
        except ValueError:
            network = None
        if network is None or "/" not in str(value):
            self.problem(key, f"expected a network such as 192.0.2.0/24, found {_kind(value)}")
            return None
        address = str(value).split("/", maxsplit=1)[0]
        if str(network.network_address) != str(ipaddress.ip_address(address)):
            self.problem(key, f"{value} is an address inside a network; the network is {network}")
        return network
