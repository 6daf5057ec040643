# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The running demo federation, as its clients, its hosts and its administrator see it."""

from __future__ import annotations

import concurrent.futures
import contextlib
import datetime
import functools
import ipaddress
import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import botocore.config
import keystoneauth1.identity.v3
import keystoneauth1.session
import pytest
import requests
import swiftclient
import testinfra
import testinfra.host
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

REPOSITORY = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
DIRECTORY = Path(os.environ.get("INFN_CLOUD_DEMO_DIR") or REPOSITORY / ".demo").resolve()
TESTBED = REPOSITORY / "scripts" / "testbed"
INVENTORY = REPOSITORY / "inventories" / "demo" / "federation.yml"


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "drill: takes a host of the demo away for a while")
    config.addinivalue_line("markers", "ringlife: minutes in which nodes and disks come and go")
    config.addinivalue_line("markers", "settings: what takes minutes, of test-all")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Drills come last: what they leave in the logs is not to be mistaken for everyday life.

    What takes long is a step of its own in `make test-all`: `-m ringlife` and the like ask for it.
    """
    away = [mark for mark in ("ringlife", "settings") if mark not in config.option.markexpr]
    long = [item for item in items if any(item.get_closest_marker(mark) for mark in away)]
    items[:] = [item for item in items if item not in long]
    config.hook.pytest_deselected(items=long)
    items.sort(key=lambda item: item.get_closest_marker("drill") is not None)


@dataclass(frozen=True)
class Site:
    name: str
    region: int
    endpoint: str
    hosts: Mapping[str, str]
    gateways: Sequence[str]
    storage: Sequence[str]
    # What openrc-<site> and s3-<site>.env set.
    settings: Mapping[str, str] = field(repr=False)

    @property
    def identity(self) -> str:
        return f"https://{self.endpoint}:5000/v3"

    @property
    def object_storage(self) -> str:
        return f"https://{self.endpoint}:8080"


@dataclass
class Run:
    """What an ansible command ended with. Its texts are not wrapped, unlike those on a screen."""

    rc: int
    stderr: str
    report: dict[str, Any]
    stdout: str

    @property
    def stats(self) -> dict[str, dict[str, int]]:
        return self.report.get("stats", {})

    def good(self) -> Run:
        """This run, which has to have succeeded."""
        assert self.rc == 0, self.text
        return self

    @property
    def changed(self) -> int:
        """How many tasks changed something, on all hosts together."""
        return sum(stats["changed"] for stats in self.stats.values())

    @property
    def results(self) -> dict[str, dict[str, Any]]:
        """The last result of each host."""
        tasks = [task for play in self.report.get("plays", []) for task in play["tasks"]]
        return {host: result for task in tasks for host, result in task["hosts"].items()}

    @property
    def text(self) -> str:
        """Everything that was said, in one line each."""
        said = [self.stderr] if self.report else [self.stderr, self.stdout]
        for play in self.report.get("plays", []):
            for task in play["tasks"]:
                for host, result in task["hosts"].items():
                    for part in [result, *result.get("results", [])]:
                        message = part.get("msg") or part.get("censored")
                        # An item of a loop has no "failed" of its own.
                        wrong = part.get("failed") or part.get("unreachable")
                        if message and (wrong or "exception" in part):
                            said.append(f"{task['task']['name']}: {host}: {message}")
        return "\n".join(said)


class Demo:
    """The demo federation and what reaches it."""

    def __init__(self, sites: Mapping[str, Site], variables: Mapping[str, Any], tmp: Path) -> None:
        self.sites = sites
        self.variables = variables
        self.tmp = tmp
        self.directory = DIRECTORY
        self.ca = DIRECTORY / "ca.pem"

    # --- hosts

    @property
    def hosts(self) -> dict[str, str]:
        return {name: host for site in self.sites.values() for name, host in site.hosts.items()}

    @property
    def gateways(self) -> list[str]:
        return [name for site in self.sites.values() for name in site.gateways]

    @property
    def storage(self) -> list[str]:
        return [name for site in self.sites.values() for name in site.storage]

    def site_of(self, host: str) -> Site:
        return next(site for site in self.sites.values() if host in site.hosts)

    @property
    def builder(self) -> str:
        return self.groups("swift_builder")[0]

    def groups(self, name: str) -> list[str]:
        group = self.variables.get(name, {})
        below = [host for child in group.get("children", []) for host in self.groups(child)]
        return [*group.get("hosts", []), *below]

    @functools.cached_property
    def secrets(self) -> dict[str, str]:
        return yaml.safe_load((DIRECTORY / "secrets.yml").read_text())

    def host(self, name: str) -> testinfra.host.Host:
        """A host as testinfra sees it, as root."""
        return testinfra.get_host(
            f"ssh://{name}",
            sudo=True,
            ssh_config=str(DIRECTORY / "ssh_config"),
            ssh_extra_args=self._multiplexed,
        )

    @property
    def _multiplexed(self) -> str:
        control = Path(tempfile.gettempdir()) / f"infn-cloud-demo-test-{os.getuid()}-%C"
        return f"-o ControlMaster=auto -o ControlPersist=60s -o ControlPath={control}"

    def shell(
        self, host: str, script: str, *, stdin: bytes = b"", check: bool = True, timeout: int = 60
    ) -> str:
        """Run a script as root on a host; what is secret goes through `stdin`."""
        quoted = "sudo bash -c '" + script.replace("'", "'\\''") + "'"
        done = subprocess.run(
            ["ssh", *self._multiplexed.split(" "), "-F", DIRECTORY / "ssh_config", host, quoted],
            input=stdin,
            capture_output=True,
            check=False,
            timeout=timeout,
        )
        error = done.stderr.decode(errors="replace")
        assert not check or done.returncode == 0, f"{host}: {script}: {done.returncode}: {error}"
        return done.stdout.decode(errors="replace")

    def on(self, hosts: Sequence[str], script: str, **options: Any) -> dict[str, str]:
        """Run a script on several hosts at once."""
        with concurrent.futures.ThreadPoolExecutor(len(hosts)) as pool:
            answers = pool.map(lambda host: self.shell(host, script, **options), hosts)
            return dict(zip(hosts, answers))

    def once(self, daemon: str, config: str) -> None:
        """Let a daemon of the storage hosts make one pass now, beside the one that waits."""
        self.on(self.storage, f"swift-{daemon} /etc/swift/{config} once", timeout=120)

    # --- Ansible

    def ansible(self, *args: str | Path, inventory: Path = INVENTORY, timeout: int = 120) -> Run:
        """Run a command of this environment's Ansible, with its report as JSON."""
        program, *rest = args
        done = subprocess.run(
            [BIN / program, "--inventory", inventory, *rest],
            cwd=REPOSITORY,
            env=os.environ
            | {
                "ANSIBLE_CONFIG": str(REPOSITORY / "ansible.cfg"),
                "ANSIBLE_STDOUT_CALLBACK": "ansible.posix.json",
                "ANSIBLE_LOAD_CALLBACK_PLUGINS": "true",
                # The least talkative one; none at all is an error.
                "ANSIBLE_CALLBACKS_ENABLED": "ansible.posix.timer",
                "ANSIBLE_NOCOLOR": "true",
                "INFN_CLOUD_DEMO_DIR": str(DIRECTORY),
            },
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout,
        )
        report = {}
        with contextlib.suppress(json.JSONDecodeError):
            report, _end = json.JSONDecoder().raw_decode(done.stdout.lstrip())
        return Run(done.returncode, done.stderr, report, done.stdout)

    def play(self, book: str | Path, /, *options: str, timeout: int = 400, **values: Any) -> Run:
        """Run a playbook, or one by its path below playbooks/, with values that may be secret."""
        with tempfile.NamedTemporaryFile("w", dir=self.tmp, suffix=".json") as given:
            json.dump(values, given)
            given.flush()
            path = book if isinstance(book, Path) else f"playbooks/{book}.yml"
            more = ("-e", f"@{given.name}", *options)
            return self.ansible("ansible-playbook", path, *more, timeout=timeout)

    def apply(self, tags: str, *options: str, **variables: Any) -> int:
        """Run the backbone's roles of some tags, which has to succeed; give its changes."""
        return self.play("backbone", "--tags", tags, *options, **variables).good().changed

    def attempts(self, cases: Mapping[str, tuple[str, str, Mapping[str, Any]]]) -> dict[str, Run]:
        """Apply a role to a host with some variables, for many of such cases in one run.

        Each case is a role (of this collection), a host and variables; each Run is of its case
        alone: rc is 1 and text says why if the role failed, stats has its changes.
        """
        place = Path(tempfile.mkdtemp(dir=self.tmp))
        (place / "group_vars").symlink_to(REPOSITORY / "playbooks" / "group_vars")
        plays: dict[str, dict[str, Any]] = {}
        for name, (role, host, variables) in cases.items():
            begun = {"hosts": host, "gather_facts": False, "become": True, "tasks": []}
            plays.setdefault(host, begun)["tasks"].append(
                {
                    "block": [
                        {"include_role": {"name": f"infn.cloud.{role}"}, "vars": dict(variables)},
                        {"name": name, "debug": {"msg": "accepted"}},
                    ],
                    "rescue": [{"name": name, "debug": {"msg": "{{ ansible_failed_result }}"}}],
                }
            )
        playbook = place / "attempts.yml"
        playbook.touch(0o600)
        playbook.write_text(json.dumps(list(plays.values())), encoding="utf-8")
        whole = self.ansible("ansible-playbook", playbook, timeout=600)
        runs = {}
        for play in whole.report.get("plays", []):
            changed = 0
            for task in play["tasks"]:
                ((host, result),) = task["hosts"].items()
                changed += bool(result.get("changed"))
                name = task["task"]["name"]
                if name in cases:
                    said = result["msg"]
                    rc, text = (0, said) if said == "accepted" else (1, str(said["msg"]))
                    runs[name] = Run(rc, text, {"stats": {host: {"changed": changed}}}, "")
                    changed = 0
        assert runs.keys() == cases.keys(), f"some had no turn: {whole.text}"
        return runs

    def module(self, host: str, name: str, /, **options: Any) -> dict[str, Any]:
        """Run one module on one host and give its result; it may have failed."""
        given = ["-a", json.dumps(options)] if options else []
        run = self.ansible("ansible", host, "-m", f"infn.cloud.{name}", *given)
        if host not in run.results:
            pytest.fail(f"{name} on {host} gave no result: {run.text}")
        return run.results[host]

    def places(self, names: Sequence[Sequence[str]], **options: Any) -> list[dict[str, Any]]:
        """Ask the storage servers themselves for objects, containers and accounts, in one call."""
        objects = [dict(zip(("account", "container", "object"), name)) for name in names]
        result = self.module(self.builder, "swift_object_info", objects=objects, **options)
        assert not result.get("failed"), result
        return result["objects"]

    # --- clients

    def session(
        self, site: str, *, url: str | None = None, **user: str
    ) -> keystoneauth1.session.Session:
        """A session of the demo's user, or of another, with one site's Keystone."""
        settings = self.sites[site].settings
        project = {"project_name": settings["OS_PROJECT_NAME"], "project_domain_id": "default"}
        auth = keystoneauth1.identity.v3.Password(
            auth_url=url or settings["OS_AUTH_URL"],
            user_domain_id="default",
            **(
                {"username": settings["OS_USERNAME"], "password": settings["OS_PASSWORD"]}
                | project
                | user
            ),
        )
        return keystoneauth1.session.Session(auth=auth, verify=str(self.ca), timeout=90)

    @functools.cached_property
    def sessions(self) -> dict[str, keystoneauth1.session.Session]:
        return {name: self.session(name) for name in self.sites}

    def credential_session(self, auth: dict[str, str]) -> keystoneauth1.session.Session:
        """A session of an application credential, with the settings that its clouds.yaml has."""
        plugin = keystoneauth1.identity.v3.ApplicationCredential(**auth)
        return keystoneauth1.session.Session(auth=plugin, verify=str(self.ca), timeout=90)

    def install(self, host: str, *packages: str) -> None:
        """Install packages of Debian without starting what is in them."""
        self.shell(
            host,
            "set -e; export DEBIAN_FRONTEND=noninteractive; "
            r"printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d; "
            "chmod 755 /usr/sbin/policy-rc.d; trap 'rm /usr/sbin/policy-rc.d' EXIT; "
            f"apt-get install -y -qq --no-install-recommends {' '.join(packages)} >/dev/null",
            timeout=300,
        )

    @functools.cached_property
    def account(self) -> str:
        """The account of the demo's project."""
        project = self.sessions[next(iter(self.sites))].get_project_id()
        return f"AUTH_{project}"

    def swift(
        self, site: str, session: keystoneauth1.session.Session | None = None
    ) -> swiftclient.Connection:
        return swiftclient.Connection(
            session=session or self.sessions[site],
            os_options={"region_name": site},
            cacert=str(self.ca),
            retries=1,
            timeout=90,
        )

    def s3(self, site: str) -> Any:
        settings = self.sites[site].settings
        return boto3.client(
            "s3",
            endpoint_url=settings["AWS_ENDPOINT_URL"],
            region_name=settings["AWS_DEFAULT_REGION"],
            aws_access_key_id=settings["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=settings["AWS_SECRET_ACCESS_KEY"],
            verify=settings["AWS_CA_BUNDLE"],
            config=botocore.config.Config(
                signature_version="s3v4",
                read_timeout=90,
                retries={"total_max_attempts": 2},
                s3={"addressing_style": "path"},
            ),
        )

    def http(
        self, method: str, url: str, *, token: str | None = None, **options: Any
    ) -> requests.Response:
        """One request, with a token or without."""
        headers = {**({"X-Auth-Token": token} if token else {}), **options.pop("headers", {})}
        options = {"verify": str(self.ca), "timeout": 90, "allow_redirects": False} | options
        return requests.request(method, url, headers=headers, **options)

    def empty(self, container: str) -> None:
        """Remove a container and all that is in it, whatever a failed test left."""
        url = f"{next(iter(self.sites.values())).object_storage}/v1/{self.account}/{container}"
        token = self.sessions[next(iter(self.sites))].get_token()
        # Versions are listed with their ids; a container without versions lists its objects.
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            self.http("POST", url, token=token, headers={"X-Versions-Enabled": "false"})
            listing = self.http("GET", f"{url}?versions&format=json", token=token)
            if listing.status_code == 404:
                return
            for entry in listing.json() if listing.ok and listing.content else []:
                name = requests.utils.quote(entry["name"], safe="")
                version = entry.get("version_id")
                query = f"?version-id={version}" if version and version != "null" else ""
                self.http("DELETE", f"{url}/{name}{query}", token=token)
            if self.http("DELETE", url, token=token).status_code in (204, 404):
                return
            time.sleep(2)
        pytest.fail(f"container {container} could not be removed")


def eventually(check: Callable[[], Any], seconds: float, every: float = 1.0) -> Any:
    """Wait until a check no longer complains, and give its result; its last complaint is shown."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return check()
        except AssertionError:
            if time.monotonic() > deadline:
                raise
            time.sleep(every)


def signed_by_the_demo(directory: Path, name: str) -> tuple[str, str]:
    """A certificate of the demo's own authority for a name or an address, and its key."""
    issuer = x509.load_pem_x509_certificate((directory / "ca.pem").read_bytes())
    pem = (directory / "tls" / "ca.key").read_bytes()
    signer: Any = serialization.load_pem_private_key(pem, None)
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.datetime.now(datetime.timezone.utc)
    try:
        names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(name))])
    except ValueError:
        names = x509.SubjectAlternativeName([x509.DNSName(name)])
    issued_by = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key())
    made = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(issuer.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(names, critical=True)
        .add_extension(issued_by, critical=False)
        .sign(signer, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return made.public_bytes(serialization.Encoding.PEM).decode(), private.decode()


def _settings(site: str) -> dict[str, str]:
    """Read a site's two files as a shell does."""
    script = '. "$0" && set -a && . "$1" && env -0'
    files = [DIRECTORY / f"openrc-{site}", DIRECTORY / f"s3-{site}.env"]
    done = subprocess.run(["bash", "-c", script, *files], capture_output=True, check=False)
    if done.returncode:
        pytest.fail(f"{DIRECTORY} has no openrc and s3 settings of {site}: run `make demo`", False)
    lines = done.stdout.decode().split("\0")
    return dict(line.split("=", 1) for line in lines if line.startswith(("OS_", "AWS_")))


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    missing = [
        name for name in ("ca.pem", "ssh_config", "secrets.yml") if not (DIRECTORY / name).exists()
    ]
    if missing:
        pytest.fail(f"no demo in {DIRECTORY} ({missing[0]} is missing): run `make demo`", False)
    done = subprocess.run(
        [BIN / "ansible-inventory", "--inventory", INVENTORY, "--list"],
        cwd=REPOSITORY,
        env=os.environ | {"INFN_CLOUD_DEMO_DIR": str(DIRECTORY)},
        capture_output=True,
        text=True,
        check=True,
    )
    variables = json.loads(done.stdout)
    first = next(iter(variables["_meta"]["hostvars"].values()))
    sites = {}
    for name, site in sorted(first["federation_sites"].items()):

        def with_service(service: str, hosts: Mapping[str, Any] = site["hosts"]) -> list[str]:
            return [host for host, what in hosts.items() if service in what["services"]]

        sites[name] = Site(
            name=name,
            region=site["region"],
            endpoint=site["endpoint"],
            hosts={host: what["address"] for host, what in site["hosts"].items()},
            gateways=with_service("gateway"),
            storage=with_service("swift_storage"),
            settings=_settings(name),
        )
    made = Demo(sites, variables, tmp_path_factory.mktemp("demo"))
    try:
        made.on(list(made.hosts), "true", timeout=20)
    except (AssertionError, subprocess.TimeoutExpired) as error:
        pytest.fail(f"a host of the demo does not answer: {error}: run `make demo`", False)
    return made


@pytest.fixture(scope="session")
def wait() -> Callable[..., Any]:
    return eventually


@pytest.fixture
def podman() -> Callable[..., None]:
    """Stops and starts the demo's hosts, as a power switch does."""
    become: list[str] = []
    if os.geteuid() != 0:
        sudo = shutil.which("sudo")
        if not sudo or subprocess.run([sudo, "-n", "true"], check=False).returncode:
            pytest.skip("the demo's hosts are stopped and started by root only: run it as root")
        become = [sudo, "-n"]

    def call(*words: str) -> None:
        done = subprocess.run(
            [*become, TESTBED, "podman", *words],
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0, f"podman {' '.join(words)}: {done.stderr}"

    return call


@pytest.fixture
def container(demo: Demo) -> Iterator[str]:
    """A name for a container, which is removed with all that is in it."""
    name = f"demo-test-{secrets.token_hex(4)}"
    yield name
    demo.empty(name)


@dataclass(frozen=True)
class Away:
    """A storage host that can be taken away."""

    name: str
    stop: Callable[[], None]
    start: Callable[[], None]


@pytest.fixture
def away(demo: Demo, podman: Callable[..., None]) -> Iterator[Away]:
    """The storage host of another site than the one that plans the rings."""
    home = demo.site_of(demo.builder)
    name = min(host for host in demo.storage if host not in home.hosts)

    def ready() -> None:
        # Not the whole system: systemd waits for udev, which the demo's hosts lack, 90 s long.
        units = " ".join(f"swift-{kind}.service" for kind in ("account", "container", "object"))
        with contextlib.suppress(subprocess.TimeoutExpired):
            state = demo.shell(name, f"systemctl is-active {units}", check=False, timeout=20)
            assert state.split() == ["active"] * 3, f"{name}: {units}: {state!r}"
            return
        raise AssertionError(f"{name} does not answer")

    def start() -> None:
        podman("start", name)
        eventually(ready, 90, every=2)

    try:
        yield Away(name, lambda: podman("stop", "--time", "30", name), start)
    finally:
        start()
