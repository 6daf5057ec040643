# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What each site contributes to this run: a new answer, the last good one, or nothing.

PRIVATE to the collection: it may change without notice.
"""

from __future__ import annotations

import dataclasses
import typing as t
from collections.abc import Callable, Mapping, Sequence

from ansible_collections.infn.cloud.plugins.module_utils._federation_cloud import STATIC
from ansible_collections.infn.cloud.plugins.module_utils._federation_model import (
    FAIL,
    STALE,
    Federation,
    Site,
)

from ._provider import Deadline, Instance, ProviderError
from ._site_cache import Key, SiteCache
from ._site_pool import Question, Reply, ask_all

OK, FAILED = "ok", "failed"


class SitesFailed(Exception):
    """There is to be no inventory; the text names every site because of which."""


@dataclasses.dataclass(frozen=True)
class SiteAnswer:
    """What one site contributes. age: seconds since it was fetched; message: why it is not new.

    requests is None where the site's process was ended before it could say how many.
    """

    site: Site
    status: str
    instances: Sequence[Instance] = ()
    seconds: float = 0.0
    requests: int | None = 0
    age: int = 0
    message: str | None = None
    printed: str = ""

    def report(self) -> dict[str, t.Any]:
        return {
            "status": self.status,
            "provider": self.site.source.provider,
            "hosts": len(self.site.hosts) + len(self.instances),
            "seconds": round(self.seconds, 1),
            "requests": self.requests,
            "age": self.age,
            "message": self.message,
        }


@dataclasses.dataclass(frozen=True)
class Plan:
    """How to ask one site: what identifies its answer, and the question."""

    key: Key
    question: Question


def gather(
    federation: Federation,
    plan: Callable[[Site], Plan],
    cache: SiteCache,
    *,
    now: Callable[[], float],
    refresh: bool,
) -> list[SiteAnswer]:
    """Every site's contribution, in the order of the file. plan may raise ProviderError."""
    deadline = Deadline.after(federation.policy.deadline)
    plans: dict[str, Plan] = {}
    found: dict[str, SiteAnswer] = {}
    for site in federation.sites:
        if site.source.provider == STATIC:
            found[site.name] = SiteAnswer(site, OK)
            continue
        try:
            plans[site.name] = plan(site)
        except ProviderError as error:
            found[site.name] = SiteAnswer(site, FAILED, message=str(error))
            continue
        fresh = None if refresh else _fresh(site, plans[site.name].key, federation, cache, now())
        if fresh is not None:
            found[site.name] = fresh
    replies = ask_all(
        [plans[name].question for name in plans if name not in found],
        concurrency=federation.policy.concurrency,
        deadline=deadline,
    )
    for site in federation.sites:
        if site.name in replies:
            key, reply = plans[site.name].key, replies[site.name]
            found[site.name] = _settle(site, key, reply, federation, cache, now())
    answers = [found[site.name] for site in federation.sites]
    _refuse(federation, answers)
    return answers


def _fresh(
    site: Site, key: Key, federation: Federation, cache: SiteCache, now: float
) -> SiteAnswer | None:
    """Its last answer, when that is young enough not to ask again."""
    fetched_at = cache.fetched_at(key)
    if fetched_at is None or not 0 <= now - fetched_at < federation.policy.refresh_after:
        return None
    entry = cache.load(key)
    if entry is None:
        return None
    return SiteAnswer(site, OK, entry[0].instances, age=int(now - fetched_at))


def _settle(
    site: Site, key: Key, reply: Reply, federation: Federation, cache: SiteCache, now: float
) -> SiteAnswer:
    if reply.answer is not None:
        cache.store(key, reply.answer, now, federation.policy.max_stale)
        instances, requests = reply.answer.instances, reply.answer.requests
        return SiteAnswer(site, OK, instances, reply.seconds, requests, printed=reply.printed)
    failed = SiteAnswer(
        site, FAILED, (), reply.seconds, None, message=reply.failure, printed=reply.printed
    )
    if federation.on_failure(site) != STALE:
        return failed
    entry = cache.load(key)
    # A clock that was set back makes an entry look as if it came from the future: it is young.
    if entry is None or now - entry[1] > federation.policy.max_stale:
        return failed
    age = max(0, int(now - entry[1]))
    return dataclasses.replace(failed, status=STALE, instances=entry[0].instances, age=age)


def _refuse(federation: Federation, answers: Sequence[SiteAnswer]) -> None:
    failed = [answer for answer in answers if answer.status == FAILED]
    fatal: Mapping[str, str] = {
        answer.site.name: (
            "on_site_failure: fail"
            if federation.on_failure(answer.site) == FAIL
            else "require_sites names it"
        )
        for answer in failed
        if federation.on_failure(answer.site) == FAIL
        or answer.site.name in federation.policy.require_sites
    }
    if fatal:
        raise SitesFailed(
            "; ".join(
                f"site {answer.site.name}: {answer.message} ({fatal[answer.site.name]})"
                for answer in failed
                if answer.site.name in fatal
            )
        )
    if len(failed) == len(answers):
        raise SitesFailed(
            "no site answered: "
            + "; ".join(f"site {answer.site.name}: {answer.message}" for answer in failed)
        )
