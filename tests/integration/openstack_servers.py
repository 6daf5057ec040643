# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A real Keystone and a real Barbican for tests: SQLite below, a plain WSGI server in front.

Each lives in a virtual environment of its own, which `scripts/setup` makes, and listens on
loopback. Whatever a server keeps lies in the folder that it is given.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import secrets
import socket
import sqlite3
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
ADMIN_PASSWORD = "s3cret-of-the-admin"
# Seconds that a server may take to start, on a machine that does much else.
STARTS_WITHIN = 180

KEYSTONE = """
[DEFAULT]
log_file = {folder}/keystone.log
[database]
connection = sqlite:///{folder}/keystone.db
[fernet_tokens]
key_repository = {folder}/tokens
[fernet_receipts]
key_repository = {folder}/receipts
[credential]
key_repository = {folder}/credentials
[cache]
enabled = false
[identity]
# The least that bcrypt takes: this Keystone keeps no secret.
password_hash_rounds = 4
# Small enough for a handful of users to be cut off.
list_limit = 6
"""

BARBICAN = """
[DEFAULT]
log_file = {folder}/barbican.log
host_href = {url}
db_auto_create = false
[database]
connection = sqlite:///{folder}/barbican.db
[simple_crypto_plugin]
kek = {kek}
[keystone_authtoken]
auth_type = password
auth_url = {keystone}
www_authenticate_uri = {keystone}
username = admin
password = {password}
project_name = admin
user_domain_name = Default
project_domain_name = Default
"""

KEYSTONE_MANAGE = (
    "import sys; sys.argv[0] = 'keystone-manage'; from keystone.cmd.manage import main; main()"
)
BARBICAN_MANAGE = (
    "import sys; sys.argv[0] = 'barbican-manage'; from barbican.cmd.barbican_manage import main;"
    " main()"
)
# The servers read the command line of their process, so the port must not stay on it.
SERVE = """
import socketserver, sys
from wsgiref import simple_server
port = int(sys.argv.pop())
{application}
class Server(socketserver.ThreadingMixIn, simple_server.WSGIServer):
    daemon_threads = True
class Quiet(simple_server.WSGIRequestHandler):
    def log_message(self, *_arguments): pass
simple_server.make_server("127.0.0.1", port, application, Server, Quiet).serve_forever()
"""
KEYSTONE_APPLICATION = """
from keystone.server import wsgi
application = wsgi.initialize_public_application()
"""
BARBICAN_APPLICATION = """
import os, sys
from paste import deploy
application = deploy.loadapp("config:" + sys.prefix + "/etc/barbican/barbican-api-paste.ini")
"""


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


class Server:
    """A process that serves one application; `name` is that of its environment too."""

    name = ""
    application = ""
    probe = ""

    def __init__(self, folder: Path) -> None:
        installed = ROOT / ".cache" / f"{self.name}-venv"
        python = installed / "bin" / "python"
        probe = [str(python), "-c", self.probe]
        if (
            not python.exists()
            or subprocess.run(probe, capture_output=True, check=False).returncode
        ):
            pytest.skip(f"nothing that works in {installed}: run scripts/setup {self.name}")
        self.folder = folder
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        # Alembic divides its search path at spaces and then finds no migrations, without a word:
        # the environment is reached under a name that has none.
        (folder / "venv").symlink_to(installed)
        self.python = str(folder / "venv" / "bin" / "python")
        self.environment = dict(os.environ)
        self.process: subprocess.Popen[bytes] | None = None

    def run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [self.python, "-c", program, *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{done.stderr}\n{self.log()}"

    def log(self) -> str:
        return "".join(path.read_text()[-3000:] for path in sorted(self.folder.glob("*.log")))

    def start(self) -> None:
        program = SERVE.format(application=self.application)
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                [self.python, "-c", program, str(self.port)],
                env=self.environment,
                stdout=log,
                stderr=log,
            )

    def wait(self) -> None:
        end = time.monotonic() + STARTS_WITHIN
        while time.monotonic() < end:
            assert self.process is not None and self.process.poll() is None, self.log()
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port)):
                return
            time.sleep(0.2)
        pytest.fail(f"{self.name} does not listen after {STARTS_WITHIN} s:\n{self.log()}")

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait(timeout=20)
            self.process = None

    def request(self, method: str, path: str, body: Any = None, token: str = "") -> Any:
        """Ask it, and give the answer's headers and content."""
        headers = {"Content-Type": "application/json", "X-Auth-Token": token}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}{path}", data, headers, method=method)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.headers, json.loads(answer.read() or b"null")


class Keystone(Server):
    name = "keystone"
    application = KEYSTONE_APPLICATION
    probe = "import keystone.server.wsgi"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.config = folder / "keystone.conf"
        self.config.write_text(KEYSTONE.format(folder=folder), encoding="utf-8")
        self.environment["OS_KEYSTONE_CONFIG_FILES"] = str(self.config)
        for name in ("tokens", "receipts", "credentials"):
            (folder / name).mkdir(mode=0o700)
        self.manage("db_sync")
        # Readers must not lock writers out: two requests of one session overlap.
        with contextlib.closing(sqlite3.connect(folder / "keystone.db")) as database:
            database.execute("pragma journal_mode=wal")
        self.manage("fernet_setup", "--keystone-user", str(os.getuid()),
                    "--keystone-group", str(os.getgid()))  # fmt: skip
        self.manage("bootstrap", "--bootstrap-password", ADMIN_PASSWORD)

    def manage(self, *arguments: str) -> None:
        self.run(KEYSTONE_MANAGE, "--config-file", str(self.config), *arguments)

    def log_in(self, name: str, password: str, project: str | None = None) -> str:
        domain = {"name": "Default"}
        user = {"name": name, "password": password, "domain": domain}
        auth: dict[str, Any] = {"identity": {"methods": ["password"], "password": {"user": user}}}
        if project:
            auth["scope"] = {"project": {"name": project, "domain": domain}}
        return str(self.request("POST", "/v3/auth/tokens", {"auth": auth})[0]["X-Subject-Token"])

    def admin(self, method: str, path: str, body: Any = None) -> Any:
        token = self.log_in("admin", ADMIN_PASSWORD, "admin")
        return self.request(method, f"/v3{path}", body, token)[1]

    def publish(self) -> None:
        """Put itself into its catalogue, where other services look for it."""
        service = {"type": "identity", "name": "keystone"}
        service_id = self.admin("POST", "/services", {"service": service})["service"]["id"]
        for interface in ("internal", "public"):
            endpoint = {"service_id": service_id, "interface": interface, "url": f"{self.url}/v3"}
            self.admin("POST", "/endpoints", {"endpoint": endpoint})

    def add_project(self, name: str) -> str:
        """Make a project, and give its id."""
        project = {"name": name, "domain_id": "default"}
        return str(self.admin("POST", "/projects", {"project": project})["project"]["id"])

    def add_user(self, name: str, password: str, project_id: str, role: str) -> None:
        user = {"name": name, "password": password, "domain_id": "default"}
        user_id = self.admin("POST", "/users", {"user": user})["user"]["id"]
        roles = self.admin("GET", f"/roles?name={role}")["roles"]
        roles = roles or [self.admin("POST", "/roles", {"role": {"name": role}})["role"]]
        role_id = roles[0]["id"]
        self.admin("PUT", f"/projects/{project_id}/users/{user_id}/roles/{role_id}")


class Barbican(Server):
    """Its keys are encrypted with one that is made here, and lie in SQLite."""

    name = "kms"
    application = BARBICAN_APPLICATION
    probe = "import barbican.api.app"

    def __init__(self, folder: Path, keystone: Keystone) -> None:
        super().__init__(folder)
        # Barbican looks for its configuration in its user's home.
        self.environment["HOME"] = str(folder)
        config = folder / ".barbican" / "barbican.conf"
        config.parent.mkdir()
        kek = base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()
        config.write_text(
            BARBICAN.format(
                folder=folder, url=self.url, kek=kek, keystone=keystone.url, password=ADMIN_PASSWORD
            ),
            encoding="utf-8",
        )
        self.run(BARBICAN_MANAGE, "db", "upgrade")

    def store(self, token: str, value: bytes, **described: Any) -> str:
        """Store a key as its owner would, and give its UUID."""
        secret = {
            "name": "root",
            "secret_type": "symmetric",
            "algorithm": "aes",
            "bit_length": 256,
            "payload": base64.b64encode(value).decode(),
            "payload_content_type": "application/octet-stream",
            "payload_content_encoding": "base64",
        } | described
        wished = {name: each for name, each in secret.items() if each is not None}
        answer = self.request("POST", "/v1/secrets", wished, token)[1]
        return str(answer["secret_ref"]).rpartition("/")[2]
