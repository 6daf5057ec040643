# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keeps Keystone's keys the same at every site, and rotates them.

One host holds the pen: only there are keys made and rotated, and from there they go to the others
by SSH, whose end is bound to this program. A token must never be signed with a key that another
site lacks. So a rotation, which makes the staged key the primary one, begins only when every site
has confirmed that it has the staged key; while a site is silent nothing is rotated, and all tokens
stay valid.

  keystone-keys status                    checksums and ages of the keys here
  keystone-keys push [HOST ...]           give the keys to all others, or to some
  keystone-keys pull HOST                 take the keys from another host
  keystone-keys rotate KIND [--if-due]    rotate the keys of tokens (fernet) or credentials
  keystone-keys serve                     what SSH runs: status, send or receive
"""

from __future__ import annotations

import argparse
import base64
import binascii
import contextlib
import fcntl
import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

CONFIG = Path("/etc/keystone/keys.json")
REPOSITORIES = {
    "fernet": Path("/etc/keystone/fernet-keys"),
    "credential": Path("/etc/keystone/credential-keys"),
}
# What keystone-manage does to rotate. Credentials are encrypted again, before and after: a key may
# only go when nothing needs it any more, also after an interrupted run.
ROTATIONS = {
    "fernet": [["fernet_rotate"]],
    "credential": [["credential_migrate"], ["credential_rotate"], ["credential_migrate"]],
}
STAGED = 0
# number -> (key, when it was made)
Keys = dict[int, tuple[str, float]]


class KeysError(Exception):
    """Says what was not done, why, and what to do."""


# --- one repository


def load(directory: Path) -> Keys:
    """The keys of a repository."""
    if not directory.is_dir():
        return {}
    return {
        int(path.name): (path.read_text(encoding="ascii").strip(), path.stat().st_mtime)
        for path in directory.iterdir()
        if path.name.isdigit()
    }


def checksums(keys: Keys) -> dict[str, str]:
    """What tells repositories apart without telling the keys."""
    return {
        str(number): hashlib.sha256(key.encode()).hexdigest()[:16]
        for number, (key, _made) in sorted(keys.items())
    }


def check(keys: Keys, own: Keys, kind: str) -> None:
    """Refuse keys that would make this site blind."""
    for number, (key, _made) in keys.items():
        with contextlib.suppress(binascii.Error, ValueError):
            if len(base64.urlsafe_b64decode(key)) == 32:
                continue
        raise KeysError(f"{kind} key {number} is no key; nothing was changed")
    if not keys:
        raise KeysError(f"no {kind} keys were sent; nothing was changed")
    if not own:
        return
    if not {key for key, _made in keys.values()} & {key for key, _made in own.values()}:
        raise KeysError(
            f"the {kind} keys sent are not those of this federation; nothing was changed. Give the "
            "sender this host's keys, or remove them here if they are the wrong ones"
        )
    if max(keys) < max(own):
        raise KeysError(
            f"the {kind} keys sent are older ({max(keys)}) than those here ({max(own)}); nothing "
            "was changed. Run the backbone's playbook, which gives the sender the newest"
        )


def install(directory: Path, keys: Keys) -> bool:
    """Put keys in place. Every reader finds, at every moment, each key that it may need."""
    own = load(directory)
    if checksums(own) == checksums(keys):
        return False
    directory.mkdir(mode=0o700, exist_ok=True)
    # First what signs from now on (which was staged here before), last what is staged next.
    for number in sorted(keys, reverse=True):
        key, made = keys[number]
        if number in own and own[number][0] == key:
            continue
        temporary = directory / f".{number}.new"
        temporary.unlink(missing_ok=True)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as stream:
            stream.write(key)
            stream.flush()
            os.fsync(stream.fileno())
        os.utime(temporary, (made, made))
        temporary.rename(directory / str(number))
    for number in set(own) - set(keys):
        (directory / str(number)).unlink()
    return True


def next_rotation(keys: Keys, rotation: float) -> float:
    """When the keys are due: the staged one was made by the last rotation."""
    return keys[STAGED][1] + rotation


def free_to_rotate(keys: Keys, keep: int, lifetime: float) -> float:
    """From when on a rotation takes away no key that a living token needs.

    A key signs from the moment in which its follower was made, until its follower's follower was.
    """
    if len(keys) < keep:
        return 0.0
    numbers = [*sorted(set(keys) - {STAGED}), STAGED]
    if len(numbers) < 3:
        return 0.0
    return keys[numbers[2]][1] + lifetime


# --- this host


class Host:
    """This host's keys, its peers, and what it may do."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.name: str = config["name"]
        self.holder: str = config["holder"]
        self.peers: dict[str, str] = config["peers"]
        self.rotation: int = config["rotation"]
        self.lifetime: int = config["lifetime"]
        self.keep: int = config["keep"]
        self.port: int = config["port"]
        self.place = Path(config["place"])
        self.repositories: Mapping[str, Path] = REPOSITORIES

    def keys(self) -> dict[str, Keys]:
        return {kind: load(directory) for kind, directory in self.repositories.items()}

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Let nobody else change keys here meanwhile."""
        with (self.place / "lock").open("w") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            yield

    def must_hold(self) -> None:
        if self.name != self.holder:
            raise KeysError(f"{self.name} does not hold the keys, {self.holder} does: do it there")

    def status(self) -> dict[str, dict[str, str]]:
        return {kind: checksums(keys) for kind, keys in self.keys().items()}

    def call(self, peer: str, verb: str, text: str = "") -> Any:
        """Have a peer do something; its answer."""
        words = [
            "ssh", "-F", "/dev/null", "-p", str(self.port),
            "-i", str(self.place / "id_ed25519"),
            "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes", "-o", "ConnectTimeout=10",
            "-o", "ServerAliveInterval=5", "-o", "ServerAliveCountMax=3",
            "-o", "StrictHostKeyChecking=yes", "-o", "LogLevel=ERROR",
            "-o", f"UserKnownHostsFile={self.place / 'known_hosts'}",
            "-o", "GlobalKnownHostsFile=none", f"keystone@{self.peers[peer]}", verb,
        ]  # fmt: skip
        done = subprocess.run(words, input=text, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise KeysError(f"{peer}: {done.stderr.strip() or f'ssh ended with {done.returncode}'}")
        return json.loads(done.stdout)

    def push(self, peers: Sequence[str]) -> list[str]:
        """Give the keys to peers; those that took something new. Each must confirm what it has."""
        text = json.dumps(self.keys())
        changed, failed = [], []
        for peer in peers:
            try:
                answer = self.call(peer, "receive", text)
                if answer["status"] != self.status():
                    raise KeysError(f"{peer}: has other keys than it was given")
                changed += [peer] if answer["changed"] else []
            except KeysError as error:
                failed.append(str(error))
        if failed:
            raise KeysError("; ".join(failed))
        return changed

    def accept(self, text: str) -> bool:
        """Take keys that were sent, all kinds or none."""
        sent: dict[str, Keys] = {
            kind: {int(number): (str(key), float(made)) for number, (key, made) in keys.items()}
            for kind, keys in json.loads(text).items()
            if kind in self.repositories
        }
        own = self.keys()
        for kind, keys in sent.items():
            check(keys, own[kind], kind)
        return bool([kind for kind, keys in sent.items() if install(self.repositories[kind], keys)])

    def rotate(self, kind: str, *, if_due: bool) -> str:
        """Make the staged key the primary one, once every site has it."""
        self.must_hold()
        keys, now = load(self.repositories[kind]), time.time()
        if STAGED not in keys or len(keys) < 2:
            raise KeysError(f"{self.name} has no {kind} keys: run the backbone's playbook")
        if if_due and now < next_rotation(keys, self.rotation):
            changed = self.push(list(self.peers))
            return f"not due; {', '.join(changed) or 'nobody'} took newer keys"
        free = free_to_rotate(keys, self.keep, self.lifetime)
        if kind == "fernet" and now < free:
            when = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(free))
            raise KeysError(
                "nothing was rotated: the oldest key still verifies tokens that live; rotate "
                f"after {when}"
            )
        try:
            self.push(list(self.peers))
        except KeysError as error:
            raise KeysError(
                f"nothing was rotated, all tokens stay valid: every site must have the staged key "
                f"first, but {error}"
            ) from error
        for words in ROTATIONS[kind]:
            subprocess.run(["keystone-manage", *words], check=True)
        try:
            self.push(list(self.peers))
        except KeysError as error:
            raise KeysError(
                "the keys were rotated; every site knows the new primary key, which was staged "
                f"there. The next staged key is still to come to: {error}"
            ) from error
        return f"rotated; key {max(load(self.repositories[kind]))} signs from now on"


def serve(host: Host) -> Any:
    """Answer what SSH was asked; whatever else was asked is refused."""
    verb = os.environ.get("SSH_ORIGINAL_COMMAND", "")
    if verb == "status":
        return host.status()
    if verb == "send":
        return host.keys()
    if verb == "receive":
        text = sys.stdin.read()
        with host.alone():
            return {"changed": host.accept(text), "status": host.status()}
    raise KeysError(f"'{verb}' is none of status, send, receive")


def run(host: Host, options: argparse.Namespace) -> Any:
    if options.verb == "status":
        return host.status()
    if options.verb == "serve":
        return serve(host)
    with host.alone():
        if options.verb == "rotate":
            return host.rotate(options.kind, if_due=options.if_due)
        if options.verb == "pull":
            return {"changed": host.accept(json.dumps(host.call(options.peer, "send")))}
        host.must_hold()
        return {"changed": host.push(options.peers or list(host.peers))}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("status")
    verbs.add_parser("serve")
    verbs.add_parser("push").add_argument("peers", nargs="*")
    verbs.add_parser("pull").add_argument("peer")
    rotation = verbs.add_parser("rotate")
    rotation.add_argument("kind", choices=["fernet", "credential"])
    rotation.add_argument("--if-due", action="store_true")
    return parser.parse_args()


def main() -> int:
    options = arguments()
    try:
        host = Host(json.loads(CONFIG.read_text(encoding="utf-8")))
        answer = run(host, options)
    except (KeysError, OSError, ValueError, subprocess.CalledProcessError) as error:
        print(f"keystone-keys: {error}", file=sys.stderr)
        return 1
    print(answer if isinstance(answer, str) else json.dumps(answer))
    return 0


if __name__ == "__main__":
    sys.exit(main())
