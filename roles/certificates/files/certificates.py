# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keeps the certificates of a host: fetches them by ACME, hands them to services, tells their age.

  certificates renew NAME    by lego, unless it is good for long enough (as the user certificates)
  certificates deploy NAME   gives it to its services, if it is another, and reloads them (as root)
  certificates revoke NAME   tells the authority that it is not to be trusted any more
  certificates remove NAME   deletes it, and its key, everywhere (as root)
  certificates list          what there is, as JSON
  certificates check         ends with 1 if one is missing or about to end

What goes to services is switched as a whole: none ever sees a key beside another key's certificate.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import grp
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization

SETTINGS = Path("/etc/certificates/settings.json")
STORE = Path("/var/lib/certificates")  # lego's, and of the user who runs it
LIVE = Path("/etc/certificates/live")
PATIENCE = 600  # seconds for an authority, and for DNS


class CertificateError(Exception):
    """Says which certificate, what is wrong, and what to do."""


def settings() -> dict[str, Any]:
    return dict(json.loads(SETTINGS.read_text(encoding="utf-8")))


def one(given: Mapping[str, Any], name: str) -> dict[str, Any]:
    try:
        return dict(given["certificates"][name])
    except KeyError:
        known = ", ".join(given["certificates"]) or "none"
        raise CertificateError(f"there is no certificate {name}; there are {known}") from None


# --- what lego has


def store_path(domains: Sequence[str], end: str) -> Path:
    """lego names its files after the first domain."""
    return STORE / "certificates" / f"{domains[0].replace('*', '_')}{end}"


def names_of(leaf: x509.Certificate) -> set[str]:
    extension = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    return set(extension.value.get_values_for_type(x509.DNSName)) | {
        str(address) for address in extension.value.get_values_for_type(x509.IPAddress)
    }


def chain_of(path: Path) -> list[x509.Certificate]:
    try:
        return list(x509.load_pem_x509_certificates(path.read_bytes()))
    except (OSError, ValueError):
        return []


def days_left(leaf: x509.Certificate) -> float:
    end = leaf.not_valid_after_utc
    return (end - datetime.datetime.now(datetime.timezone.utc)).total_seconds() / 86400


def life(leaf: x509.Certificate) -> float:
    """Days for which it is good, from its first second on."""
    return (leaf.not_valid_after_utc - leaf.not_valid_before_utc).total_seconds() / 86400


def lego(given: Mapping[str, Any], wish: Mapping[str, Any], *command: str) -> None:
    """Run lego; its secrets are in its environment, which nobody else can read."""
    acme = given["acme"]
    environment = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(STORE),
        "RFC2136_NAMESERVER": acme["dns_server"],
        "RFC2136_TSIG_ALGORITHM": "hmac-sha256.",
        "RFC2136_TSIG_KEY": wish["dns_key"]["name"].rstrip(".") + ".",
        "RFC2136_TSIG_SECRET": wish["dns_key"]["secret"],
        # The default waits for 60 s between two names of one certificate.
        "RFC2136_SEQUENCE_INTERVAL": "1",
        "RFC2136_POLLING_INTERVAL": "1",
        "RFC2136_PROPAGATION_TIMEOUT": "120",
        "RFC2136_TTL": "1",
    }
    if acme.get("ca_file"):
        environment["LEGO_CA_CERTIFICATES"] = acme["ca_file"]
    more: list[str] = []
    if acme.get("eab_kid"):
        more = ["--eab"]
        environment["LEGO_EAB_KID"] = acme["eab_kid"]
        environment["LEGO_EAB_HMAC"] = acme["eab_hmac"]
    arguments = [
        "lego", "--server", acme["directory"], "--email", acme["email"], "--accept-tos",
        "--path", str(STORE), "--dns", "rfc2136", "--key-type", wish["key_type"], *more,
    ]  # fmt: skip
    for resolver in acme["dns_resolvers"]:
        arguments += ["--dns.resolvers", resolver]
    # To revoke is asked for by the name of a file, which is the first domain's.
    for domain in wish["domains"][:1] if command[0] == "revoke" else wish["domains"]:
        arguments += ["--domains", domain]
    try:
        done = subprocess.run(
            [*arguments, *command], env=environment, timeout=PATIENCE, check=False, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise CertificateError(f"{wish['name']}: no answer in {PATIENCE} s") from error
    print(done.stdout, end="", flush=True)
    accounts = STORE / "accounts"
    if "error:accountDoesNotExist" in done.stdout and accounts.exists():
        # Authorities for tests forget accounts (Let's Encrypt's staging says so); make another.
        shutil.rmtree(accounts)
        lego(given, wish, *command)
    elif done.returncode:
        telling = [line for line in done.stdout.splitlines() if "rror" in line] or [done.stdout]
        raise CertificateError(f"{wish['name']}: lego {command[0]} failed: {telling[-1].strip()}")


def renew(given: Mapping[str, Any], name: str) -> None:
    wish = one(given, name)
    if given["source"] != "acme":
        return  # the next run of Ansible has it signed anew
    chain = chain_of(store_path(wish["domains"], ".crt"))
    # What lego fetched it remembers; the own authority's may be good for long, and of no use.
    fetched = store_path(wish["domains"], ".json").exists()
    if not chain or not fetched or names_of(chain[0]) != set(wish["domains"]):
        lego(given, wish, "run")
        return
    left = days_left(chain[0])
    # Short-lived ones are renewed when a third of their life is left.
    if left > min(given["renew_days"], life(chain[0]) / 3):
        print(f"{name}: good for {left:.0f} days")
        return
    lego(given, wish, "renew", "--days", "36500", "--no-random-sleep")


# --- what services have


def sound(wish: Mapping[str, Any]) -> tuple[list[x509.Certificate], bytes]:
    """Chain and key as they were fetched; raises CertificateError if they do not fit together."""
    name, domains = wish["name"], wish["domains"]
    chain = chain_of(store_path(domains, ".crt"))
    if not chain:
        raise CertificateError(f"{name}: there is none yet; systemctl start certificate@{name}")
    missing = set(domains) - names_of(chain[0])
    if missing:
        raise CertificateError(f"{name}: it is not for {', '.join(sorted(missing))}")
    pem = store_path(domains, ".key").read_bytes()
    key = serialization.load_pem_private_key(pem, None)
    public = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    if key.public_key().public_bytes(*public) != chain[0].public_key().public_bytes(*public):
        raise CertificateError(f"{name}: the key is another one's; fetch it again")
    for below, above in zip(chain, chain[1:]):
        try:
            below.verify_directly_issued_by(above)
        except (InvalidSignature, ValueError, TypeError) as error:
            raise CertificateError(f"{name}: its chain is in disorder") from error
    if days_left(chain[0]) < 0:
        raise CertificateError(f"{name}: it ended at {chain[0].not_valid_after_utc}")
    return chain, pem


def deploy(given: Mapping[str, Any], name: str) -> bool:
    """Whether services got another one."""
    os.umask(0o022)
    wish = one(given, name)
    chain, key = sound(wish)
    parts = [part.public_bytes(serialization.Encoding.PEM) for part in chain]
    files = {
        "certificate.pem": parts[0],
        "chain.pem": b"".join(parts[1:]),
        "fullchain.pem": b"".join(parts),
        "key.pem": key,
        "combined.pem": b"".join(parts) + key,
    }
    link = LIVE / name
    group = grp.getgrnam(wish["group"]).gr_gid
    there = {
        file.name: (file.read_bytes(), file.stat().st_gid)
        for file in (link.iterdir() if link.exists() else ())
    }
    # Left by a run that ended before its services had read what it gave them.
    pending = LIVE / f".{name}.reload"
    if there == {file: (content, group) for file, content in files.items()}:
        if pending.exists():
            reload_units(wish["reload"])
            pending.unlink()
        return False
    LIVE.mkdir(mode=0o755, exist_ok=True)
    before = Path(os.readlink(link)).name if link.is_symlink() else ""
    place = LIVE / f".{name}.{chain[0].serial_number:x}.{os.getpid()}"
    place.mkdir(mode=0o750)
    os.chown(place, 0, group)
    for file, content in files.items():
        path = place / file
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o640)
        with os.fdopen(descriptor, "wb") as sink:
            sink.write(content)
        os.chown(path, 0, group)
    fresh = LIVE / f".{name}.new"
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(place.name)
    pending.touch()
    fresh.replace(link)
    for old in LIVE.glob(f".{name}.*.*"):
        if old.name not in (place.name, before):
            shutil.rmtree(old)
    reload_units(wish["reload"])
    pending.unlink()
    print(f"{name}: deployed, good until {chain[0].not_valid_after_utc:%Y-%m-%d %H:%M} UTC")
    return True


def reload_units(units: Sequence[str]) -> None:
    """Those that run; who starts later reads the new one anyway."""
    for unit in units:
        active = subprocess.run(["systemctl", "--quiet", "is-active", unit], check=False)
        if active.returncode == 0:
            subprocess.run(["systemctl", "reload-or-restart", unit], check=True)


def revoke(given: Mapping[str, Any], name: str) -> None:
    """Revoke what was fetched, unless it has ended by itself."""
    wish = one(given, name)
    chain = chain_of(store_path(wish["domains"], ".crt"))
    if given["source"] == "acme" and chain and days_left(chain[0]) > 0:
        lego(given, wish, "revoke", "--keep")


def remove(given: Mapping[str, Any], name: str) -> None:
    """Take it from services, and from where it was fetched to."""
    for end in (".crt", ".key", ".issuer.crt", ".json"):
        store_path(one(given, name)["domains"], end).unlink(missing_ok=True)
    (LIVE / name).unlink(missing_ok=True)
    (LIVE / f".{name}.reload").unlink(missing_ok=True)
    for old in LIVE.glob(f".{name}.*"):
        with contextlib.suppress(NotADirectoryError):
            shutil.rmtree(old)


# --- how it is


def listing(given: Mapping[str, Any]) -> dict[str, Any]:
    found = {}
    for name in given["certificates"]:
        chain = chain_of(LIVE / name / "fullchain.pem")
        found[name] = None if not chain else {
            "domains": sorted(names_of(chain[0])),
            "issuer": chain[0].issuer.rfc4514_string(),
            "serial": f"{chain[0].serial_number:x}",
            "not_after": chain[0].not_valid_after_utc.isoformat(),
            "days_left": round(days_left(chain[0]), 4),
            "days": round(life(chain[0]), 4),
        }  # fmt: skip
    return found


def check(given: Mapping[str, Any]) -> int:
    bad = 0
    for name, found in listing(given).items():
        if found is None:
            print(f"<3>{name}: there is none")
        elif found["days_left"] < min(given["alarm_days"], found["days"] / 6):
            print(f"<3>{name}: it ends in {found['days_left']} days, and was not renewed")
        else:
            continue
        bad = 1
    return bad


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    named = {"renew": renew, "deploy": deploy, "revoke": revoke, "remove": remove}
    parser.add_argument("command", choices=[*named, "list", "check"])
    parser.add_argument("name", nargs="?")
    asked = parser.parse_args()
    if (asked.name is None) == (asked.command in named):
        parser.error(f"{asked.command} {'needs a' if asked.name is None else 'takes no'} name")
    try:
        given = settings()
        if asked.command in named:
            named[asked.command](given, asked.name)
        elif asked.command == "list":
            print(json.dumps(listing(given), indent=2))
        else:
            return check(given)
    except (CertificateError, OSError, KeyError, ValueError, subprocess.SubprocessError) as error:
        print(f"<3>{error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
