# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests to a cloud that keep to a deadline, count, wait when told to, and say what went wrong.

PRIVATE to the collection: it may change without notice.
"""

from __future__ import annotations

import contextlib
import email.utils
import itertools
import re
import threading
import time
import typing as t
import urllib.parse
from collections.abc import Iterator, Mapping

from ._provider import Deadline, ProviderError

try:
    import requests
    import requests.adapters
    from keystoneauth1 import exceptions as keystone_errors
    from keystoneauth1.identity import v3
    from keystoneauth1.session import Session
except ImportError as error:
    MISSING: ImportError | None = error
    Adapter: t.Any = object
    RequestFailure: t.Any = ()
else:
    MISSING = None
    Adapter = requests.adapters.HTTPAdapter
    RequestFailure = (requests.RequestException, keystone_errors.ClientException)

# What a server answers that did nothing: the request may be sent again, whatever it was.
TRY_LATER = (429, 503)
# Seconds between two attempts when the server does not say how long.
PAUSES = (0.5, 1, 2, 4, 8)
# Attempts after a connection broke or a gateway had no answer; only for requests without effect.
BROKEN = 2
BROKEN_STATUS = (502, 504)
# Loading any other kind of login takes half a second of looking through installed packages.
LOGINS = {
    "password": "Password",
    "v3password": "Password",
    "v3applicationcredential": "ApplicationCredential",
    "v3oidcaccesstoken": "OidcAccessToken",
    "token": "Token",
    "v3token": "Token",
}


class _Adapter(Adapter):
    """Below keystoneauth1 as well as below our own requests."""

    def __init__(self, deadline: Deadline) -> None:
        super().__init__()
        self.deadline = deadline
        self.requests = 0
        self._lock = threading.Lock()

    def send(self, request: t.Any, *arguments: t.Any, **more: t.Any) -> t.Any:
        broken = 0
        for attempt in itertools.count():
            left = self.deadline.left()
            if left <= 0:
                raise requests.Timeout(f"{place(request.url)}: the time for this site is over")
            with self._lock:
                self.requests += 1
            try:
                response = super().send(request, *arguments, **{**more, "timeout": (left, left)})
                repeat = response.status_code in BROKEN_STATUS
            except requests.ConnectionError as failure:
                if isinstance(failure, requests.exceptions.SSLError):
                    raise
                if broken >= BROKEN or request.method != "GET":
                    raise
                response, repeat = None, True
            if response is not None and response.status_code in TRY_LATER:
                pause = self._pause(response, attempt)
                if pause is None:
                    return response
                time.sleep(pause)
            elif repeat and request.method == "GET" and broken < BROKEN:
                broken += 1
                time.sleep(min(PAUSES[0], max(0.0, self.deadline.left())))
            else:
                return response
        raise AssertionError  # count never ends

    def _pause(self, response: t.Any, attempt: int) -> float | None:
        """Seconds to wait; None when that is longer than the site has."""
        asked = retry_after(response.headers.get("Retry-After"), time.time())
        if asked is None and attempt >= len(PAUSES):
            return None
        pause = PAUSES[attempt] if asked is None else asked
        # Between two attempts at least a moment, whatever the server says.
        return None if pause >= self.deadline.left() else max(0.05, pause)


def retry_after(value: str | None, now: float) -> float | None:
    """Seconds, from seconds or from a date; None if it says neither."""
    if value is None:
        return None
    if value.strip().isdigit():
        return float(value)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - now)
    except ValueError:
        return None


def place(url: str | None) -> str:
    """What of an address may be shown: no query, nobody's name in it."""
    parts = urllib.parse.urlsplit(url or "")
    return f"{parts.scheme}://{parts.hostname}{f':{parts.port}' if parts.port else ''}{parts.path}"


class Http:
    """One site's requests."""

    def __init__(self, deadline: Deadline, verify: bool | str) -> None:
        if MISSING is not None:
            raise ProviderError(
                f"the Python library keystoneauth1 is missing ({MISSING}); install openstacksdk"
                " where Ansible runs"
            )
        self._adapter = _Adapter(deadline)
        self._session = requests.Session()
        self._session.verify = verify
        # Proxies come from the environment, but no login from ~/.netrc.
        self._session.auth = _anonymous
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, self._adapter)
        self._keystone = Session(session=self._session, verify=verify, redirect=False)

    @property
    def requests(self) -> int:
        return self._adapter.requests

    def login(self, kind: str, auth: Mapping[str, t.Any], *, unscoped: bool = False) -> t.Any:
        """keystoneauth1's AccessInfo."""
        name = LOGINS.get(kind.replace("_", "").lower())
        options = dict(auth)
        if unscoped and name == "Password":
            # Otherwise a user with a default project gets a token for that.
            options["unscoped"] = True
        with self.errors("Keystone"):
            try:
                if name is not None:
                    plugin = getattr(v3, name)(**options)
                else:
                    from keystoneauth1 import loading

                    plugin = loading.get_plugin_loader(kind).load_from_options(**options)
            except TypeError as failure:
                raise ProviderError(
                    f"auth_type {kind}: {failure}; correct the credentials"
                ) from failure
            return plugin.get_access(self._keystone)

    def ask(
        self, who: str, url: str, token: str, headers: Mapping[str, str] | None = None
    ) -> t.Any:
        response = self._session.get(
            url,
            headers={"X-Auth-Token": token, "Accept": "application/json", **(headers or {})},
            allow_redirects=False,
        )
        if 300 <= response.status_code < 400 and response.status_code != 300:
            target = place(urllib.parse.urljoin(url, response.headers.get("Location", "")))
            raise ProviderError(
                f"{who} at {place(url)} sends to {target} instead of answering; a login page?"
            )
        return response

    def get(self, who: str, url: str, token: str) -> dict[str, t.Any]:
        return self.json(who, self.ask(who, url, token))

    def json(self, who: str, response: t.Any) -> dict[str, t.Any]:
        where = f"{who} at {place(response.url)}"
        if response.status_code != 200:
            later = response.headers.get("Retry-After")
            wait = f", and wants {later} s of patience, more than is left" if later else ""
            raise ProviderError(f"{where} answered {response.status_code} {response.reason}{wait}")
        try:
            found = response.json()
        except ValueError as error:
            kind = response.headers.get("Content-Type", "something without a type")
            raise ProviderError(f"{where} answered {kind} that is no JSON: {error}") from error
        if not isinstance(found, dict):
            raise ProviderError(f"{where} answered JSON of another shape")
        return found

    @contextlib.contextmanager
    def errors(self, what: str) -> Iterator[None]:
        """What the libraries raise, as the site's failure."""
        try:
            yield
        except RequestFailure as failure:
            raise ProviderError(f"{what}: {_words(failure)}") from failure
        except (OSError, ValueError) as failure:
            raise ProviderError(f"{what}: {type(failure).__name__}: {failure}") from failure


def _anonymous(request: t.Any) -> t.Any:
    return request


def _words(failure: BaseException) -> str:
    text = " ".join(str(failure).split()) or type(failure).__name__
    if "CERTIFICATE_VERIFY_FAILED" in text:
        hint = "give its authority with options, ca_file"
        if "not yet valid" in text or "expired" in text:
            hint = "compare the clocks of the site and of this machine"
        return f"{text[:300]}; {hint}"
    # urllib3 tells about its pool at length, and at last what the system said.
    cause = re.search(r"\[Errno -?\d+\] [\w ]+|Name or service not known|timed out", text)
    head = text.split(": HTTP", 1)[0].split("HTTPConnectionPool", 1)[0][:300]
    return f"{head}: {cause.group()}" if cause and cause.group() not in head else text[:400]
