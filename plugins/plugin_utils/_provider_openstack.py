# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lists the servers of an OpenStack cloud.

PRIVATE to the collection: it may change without notice.

Per project one login, the pages of Nova's list, and one question to Glance for the names of the
images in it; nothing per server. Flavors come with the servers (microversion 2.47), networks are
the keys of their addresses. keystoneauth1 logs in, so that every kind of login it knows works.

Nova since 2.69 says which servers it could not ask the details of because a cell was down; older
microversions leave them out without a word. So 2.69 is asked for, and such a record ends the list.
"""

from __future__ import annotations

import json
import typing as t
import urllib.parse
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from ansible_collections.infn.cloud.plugins.module_utils._federation_cloud import (
    AddressChoice,
    OpenStackOptions,
)

from ._http import Http
from ._provider import Answer, Instance, Provider, ProviderError, Request

# Stein, which tells about cells that are down; and Pike, the first that sends flavors along.
MICROVERSIONS = ("2.69", "2.47")
# Ids of images in one question: their URL stays below the 2,048 bytes that every proxy takes.
IMAGES_AT_ONCE = 40
# A listing whose marker vanished meanwhile is begun again this often.
ATTEMPTS = 3
# Projects that are listed at the same time.
PROJECTS_AT_ONCE = 4
SCOPE = frozenset(
    {
        "project_id", "project_name", "project_domain_id", "project_domain_name", "tenant_id",
        "tenant_name", "domain_id", "domain_name", "system_scope", "trust_id",
    }
)  # fmt: skip

Json = dict[str, t.Any]


class _MarkerVanished(Exception):
    """The server that the next page begins after was deleted meanwhile."""


class OpenStackProvider(Provider):
    def __init__(self, request: Request) -> None:
        super().__init__(request)
        if not isinstance(request.options, OpenStackOptions):
            raise ProviderError("options of another provider")
        self.options: OpenStackOptions = request.options
        self.entry = request.credentials
        verify: bool | str = bool(self.entry.get("verify", True))
        if verify:
            verify = self.options.ca_file or str(self.entry.get("cacert") or "") or True
        self.http = Http(request.deadline, verify)
        auth = self.entry.get("auth")
        self.auth: Json = dict(auth) if isinstance(auth, Mapping) else {}
        if self.options.auth_url:
            self.auth["auth_url"] = self.options.auth_url
        if not self.auth.get("auth_url"):
            raise ProviderError(
                "neither the credentials nor options, auth_url say where Keystone is; give one"
            )

    def answer(self) -> Answer:
        with self.http.errors("Keystone"):
            projects = self._projects()
        instances: dict[str, Instance] = {}
        with ThreadPoolExecutor(PROJECTS_AT_ONCE) as pool:
            for listed in pool.map(self._list, projects):
                for instance in listed:
                    if instance.id in instances:
                        raise ProviderError(f"server {instance.id} was listed in two projects")
                    instances[instance.id] = instance
        return Answer(list(instances.values()), self.http.requests)

    # --- who we are -----------------------------------------------------------------------------

    def _projects(self) -> list[_Project]:
        """The scopes to list in, by id: the result does not depend on Keystone's order."""
        kind = str(self.entry.get("auth_type") or "password")
        if "applicationcredential" in kind.replace("_", "") or self.options.all_projects:
            # The first belongs to one project for ever, the second is one list of all of them.
            token = self.http.login(kind, self.auth)
            if token.project_id is None:
                raise ProviderError("the credentials are for no project; name one with them")
            names = {str(token.project_id): str(token.project_name)}
            if self.options.all_projects:
                names.update(self._all_projects(token.auth_token))
            return [_Project(str(token.project_id), names, token)]
        unscoped = {key: value for key, value in self.auth.items() if key not in SCOPE}
        token = self.http.login(kind, unscoped, unscoped=True)
        url = f"{_identity(self.auth)}/auth/projects"
        found = self.http.get("Keystone", url, token.auth_token)
        if found.get("truncated"):
            raise ProviderError("Keystone cut its list of projects short; name those you want")
        projects = {}
        for one in _records(found, "projects", "Keystone"):
            if one.get("enabled", True):
                projects[_text(one, "id", "project")] = _text(one, "name", "project")
        chosen = self.options.projects
        missing = [
            name for name in chosen if name not in projects and name not in projects.values()
        ]
        if missing or not projects:
            raise ProviderError(
                f"the credentials may not list project {missing[0]}; correct options, projects"
                if missing
                else "the credentials may list no project; ask the site for a role in one"
            )
        return [
            _Project(id_, {id_: name}, None, token.auth_token)
            for id_, name in sorted(projects.items())
            if not chosen or id_ in chosen or name in chosen
        ]

    def _all_projects(self, token: str) -> dict[str, str]:
        """Names by id. Not everybody who may list all servers may list all projects."""
        response = self.http.ask("Keystone", f"{_identity(self.auth)}/projects", token)
        if response.status_code == 403:
            return {}
        found = _records(self.http.json("Keystone", response), "projects", "Keystone")
        return {_text(one, "id", "project"): _text(one, "name", "project") for one in found}

    # --- one project ----------------------------------------------------------------------------

    def _list(self, project: _Project) -> list[Instance]:
        with self.http.errors(f"project {project.names[project.id]}"):
            if project.token is None:
                project.token = self.http.login(
                    "v3token",
                    {
                        "auth_url": self.auth["auth_url"],
                        "token": project.unscoped,
                        "project_id": project.id,
                    },
                )
            nova = self._endpoint(project, "compute")
            for _attempt in range(ATTEMPTS):
                try:
                    found = [self._instance(project, one) for one in self._servers(project, nova)]
                    break
                except _MarkerVanished:
                    continue
            else:
                raise ProviderError("servers vanish faster than they can be listed; try again")
            names = self._images(project, {one.image for one in found if one.image})
        for instance in found:
            if instance.image:
                instance.image = names.get(instance.image, instance.image)
        return found

    def _endpoint(self, project: _Project, service: str) -> str:
        catalog = project.token.service_catalog
        region = self.options.region or self.entry.get("region_name")
        urls: dict[str, str] = {}
        for found in catalog.get_endpoints(
            service_type=service, interface=self.options.interface
        ).values():
            for endpoint in found:
                urls[str(endpoint.get("region_id") or endpoint.get("region"))] = endpoint["url"]
        if region is not None:
            if region not in urls:
                known = ", ".join(sorted(urls)) or "none"
                raise ProviderError(f"no {service} service in region {region}; it is in {known}")
            return urls[region].rstrip("/")
        if len(urls) != 1:
            raise ProviderError(
                f"{service} services in {len(urls)} regions ({', '.join(sorted(urls))}); name one"
                " with options, region"
            )
        return next(iter(urls.values())).rstrip("/")

    def _servers(self, project: _Project, nova: str) -> Iterator[Json]:
        """Every page. The address of the next one is made here: behind a proxy Nova's is wrong."""
        query: dict[str, str] = {"limit": str(self.options.page_size)}
        if self.options.all_projects:
            query["all_tenants"] = "1"
        query.update(self.options.filters or {})
        seen: set[str] = set()
        while True:
            page = self._page(project, f"{nova}/servers/detail?{urllib.parse.urlencode(query)}")
            servers = _records(page, "servers", "Nova")
            for server in servers:
                id_ = _text(server, "id", "server")
                if id_ in seen:
                    raise ProviderError(
                        f"Nova sent server {id_} on two pages; the list is not whole"
                    )
                seen.add(id_)
                if not server.get("name"):
                    raise ProviderError(
                        f"Nova has a cell down: of server {id_} it knows little more than the id"
                    )
                yield server
            links = page.get("servers_links") or []
            if not any(isinstance(link, dict) and link.get("rel") == "next" for link in links):
                return
            if not servers:
                raise ProviderError("Nova says that there is more, on a page with nothing")
            query["marker"] = servers[-1]["id"]

    def _page(self, project: _Project, url: str) -> Json:
        for number, version in enumerate(MICROVERSIONS):
            headers = {
                "OpenStack-API-Version": f"compute {version}",
                "X-OpenStack-Nova-API-Version": version,
            }
            response = self.http.ask("Nova", url, project.token.auth_token, headers)
            if response.status_code == 406 and number + 1 < len(MICROVERSIONS):
                continue
            if response.status_code == 400 and "marker" in url and b"marker" in response.content:
                raise _MarkerVanished
            break
        return self.http.json("Nova", response)

    def _images(self, project: _Project, wanted: set[str]) -> dict[str, str]:
        """Names by id. An image that was deleted has none any more, which is no failure."""
        names: dict[str, str] = {}
        if not wanted:
            return names
        glance = self._endpoint(project, "image")
        root = glance if glance.endswith("/v2") else f"{glance}/v2"
        ids = sorted(wanted)
        for start in range(0, len(ids), IMAGES_AT_ONCE):
            some = ids[start : start + IMAGES_AT_ONCE]
            query = urllib.parse.urlencode({"id": f"in:{','.join(some)}", "limit": len(some)})
            page = self.http.get("Glance", f"{root}/images?{query}", project.token.auth_token)
            for image in _records(page, "images", "Glance"):
                names[_text(image, "id", "image")] = str(image.get("name") or image["id"])
        return names

    def _instance(self, project: _Project, server: Json) -> Instance:
        image = server.get("image")  # empty when it boots from a volume
        image = _word(image.get("id")) if isinstance(image, dict) else None
        flavor = server.get("flavor")
        addresses = _addresses(server)
        metadata = server.get("metadata")
        metadata = metadata if isinstance(metadata, dict) else {}
        tenant = str(server.get("tenant_id") or project.id)
        found = Instance(
            id=server["id"],
            name=str(server["name"]),
            address=choose_address(addresses, self.options.address),
            state=_word(server.get("status")),
            project=project.names.get(tenant, tenant),
            zone=_word(server.get("OS-EXT-AZ:availability_zone")),
            image=image,
            flavor=_word(flavor.get("original_name")) if isinstance(flavor, dict) else None,
            networks=sorted({str(one["network"]) for one in addresses}),
            metadata={
                key: str(metadata[key]) for key in self.request.metadata_groups if key in metadata
            },
        )
        if self.request.details:
            found.details = {
                "addresses": addresses,
                "created": _word(server.get("created")),
                "flavor": _plain(flavor),
                "image_id": image,
                "key_name": _word(server.get("key_name")),
                "metadata": {str(key): str(value) for key, value in metadata.items()},
                "project_id": tenant,
                "tags": _plain(server.get("tags") or []),
            }
        return found


class _Project:
    """A scope, and the token for it once there is one (an AccessInfo of keystoneauth1)."""

    def __init__(
        self, id_: str, names: Mapping[str, str], token: t.Any, unscoped: str = ""
    ) -> None:
        self.id = id_
        # Of all projects whose servers may come, by id.
        self.names = names
        self.token = token
        self.unscoped = unscoped


def choose_address(addresses: Sequence[Json], choice: AddressChoice) -> str | None:
    """Unless told otherwise, floating before fixed, IPv4 before IPv6, then in the cloud's order."""
    fitting = [
        one
        for one in addresses
        if choice.network in (None, one["network"])
        and choice.kind in (None, one["kind"])
        and choice.version in (None, one["version"])
    ]
    fitting.sort(key=lambda one: (one["kind"] != "floating", one["version"] != 4))
    return str(fitting[0]["address"]) if fitting else None


def _addresses(server: Json) -> list[Json]:
    networks = server.get("addresses")
    if not isinstance(networks, dict):
        return []
    return [
        {
            "network": str(network),
            "address": str(one["addr"]),
            "kind": str(one.get("OS-EXT-IPS:type") or "fixed"),
            "version": 6 if one.get("version") == 6 else 4,
        }
        for network, found in sorted(networks.items())
        for one in (found if isinstance(found, list) else ())
        if isinstance(one, dict) and one.get("addr")
    ]


def _identity(auth: Json) -> str:
    url = str(auth["auth_url"]).rstrip("/")
    return url if url.endswith("/v3") else f"{url}/v3"


def _records(page: Json, key: str, who: str) -> list[Json]:
    found = page.get(key)
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise ProviderError(f"{who} answered without the list {key}")
    return found


def _text(record: Json, key: str, what: str) -> str:
    value = record.get(key)
    if not isinstance(value, str) or not value:
        raise ProviderError(f"a {what} without {key}")
    return value


def _word(value: object) -> str | None:
    return None if value is None or value == "" else str(value)


def _plain(value: object) -> t.Any:
    return json.loads(json.dumps(value))
