# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The keys that sign zones, kept at other sites, and a server that takes over with them.

What signs a zone is made on the primary, whenever a key rolls, and is nowhere else. Its copies are
encrypted (Fernet: AES-128 and HMAC-SHA256) and travel as TXT records of a zone that only the
primary and its standbys have: within a second, by what carries all else, and asked by nobody.
"""

from __future__ import annotations

import base64
import concurrent.futures
import contextlib
import hashlib
import json
import os
import re
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible_collections.infn.cloud.plugins.module_utils._dns_delegations import (
    look,
    member_name,
    transfer,
)
from ansible_collections.infn.cloud.plugins.module_utils._dns_records import (
    RecordsError,
    Server,
    read,
    reconcile,
)

try:
    import dns.name
    import dns.rdatatype
    from cryptography.fernet import Fernet, InvalidToken
except ImportError:
    pass  # said by who uses it: _dns_records has the message

# File name of a key of a zone: its algorithm and its tag.
KEY_FILE = re.compile(r"K(?P<zone>.+)\.\+\d{3}\+\d{5}\.(key|private|state)")
Files = dict[str, bytes]


def key_files(directory: Path, zone: str) -> Files:
    """The files of a zone's keys, by their names."""
    return {
        path.name: path.read_bytes()
        for path in sorted(directory.glob(f"K{zone}.+*"))
        if KEY_FILE.fullmatch(path.name)
    }


def _lock(secret: str) -> Any:
    digest = hashlib.sha256(b"infn.cloud.dns keys\0" + secret.encode()).digest()
    return Fernet(base64.urlsafe_b64encode(digest))


def seal(files: Mapping[str, bytes], secret: str) -> str:
    """The files as text that says nothing without the secret."""
    plain = json.dumps({name: content.decode("ascii") for name, content in files.items()})
    sealed: bytes = _lock(secret).encrypt(zlib.compress(plain.encode("ascii")))
    return sealed.decode("ascii")


def unseal(text: str, secret: str) -> Files:
    """The files again; raises RecordsError for another secret, changed text, or what is no key."""
    try:
        plain = zlib.decompress(_lock(secret).decrypt(text.encode("ascii")))
    except (InvalidToken, zlib.error) as error:
        raise RecordsError("a copy of keys was made with another secret, or changed") from error
    files = {name: content.encode("ascii") for name, content in json.loads(plain).items()}
    strange = [name for name in files if not KEY_FILE.fullmatch(name)]
    if strange:
        raise RecordsError(f"a copy of keys has a file {strange[0]!r}")
    return files


def sealed_copies(server: Server) -> dict[str, str]:
    """The sealed copies that a server has, by their names in the zone."""
    contents = transfer(server)
    return {
        name.to_text(): b"".join(rdataset[0].strings).decode("ascii")
        for name, rdataset in contents.iterate_rdatasets(dns.rdatatype.TXT)
    }


def opened(sealed: Mapping[str, str], secret: str) -> dict[str, Files]:
    """Those of sealed copies that open with a secret."""
    found = {}
    for name, text in sealed.items():
        with contextlib.suppress(RecordsError):
            found[name] = unseal(text, secret)
    return found


def open_copies(server: Server, secret: str) -> tuple[dict[str, Files], str]:
    """The copies that open with a secret, by their names in the zone; and why others do not."""
    try:
        sealed = sealed_copies(server)
    except RecordsError as error:
        return {}, f" ({error})"
    kept = opened(sealed, secret)
    if len(kept) == len(sealed):
        return kept, ""
    return kept, " (a copy of keys was made with another secret, or changed)"


def publish(
    server: Server, zone: str, zones: Sequence[str], directory: Path, secret: str, *, check: bool
) -> list[str]:
    """Bring the copies up to date; the zones whose keys were copied or forgotten.

    A copy that does not open was made with the secret of before, and is made anew.
    """
    names = {member_name(one, zone): one for one in zones}
    sealed = sealed_copies(server)
    there = opened(sealed, secret)
    records: list[dict[str, Any]] = []
    changed = []
    for name, one in names.items():
        files = key_files(directory, one)
        if files and files != there.get(name):
            values = [seal(files, secret)]
            records.append({"name": name, "type": "TXT", "ttl": 60, "values": values})
            changed.append(one)
    for name in sealed.keys() - names.keys():
        records.append({"name": name, "type": "TXT", "state": "absent"})
        changed.append(name)
    if records and not check:
        reconcile(server, read(records, zone, 60), check=False)
    return changed


# --- taking over


def take_over(given: Mapping[str, Any]) -> list[str]:
    """Write zones and keys where a primary has them, from the newest copies that can be reached.

    The running server keeps what it has; configured as the primary afterwards, it finds them.
    """
    catalog, directory = given["catalog"], Path(given["directory"])
    keys, port = Path(given["key_directory"]), given["port"]
    addresses = ["127.0.0.1", *given["servers"].values()]

    def newest(zone: str) -> Any:
        with concurrent.futures.ThreadPoolExecutor(len(addresses)) as pool:
            looks = list(pool.map(lambda at: look(at, port, zone, 3), addresses))
        seen = [(one.serial, at) for one, at in zip(looks, addresses) if one is not None]
        if not seen:
            raise RecordsError(f"{zone}: no server that can be reached has it")
        _serial, best = max(seen)
        return transfer(Server(best, port, zone, key_text=given["transfer_key"], timeout=10))

    own = Server("127.0.0.1", port, catalog, key_text=given["transfer_key"], timeout=10)
    entries = transfer(own)
    zones = [
        rdataset[0].target.to_text(omit_final_dot=True)
        for _name, rdataset in entries.iterate_rdatasets(dns.rdatatype.PTR)
    ]
    # All of it is read before any of it is written.
    contents = {zone: newest(zone) for zone in sorted(zones)}
    backup = Server("127.0.0.1", port, given["backup"], key_text=given["backup_key"], timeout=10)
    kept, closed = open_copies(backup, given["backup_secret"])
    lost = [zone for zone in contents if member_name(zone, given["backup"]) not in kept]
    if lost and not given["new_keys"]:
        raise RecordsError(
            f"there is no copy of the keys that sign {', '.join(lost)}{closed}: with new keys, who"
            " remembers the old DS would refuse them until its TTL is over. Say"
            " dns_promote_new_keys=true"
        )
    done = []
    for zone, content in {**contents, catalog: entries}.items():
        path = directory / f"{zone}.db"
        # Its journal, and a zone of addresses, which is made anew.
        for old in directory.glob(f"{zone}.db.*"):
            old.unlink()
        with open(path, "w", encoding="ascii") as file:
            content.to_file(file, relativize=False)
        done.append(zone)
    # Whatever else is there is from a time when this server was the primary.
    for old in keys.glob("K*"):
        old.unlink()
    for files in kept.values():
        for name, data in files.items():
            descriptor = os.open(keys / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "wb") as sink:
                sink.write(data)
    return done
