# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which site suits a wish best, and why.

PRIVATE to the collection: it may change without notice.

Pure: a Federation and what site_info said of its sites go in; the sites that can fulfil the wish
come out in order, the others with their reasons. Sites are compared by, in this order: the
agreement's preference, the room that is left, services that fail, latency, name.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Optional

from ansible_collections.infn.cloud.plugins.module_utils._federation_cloud import Sla
from ansible_collections.infn.cloud.plugins.module_utils._federation_model import Federation, Site
from ansible_collections.infn.cloud.plugins.module_utils._federation_reader import (
    PLAIN,
    URL,
    FederationError,
    Section,
    kind,
)

JSON = Mapping[str, Any]
IMAGE_PROPERTIES = ("os_type", "os_distro", "os_version", "architecture")
UNLIMITED = -1
# What every server takes, in the names of an SLA.
_TAKEN = ("instances", "cores", "ram_mb")
_WITHOUT_END = 10**9


@dataclass(frozen=True)
class Wish:
    """Servers of one kind. Without a flavor, the smallest that has cores and ram_mb (MiB)."""

    group: str
    issuer: Optional[str] = None
    count: int = 1
    flavor: Optional[str] = None
    cores: int = 1
    ram_mb: int = 1
    gpus: int = 0
    gpu_model: Optional[str] = None
    image: Optional[str] = None
    # Property of an image to its value, compared without case.
    properties: Mapping[str, str] = field(default_factory=dict)


class Candidate(NamedTuple):
    """A site that can fulfil the wish; the order of the fields is that of the comparison."""

    preference: float
    room: int
    failing: int
    latency: float
    site: str
    result: Mapping[str, Any]


def read_wish(raw: object) -> Wish:
    """The wish as a person writes it; FederationError with every problem."""
    problems: list[str] = []
    top = Section(
        raw,
        "the wish",
        problems,
        {"group", "issuer", "count", "flavor", "cores", "ram_mb", "gpu", "image"},
    )
    gpu = image = None
    if "gpu" in top:
        gpu = Section(top.get("gpu"), "the wish, gpu", problems, {"number", "model"})
    if "image" in top:
        keys = {"name", *IMAGE_PROPERTIES}
        image = Section(top.get("image"), "the wish, image", problems, keys)
        if isinstance(top.get("image"), Mapping) and not image.keys():
            image.missing("name", f"give it, or one of {', '.join(IMAGE_PROPERTIES)}")
    properties = {}
    for name in IMAGE_PROPERTIES:
        if image is not None and name in image:
            value = image.get(name)
            # YAML reads the version 24.04 as a number, and 9 too.
            if isinstance(value, (str, int, float)) and not isinstance(value, bool):
                properties[name] = str(value)
            else:
                image.problem(name, f"expected text, found {kind(value)}")
    if "flavor" in top:
        for name in ("cores", "ram_mb", "gpu"):
            if name in top:
                top.problem(name, "the flavor says it; remove one of the two")
    wish = Wish(
        group=top.text("group", PLAIN),
        issuer=top.optional("issuer", URL),
        count=top.whole_number("count") or 1,
        flavor=top.optional("flavor", PLAIN),
        cores=top.whole_number("cores") or 1,
        ram_mb=top.whole_number("ram_mb") or 1,
        gpus=0 if gpu is None else gpu.whole_number("number") or 1,
        gpu_model=None if gpu is None else gpu.optional("model", PLAIN),
        image=None if image is None else image.optional("name", PLAIN),
        properties=properties,
    )
    if problems:
        raise FederationError("site_ranking", problems)
    return wish


def rank(
    federation: Federation, looks: Mapping[str, Any], wish: Wish, today: datetime.date
) -> dict[str, Any]:
    """The sites in order, the unusable ones by name, and the whole as lines of text.

    looks has what infn.cloud.site_info returned of each site; one that failed has its msg.
    """
    usable: list[Candidate] = []
    unusable: list[dict[str, Any]] = []
    for site in federation.sites:
        found, reasons = _judge(site, looks.get(site.name), wish, today)
        if found is None:
            unusable.append({"site": site.name, "reasons": reasons})
        else:
            usable.append(found)
    usable.sort(key=lambda one: one[:5])
    unusable.sort(key=lambda one: str(one["site"]))
    ranked = [
        {"rank": number, "site": one.site, **one.result, "why": _why(usable, number - 1)}
        for number, one in enumerate(usable, 1)
    ]
    return {
        "ranked": ranked,
        "unusable": unusable,
        "explanation": [
            *(f"{one['rank']}. {one['site']}: {one['why']}" for one in ranked),
            *(f"-  {one['site']}: {'; '.join(one['reasons'])}" for one in unusable),
        ],
    }


def _judge(
    site: Site, look: Any, wish: Wish, today: datetime.date
) -> tuple[Optional[Candidate], list[str]]:
    """The site as a candidate, or every reason why it is none."""
    reasons: list[str] = []
    sla = _agreement(site, wish, today, reasons)
    told = _told(look, reasons)
    if told is None:
        return None, reasons
    reasons.extend(f"{one['found']}; {one['remedy']}" for one in told.get("reasons") or ())
    if not told.get("usable") and not told.get("reasons"):
        reasons.append("site_info says that it is not usable")
    image, flavor = _choose(told, wish, reasons)
    if sla is None or flavor is None:
        return None, reasons
    room, limiting = _room(told, sla.project, sla.quotas, flavor)
    if room is not None and room < wish.count:
        reasons.append(f"free quota: {limiting} is enough for {room} of {wish.count} servers")
    if reasons:
        return None, reasons
    failing = sorted(name for name, one in told["services"].items() if not one.get("ok"))
    latency = told["services"].get("compute", {}).get("latency_ms")
    if latency is not None:
        latency = round(latency)  # less than a millisecond is chance
    result = {
        "project": sla.project,
        "doc_uuid": sla.doc_uuid,
        "preference": sla.preference,
        "flavor": flavor["name"],
        "image": None if image is None else image["name"],
        "image_id": None if image is None else image["id"],
        "room": None if room is None else UNLIMITED if room == _WITHOUT_END else room,
        "failing_services": failing,
        "latency_ms": latency,
    }
    candidate = Candidate(
        preference=float("inf") if sla.preference is None else sla.preference,
        room=-_magnitude(room, wish.count),
        failing=len(failing),
        latency=float("inf") if latency is None else float(latency),
        site=site.name,
        result=result,
    )
    return candidate, []


def _agreement(site: Site, wish: Wish, today: datetime.date, reasons: list[str]) -> Optional[Sla]:
    """The agreement of the group that is in force, of several the preferred one."""
    of_group = [sla for sla in site.membership.sla if sla.group == wish.group]
    of_issuer = [sla for sla in of_group if wish.issuer in (None, sla.issuer)]
    in_force = [sla for sla in of_issuer if sla.in_force(today)]
    if in_force:
        return min(in_force, key=lambda one: (one.preference or _WITHOUT_END, one.project))
    if not of_group:
        reasons.append(f"no agreement with group {wish.group}")
    elif not of_issuer:
        reasons.append(
            f"its agreement with group {wish.group} is for the issuer {of_group[0].issuer}, not"
            f" {wish.issuer}; issuers are compared letter by letter"
        )
    for sla in of_issuer:
        when = f"ended on {sla.end_date}" if sla.end_date < today else f"begins on {sla.start_date}"
        reasons.append(f"its agreement with group {wish.group} {when}")
    return None


def _told(look: Any, reasons: list[str]) -> Optional[JSON]:
    """What site_info said of the site."""
    if not isinstance(look, Mapping):
        reasons.append("site_info has not looked at it")
        return None
    told = look.get("site")
    if isinstance(told, Mapping) and isinstance(told.get("services"), Mapping):
        return told
    reasons.append(f"site_info failed: {look.get('msg') or 'it says nothing of the site'}")
    return None


# --- flavor and image -----------------------------------------------------------------------------


def _choose(told: JSON, wish: Wish, reasons: list[str]) -> tuple[Optional[JSON], Optional[JSON]]:
    """An image that is wished, and the smallest flavor that is wished and large enough for it."""
    flavors = sorted((one for one in told.get("flavors") or () if _suits(one, wish)), key=_size)
    if not flavors:
        reasons.append(f"no flavor {_describe_flavor(wish)}{_cut_off(told, 'flavors')}")
    if wish.image is None and not wish.properties:
        return None, flavors[0] if flavors else None
    images = sorted(
        (one for one in told.get("images") or () if _is_image(one, wish)),
        key=lambda one: (str(one["name"]), str(one["id"])),
    )
    if not images:
        missing = _describe_image(wish)
        reasons.append(f"no active image {missing}{_cut_off(told, 'images')}")
    for image in images:
        for flavor in flavors:
            if _holds(flavor, image):
                return image, flavor
    if images and flavors:
        reasons.append(
            f"the image {images[0]['name']} needs {images[0].get('min_ram_mb') or 0} MiB of memory"
            f" and {images[0].get('min_disk_gb') or 0} GiB of disk, and the flavors have less"
        )
    return None, None


def _suits(flavor: JSON, wish: Wish) -> bool:
    if wish.flavor is not None:
        return bool(flavor["name"] == wish.flavor)
    gpu = flavor.get("gpu")
    if bool(gpu) != bool(wish.gpus):  # nobody who wants no GPU shall occupy one
        return False
    if gpu and (
        gpu["number"] < wish.gpus
        or (wish.gpu_model or gpu["model"]).lower() != str(gpu["model"]).lower()
    ):
        return False
    return bool(flavor["cores"] >= wish.cores and flavor["ram_mb"] >= wish.ram_mb)


def _size(flavor: JSON) -> tuple[Any, ...]:
    """What is public comes first: whether the group has access to another is not told."""
    return (
        not flavor.get("public", True),
        (flavor.get("gpu") or {}).get("number", 0),
        flavor["cores"],
        flavor["ram_mb"],
        flavor["disk_gb"],
        str(flavor["name"]),
        str(flavor["id"]),
    )


def _is_image(image: JSON, wish: Wish) -> bool:
    if image.get("status") != "active" or wish.image not in (None, image["name"]):
        return False
    return all(
        str(image.get(name) or "").lower() == value.lower()
        for name, value in wish.properties.items()
    )


def _holds(flavor: JSON, image: JSON) -> bool:
    if flavor["ram_mb"] < (image.get("min_ram_mb") or 0):
        return False
    # A flavor with the disk 0 takes the image's size.
    return not 0 < flavor["disk_gb"] < (image.get("min_disk_gb") or 0)


def _describe_flavor(wish: Wish) -> str:
    if wish.flavor is not None:
        return wish.flavor
    text = f"with {wish.cores} cores and {wish.ram_mb} MiB"
    if wish.gpus:
        model = f" {wish.gpu_model}" if wish.gpu_model else ""
        return f"{text} and {wish.gpus} GPU{model}"
    return f"{text} and no GPU"


def _describe_image(wish: Wish) -> str:
    properties = " and ".join(f"{name} {value}" for name, value in wish.properties.items())
    if not properties:
        return wish.image or ""
    return f"{wish.image} with {properties}" if wish.image else f"with {properties}"


def _cut_off(told: JSON, what: str) -> str:
    if what in (told.get("truncated") or ()):
        return f" (the site has more {what} than were read)"
    return "" if told.get(what) is not None else f" (site_info does not tell {what})"


# --- free quota -----------------------------------------------------------------------------------


def _room(
    told: JSON, project: str, agreed: Mapping[str, int], flavor: JSON
) -> tuple[Optional[int], str]:
    """How many servers of the flavor fit, and what allows no more; None if it is not known.

    The smaller of the cloud's quota and the agreed one counts.
    """
    quotas = _quotas_of(told, project)
    if quotas is None:
        return None, ""
    needs = {"instances": 1, "cores": flavor["cores"], "ram_mb": flavor["ram_mb"]}
    best, limiting = _WITHOUT_END, "the quota"
    for name in _TAKEN:
        quota = quotas.get(name) or {}
        limits = [
            limit
            for limit in (quota.get("limit"), agreed.get(name))
            if limit is not None and limit != UNLIMITED
        ]
        if not limits:
            if quota.get("limit") is None:
                return None, ""
            continue
        if quota.get("used") is None:
            return None, ""
        left = max(0, min(limits) - quota["used"])
        fits = left // max(1, needs[name])
        if fits < best:
            best, limiting = fits, f"{name} with {left} of {min(limits)} left"
    return best, limiting


def _quotas_of(told: JSON, project: str) -> Optional[JSON]:
    """The quotas of a project, which the agreement names by its name or id."""
    quotas = told.get("quotas") or {}
    for name, found in quotas.items():
        known = (told.get("projects") or {}).get(name) or {}
        if project in (name, known.get("id")):
            return dict(found)
    return None


def _magnitude(room: Optional[int], count: int) -> int:
    """How often the wish fits, by powers of two: only twice the room weighs more than health.

    Room that is not known is less than any that is.
    """
    return 0 if room is None else (room // count).bit_length()


# --- the explanation ------------------------------------------------------------------------------


def _why(usable: Sequence[Candidate], index: int) -> str:
    """What decided against the site before this one, or for the first."""
    one = usable[index]
    if len(usable) == 1:
        return f"the only one that can; {_say(one)}"
    other = usable[1] if index == 0 else usable[index - 1]
    for name, words in (
        ("preference", _preference),
        ("room", _room_words),
        ("failing", _failing),
        ("latency", _latency),
    ):
        if getattr(one, name) != getattr(other, name):
            decides = f"{words(one)} against {words(other)}"
            break
    else:
        decides = "equal but for the name"
    return f"{'before' if index == 0 else 'after'} {other.site}: {decides}; {_say(one)}"


def _say(one: Candidate) -> str:
    parts = [_preference(one), _room_words(one), _failing(one), _latency(one)]
    chosen = f"flavor {one.result['flavor']}"
    if one.result["image"] is not None:
        chosen += f", image {one.result['image']}"
    return ", ".join([chosen, *parts])


def _preference(one: Candidate) -> str:
    value = one.result["preference"]
    return "no preference" if value is None else f"preference {value}"


def _room_words(one: Candidate) -> str:
    room = one.result["room"]
    if room is None:
        return "room not known"
    return "room without end" if room == UNLIMITED else f"room for {room}"


def _failing(one: Candidate) -> str:
    failing = one.result["failing_services"]
    return f"failing: {' '.join(failing)}" if failing else "all services answer"


def _latency(one: Candidate) -> str:
    value = one.result["latency_ms"]
    return "latency not known" if value is None else f"{value} ms"
