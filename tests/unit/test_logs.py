# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What works on hosts beside rsyslog and OpenSearch: the way to a collector, the upkeep.

Sockets, keys and certificates are real; tests/demo/test_logs.py has the rest.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import http.client
import importlib.util
import json
import socket
import ssl
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

ROLES = Path(__file__).resolve().parents[2] / "roles"


def program(path: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(Path(path).stem, ROLES / path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# --- the way to a collector


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], ssl.SSLContext]:
    """Signs; gives servers their settings, with the client's beside them in `directory`."""
    directory = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.datetime.now(datetime.timezone.utc)
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "authority")])

    def sign(name: str) -> None:
        own = key if name == "ca" else ec.generate_private_key(ec.SECP256R1())
        subject = issuer if name == "ca" else x509.Name([])
        signed = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(own.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(hours=1))
            .add_extension(x509.BasicConstraints(ca=name == "ca", path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=name != "ca")
            .sign(key, hashes.SHA256())
        )
        (directory / f"{name}.pem").write_bytes(signed.public_bytes(serialization.Encoding.PEM))
        (directory / f"{name}.key").write_bytes(
            own.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )

    def server(name: str) -> ssl.SSLContext:
        sign(name)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(directory / f"{name}.pem", directory / f"{name}.key")
        context.load_verify_locations(directory / "ca.pem")
        context.verify_mode = ssl.CERT_REQUIRED
        return context

    sign("ca")
    sign("shipper")
    server.directory = directory  # type: ignore[attr-defined]
    return server


class Site:
    """Collectors that answer every byte, a gate before them, and what the gate said."""

    def __init__(self, authority: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        self.authority, self.module = authority, program("log_shipper/files/log_shipper_gate.py")
        for name, seconds in {"PATIENCE": 0.5, "HANDSHAKE": 0.5, "BETTER": 0.3}.items():
            monkeypatch.setattr(self.module, name, seconds)
        self.servers: dict[str, asyncio.Server] = {}
        self.collectors: list[dict[str, Any]] = []
        self.silent: set[str] = set()
        self.answer = "1 rsp 6 200 OK\n"

    async def collector(self, name: str, *, certificate: str = "", port: int = 0) -> None:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while said := await reader.read(100):
                if name not in self.silent:
                    opens = said.startswith(b"1 open ")
                    writer.write(self.answer.encode() if opens else name.encode())
                    await writer.drain()
            writer.close()

        tls = self.authority(certificate or name)
        server = await asyncio.start_server(answer, "127.0.0.1", port, ssl=tls)
        self.servers[name] = server
        if not port:
            port = server.sockets[0].getsockname()[1]
            self.collectors.append({"name": name, "address": "127.0.0.1", "port": port})

    async def gate(self) -> Callable[[], Awaitable[str]]:
        """The gate; what is returned connects through it and tells who answers."""
        directory = self.authority.directory
        gate = self.module.Gate(
            {"collectors": self.collectors, "ca_file": directory / "ca.pem",
             "certificate": directory / "shipper.pem", "key": directory / "shipper.key"}
        )  # fmt: skip
        server = await asyncio.start_server(gate.lead, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        tls = ssl.create_default_context(cafile=directory / "ca.pem")
        tls.check_hostname = False
        tls.verify_flags &= ~ssl.VERIFY_X509_STRICT
        tls.load_cert_chain(directory / "shipper.pem", directory / "shipper.key")

        async def ask() -> str:
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=tls)
                writer.write(b"line")
                answer = await reader.read(100)
                writer.close()
            except OSError as error:
                return type(error).__name__
            return answer.decode()

        self.connect = lambda: asyncio.open_connection("127.0.0.1", port, ssl=tls)
        return ask


async def ended(reader: asyncio.StreamReader) -> bool:
    try:
        return not await asyncio.wait_for(reader.read(100), 3)
    except OSError:
        return True


@pytest.fixture
def site(authority: Any, monkeypatch: pytest.MonkeyPatch) -> Site:
    return Site(authority, monkeypatch)


def test_the_first_collector_that_answers_is_taken(site, capsys) -> None:
    async def story() -> None:
        for name in ("own", "other"):
            await site.collector(name)
        ask = await site.gate()
        assert await ask() == "own"
        site.servers["own"].close()
        await site.servers["own"].wait_closed()
        assert await ask() == "other"

    asyncio.run(story())
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "to own" and "to other" in said, said


def test_one_with_a_wrong_name_never_gets_the_connection(site) -> None:
    async def story() -> None:
        await site.collector("own", certificate="stranger")
        await site.collector("other")
        ask = await site.gate()
        assert await ask() == "other"

    asyncio.run(story())


def test_one_that_does_not_want_this_host_is_said(site, capsys) -> None:
    async def story() -> None:
        await site.collector("own")
        site.answer = "1 rsp 12 500 go away\n"
        ask = await site.gate()
        assert await ask() != "own"

    asyncio.run(story())
    assert "own: it refuses this host" in capsys.readouterr().out


def test_one_that_accepts_and_hangs_is_passed_over(site) -> None:
    async def story() -> None:
        async def hang(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
            await asyncio.sleep(5)

        server = await asyncio.start_server(hang, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        site.collectors.append({"name": "own", "address": "127.0.0.1", "port": port})
        await site.collector("other")
        ask = await site.gate()
        assert await ask() == "other"

    asyncio.run(story())


def test_one_that_stops_to_answer_is_left(site) -> None:
    async def story() -> None:
        await site.collector("own")
        await site.gate()
        reader, writer = await site.connect()
        writer.write(b"line")
        assert await reader.read(100) == b"own"
        site.silent.add("own")
        writer.write(b"line")
        # However often something is sent: since the first that has no answer.
        for _time in range(4):
            await asyncio.sleep(0.2)
            writer.write(b"line")
        assert await ended(reader)

    asyncio.run(story())


def test_a_shipper_that_is_idle_keeps_its_connection(site) -> None:
    async def story() -> None:
        await site.collector("own")
        await site.gate()
        reader, writer = await site.connect()
        writer.write(b"line")
        assert await reader.read(100) == b"own"
        await asyncio.sleep(1.2)
        writer.write(b"line")
        assert await asyncio.wait_for(reader.read(100), 2) == b"own"
        writer.close()

    asyncio.run(story())


def test_the_better_one_is_taken_again_when_it_is_back(site) -> None:
    async def story() -> None:
        for name in ("own", "other"):
            await site.collector(name)
        port = site.collectors[0]["port"]
        site.servers["own"].close()
        await site.servers["own"].wait_closed()
        ask = await site.gate()
        reader, writer = await site.connect()
        writer.write(b"line")
        assert await reader.read(100) == b"other"
        await site.collector("own", port=port)
        assert await ended(reader)
        assert await ask() == "own"

    asyncio.run(story())


def test_nobody_there_is_said_once(site, capsys) -> None:
    async def story() -> None:
        await site.collector("own")
        site.servers["own"].close()
        await site.servers["own"].wait_closed()
        ask = await site.gate()
        assert {await ask(), await ask()} <= {"", "ConnectionResetError", "SSLEOFError"}

    asyncio.run(story())
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 1 and said[0].startswith("no collector answers: own: "), said


# --- the way into the store


class Store:
    """The fake store, and what it is told and asked."""

    def __init__(self, port: int, ca: Path) -> None:
        self.port = port
        self.tls = ssl.create_default_context(cafile=str(ca))
        self.tls.verify_flags &= ~ssl.VERIFY_X509_STRICT

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        connection = http.client.HTTPSConnection(
            "localhost", self.port, timeout=10, context=self.tls
        )
        with contextlib.closing(connection):
            connection.request(method, path, json.dumps(body))
            return json.loads(connection.getresponse().read())

    def answers(self, *answers: Any) -> None:
        self.ask("PUT", "/answers", answers)

    @property
    def held(self) -> list[str]:
        return sorted(self.ask("GET", "/held"))


@pytest.fixture(scope="module")
def fake_store(authority: Any) -> Iterator[Store]:
    authority("localhost")
    files = [authority.directory / f"localhost.{kind}" for kind in ("pem", "key")]
    command = [sys.executable, Path(__file__).with_name("fake_log_store.py"), *files]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        try:
            yield Store(int(child.stdout.readline()), authority.directory / "ca.pem")
        finally:
            child.kill()


@pytest.fixture
def store(fake_store: Store) -> Store:
    fake_store.answers()
    return fake_store


@pytest.fixture
def writer(
    store: Store, authority: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Any]:
    module = program("log_collector/files/log_collector_writer.py")
    monkeypatch.setattr(module, "PAUSE", 0.05)
    settings = {
        "stores": [f"localhost:{store.port}"], "user": "w", "password": "secret",
        "ca_file": authority.directory / "ca.pem",
    }  # fmt: skip
    made = module.Writer(settings, tmp_path)
    made.lines = lambda *names: [module.Line("logs-1", name, f'{{"n":"{name}"}}') for name in names]
    made.again = lambda: module.Writer(settings, tmp_path)
    yield made
    made.turn_to(0)


def test_a_line_that_comes_twice_is_stored_once_and_counted(writer, store) -> None:
    writer.write(writer.lines("a", "b"))
    writer.write(writer.lines("b", "c"))
    assert store.held == ["a", "b", "c"]
    assert writer.counts == {"written": 3, "again": 1, "refused": 0}
    assert writer.again().counts == writer.counts, "also after a restart"


@pytest.mark.parametrize("trouble", [401, 403, 404, 429, 500, 503], ids=str)
def test_no_line_is_lost_when_the_store_refuses_all(writer, store, trouble: int) -> None:
    store.answers(trouble, trouble)
    writer.write(writer.lines("a", "b"))
    assert store.held == ["a", "b"]


@pytest.mark.parametrize("trouble", [403, 404, 429, 500, 503], ids=str)
def test_no_line_is_lost_when_the_store_refuses_some(writer, store, trouble: int) -> None:
    store.answers({"a": trouble}, {"a": trouble})
    writer.write(writer.lines("a", "b"))
    assert store.held == ["a", "b"]
    assert writer.counts["again"] == 0, "only those that were refused come again"


def test_a_line_that_is_never_taken_does_not_stop_the_others(writer, store) -> None:
    store.answers({"b": 400})
    writer.write(writer.lines("a", "b", "c"))
    assert store.held == ["a", "c"]
    (refused,) = writer.refused.read_text().splitlines()
    assert json.loads(refused)["line"] == '{"n":"b"}'


@pytest.mark.parametrize("status", [400, 413], ids=str)
def test_one_line_that_spoils_the_request_is_found(writer, store, status: int) -> None:
    store.answers(*[{"all": {"c": status}}] * 10)
    writer.write(writer.lines("a", "b", "c", "d"))
    assert store.held == ["a", "b", "d"]
    assert writer.counts == {"written": 3, "again": 0, "refused": 1}


def test_another_store_is_taken_when_one_is_away(writer, store) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        writer.stores.insert(0, f"localhost:{nobody.getsockname()[1]}")
        writer.write(writer.lines("a"))
        assert writer.place == 1
    writer.write(writer.lines("b"))
    assert store.held == ["a", "b"]


@pytest.mark.parametrize(
    ("message", "names"),
    [
        ("question for WWW.cms.x.org.", ["www.cms.x.org"]),
        ("from=<portal@cms.x.org>, by cms-portal: done.", ["cms.x.org", "cms-portal"]),
        ("cms.x.org/IN, cms.x.org: -- one.", ["cms.x.org"]),
        ("no name", []),
    ],
)
def test_names_of_a_line_are_noted(message: str, names: list[str]) -> None:
    named = program("log_collector/files/log_collector_writer.py").named
    line = {"message": message, "host.name": "a"}
    assert json.loads(named(json.dumps(line))) == {**line, "labels.names": names}
    assert named("no JSON") == "no JSON"


# --- the store


def test_days_are_deleted_when_they_are_over_for_long_enough() -> None:
    too_old = program("elk/files/logs.py").too_old
    names = ["logs-2026.03.01", "logs-2026.02.28", "logs-2026.02.27", "logs-other",
             "logsx-2020.01.01", "logs-2026.03.02", ".opendistro_security"]  # fmt: skip
    today = datetime.date(2026, 3, 2)
    assert too_old(names, "logs", today, 1) == ["logs-2026.02.27", "logs-2026.02.28"]
    assert too_old(names, "logs", today, 2) == ["logs-2026.02.27"]
    assert too_old(names, "logs", today, 30) == []
