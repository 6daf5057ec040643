# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Asks the services of an OpenStack site: one login, a bounded number of requests, several at once.

PRIVATE to the collection: it may change without notice.

It speaks to the APIs through keystoneauth alone. An SDK would ask each service for its versions
first, flavors one by one for their extra specs, and change its attributes from release to release.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any, Callable, NamedTuple, Optional
from urllib.parse import quote, urlencode

from ansible_collections.infn.cloud.plugins.module_utils._keystone_client import (
    Client,
    KeystoneError,
)
from ansible_collections.infn.cloud.plugins.module_utils._site_model import (
    REQUIRED_SERVICES,
    SERVICE_TYPES,
    api_versions,
    choose_endpoints,
    has_extra_specs,
    next_page,
    read_flavor,
    read_image,
    read_network,
    read_quotas,
    regions_of,
    root_of,
    versioned,
    why_not,
)

with suppress(ImportError):  # the module that uses this says so, by KEYSTONEAUTH_ERROR
    from keystoneauth1 import exceptions as keystone_errors

AT_ONCE = 8
# Pages of one list. Services send 20 to 1000 at a time; nobody has more flavors than that.
MAX_PAGES = 100
VERSIONS = {"image": "v2", "network": "v2.0", "identity": "v3"}
COMPUTE_MICROVERSION = {"OpenStack-API-Version": "compute 2.61"}


class SiteError(Exception):
    """What a service of a site did not do, why, and what to do about it."""

    def __init__(self, message: str, remedy: str, status: Optional[int] = None) -> None:
        super().__init__(f"{message}; {remedy}")
        self.found, self.remedy, self.status = message, remedy, status


class Listed(list[dict[str, Any]]):
    """A list, and whether the site had more of it than was asked for."""

    truncated = False


class Probe(NamedTuple):
    """What a service said when it was asked for its versions."""

    milliseconds: Optional[float]
    versions: dict[str, str]
    error: Optional[SiteError]


class Site:
    """One site, as one user of one project sees it."""

    def __init__(
        self,
        auth: Mapping[str, Any],
        *,
        timeout: int,
        region: Optional[str] = None,
        interface: str = "public",
    ) -> None:
        self._keystone = Client(auth, timeout, catalogue=True)
        self._timeout = timeout
        self.region, self.interface = region, interface
        self.requests = 0
        self._counting = threading.Lock()
        self.endpoints: dict[str, str] = {}
        self.regions: list[str] = []
        self.access: Any = None
        self.clock_offset = 0.0

    def log_in(self) -> None:
        """Raises KeystoneError with a remedy."""
        began = time.time()
        self._keystone.wait_until_ready()
        ended = time.time()
        session = self._keystone.session
        session.timeout = self._timeout
        self.requests += 1
        self.access = self._keystone.ask("log in", lambda: session.auth.get_access(session))
        # The token was made between the two: only what lies outside is a difference of clocks.
        issued = self.access.issued.timestamp()
        self.clock_offset = round(max(issued - ended, 0) + min(issued - began, 0), 3)
        catalogue = self.access.service_catalog.catalog
        self.regions = regions_of(catalogue)
        if self.region is None and len(self.regions) == 1:
            self.region = self.regions[0]
        self.endpoints = choose_endpoints(catalogue, self.region, self.interface)
        # What the login went to is what is asked, whatever the catalogue has.
        self.endpoints["identity"] = self._keystone.url

    @property
    def project_id(self) -> str:
        return str(self.access.project_id)

    def url(self, service: str) -> str:
        if service not in self.endpoints:
            raise SiteError(
                f"the catalogue has no service {service} in region {self.region}",
                f"declare its endpoint, or choose one of {', '.join(self.regions)}",
            )
        url = self.endpoints[service]
        return versioned(url, VERSIONS[service]) if service in VERSIONS else url

    def send(
        self, method: str, service: str, path: str, *, fine: Iterable[int] = (), **options: Any
    ) -> Any:
        """The response to one request; SiteError for anything from 400 on that is not fine."""
        return self._send(method, service, self.url(service) + path, fine, options)

    def _send(
        self, method: str, service: str, url: str, fine: Iterable[int], options: dict[str, Any]
    ) -> Any:
        with self._counting:
            self.requests += 1
        try:
            answer = self._keystone.session.request(
                url, method, raise_exc=False, connect_retries=1 if method == "GET" else 0, **options
            )
        except keystone_errors.SSLError as error:
            remedy = "give the file of the CA as auth.cacert, and a name that the certificate has"
            raise SiteError(f"{service}: TLS failed at {url}: {error}", remedy) from error
        except keystone_errors.RetriableConnectionFailure as error:
            remedy = f"check that it runs and answers within {self._timeout} s from here"
            raise SiteError(f"{service}: no connection to {url}: {error}", remedy) from error
        except (keystone_errors.ClientException, OSError) as error:
            remedy = "check its endpoint in the catalogue"
            raise SiteError(f"{service}: no usable answer of {url}: {error}", remedy) from error
        if answer.status_code >= 400 and answer.status_code not in fine:
            status = answer.status_code
            said = " ".join(answer.text.split())[:200]
            raise SiteError(
                f"{service}: {method} {url}: HTTP {status}: {said}", _remedy(status), status
            )
        return answer

    def json(self, method: str, service: str, path: str, **options: Any) -> dict[str, Any]:
        return decoded(self.send(method, service, path, **options), service)

    def pages(
        self, service: str, path: str, collection: str, *, most: int = MAX_PAGES, **options: Any
    ) -> Listed:
        """All pages of a list, or as many as allowed."""
        listed = Listed()
        plain, _mark, query = path.partition("?")
        for _number in range(most):
            page = self.json("GET", service, f"{plain}?{query}" if query else plain, **options)
            listed.extend(page.get(collection) or ())
            following = next_page(page, collection)
            if following is None:
                return listed
            query = following
        listed.truncated = True
        return listed

    def probe(self, service: str) -> Probe:
        """Ask for the versions: works without rights, and says whether the service lives."""
        url = root_of(self.endpoints[service])
        began = time.monotonic()
        try:
            answer = self._send("GET", service, url, (300,), {"authenticated": False})
            milliseconds = round((time.monotonic() - began) * 1000, 1)
            # An object store has no list of versions; that it answers is enough.
            content = decoded(answer, service) if service != "object-store" else {}
        except SiteError as error:
            if error.status in (401, 403, 404) and service == "object-store":
                return Probe(round((time.monotonic() - began) * 1000, 1), {}, None)
            return Probe(None, {}, error)
        return Probe(milliseconds, api_versions(content), None)

    def probes(self) -> dict[str, Probe]:
        wanted = [name for name in SERVICE_TYPES if name in self.endpoints]
        return at_once({name: partial(self.probe, name) for name in wanted})

    def projects(self, names: Iterable[str], domain: str) -> dict[str, Optional[dict[str, Any]]]:
        """Projects of a domain by their names; None for those that are not there."""
        domains = self.pages("identity", f"/domains?{urlencode({'name': domain})}", "domains")
        if not domains:
            return dict.fromkeys(names)
        domain_id = domains[0]["id"]

        def ask(name: str) -> Any:
            query = urlencode({"name": name, "domain_id": domain_id})
            return self.pages("identity", f"/projects?{query}", "projects")

        asked = {name: partial(ask, name) for name in names}
        return {name: (found[0] if found else None) for name, found in at_once(asked).items()}

    def contents(self, project: str) -> list[dict[str, str]]:
        """What is in a project, for an administrator: kind, id and name of each."""
        mine = urlencode({"project_id": project})
        whose = "&fields=id&fields=name"
        lists = {
            "server": ("compute", f"/servers?all_tenants=1&{mine}", "servers"),
            "volume": ("volume", f"/volumes?all_tenants=1&{mine}", "volumes"),
            "snapshot": ("volume", f"/snapshots?all_tenants=1&{mine}", "snapshots"),
            "image": ("image", f"/images?owner={quote(project)}", "images"),
            "network": ("network", f"/networks?{mine}{whose}", "networks"),
            "router": ("network", f"/routers?{mine}{whose}", "routers"),
            "floating_ip": ("network", f"/floatingips?{mine}", "floatingips"),
            "security_group": ("network", f"/security-groups?{mine}{whose}", "security_groups"),
        }
        asked = {
            kind: partial(self.pages, *place)
            for kind, place in lists.items()
            if place[0] in self.endpoints
        }
        return [
            {
                "kind": kind,
                "id": str(each["id"]),
                "name": str(each.get("name") or each.get("floating_ip_address") or ""),
            }
            for kind, found in at_once(asked).items()
            for each in found
        ]

    def flavors(self, *, all_of_them: bool) -> Listed:
        """With those that not everybody may use, for an administrator."""
        query = "?is_public=None" if all_of_them else ""
        return self.pages(
            "compute", f"/flavors/detail{query}", "flavors", headers=COMPUTE_MICROVERSION
        )

    def images(self) -> Listed:
        return self.pages("image", "/images?limit=200", "images")

    def networks(self) -> Listed:
        return self.pages("network", "/networks", "networks")

    def quotas(self, project_id: str) -> dict[str, Any]:
        """The quotas and their use, as each service tells them; without those that do not."""
        paths = {
            "compute": (f"/os-quota-sets/{quote(project_id)}/detail", "quota_set"),
            "network": (f"/quotas/{quote(project_id)}/details.json", "quota"),
            "volume": (f"/os-quota-sets/{quote(project_id)}?usage=True", "quota_set"),
        }

        def ask(service: str) -> Any:
            path, key = paths[service]
            return self.json("GET", service, path)[key]

        asked = {name: partial(ask, name) for name in paths if name in self.endpoints}
        return at_once(asked, errors=True)


def decoded(answer: Any, service: str) -> dict[str, Any]:
    try:
        content = answer.json()
    except ValueError as error:
        raise SiteError(
            f"{service}: {answer.url} does not answer in JSON",
            "check its endpoint in the catalogue",
        ) from error
    return content if isinstance(content, dict) else {}


def at_once(asked: Mapping[str, Callable[[], Any]], *, errors: bool = False) -> dict[str, Any]:
    """Ask several at once; with errors a SiteError takes the place of its answer."""

    def one(call: Callable[[], Any]) -> Any:
        try:
            return call()
        except SiteError as error:
            if errors:
                return error
            raise

    if not asked:
        return {}
    with ThreadPoolExecutor(AT_ONCE) as pool:
        futures = {name: pool.submit(one, call) for name, call in asked.items()}
        return {name: future.result() for name, future in futures.items()}


def _remedy(status: int) -> str:
    if status in (401, 403):
        return "give the user of the login a role that may do this"
    if status == 404:
        return "check its endpoint in the catalogue"
    if status == 409:
        return "it is in use, or the quota does not allow it"
    if status == 429:
        return "it limits requests: run again later"
    return "look into the service's log, and run again" if status >= 500 else "correct the request"


def survey(
    site: Site,
    *,
    gather: Iterable[str],
    projects: Iterable[str] = (),
    project_domain: str = "Default",
) -> dict[str, Any]:
    """Everything that site_info returns: the site must be logged in to.

    Raises SiteError where projects or their contents cannot be told; services that do not answer
    are listed with their error.
    """
    began = time.monotonic()
    wanted = set(gather)
    probes = site.probes()
    services = {name: _service(site.endpoints[name], probe) for name, probe in probes.items()}

    def usable(name: str) -> bool:
        return name in services and services[name]["ok"]

    administrator = "admin" in {role.lower() for role in site.access.role_names}
    found: dict[str, Optional[dict[str, Any]]] = {}
    names = list(projects)
    if names:
        for name, project in site.projects(names, project_domain).items():
            found[name] = project and {
                "id": project["id"],
                "enabled": project.get("enabled", True),
                "description": project.get("description") or "",
            }
    else:
        found[str(site.access.project_name)] = {"id": site.project_id}
    known = {name: project["id"] for name, project in found.items() if project}
    asked: dict[str, Callable[[], Any]] = {}
    if (
        "flavors" in wanted
        and usable("compute")
        and has_extra_specs(services["compute"]["versions"])
    ):
        asked["flavors"] = lambda: site.flavors(all_of_them=administrator)
    if "images" in wanted and usable("image"):
        asked["images"] = site.images
    if "networks" in wanted and usable("network"):
        asked["networks"] = site.networks
    lists = at_once(asked, errors=True)
    quotas: dict[str, Any] = {}
    if "quotas" in wanted:
        quotas = at_once({name: partial(site.quotas, known[name]) for name in known})
    contents: dict[str, Any] = {}
    if "contents" in wanted:
        contents = at_once({name: partial(site.contents, known[name]) for name in known})
    problems = [
        {"found": error.found, "remedy": error.remedy}
        for error in [*lists.values(), *(each for one in quotas.values() for each in one.values())]
        if isinstance(error, SiteError)
    ]
    result: dict[str, Any] = {
        "region": site.region,
        "regions": site.regions,
        "services": services,
        "project": {"id": site.project_id, "name": site.access.project_name},
        "projects": found,
        "roles": sorted(site.access.role_names),
        "flavors": _read(lists.get("flavors"), read_flavor),
        "images": _read(lists.get("images"), read_image),
        "networks": _read(lists.get("networks"), read_network),
        "quotas": {
            name: read_quotas({k: v for k, v in answers.items() if not isinstance(v, SiteError)})
            for name, answers in quotas.items()
        },
        "contents": contents,
        "truncated": sorted(n for n, found in lists.items() if getattr(found, "truncated", False)),
        "problems": problems,
        "clock_offset": site.clock_offset,
        "requests": site.requests,
        "seconds": round(time.monotonic() - began, 2),
    }
    reasons = [reason.result() for reason in why_not(result)]
    result["reasons"] = reasons + problems
    result["usable"] = not result["reasons"]
    return result


def _service(url: str, probe: Probe) -> dict[str, Any]:
    error = probe.error
    return {
        "url": url,
        "ok": error is None,
        "latency_ms": probe.milliseconds,
        "versions": probe.versions,
        "error": error.found if error else None,
        "remedy": error.remedy if error else None,
    }


def _read(found: Any, read: Callable[[Any], dict[str, Any]]) -> Optional[list[dict[str, Any]]]:
    """A list read one by one, in the order of names; None if it was not asked for or not told."""
    if not isinstance(found, list):
        return None
    return sorted((read(one) for one in found), key=lambda one: (str(one["name"]), str(one["id"])))


__all__ = ["REQUIRED_SERVICES", "KeystoneError", "Site", "SiteError", "at_once", "survey"]
