# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the documents about a federation need of each site, complete or refused.

PRIVATE to the collection: it may change without notice.

Pure. A site of federation.yml may leave out what its inventory does not need. Here that is missing,
and every document that is asked for says at once what it lacks, before any of them is made.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Optional

from ansible_collections.infn.cloud.plugins.module_utils._federation_cloud import (
    OPENSTACK,
    UUID,
    IdentityProvider,
    OpenStackOptions,
    Sla,
)
from ansible_collections.infn.cloud.plugins.module_utils._federation_model import (
    Federation,
    FederationError,
    Site,
)
from ansible_collections.infn.cloud.plugins.module_utils._federation_reader import (
    PLAIN,
    URL,
    Rule,
    Section,
)

FEEDER, MANAGER, CLOUDS, IM = KINDS = ("feeder", "manager", "clouds", "im")
# Who asks for what they are to be told, in the words of an error.
_WHO = {
    FEEDER: "the registry's feeder",
    MANAGER: "the federation-manager",
    CLOUDS: "clouds.yaml",
    IM: "the Infrastructure Manager",
}

# Keystone makes ids of 32 hexadecimal digits, and accepts a UUID's hyphens nowhere.
PROJECT_ID = Rule(
    re.compile(r"[0-9a-f]{32}"), "use the project's id, 32 hexadecimal digits, as site_info tells"
)
# A secret is never written: only where it comes from.
TOKEN = Rule(
    re.compile(r"\$\{[A-Za-z_][A-Za-z0-9_]*\}|command\([A-Za-z0-9 ._/:@+-]+\)"),
    "name where the token comes from, as ${VARIABLE} or command(oidc-token ACCOUNT); a token itself"
    " is not written into files",
)
_SITE_KEYS = (
    "country", "project_ids", "site_admins", "rally_username", "root_project", "test_flavor",
    "floating_ips",
)  # fmt: skip


@dataclass(frozen=True)
class Wanted:
    """What is to be written, as a person asks for it; registration has a mapping per site."""

    kinds: Sequence[str] = KINDS
    sites: Sequence[str] = ()
    registration: Optional[Mapping[str, Any]] = None
    # The claim of a token that lists the groups: wlcg.groups in the profile of WLCG.
    group_claim: str = "groups"
    sla_url: Optional[str] = None
    project_domain: str = "Default"
    token_from: str = "${ACCESS_TOKEN}"  # noqa: S105 (a reference)


@dataclass(frozen=True)
class Registration:
    """What the registry and the manager want to know of a site, and federation.yml does not say."""

    country: Optional[str] = None
    # Name of a project to its id.
    project_ids: Mapping[str, str] = field(default_factory=dict)
    site_admins: tuple[str, ...] = ()
    rally_username: Optional[str] = None
    root_project: Optional[str] = None
    test_flavor: Optional[str] = None
    floating_ips: bool = False


@dataclass(frozen=True)
class Agreement:
    """An SLA with the id of its project, empty if only the name is known, and its short name."""

    sla: Sla
    project_id: str
    entry: str


@dataclass(frozen=True)
class Member:
    """A site of which nothing is missing that the documents need.

    A field that no document asked for may be empty.
    """

    site: Site
    auth_url: str
    region: str
    identity: IdentityProvider
    agreements: tuple[Agreement, ...]
    registration: Registration

    @property
    def options(self) -> OpenStackOptions:
        return openstack_options(self.site)


def openstack_options(site: Site) -> OpenStackOptions:
    options = site.source.options
    return options if isinstance(options, OpenStackOptions) else OpenStackOptions()


def members(federation: Federation, source: str, wanted: Wanted) -> list[Member]:
    """The sites of the documents, in the order of the file; FederationError with all that lacks."""
    problems: list[str] = []
    sites = _choose(federation.sites, wanted.sites, problems)
    extras = _read_registrations(federation, wanted.registration, problems)
    if not TOKEN.pattern.fullmatch(wanted.token_from):
        problems.append(f"token_from: {TOKEN.says}")
    if MANAGER in wanted.kinds:
        _check_sla_url(wanted.sla_url, problems)
    found = [
        member
        for site in sites
        if (member := _member(site, extras.get(site.name, Registration()), wanted.kinds, problems))
    ]
    _check_agreements(found, wanted.kinds, problems)
    if MANAGER in wanted.kinds:
        _check_endpoints(found, problems)
    if problems:
        raise FederationError(source, problems)
    return found


def _choose(sites: Sequence[Site], names: Sequence[str], problems: list[str]) -> list[Site]:
    known = {site.name: site for site in sites}
    for name in names:
        if name not in known:
            problems.append(f"sites: there is no site {name}; name one of {', '.join(known)}")
        elif known[name].source.provider != OPENSTACK:
            problems.append(
                f"site {name}, provider: {known[name].source.provider} is not described by these"
                f" documents; leave {name} out of sites"
            )
    chosen = [
        site
        for site in sites
        if site.source.provider == OPENSTACK and (not names or site.name in names)
    ]
    if not chosen and not problems:
        problems.append("sites: none has provider openstack, so there is nothing to write")
    return chosen


def _read_registrations(
    federation: Federation, raw: Optional[Mapping[str, Any]], problems: list[str]
) -> dict[str, Registration]:
    known = {site.name for site in federation.sites}
    found = {}
    for name, value in (raw or {}).items():
        if name in known:
            found[name] = _read_registration(value, f"registration of site {name}", problems)
        else:
            problems.append(f"registration: there is no site {name}; remove it or correct the name")
    return found


def _read_registration(raw: object, where: str, problems: list[str]) -> Registration:
    section = Section(raw, where, problems, set(_SITE_KEYS))
    ids = section.mapping("project_ids") or {}
    for name, value in ids.items():
        section.check_text(f"project_ids, {name}", value, PROJECT_ID)
    return Registration(
        country=section.optional("country", PLAIN),
        project_ids={str(name): str(value) for name, value in ids.items()},
        site_admins=section.texts("site_admins", UUID),
        rally_username=section.optional("rally_username", PLAIN),
        root_project=section.optional("root_project", PLAIN),
        test_flavor=section.optional("test_flavor", PLAIN),
        floating_ips=section.switch("floating_ips", False),
    )


def _check_sla_url(url: Optional[str], problems: list[str]) -> None:
    remedy = "give the URL of an agreement's document with {doc_uuid} in it"
    if not url:
        problems.append(f"sla_url: missing, but asked for by the federation-manager; {remedy}")
    elif "{doc_uuid}" not in url or not URL.pattern.fullmatch(url.replace("{doc_uuid}", "x")):
        problems.append(f"sla_url: {url!r} is not valid; {remedy}")


class _Needs:
    """Collects what one site lacks, each with who asks for it."""

    def __init__(self, site: Site, kinds: Collection[str], problems: list[str]) -> None:
        self._where = f"site {site.name}"
        self._kinds = [kind for kind in KINDS if kind in kinds]
        self._problems = problems

    def check(self, value: object, key: str, kinds: Sequence[str], remedy: str) -> None:
        asking = [_WHO[kind] for kind in self._kinds if kind in kinds]
        if asking and not value:
            who = " and ".join(asking)
            self._problems.append(
                f"{self._where}, {key}: missing, but asked for by {who}; {remedy}"
            )


def _member(
    site: Site, extra: Registration, kinds: Collection[str], problems: list[str]
) -> Optional[Member]:
    options, membership = openstack_options(site), site.membership
    before = len(problems)
    needs = _Needs(site, kinds, problems)
    needs.check(options.auth_url, "options, auth_url", KINDS, "give Keystone's URL")
    needs.check(
        options.region, "options, region", (FEEDER, MANAGER), "give its name, often RegionOne"
    )
    needs.check(
        membership.identity_provider,
        "identity_provider",
        KINDS,
        "say what the site's Keystone calls the federation's issuer",
    )
    needs.check(membership.sla, "sla", KINDS, "add the agreement, or leave the site out of sites")
    needs.check(membership.support_emails, "support_emails", (MANAGER,), "give one address")
    needs.check(
        extra.site_admins,
        "registration, site_admins",
        (MANAGER,),
        "list the UUIDs that the manager gave to the site's administrators",
    )
    needs.check(
        extra.rally_username,
        "registration, rally_username",
        (MANAGER,),
        "name the user of the site that runs the tests of the federation",
    )
    projects = [sla.project for sla in membership.sla]
    needs.check(
        extra.root_project in projects if projects else True,
        "registration, root_project",
        (MANAGER,),
        f"name the project of the tests, one of {', '.join(projects)}",
    )
    agreements = []
    for sla in membership.sla:
        project_id = sla.project if PROJECT_ID.pattern.fullmatch(sla.project) else ""
        project_id = extra.project_ids.get(sla.project, project_id)
        needs.check(
            project_id,
            f"registration, project_ids, {sla.project}",
            (FEEDER, MANAGER),
            "give the project's id; the feeder logs in by it, and takes no name",
        )
        agreements.append(Agreement(sla, project_id, entry_name(site.name, sla.project)))
    if len(problems) > before or membership.identity_provider is None:
        return None
    return Member(
        site=site,
        auth_url=options.auth_url or "",
        region=options.region or "",
        identity=membership.identity_provider,
        agreements=tuple(agreements),
        registration=extra,
    )


def entry_name(site: str, project: str) -> str:
    """What clouds.yaml and the Infrastructure Manager call one project of one site.

    The Infrastructure Manager takes letters, digits and ``_.-``, and no digit at the beginning.
    Sites have no dot in their names, so projects of two sites never share one.
    """
    name = f"{site}.{re.sub(r'[^A-Za-z0-9_.-]+', '-', project)}"
    return f"_{name}" if name[0].isdigit() else name


def _check_agreements(found: Sequence[Member], kinds: Collection[str], problems: list[str]) -> None:
    documents: dict[str, tuple[str, Sla]] = {}
    for member in found:
        projects: dict[str, str] = {}
        groups: dict[str, str] = {}
        entries: dict[str, str] = {}
        for agreement in member.agreements:
            sla = agreement.sla
            where = f"site {member.site.name}, sla of {sla.group}"
            if FEEDER in kinds:
                _check_for_feeder(sla, where, projects, groups, problems)
            if MANAGER in kinds:
                name, first = documents.setdefault(sla.doc_uuid, (member.site.name, sla))
                if (sla.group, sla.start_date, sla.end_date, sla.issuer) != (
                    first.group, first.start_date, first.end_date, first.issuer,
                ):  # fmt: skip
                    problems.append(
                        f"{where}, doc_uuid: {sla.doc_uuid} is another agreement at site {name};"
                        " write the same group and days, or give each its own"
                    )
            other = entries.setdefault(agreement.entry, sla.project)
            if other != sla.project and (CLOUDS in kinds or IM in kinds):
                problems.append(
                    f"{where}, project: {sla.project} and {other} would both be called"
                    f" {agreement.entry}; use their ids"
                )


def _check_for_feeder(
    sla: Sla, where: str, projects: dict[str, str], groups: dict[str, str], problems: list[str]
) -> None:
    """What the registry refuses, or drops without a word (its get_updated_identity_provider)."""
    other = projects.setdefault(sla.doc_uuid, sla.project)
    if other != sla.project:
        problems.append(
            f"{where}, doc_uuid: {sla.doc_uuid} is the agreement of project {other} too, and the"
            " registry takes one project for each at a site; give each its own"
        )
    elif groups.setdefault(sla.group, sla.doc_uuid) != sla.doc_uuid:
        problems.append(
            f"{where}, group: the registry keeps one agreement of a group at a site, and would drop"
            f" {sla.doc_uuid} without a word; leave one"
        )
    if sla.start_date == sla.end_date:
        problems.append(
            f"{where}, end_date: the registry takes none that is the start_date; give a later one"
        )


def _check_endpoints(found: Sequence[Member], problems: list[str]) -> None:
    first: dict[str, str] = {}
    for member in found:
        other = first.setdefault(member.auth_url.rstrip("/"), member.site.name)
        if other != member.site.name:
            problems.append(
                f"site {member.site.name}, options, auth_url: {member.auth_url} is that of site"
                f" {other}, and the federation-manager takes each once; describe them as one site"
            )
