# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A FAKE of Azure on loopback, for its real inventory plugin and its real libraries.

It answers what they ask and no more: the list of clouds, a login by client secret, and requests for
machines, states, interfaces and addresses, one by one or in a batch. What it answers is
recorded/azure_resources.json, which says where its shape is from; the list of clouds, the login and
the batch are as the libraries and the plugin read them. Whether Azure itself answers so is not
tested with it.
"""

from __future__ import annotations

import datetime
import ipaddress
import json
import ssl
import threading
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

RECORDED = Path(__file__).parent / "recorded" / "azure_resources.json"
SUBSCRIPTION = "00000000-0000-4000-8000-000000000001"
TENANT = "00000000-0000-4000-8000-000000000002"
CLIENT = "00000000-0000-4000-8000-000000000003"
PASSWORD = "password-of-azure"
TOKEN = "bearer-of-azure"
LIST = f"/subscriptions/{SUBSCRIPTION}/providers/Microsoft.Compute/virtualMachines"
Answer = tuple[int, dict[str, Any]]


def certificate(path: Path) -> Path:
    """A key and its certificate for 127.0.0.1, signed by itself, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "fake of Azure")])
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    now = datetime.datetime.now(datetime.timezone.utc)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(
        pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + made.public_bytes(pem))
    return path


class Azure:
    """One cloud. faults: a word of a URL to the status with which every such request is refused;
    busy: how often the batch says of its first request that it is one too many; and whether
    the second page breaks off."""

    def __init__(self, directory: Path) -> None:
        self.faults: dict[str, int] = {}
        self.busy = 0
        self.breaks_off = False
        self.asked: list[str] = []
        recorded = json.loads(RECORDED.read_text(encoding="utf-8"))
        self.pages: list[list[dict[str, Any]]] = recorded["pages"]
        self.resources: dict[str, dict[str, Any]] = recorded["resources"]
        self.authority = certificate(directory / "azure.pem")
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.authority)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Azure:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def clouds(self) -> list[dict[str, Any]]:
        """The answer of /metadata/endpoints."""
        login = {"loginEndpoint": self.url, "audiences": [self.url], "tenant": "common"}
        return [
            {"name": "Fake", "resourceManager": f"{self.url}/", "authentication": login}
            | {"suffixes": {"sqlServerHostname": "database.example"}}
        ]

    def openid(self) -> dict[str, Any]:
        base = f"{self.url}/{TENANT}"
        return {
            "issuer": f"{base}/v2.0",
            "authorization_endpoint": f"{base}/oauth2/v2.0/authorize",
            "token_endpoint": f"{base}/oauth2/v2.0/token",
        }

    def login(self, form: dict[str, str]) -> Answer:
        if (form.get("client_id"), form.get("client_secret")) != (CLIENT, PASSWORD):
            said = "AADSTS7000215: Invalid client secret provided."
            return 401, {"error": "invalid_client", "error_description": said}
        return 200, {"token_type": "Bearer", "expires_in": 3599, "access_token": TOKEN}

    def resource(self, url: str) -> Answer:
        """One request of a batch."""
        self.asked.append(url)
        parts = urllib.parse.urlsplit(url)
        for word, status in self.faults.items():
            if word in url:
                said = f"The client '{CLIENT}' does not have authorization."
                return status, {"error": {"code": "AuthorizationFailed", "message": said}}
        query = dict(urllib.parse.parse_qsl(parts.query))
        if parts.path == LIST:
            page = int(query.get("$skiptoken", 0))
            listed: dict[str, Any] = {"value": self.pages[page]}
            if page + 1 < len(self.pages):
                listed["nextLink"] = f"{self.url}{LIST}?$skiptoken={page + 1}"
            return 200, listed
        if parts.path in self.resources:
            return 200, self.resources[parts.path]
        return 404, {"error": {"code": "ResourceNotFound", "message": f"no {parts.path}"}}

    def batch(self, requests: list[dict[str, str]]) -> dict[str, Any]:
        responses = []
        for request in requests:
            status, content = self.resource(request["url"])
            if self.busy and request is requests[0]:
                self.busy -= 1
                status, content = 429, {"error": {"code": "TooManyRequests", "message": "wait"}}
            responses.append(
                {"name": request["name"], "httpStatusCode": status, "content": content}
            )
        return {"responses": responses}


def _handler(cloud: Azure) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            path = urllib.parse.urlsplit(self.path).path
            if path == "/metadata/endpoints":
                self._answer(200, cloud.clouds())
            elif path == f"/{TENANT}/v2.0/.well-known/openid-configuration":
                self._answer(200, cloud.openid())
            elif self._logged_in():
                self._answer(*cloud.resource(self.path))

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
            path = urllib.parse.urlsplit(self.path).path
            if path == f"/{TENANT}/oauth2/v2.0/token":
                self._answer(*cloud.login(dict(urllib.parse.parse_qsl(body))))
            elif path != "/batch":
                self._answer(404, {"error": {"code": "NotFound", "message": path}})
            elif not self._logged_in():
                return
            elif status := cloud.faults.get("/batch"):
                self._answer(status, {"error": {"code": "TooManyRequests", "message": "wait"}})
            else:
                requests = json.loads(body)["requests"]
                second = any("skiptoken" in request["url"] for request in requests)
                self._answer(200, cloud.batch(requests), cut=second and cloud.breaks_off)

        def _logged_in(self) -> bool:
            if self.headers.get("Authorization") == f"Bearer {TOKEN}":
                return True
            self._answer(401, {"error": {"code": "AuthenticationFailed", "message": "no token"}})
            return False

        def _answer(self, status: int, content: Any, cut: bool = False) -> None:
            body = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: len(body) // 2] if cut else body)
            self.close_connection = self.close_connection or cut

    return Handler
