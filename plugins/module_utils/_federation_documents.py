# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The documents that other services want of a federation, made of its federation.yml.

PRIVATE to the collection: it may change without notice.

Pure: plain data goes out, the module writes it. The shapes were read in the services' sources:

- feeder: infn-datacloud/federation-registry-feeder, src/models, commit 07167ff8, and the models of
  infn-datacloud/federation-registry-lib, fedreg, commit a084636f
- manager: infn-datacloud/federation-manager, fed_mgr/v1, commit e30c7c52
- im: grycap/im, IM/auth.py, IM/CloudInfo.py and doc/source/client.rst, commit c2fc99ee
- clouds: openstacksdk's clouds.yaml and keystoneauth's plugin v3oidcaccesstoken

tests/schemas has them as JSON Schemas, against which the tests hold what is made here.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Optional

from ansible_collections.infn.cloud.plugins.module_utils._federation_cloud import OPENSTACK
from ansible_collections.infn.cloud.plugins.module_utils._federation_model import (
    Federation,
    FederationError,
)
from ansible_collections.infn.cloud.plugins.module_utils._federation_registration import (
    CLOUDS,
    FEEDER,
    IM,
    MANAGER,
    Agreement,
    Member,
    Wanted,
    members,
)

FEEDER_DIRECTORY = "feeder"
FEEDER_SUFFIX = ".config.yaml"  # what the feeder looks for in its directory


@dataclass(frozen=True)
class Document:
    """A file: its path below the destination, lines that explain it, and what is in it.

    content is data for a path that ends in .yaml, .yml or .json; otherwise it is the text.
    """

    path: str
    kind: str
    comment: tuple[str, ...]
    content: Any


def documents(federation: Federation, source: str, wanted: Wanted) -> list[Document]:
    """Every document that is asked for, or FederationError with all that is missing for them.

    source names federation.yml in errors.
    """
    sites = members(federation, source, wanted)
    made: list[Document] = []
    if FEEDER in wanted.kinds:
        made.extend(feeder(member, wanted) for member in sites)
    if MANAGER in wanted.kinds:
        made.append(manager(sites, wanted))
    if CLOUDS in wanted.kinds:
        made.append(clouds(sites, wanted))
    if IM in wanted.kinds:
        problems: list[str] = []
        made.append(infrastructure_manager(sites, wanted, problems))
        if problems:
            raise FederationError(source, problems)
    return made


def notes(federation: Federation, wanted: Wanted, today: datetime.date) -> list[str]:
    """What is written all the same, but a person may want to know."""
    found = []
    for site in federation.sites:
        if site.source.provider != OPENSTACK or (wanted.sites and site.name not in wanted.sites):
            continue
        identity = site.membership.identity_provider
        if MANAGER in wanted.kinds and identity and identity.issuer.count("/") == 2:
            found.append(
                f"site {site.name}, identity_provider, issuer: the federation-manager will know it"
                f" as {identity.issuer}/, which is another issuer to Keystone"
            )
        for sla in site.membership.sla:
            if not sla.in_force(today):
                when = (
                    f"ended on {sla.end_date}"
                    if sla.end_date < today
                    else f"begins on {sla.start_date}"
                )
                found.append(f"site {site.name}, sla of {sla.group}: {when}")
    return found


def _without_empty(**values: Any) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value not in (None, [], {}, "")}


# --- the registry's feeder ------------------------------------------------------------------------


def feeder(member: Member, wanted: Wanted) -> Document:
    """The configuration of one provider.

    Limits per user are left out: the agreements of federation.yml bind a group as a whole, and the
    feeder reads its project's quotas from the cloud itself. It gets its token from oidc-agent.
    """
    site, membership = member.site, member.site.membership
    groups: dict[str, list[dict[str, str]]] = {}
    for agreement in member.agreements:
        sla = agreement.sla
        groups.setdefault(sla.group, []).append(
            {
                "doc_uuid": sla.doc_uuid,
                "start_date": sla.start_date.isoformat(),
                "end_date": sla.end_date.isoformat(),
            }
        )
    proxy = membership.private_net_proxy and {
        "host": membership.private_net_proxy.host,
        "user": membership.private_net_proxy.user,
    }
    location = None
    if member.registration.country:  # the registry takes no place without its country
        location = _without_empty(
            site=site.location.city or site.name,
            country=member.registration.country,
            latitude=site.location.latitude,
            longitude=site.location.longitude,
        )
    provider = _without_empty(
        name=site.name,
        status="active",
        is_public=False,
        support_emails=list(membership.support_emails),
        auth_url=member.auth_url,
        regions=[_without_empty(name=member.region, location=location)],
        identity_providers=[
            {
                "endpoint": member.identity.issuer,
                "name": member.identity.name,
                "protocol": member.identity.protocol,
            }
        ],
        image_tags=list(membership.image_tags),
        network_tags=list(membership.network_tags),
        projects=[
            _without_empty(
                id=agreement.project_id,
                sla=agreement.sla.doc_uuid,
                default_public_net=membership.default_public_net,
                default_private_net=membership.default_private_net,
                private_net_proxy=proxy and dict(proxy),  # a copy: no anchors in the YAML
            )
            for agreement in member.agreements
        ],
    )
    return Document(
        path=f"{FEEDER_DIRECTORY}/{site.name}{FEEDER_SUFFIX}",
        kind=FEEDER,
        comment=(f"What the Federation-Registry's feeder reads of the site {site.name}.",),
        content={
            "trusted_idps": [
                {
                    "issuer": member.identity.issuer,
                    "group_claim": wanted.group_claim,
                    "user_groups": [{"name": name, "slas": slas} for name, slas in groups.items()],
                }
            ],
            "openstack": [provider],
        },
    )


# --- the federation-manager -----------------------------------------------------------------------


class _Requests:
    """Requests in the order in which they work; what one makes, later ones call by its name."""

    def __init__(self) -> None:
        self.listed: list[dict[str, Any]] = []
        self._made: set[str] = set()

    def post(self, path: str, body: dict[str, Any], makes: Optional[str] = None) -> None:
        """makes: the same thing is made once, by whoever needs it first."""
        if makes is not None and makes in self._made:
            return
        request: dict[str, Any] = {"method": "POST", "path": path, "body": body}
        if makes is not None:
            self._made.add(makes)
            request["makes"] = makes
        self.listed.append(request)


def _id(made: str) -> str:
    return "${id:" + made + "}"


def manager(sites: Sequence[Member], wanted: Wanted) -> Document:
    """The requests that enter the providers, in their order.

    The manager chooses the ids, so a later request calls what an earlier one makes by a name. Its
    agreements end before their last day; ours end with it, hence the day after.
    """
    requests = _Requests()
    for member in sites:
        _identity_requests(requests, member, wanted)
    for member in sites:
        _provider_requests(requests, member, wanted)
    return Document(
        path="federation-manager.json",
        kind=MANAGER,
        comment=(),
        content={
            "comment": "Requests to the federation-manager's API, in this order. ${id:NAME} is the"
            " id in the answer to the request that makes NAME; ${env:NAME} is a secret from the"
            " environment, which is in no file.",
            "requests": requests.listed,
        },
    )


def _identity_requests(requests: _Requests, member: Member, wanted: Wanted) -> None:
    identity = member.identity
    idp = f"idp {identity.issuer}"
    requests.post(
        "/idps/",
        {
            "endpoint": identity.issuer,
            "name": identity.name,
            "groups_claim": wanted.group_claim,
            "protocol": identity.protocol,
        },
        makes=idp,
    )
    for agreement in member.agreements:
        sla = agreement.sla
        group = f"group {sla.group} of {idp}"
        requests.post(f"/idps/{_id(idp)}/user-groups/", {"name": sla.group}, makes=group)
        requests.post(
            f"/idps/{_id(idp)}/user-groups/{_id(group)}/slas/",
            {
                "name": sla.doc_uuid,
                "url": (wanted.sla_url or "").replace("{doc_uuid}", sla.doc_uuid),
                "start_date": sla.start_date.isoformat(),
                "end_date": (sla.end_date + datetime.timedelta(days=1)).isoformat(),
            },
            makes=f"sla {sla.doc_uuid}",
        )


def _provider_requests(requests: _Requests, member: Member, wanted: Wanted) -> None:
    site, membership, extra = member.site, member.site.membership, member.registration
    provider, region = f"provider {site.name}", f"region {member.region} of provider {site.name}"
    idp = f"idp {member.identity.issuer}"
    path = f"/providers/{_id(provider)}"
    requests.post(
        "/providers/",
        _without_empty(
            name=site.name,
            type="openstack",
            auth_endpoint=member.auth_url,
            is_public=False,
            support_emails=list(membership.support_emails),
            image_tags=list(membership.image_tags),
            network_tags=list(membership.network_tags),
            rally_username=extra.rally_username,
            rally_password="${env:" + password_variable(site.name) + "}",
            floating_ips_enable=extra.floating_ips,
            test_flavor_name=extra.test_flavor,
            site_admins=list(extra.site_admins),
        ),
        makes=provider,
    )
    # Its own names always: the identity provider has those of the site that came first.
    overrides = {
        "groups_claim": wanted.group_claim,
        "name": member.identity.name,
        "protocol": member.identity.protocol,
    }
    requests.post(f"{path}/idps/", {"idp_id": _id(idp), "overrides": overrides})
    requests.post(f"{path}/regions/", {"name": member.region}, makes=region)
    for agreement in member.agreements:
        _project_requests(requests, member, agreement, provider, region)


def _project_requests(
    requests: _Requests, member: Member, agreement: Agreement, provider: str, region: str
) -> None:
    sla, membership = agreement.sla, member.site.membership
    project = f"project {sla.project} of {provider}"
    proxy = membership.private_net_proxy
    requests.post(
        f"/providers/{_id(provider)}/projects/",
        {
            "name": sla.project,
            "iaas_project_id": agreement.project_id,
            "is_root": sla.project == member.registration.root_project,
        },
        makes=project,
    )
    requests.post(
        f"/providers/{_id(provider)}/projects/{_id(project)}/regions/",
        {
            "region_id": _id(region),
            "overrides": _without_empty(
                default_public_net=membership.default_public_net,
                default_private_net=membership.default_private_net,
                private_net_proxy_host=None if proxy is None else proxy.host,
                private_net_proxy_user=None if proxy is None else proxy.user,
            ),
        },
    )
    idp = f"idp {sla.issuer}"
    requests.post(
        f"/idps/{_id(idp)}/user-groups/{_id(f'group {sla.group} of {idp}')}"
        f"/slas/{_id(f'sla {sla.doc_uuid}')}/projects/",
        {"project_id": _id(project)},
    )


def password_variable(site: str) -> str:
    """The environment variable with the password of the site's user for tests."""
    return "RALLY_PASSWORD_" + site.replace("-", "_").upper()


# --- clouds.yaml ----------------------------------------------------------------------------------


def clouds(sites: Sequence[Member], wanted: Wanted) -> Document:
    """An entry for each project of each site, for a user of the federation. It holds no token.

    clouds.yaml can refer to nothing, so the token is given beside it.
    """
    entries = {}
    for member in sites:
        for agreement in member.agreements:
            entries[agreement.entry] = _without_empty(
                auth_type="v3oidcaccesstoken",
                auth=_without_empty(
                    auth_url=member.auth_url,
                    identity_provider=member.identity.name,
                    protocol=member.identity.protocol,
                    project_id=agreement.project_id,
                    project_name="" if agreement.project_id else agreement.sla.project,
                    project_domain_name="" if agreement.project_id else wanted.project_domain,
                ),
                region_name=member.region,
                interface=member.options.interface,
                identity_api_version="3",
                cacert=member.options.ca_file,
            )
    return Document(
        path="clouds.yaml",
        kind=CLOUDS,
        comment=(
            "The clouds of the federation, one entry per site and project, for its users.",
            "The access token is not here, since this file can refer to no variable: set",
            "OS_ACCESS_TOKEN for the command openstack, or put it into secure.yaml beside this",
            "file, as auth: {access_token: ...} of the entry.",
        ),
        content={"clouds": entries},
    )


# --- the Infrastructure Manager -------------------------------------------------------------------


def infrastructure_manager(
    sites: Sequence[Member], wanted: Wanted, problems: list[str]
) -> Document:
    """A line of authorization for each project of each site, and the one for itself."""
    lines = [authorization_line({"type": "InfrastructureManager", "token": wanted.token_from})]
    for member in sites:
        where = f"site {member.site.name}"
        if "[" in member.auth_url:
            problems.append(
                f"{where}, options, auth_url: the Infrastructure Manager reads no IPv6 address in"
                f" {member.auth_url}; give a name"
            )
        for agreement in member.agreements:
            values = _without_empty(
                id=agreement.entry,
                type="OpenStack",
                host=member.auth_url,
                username=member.identity.name,
                tenant=member.identity.protocol,
                password=wanted.token_from,
                domain=agreement.project_id or agreement.sla.project,
                service_region=member.region,
                auth_version="3.x_oidc_access_token",
            )
            try:
                lines.append(authorization_line(values))
            except ValueError as error:
                problems.append(f"{where}, sla of {agreement.sla.group}, project: {error}")
    variable = wanted.token_from.startswith("$")
    what = "a variable of the environment" if variable else "what a command prints"
    return Document(
        path="im-auth.txt",
        kind=IM,
        comment=(
            "Authorization for the Infrastructure Manager, one line per site and project.",
            f"The access token is not here: it is {what}.",
        ),
        content="".join(f"{line}\n" for line in lines),
    )


def authorization_line(values: dict[str, str]) -> str:
    """One line as IM/auth.py reads it; ValueError for a value that it would read as another.

    It has no escapes: one kind of quotes protects ``; =`` and the other kind. Spaces around a
    value are lost also inside of quotes, a backslash and n are a new line, and file(...) is a file
    of the server.
    """
    return "; ".join(f"{key} = {_quote(value)}" for key, value in values.items())


def _quote(value: str) -> str:
    remedy = "the Infrastructure Manager cannot be given it; use the project's id"
    if value != value.strip() or "\\n" in value or "\n" in value:
        raise ValueError(f"{value!r} has outer spaces or a new line; {remedy}")
    if value.startswith("file(") and value.endswith(")"):
        raise ValueError(f"{value!r} would be read as a file; {remedy}")
    if '"' in value and "'" in value:
        raise ValueError(f"{value!r} has both kinds of quotes; {remedy}")
    if '"' in value:
        return f"'{value}'"
    return f'"{value}"' if any(mark in value for mark in ";='") else value
