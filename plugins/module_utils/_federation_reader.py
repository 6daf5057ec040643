# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a federation.yml is read: one key at a time, collecting problems instead of raising.

PRIVATE to the collection: it may change without notice.

Pure. Every problem names its place in the file, what is wrong, and the remedy.
"""

from __future__ import annotations

import datetime
import difflib
import ipaddress
import keyword
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Optional, Union

Address = Union[ipaddress.IPv4Address, ipaddress.IPv6Address]
Network = Union[ipaddress.IPv4Network, ipaddress.IPv6Network]


@dataclass(frozen=True)
class Rule:
    """What a piece of text must look like, and how to say so."""

    pattern: re.Pattern[str]
    says: str


LABEL = Rule(
    re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"),
    "use 1 to 63 lower-case letters, digits and hyphens, with no hyphen at either end",
)
DOMAIN = Rule(
    re.compile(
        r"(?=.{1,253}\Z)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*"
    ),
    "use a DNS name in lower case without a trailing dot, such as cloud.example.org",
)
GROUP = Rule(
    re.compile(r"[a-z][a-z0-9_]{0,62}"),
    "use lower-case letters, digits and underscores, beginning with a letter (it names a group)",
)
REGION_NAME = Rule(
    re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}"),
    "use 1 to 63 letters, digits, hyphens, underscores and dots, beginning with a letter or digit",
)
URL = Rule(
    re.compile(r"https?://[A-Za-z0-9._\[\]:-]{1,255}(/[A-Za-z0-9._~/%+-]{0,500})?"),
    "use a whole URL such as https://keystone.example.org:5000/v3, without name or password in it",
)
EMAIL = Rule(
    re.compile(r"[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9-]{1,63}(\.[A-Za-z0-9-]{1,63})+"),
    "use one address such as cloud-support@example.org",
)
# No braces: outside of vars every string is data, and what cannot be a template is never one.
PLAIN = Rule(
    re.compile(r"(?!#jinja2:)[^{}\x00-\x1f\x7f]{1,200}"),
    "use one line of at most 200 characters without braces (templates are for a host's vars only)",
)


class FederationError(Exception):
    """Every problem of one file, in one message."""

    def __init__(self, source: str, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        super().__init__(
            "\n".join([f"{source}: {count}", *(f"  - {problem}" for problem in problems)])
        )


def once(values: Iterable[tuple[object, str]], key: str, problems: list[str]) -> None:
    first: dict[object, str] = {}
    for value, where in values:
        if value in first:
            other = "an earlier one" if first[value] == where else first[value]
            problems.append(f"{where}, {key}: {value} is taken by {other}; give each its own")
        else:
            first[value] = where


def is_variable_name(name: object) -> bool:
    return (
        isinstance(name, str)
        and name.isidentifier()
        and name.isascii()
        and not keyword.iskeyword(name)
    )


def label(noun: str, raw: object, number: int) -> str:
    name = raw.get("name") if isinstance(raw, Mapping) else None
    return f"{noun} {name}" if isinstance(name, str) and name else f"{noun} number {number}"


def kind(value: object) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return f"the YAML boolean {str(value).lower()} (quote it to make it text)"
    if isinstance(value, (int, float)):
        return f"the number {value}"
    if isinstance(value, str):
        return f"the text {str(value)!r}"
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, (list, tuple)):
        return "a list"
    return f"a value of type {type(value).__name__}"


class Section:
    """One mapping of the file with the words that name it; collects problems instead of raising."""

    def __init__(self, raw: object, where: str, problems: list[str], keys: Collection[str]) -> None:
        self._where = where
        self._problems = problems
        self._raw: Mapping[Any, Any] = raw if isinstance(raw, Mapping) else {}
        # When the whole mapping is missing or of another type, that is the one thing to say.
        self._silent = not isinstance(raw, Mapping)
        if self._silent:
            wanted = ", ".join(sorted(keys)) if where else "plugin, federation, sites"
            problems.append(
                f"{where or 'the file'}: expected a mapping with {wanted}; found {kind(raw)}"
            )
        for key in self._raw:
            if key not in keys:
                close = difflib.get_close_matches(str(key), sorted(keys), n=1)
                known = "known keys: " + ", ".join(sorted(keys))
                remedy = f"did you mean {close[0]}?" if close else known
                self.problem(str(key), f"unknown key; {remedy}")

    def __contains__(self, key: str) -> bool:
        return self._raw.get(key) is not None

    def get(self, key: str, default: object = None) -> object:
        value = self._raw.get(key)
        return default if value is None else value

    def keys(self) -> Collection[Any]:
        return self._raw.keys()

    def problem(self, key: str, text: str) -> None:
        self._problems.append(f"{self._where}, {key}: {text}" if self._where else f"{key}: {text}")

    def missing(self, key: str, remedy: str) -> None:
        if not self._silent:
            self.problem(key, f"missing; {remedy}")

    def check_text(self, key: str, value: object, rule: Rule) -> bool:
        if not isinstance(value, str):
            self.problem(key, f"expected text, found {kind(value)}")
        elif not rule.pattern.fullmatch(value):
            self.problem(key, f"{str(value)!r} is not valid; {rule.says}")
        else:
            return True
        return False

    def text(self, key: str, rule: Rule, default: Optional[str] = None) -> str:
        value = self.get(key)
        if value is None:
            if default is None:
                self.missing(key, rule.says)
            return default or ""
        return str(value) if self.check_text(key, value, rule) else ""

    def choice(self, key: str, choices: Sequence[str], default: Optional[str] = None) -> str:
        value = self.get(key)
        if value is None and default is not None:
            return default
        if value is None:
            self.missing(key, "give one of " + ", ".join(choices))
        elif value not in choices:
            self.problem(key, f"expected one of {', '.join(choices)}; found {kind(value)}")
        else:
            return str(value)
        return ""

    def whole_number(
        self, key: str, *, required: bool = False, least: int = 1, most: Optional[int] = None
    ) -> Optional[int]:
        wanted = f"a whole number from {least} {'on' if most is None else f'to {most}'}"
        value = self.get(key)
        if value is None:
            if required:
                self.missing(key, f"give {wanted}")
            return None
        whole = isinstance(value, int) and not isinstance(value, bool)
        if not whole or not least <= int(str(value)) <= (most or int(str(value))):
            self.problem(key, f"expected {wanted}, found {kind(value)}")
            return None
        return int(str(value))

    def switch(self, key: str, default: bool) -> bool:
        value = self.get(key)
        if value is not None and not isinstance(value, bool):
            self.problem(key, f"expected true or false, found {kind(value)}")
        return value if isinstance(value, bool) else default

    def date(self, key: str) -> Optional[datetime.date]:
        """A day, as YAML reads it or as the text YYYY-MM-DD."""
        value = self.get(key)
        if value is None:
            self.missing(key, "give a day such as 2026-01-31")
            return None
        if isinstance(value, datetime.date) and not isinstance(value, datetime.datetime):
            return datetime.date(value.year, value.month, value.day)
        if isinstance(value, str) and re.fullmatch(r"\d{4}-\d\d-\d\d", value):
            try:
                return datetime.date(int(value[:4]), int(value[5:7]), int(value[8:]))
            except ValueError:
                pass
        self.problem(key, f"expected a day such as 2026-01-31, found {kind(value)}")
        return None

    def texts(self, key: str, rule: Rule) -> tuple[str, ...]:
        """A list of texts, each once."""
        found: list[str] = []
        for value in self.sequence(key, required=False):
            if self.check_text(key, value, rule):
                if str(value) in found:
                    self.problem(key, f"{value} is listed twice; remove one")
                found.append(str(value))
        return tuple(found)

    def mapping(self, key: str) -> Optional[Mapping[Any, Any]]:
        value = self.get(key)
        if value is not None and not isinstance(value, Mapping):
            self.problem(key, f"expected a mapping, found {kind(value)}")
            return None
        return value

    def optional(self, key: str, rule: Rule) -> Optional[str]:
        return self.text(key, rule, default="") or None

    def degrees(self, key: str, limit: int) -> Optional[float]:
        value = self.get(key)
        if value is None:
            return None
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not number or not -limit <= float(str(value)) <= limit:
            self.problem(key, f"expected degrees from -{limit} to {limit}, found {kind(value)}")
            return None
        return float(str(value))

    def sequence(self, key: str, *, required: bool) -> Sequence[object]:
        value = self.get(key)
        if value is None:
            if required:
                self.missing(key, "give a list")
            return ()
        if not isinstance(value, (list, tuple)):
            self.problem(key, f"expected a list, found {kind(value)}")
            return ()
        return value

    def address(self, key: str) -> Optional[Address]:
        value = self.get(key)
        if value is None:
            self.missing(key, "give the IP address that Ansible connects to")
            return None
        try:
            address = ipaddress.ip_address(str(value))
        except ValueError:
            address = None
        if address is None or int(address) == 0 or address.is_multicast:
            self.problem(key, f"expected the IP address of a host, found {kind(value)}")
            return None
        return address

    def network(self, key: str) -> Optional[Network]:
        value = self.get(key)
        if value is None:
            return None
        try:
            network = ipaddress.ip_network(str(value), strict=False)
        except ValueError:
            network = None
        if network is None or "/" not in str(value):
            self.problem(key, f"expected a network such as 192.0.2.0/24, found {kind(value)}")
            return None
        address = str(value).split("/", maxsplit=1)[0]
        if str(network.network_address) != str(ipaddress.ip_address(address)):
            self.problem(key, f"{value} is an address inside a network; the network is {network}")
        return network
