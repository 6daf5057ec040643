# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The contract between the inventory and whoever lists the machines of one site.

PRIVATE to the collection: it may change without notice.

A provider is given a Request and returns an Answer: every machine that the site has for these
credentials, or it raises. There is no third way. Half an answer looks like a site from which
machines were removed, and whoever acts on it removes them from a load balancer or a ring; so a
page that does not come, a project that cannot be listed, or a record without its name ends the
listing with a ProviderError that says what was wrong and, where it can be known, what to do.

It runs in a process of its own (_site_pool), which is ended at the deadline. It keeps to the
deadline itself where it can, because "Keystone did not answer" helps more than "no answer in 60 s".
It writes nothing, and what it returns holds no secret.
"""

from __future__ import annotations

import abc
import dataclasses
import sys
import time
import typing as t
from collections.abc import Mapping, Sequence

from ansible_collections.infn.cloud.plugins.module_utils._federation_cloud import Options

# Changes whenever rows mean something else: older cache entries are then not read.
SCHEMA = 1


class ProviderError(Exception):
    """The site gave no whole answer; the text says why. It may be shown to anybody."""


@dataclasses.dataclass(frozen=True)
class Deadline:
    """A point in time of the machine's monotonic clock, which its processes share."""

    end: float

    @classmethod
    def after(cls, seconds: float) -> Deadline:
        return cls(time.monotonic() + seconds)

    def left(self) -> float:
        return self.end - time.monotonic()


@dataclasses.dataclass(slots=True)
class Instance:
    """One machine, as plain data. Every string comes from the cloud: data, never a template."""

    id: str
    name: str
    address: str | None = None
    state: str | None = None
    project: str | None = None
    zone: str | None = None
    image: str | None = None
    flavor: str | None = None
    networks: list[str] = dataclasses.field(default_factory=list)
    # The metadata that groups are made of; all of them are in details.
    metadata: dict[str, str] = dataclasses.field(default_factory=dict)
    # Groups and variables that another inventory plugin gave it.
    groups: list[str] = dataclasses.field(default_factory=list)
    variables: dict[str, t.Any] = dataclasses.field(default_factory=dict)
    # Only where the Request asks for details.
    details: dict[str, t.Any] = dataclasses.field(default_factory=dict)

    def row(self) -> list[t.Any]:
        """For JSON: a list, since 50,000 dictionaries would repeat their keys 50,000 times."""
        return [getattr(self, name) for name in FIELDS]

    @classmethod
    def of_row(cls, row: object) -> Instance:
        """The inverse; ValueError if it is none."""
        if not isinstance(row, list) or len(row) != len(FIELDS):
            raise ValueError("a row of another shape")
        for value in row[:2]:
            if not isinstance(value, str) or not value:
                raise ValueError("a row without id or name")
        for value in row[2:8]:
            if not (value is None or isinstance(value, str)):
                raise ValueError("a row with a fact that is no text")
        for value, kind in zip(row[8:], (list, dict, list, dict, dict)):
            if not isinstance(value, kind):
                raise ValueError("a row with a fact of another kind")
        return cls(*row[:3], *map(_shared, row[3:8]), *row[8:])


FIELDS = tuple(field.name for field in dataclasses.fields(Instance))


def _shared(value: str | None) -> str | None:
    """One object for a thousand mentions of the same image."""
    return None if value is None else sys.intern(value)


@dataclasses.dataclass(frozen=True)
class Answer:
    """All machines of a site, and how many requests that took."""

    instances: Sequence[Instance]
    requests: int

    def plain(self) -> dict[str, t.Any]:
        return {
            "schema": SCHEMA,
            "requests": self.requests,
            "instances": [instance.row() for instance in self.instances],
        }

    @classmethod
    def of_plain(cls, plain: object) -> Answer:
        """The inverse; ValueError if it is none, or of another schema."""
        if not isinstance(plain, dict) or plain.get("schema") != SCHEMA:
            raise ValueError("not an answer of this version")
        rows, requests = plain.get("instances"), plain.get("requests")
        if not isinstance(rows, list) or not isinstance(requests, int):
            raise ValueError("an answer of another shape")
        instances = [Instance.of_row(row) for row in rows]
        if len({instance.id for instance in instances}) != len(instances):
            raise ValueError("two machines with one id")
        return cls(instances, requests)


@dataclasses.dataclass(frozen=True)
class Request:
    """What a provider is told. credentials are resolved (_credentials), and secret."""

    site: str
    options: Options
    credentials: Mapping[str, t.Any]
    deadline: Deadline
    details: bool = False
    metadata_groups: Sequence[str] = ()


class Provider(abc.ABC):
    """Lists the machines of one site."""

    def __init__(self, request: Request) -> None:
        self.request = request

    @abc.abstractmethod
    def answer(self) -> Answer:
        """Every machine of the site, or ProviderError."""
