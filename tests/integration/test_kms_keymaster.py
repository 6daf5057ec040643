# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Root secrets in a real Barbican behind a real Keystone, fetched by Swift's own kms_keymaster.

Swift and what it asks with are of the versions that are deployed; the files it reads are rendered
from the roles' templates. Between two tests the servers stay as they are, but for the last ones.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote_plus

import pytest
import yaml
from ansible_collections.infn.cloud.plugins.module_utils._swift_encryption import faults_of
from ansible_collections.infn.cloud.plugins.module_utils._swift_kms import KmsError, look
from openstack_servers import ROOT, Barbican, Keystone

# What a configuration file can hold, though it looks as if it could not.
PASSWORD = "s3cret # of; the = keys %s"
SECRET = secrets.token_bytes(32)
ANSIBLE = Path(sys.executable).with_name("ansible-playbook")

# Swift's filters as the file says, above something that keeps in a file what comes below them: it
# stands in for the proxy application and its disks.
SWIFT = """
import json, sys
from pathlib import Path
from paste.deploy import loadfilter
from swift.common.header_key_dict import HeaderKeyDict
from swift.common.swob import Request, Response

config, kept, path, text = sys.argv[1:]
disk = Path(kept)

def keep(environ, start_response):
    request = Request(environ)
    if request.method == "PUT":
        body = environ["wsgi.input"].read()
        footers = HeaderKeyDict()
        environ.get("swift.callback.update_footers", lambda footers: None)(footers)
        headers = {**request.headers, **footers}
        headers = {k: v for k, v in headers.items() if k.lower().startswith("x-object-")}
        disk.write_text(json.dumps([body.hex(), headers]))
        return Response(status=201)(environ, start_response)
    body, headers = json.loads(disk.read_text())
    return Response(body=bytes.fromhex(body), headers=headers)(environ, start_response)

application = keep
for name in ("encryption", "keymaster"):
    application = loadfilter("config:" + config, name)(application)
body = text.encode() if text else None
request = Request.blank(path, method="PUT" if text else "GET", body=body)
response = request.get_response(application)
print(response.status_int, response.body.decode(errors="replace"))
"""


class Keys:
    """The two servers, a user of the project of the keys, and files for Swift."""

    def __init__(self, folder: Path, keystone: Keystone, barbican: Barbican) -> None:
        self.folder, self.keystone, self.barbican = folder, keystone, barbican
        project = keystone.add_project("keys")
        # Barbican's own roles: who may make keys, have them, and know of them only.
        keystone.add_user("owner", PASSWORD, project, "creator")
        keystone.add_user("swift-keys", PASSWORD, project, "observer")
        keystone.add_user("auditor", PASSWORD, project, "audit")
        keystone.add_user("stranger", PASSWORD, keystone.add_project("other"), "creator")
        self.owner = keystone.log_in("owner", PASSWORD, "keys")
        self.uuids = {"one": self.store(SECRET), "two": self.store(secrets.token_bytes(32))}
        self.kms = {
            "auth_url": f"{keystone.url}/v3",
            "endpoint": barbican.url,
            "username": "swift-keys",
            "password": PASSWORD,
            "project": "keys",
        }

    def store(self, value: bytes, **described: Any) -> str:
        return self.barbican.store(self.owner, value, **described)

    def faults(self, found: str = "", keys: dict[str, str] | None = None, **auth: str) -> list[str]:
        """What the module says of keys."""
        login = {
            "auth_url": self.kms["auth_url"],
            "username": "swift-keys",
            "password": PASSWORD,
            "project_name": "keys",
            "user_domain_name": "Default",
            "project_domain_name": "Default",
        }
        return look(
            {
                "auth": login | auth,
                "endpoint": self.barbican.url,
                "keys": self.uuids if keys is None else keys,
                "found": found,
                "timeout": 60,
            }
        )

    def swift(self, name: str, text: str = "", kept: str = "object") -> Any:
        """Have Swift put a text below the filters of a rendered file, or get what is there."""
        command = [self.barbican.python, "-c", SWIFT, str(self.folder / name)]
        command += [str(self.folder / kept), "/v1/AUTH_a/c/o", text]
        done = subprocess.run(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=300,
        )
        assert PASSWORD not in done.stdout
        return done


def playbook(folder: Path, plays: Any, **variables: Any) -> Any:
    (folder / "play.json").write_text(json.dumps(plays))
    (folder / "variables.json").write_text(json.dumps(variables))
    environment = {key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE")}
    environment |= {
        "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".cache" / "collections"),
        "ANSIBLE_CONFIG": str(ROOT / "tests" / "integration" / "no-such-ansible.cfg"),
        "ANSIBLE_NOCOLOR": "true",
        "LC_ALL": "C.UTF-8",
    }
    command = [str(ANSIBLE), "-i", "localhost,", "-c", "local", str(folder / "play.json")]
    command += ["-e", f"@{folder / 'variables.json'}"]
    command += ["-e", json.dumps({"ansible_python_interpreter": sys.executable})]
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=600, check=False
    )


def render(keys: Keys, files: dict[str, tuple[str, dict[str, Any]]], **variables: Any) -> None:
    """Render templates of the roles, by the names of their files here."""
    roles = ("swift_common", "swift_storage", "swift_proxy")
    tasks = [
        {
            "ansible.builtin.template": {
                "src": str(ROOT / "roles" / source),
                "dest": str(keys.folder / name),
                "mode": "0600",
            },
            "vars": more,
        }
        for name, (source, more) in files.items()
    ]
    play = {
        "hosts": "localhost",
        "gather_facts": False,
        "vars_files": [str(ROOT / "roles" / role / "defaults" / "main.yml") for role in roles],
        "tasks": tasks,
    }
    done = playbook(keys.folder, [play], **variables)
    assert done.returncode == 0, done.stdout + done.stderr
    for name in files:
        path = keys.folder / name
        path.write_text(path.read_text().replace("/etc/swift/", f"{keys.folder}/"))


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keys]:
    keystone = Keystone(tmp_path_factory.mktemp("keystone"))
    barbican = Barbican(tmp_path_factory.mktemp("barbican"), keystone)
    try:
        keystone.start()
        keystone.wait()
        keystone.publish()
        barbican.start()
        barbican.wait()
        yield Keys(tmp_path_factory.mktemp("swift"), keystone, barbican)
    finally:
        barbican.stop()
        keystone.stop()


KEYMASTER = "swift_common/templates/etc/swift/keymaster.conf.j2"
PROXY = "swift_proxy/templates/etc/swift/proxy-server.conf.j2"
CLIENT = "swift_storage/templates/etc/swift/internal-client.conf.j2"


@pytest.fixture(scope="module")
def rendered(keys: Keys) -> Keys:
    """The files of a host: before the secret moves, with both, and with the keys alone."""
    sync = {"__name": "container-sync", "__settings": {}, "__encryption": True}
    both: dict[str, Any] = {
        "swift_common_encryption_kms": keys.kms,
        "swift_common_encryption_kms_keys": keys.uuids,
    }
    by_value: dict[str, Any] = {
        "swift_common_encryption_secrets": {"one": base64.b64encode(SECRET).decode()}
    }
    for each in (both, by_value):
        each["swift_common_encryption_active"] = "one"
    render(
        keys,
        {
            "by-value.conf": (KEYMASTER, by_value),
            "both.conf": (KEYMASTER, both | by_value),
            "keymaster.conf": (KEYMASTER, both),
            "rotated.conf": (KEYMASTER, both | {"swift_common_encryption_active": "two"}),
            "wrong.conf": (
                KEYMASTER,
                both | {"swift_common_encryption_kms": keys.kms | {"password": "wr0ng"}},
            ),
            "proxy.conf": (PROXY, {"swift_proxy_keymaster": "kms_keymaster"}),
            "proxy-by-value.conf": (PROXY, {}),
            "sync.conf": (CLIENT, sync | {"swift_storage_sync_keymaster": "kms_keymaster"}),
        },
        swift_proxy_encryption="encrypt",
        swift_proxy_region=1,
        swift_proxy_region_name="bari",
        swift_proxy_public_auth_url=keys.keystone.url,
        swift_proxy_auth_url=keys.keystone.url,
        swift_proxy_service_password="s3cret-of-swift",
        swift_proxy_memcache_secret="s3cret-of-memcached",
    )
    # One pipeline, with each of the other keymaster files.
    for pipeline, other in (
        ("proxy-by-value", "by-value"),
        ("proxy-both", "both"),
        ("proxy-rotated", "rotated"),
        ("proxy-wrong", "wrong"),
    ):
        source = "proxy-by-value" if pipeline == "proxy-by-value" else "proxy"
        text = (keys.folder / f"{source}.conf").read_text()
        text = text.replace(f"{keys.folder}/keymaster.conf", f"{keys.folder}/{other}.conf")
        (keys.folder / f"{pipeline}.conf").write_text(text)
    return keys


@pytest.fixture(scope="module")
def look_at() -> Callable[[Path], str]:
    """What the role's preflight reads of a host, here of a folder: the script is the role's own."""
    tasks = yaml.safe_load((ROOT / "roles/swift_common/tasks/preflight.yml").read_text())
    (task,) = (each for each in tasks if each["name"] == "Look at what the host has")
    script = task["ansible.builtin.shell"]["cmd"]

    def found(keymaster: Path) -> str:
        here = script.replace("/etc/swift/keymaster.conf", str(keymaster))
        done = subprocess.run(
            ["bash", "-c", here.replace("/etc/swift/swift.conf", "/dev/null")],
            env={**os.environ, "MINIMUM": "0"}, capture_output=True, text=True, check=True,
        )  # fmt: skip
        return "\n".join(done.stdout.splitlines()[4:])

    return found


def test_the_keys_fit_and_none_is_shown(keys: Keys) -> None:
    assert keys.faults() == []


def test_swift_encrypts_and_decrypts_with_the_key(rendered: Keys) -> None:
    done = rendered.swift("proxy.conf", "much ado")
    assert done.stdout.splitlines()[-1].split() == ["201"], done.stdout
    assert b"much ado".hex() not in (rendered.folder / "object").read_text()
    # The synchroniser reads what the proxy wrote.
    done = rendered.swift("sync.conf")
    assert done.stdout.splitlines()[-1] == "200 much ado", done.stdout


def test_a_rotated_key_leaves_everything_readable(rendered: Keys) -> None:
    done = rendered.swift("proxy-rotated.conf")
    assert done.stdout.splitlines()[-1] == "200 much ado", done.stdout
    done = rendered.swift("proxy-rotated.conf", "about nothing", kept="later")
    assert done.returncode == 0, done.stdout
    headers = json.loads((rendered.folder / "later").read_text())[1]
    said = json.loads(unquote_plus(headers["X-Object-Sysmeta-Crypto-Body-Meta"]))
    assert said["key_id"]["secret_id"] == "two"


def test_a_secret_that_moves_reads_what_it_encrypted(
    rendered: Keys, look_at: Callable[[Path], str]
) -> None:
    done = rendered.swift("proxy-by-value.conf", "of old", kept="old")
    assert done.returncode == 0, done.stdout
    before = look_at(rendered.folder / "by-value.conf")
    assert rendered.faults(found=before) == []
    both = look_at(rendered.folder / "both.conf")
    by_value = {"one": base64.b64encode(SECRET).decode()}
    assert faults_of(by_value, "one", before, rendered.uuids, rendered.kms) == []
    assert faults_of({}, "one", both, rendered.uuids, rendered.kms) == []
    assert len(faults_of({}, "", both)) == 2
    for pipeline in ("proxy-both.conf", "proxy.conf"):
        done = rendered.swift(pipeline, kept="old")
        assert done.stdout.splitlines()[-1] == "200 of old", done.stdout


def test_a_key_with_other_bytes_is_not_the_secret(
    rendered: Keys, look_at: Callable[[Path], str]
) -> None:
    before = look_at(rendered.folder / "by-value.conf")
    (said,) = rendered.faults(found=before, keys={"one": rendered.uuids["two"]})
    assert "holds other bytes than the secret of this id that the host has" in said


def test_the_documented_command_stores_the_bytes_of_a_file(
    rendered: Keys, look_at: Callable[[Path], str]
) -> None:
    """As docs/object_storage.md has it; `barbican` has what `openstack secret` has."""
    file = rendered.folder / "secret"
    # openssl ends it with a line break.
    file.write_text(base64.b64encode(SECRET).decode() + "\n")
    client = Path(rendered.barbican.python).with_name("barbican")
    command = [str(client), "secret", "store", "--name", "swift-2027", "--secret-type", "symmetric"]
    command += ["--algorithm", "aes", "--bit-length", "256", "--file", str(file)]
    command += ["--payload-content-type", "application/octet-stream", "--format", "json"]
    command += ["--payload-content-encoding", "base64"]
    who = {"USERNAME": "owner", "PASSWORD": PASSWORD, "PROJECT_NAME": "keys"}
    who |= {"AUTH_URL": rendered.kms["auth_url"], "IDENTITY_API_VERSION": "3"}
    who |= {"USER_DOMAIN_NAME": "Default", "PROJECT_DOMAIN_NAME": "Default"}
    environment = {f"OS_{name}": value for name, value in who.items()}
    environment["BARBICAN_ENDPOINT"] = rendered.barbican.url
    done = subprocess.run(
        command, env={**os.environ, **environment}, capture_output=True, text=True, check=False,
        timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    uuid = json.loads(done.stdout)["Secret href"].rpartition("/")[2]
    before = look_at(rendered.folder / "by-value.conf")
    assert rendered.faults(found=before, keys={"one": uuid}) == []


@pytest.mark.parametrize(
    ("described", "says"),
    [
        ({"secret_type": "opaque"}, "is no symmetric AES key"),
        ({"algorithm": "des"}, "its algorithm des"),
        ({"bit_length": 128}, "its length 128 bits"),
        ({"expiration": "2099-01-01T00:00:00"}, "expires at 2099-01-01T00:00:00"),
        (
            {"payload": "0" * 44, "payload_content_type": "text/plain",
             "payload_content_encoding": None},
            "is of the type text/plain",
        ),
    ],
)  # fmt: skip
def test_keys_that_are_no_root_secrets(keys: Keys, described: Any, says: str) -> None:
    uuid = keys.store(SECRET, **described)
    (said,) = keys.faults(keys={"one": uuid})
    assert said.startswith(f"key one: {uuid} ")
    assert says in said


def test_short_and_unknown_keys(keys: Keys) -> None:
    short = keys.store(b"0" * 16)
    unknown = "7a4f9c30-93b5-4b1c-8f0e-1d3c9b7e2a55"
    said = keys.faults(keys={"a": short, "b": unknown, "c": "one"})
    assert "holds 16 bytes, fewer than 32" in said[0]
    assert f"{unknown} is not there" in said[1]
    assert said[2] == "key c: 'one' is no UUID; take the last part of the secret's address"


def test_who_may_not_have_the_keys(keys: Keys) -> None:
    only = {"one": keys.uuids["one"]}
    (said,) = keys.faults(keys=only, username="auditor")
    assert "is not for user auditor of project keys (HTTP 403)" in said
    (said,) = keys.faults(keys=only, username="stranger", project_name="other")
    assert "is not for user stranger of project other (HTTP 403)" in said
    with pytest.raises(KmsError, match=r"user swift-keys of project keys cannot log in.*HTTP 401"):
        keys.faults(password="wr0ng")


def test_swift_says_what_a_wrong_password_is(rendered: Keys) -> None:
    done = rendered.swift("proxy-wrong.conf")
    assert done.returncode != 0
    assert "The request you have made requires authentication. (HTTP 401)" in done.stdout, (
        done.stdout
    )


@pytest.mark.skipif(Path("/etc/swift").exists(), reason="this machine has a Swift of its own")
@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({}, None),
        ({"password": "wr0ng-s3cret"}, "cannot log in"),
        ({"username": "auditor"}, "swift_common_encryption_kms_keys on localhost: key one:"),
        ({"endpoint": "http://127.0.0.1:9"}, "does not answer (refused)"),
    ],
)
def test_the_role_refuses_before_anything_changes(
    keys: Keys, change: dict[str, str], says: str | None
) -> None:
    role = {
        "ansible.builtin.import_role": {
            "name": "infn.cloud.swift_common",
            "tasks_from": "preflight",
        }
    }
    done = playbook(
        keys.folder,
        [{"hosts": "localhost", "gather_facts": False, "tasks": [role]}],
        swift_common_hash_path_prefix="p" * 16,
        swift_common_hash_path_suffix="s" * 16,
        swift_common_minimum_version="0",
        swift_common_encryption_kms=keys.kms | change,
        swift_common_encryption_kms_keys=keys.uuids,
        swift_common_encryption_active="one",
    )
    assert PASSWORD not in done.stdout + done.stderr
    assert "wr0ng-s3cret" not in done.stdout + done.stderr
    assert ("changed=0" in done.stdout) and (done.returncode == 0) == (says is None), done.stdout
    assert says is None or says in " ".join(done.stdout.split()), done.stdout


def test_a_key_that_is_gone(rendered: Keys) -> None:
    owner = rendered.keystone.log_in("owner", PASSWORD, "keys")
    rendered.barbican.request("DELETE", f"/v1/secrets/{rendered.uuids['two']}", token=owner)
    (said,) = rendered.faults()
    assert said.startswith(f"key two: {rendered.uuids['two']} is not there")
    # All of them are fetched at the start: one less is an end to all.
    done = rendered.swift("proxy.conf")
    assert done.returncode != 0
    assert f"Key not found, uuid: {rendered.uuids['two']}" in done.stdout, done.stdout


def test_servers_that_are_down(rendered: Keys) -> None:
    rendered.barbican.stop()
    with pytest.raises(KmsError, match=r"/v1/secrets/.* does not answer \(refused\)"):
        rendered.faults()
    done = rendered.swift("proxy.conf")
    assert done.returncode != 0
    assert "Connection refused" in done.stdout, done.stdout
    rendered.keystone.stop()
    with pytest.raises(KmsError, match=r"/v3/auth/tokens does not answer \(refused\)"):
        rendered.faults()
