# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The hosts' program for certificates: when it fetches, what it hands on, what it refuses.

Keys and certificates are real; lego is left out, and tests/demo/test_certificates.py has it.
"""

from __future__ import annotations

import datetime
import grp
import importlib.util
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

PROGRAM = Path(__file__).resolve().parents[2] / "roles/certificates/files/certificates.py"
DOMAINS = ["web.example", "*.apps.example"]
NOW = datetime.datetime.now(datetime.timezone.utc)


def name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


class Authority:
    """Signs, as an authority does."""

    def __init__(self) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.certificate = self.sign(self.key, [], 365, subject="authority")

    def sign(
        self, key: ec.EllipticCurvePrivateKey, domains: list[str], days: float,
        *, life: float = 90, subject: str = "leaf",
    ) -> x509.Certificate:  # fmt: skip
        end = NOW + datetime.timedelta(days=days)
        builder = (
            x509.CertificateBuilder()
            .subject_name(name(subject))
            .issuer_name(name("authority"))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(end - datetime.timedelta(days=max(life, days)))
            .not_valid_after(end)
        )
        if domains:
            names = x509.SubjectAlternativeName([x509.DNSName(one) for one in domains])
            builder = builder.add_extension(names, critical=False)
        return builder.sign(self.key, hashes.SHA256())


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("certificates_program", PROGRAM)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "STORE", tmp_path / "store")
    monkeypatch.setattr(module, "LIVE", tmp_path / "live")
    monkeypatch.setattr(module, "reload_units", lambda _units: None)
    monkeypatch.setattr(module.os, "chown", lambda *_arguments: None)
    (tmp_path / "store" / "certificates").mkdir(parents=True)
    return module


@pytest.fixture
def calls(program: ModuleType, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """What lego is asked to do."""
    asked: list[tuple[str, ...]] = []
    monkeypatch.setattr(program, "lego", lambda _given, _wish, *command: asked.append(command))
    return asked


def settings(**more: Any) -> dict[str, Any]:
    group = grp.getgrgid(os.getgid()).gr_name
    wish = {"name": "web", "domains": DOMAINS, "group": group, "reload": [], "key_type": "ec256"}
    return {
        "source": "acme", "renew_days": 30, "alarm_days": 14,
        "certificates": {"web": wish | more},
    }  # fmt: skip


@pytest.fixture
def fetched(program: ModuleType) -> Callable[..., x509.Certificate]:
    """Leave a certificate as lego does."""
    authority = Authority()

    def leave(days: float, domains: list[str] | None = None, **more: Any) -> x509.Certificate:
        key = ec.generate_private_key(ec.SECP256R1())
        chosen = DOMAINS if domains is None else domains
        leaf = authority.sign(key, chosen, days, **more)
        pem = serialization.Encoding.PEM
        chain = leaf.public_bytes(pem) + authority.certificate.public_bytes(pem)
        program.store_path(DOMAINS, ".crt").write_bytes(chain)
        program.store_path(DOMAINS, ".json").write_text("{}")
        plain = serialization.NoEncryption()
        program.store_path(DOMAINS, ".key").write_bytes(
            key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain)
        )
        return leaf

    return leave


@pytest.mark.parametrize(
    ("days", "life", "asked"),
    [
        (31, 90, []),
        (29, 90, ["renew"]),
        (-1, 90, ["renew"]),
        (3, 6, []),  # a third of its life is 2 days
        (1.9, 6, ["renew"]),
    ],
)
def test_it_is_renewed_when_it_is_time(
    program: ModuleType, calls: Any, fetched: Any, days: float, life: float, asked: list[str]
) -> None:
    fetched(days, life=life)
    program.renew(settings(), "web")
    assert [command[0] for command in calls] == asked


def test_it_is_fetched_when_it_is_missing_or_for_other_names(
    program: ModuleType, calls: Any, fetched: Any
) -> None:
    program.renew(settings(), "web")
    fetched(80, ["web.example"])
    program.renew(settings(), "web")
    assert calls == [("run",), ("run",)]


def test_one_of_the_own_authority_is_not_one_of_acme(
    program: ModuleType, calls: Any, fetched: Any
) -> None:
    fetched(80)
    program.store_path(DOMAINS, ".json").unlink()
    program.renew(settings(), "web")
    assert calls == [("run",)]


def test_services_get_all_of_it_at_once(program: ModuleType, fetched: Any) -> None:
    first = fetched(80)
    assert program.deploy(settings(), "web")
    live = program.LIVE / "web"
    assert live.is_symlink()
    assert program.chain_of(live / "certificate.pem") == [first]
    combined = (live / "combined.pem").read_bytes()
    assert combined == (live / "fullchain.pem").read_bytes() + (live / "key.pem").read_bytes()
    assert (live / "key.pem").stat().st_mode & 0o777 == 0o640
    assert not program.deploy(settings(), "web"), "the same again"
    second, third = fetched(81), None
    assert program.deploy(settings(), "web")
    assert program.chain_of(live / "certificate.pem") == [second]
    third = fetched(82)
    assert program.deploy(settings(), "web")
    assert program.chain_of(live / "certificate.pem") == [third]
    kept = [path for path in program.LIVE.iterdir() if not path.is_symlink()]
    assert len(kept) == 2, "the one that is used, and the one before"


def test_services_that_missed_it_are_told_by_the_next_run(
    program: ModuleType, fetched: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reload that failed, or never came: the files are the same, the service is not."""

    def broken(_units: list[str]) -> None:
        raise subprocess.CalledProcessError(1, "systemctl")

    told: list[list[str]] = []
    fetched(80)
    with monkeypatch.context() as patch:
        patch.setattr(program, "reload_units", broken)
        with pytest.raises(subprocess.CalledProcessError):
            program.deploy(settings(reload=["web.service"]), "web")
    monkeypatch.setattr(program, "reload_units", told.append)
    assert not program.deploy(settings(reload=["web.service"]), "web"), "the same files"
    assert not program.deploy(settings(reload=["web.service"]), "web")
    assert told == [["web.service"]], "once"
    program.remove(settings(), "web")
    assert list(program.LIVE.iterdir()) == []


def test_what_does_not_fit_together_stays_away_from_services(
    program: ModuleType, fetched: Any
) -> None:
    with pytest.raises(program.CertificateError, match="there is none yet"):
        program.deploy(settings(), "web")
    fetched(80)
    key = program.store_path(DOMAINS, ".key").read_bytes()
    fetched(80)
    program.store_path(DOMAINS, ".key").write_bytes(key)
    with pytest.raises(program.CertificateError, match="the key is another one's"):
        program.deploy(settings(), "web")
    fetched(-1)
    with pytest.raises(program.CertificateError, match="it ended at"):
        program.deploy(settings(), "web")
    fetched(80, ["web.example"])
    with pytest.raises(program.CertificateError, match=r"it is not for \*\.apps\.example"):
        program.deploy(settings(), "web")
    assert not program.LIVE.exists()


def test_a_broken_chain_stays_away_from_services(program: ModuleType, fetched: Any) -> None:
    fetched(80)
    path = program.store_path(DOMAINS, ".crt")
    other = Authority().certificate.public_bytes(serialization.Encoding.PEM)
    leaf = path.read_bytes().split(b"-----END CERTIFICATE-----\n")[0]
    path.write_bytes(leaf + b"-----END CERTIFICATE-----\n" + other)
    with pytest.raises(program.CertificateError, match="its chain is in disorder"):
        program.deploy(settings(), "web")


@pytest.mark.parametrize(
    ("days", "life", "bad"), [(20, 90, False), (13, 90, True), (0.9, 6, True), (1.1, 6, False)]
)
def test_an_alarm_in_time(
    program: ModuleType, fetched: Any, capsys: Any, days: float, life: float, bad: bool
) -> None:
    fetched(days, life=life)
    program.deploy(settings(), "web")
    assert program.check(settings()) == int(bad)
    assert ("web: it ends in" in capsys.readouterr().out) == bad


def test_a_missing_one_is_an_alarm(program: ModuleType, capsys: Any) -> None:
    assert program.check(settings()) == 1
    assert "web: there is none" in capsys.readouterr().out


def test_what_ended_is_not_revoked_and_what_is_good_is(
    program: ModuleType, calls: Any, fetched: Any
) -> None:
    fetched(-1)
    program.revoke(settings(), "web")
    assert calls == []
    fetched(50)
    program.revoke(settings(), "web")
    assert calls == [("revoke", "--keep")]
    program.remove(settings(), "web")
    assert not list((program.STORE / "certificates").iterdir())


def test_an_unknown_name_is_an_error(program: ModuleType) -> None:
    with pytest.raises(program.CertificateError, match="there is no certificate x; there are web"):
        program.renew(settings(), "x")
