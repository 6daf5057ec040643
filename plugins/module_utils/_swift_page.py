# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The status of Swift as one page of HTML that needs nothing else: no script, no font, no network.

What comes from a cloud is text: whatever is not made by `tag` is escaped.
"""

from __future__ import annotations

import math
import time
from html import escape
from typing import Callable, Dict, Iterable, List, Mapping, Optional, Sequence, Tuple

from ansible_collections.infn.cloud.plugins.module_utils._swift_page_style import STYLE
from ansible_collections.infn.cloud.plugins.module_utils._swift_status import (
    ABOUT,
    KINDS,
    Facts,
    duration,
    figure,
    off_balance,
)

HEADLINES = {
    "not_reached": "No answer",
    "dispersion": "Copies",
    "rings": "Rings",
    "disks": "Disks",
    "quarantined": "Quarantine",
    "fill": "Fill",
    "replication": "Replication",
    "async": "Updates",
    "servers": "Servers",
    "weights": "Weights",
}
# The page draws so many runs.
RUNS = 90
KM_PER_DEGREE = 111.2
# The map's drawing, in its own units: small enough for its text to be read on a telephone.
MAP_WIDTH = 440.0
MAP_HEIGHT = (240.0, 460.0)


class Html(str):
    """Text that is markup already."""


Child = Optional[str]


def text(child: Child) -> str:
    """Escape what is no markup."""
    if child is None:
        return ""
    return child if isinstance(child, Html) else escape(child)


def join(children: Iterable[Child]) -> Html:
    """Put markup side by side."""
    return Html("".join(text(child) for child in children))


def tag(tag_name: str, *children: Child, **attributes: object) -> Html:
    """Make an element; `class_` is the attribute class, `aria_label` is aria-label."""
    said = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{escape(str(value))}"'
        for name, value in attributes.items()
        if value is not None and value is not False
    )
    if tag_name in ("meta", "br"):
        return Html(f"<{tag_name}{said}>")
    return Html(f"<{tag_name}{said}>{join(children)}</{tag_name}>")


def classes(*names: Optional[str]) -> Optional[str]:
    """Join the classes that apply."""
    return " ".join(name for name in names if name) or None


# --- small parts -------------------------------------------------------------------------------


def share_bar(percent: Optional[float], *, alert: bool = False) -> Html:
    """Draw a share beside its figure."""
    width = max(0.0, min(100.0, percent or 0.0))
    return tag(
        "span",
        tag("i", style=f"width:{width:.1f}%"),
        class_=classes("bar", "alert" if alert else None),
        aria_hidden="true",
    )


def balance_bar(percent: Optional[float]) -> Html:
    """Draw how far a disk is off, from the middle; the ends are 10 percent."""
    part = max(-10.0, min(10.0, percent or 0.0)) * 5
    left, width = (50.0, part) if part >= 0 else (50.0 + part, -part)
    # A hair's breadth also where all is even, so that it is seen to be drawn.
    return tag(
        "span",
        tag("i", style=f"left:{left - 0.5:.1f}%;width:{width + 1:.1f}%"),
        class_="bar off",
        aria_hidden="true",
    )


def pair(said: str, drawn: Html, *, alert: bool = False) -> Html:
    """Set a figure beside its bar."""
    return tag("span", tag("span", said, class_="alert" if alert else None), drawn, class_="pair")


def table(
    caption: str, head: Sequence[str], rows: Iterable[Html], *, label: Optional[str] = None
) -> Html:
    """Set a table that scrolls by itself where it is too wide."""
    made = tag(
        "table",
        tag("caption", caption),
        tag("thead", tag("tr", *(tag("th", cell, scope="col") for cell in head))),
        tag("tbody", *rows),
    )
    return tag(
        "div", made, class_="scroll", tabindex="0", role="region", aria_label=label or caption
    )


def row(name: Child, *cells: Child) -> Html:
    """Set a row with its name in front."""
    return tag("tr", tag("th", name, scope="row"), *(tag("td", cell) for cell in cells))


def section(title: str, note: Optional[str], *content: Child) -> Html:
    """Set a part of the page under its title."""
    key = title.lower().replace(" ", "-")
    return tag(
        "section",
        tag("h2", title, id=key),
        tag("p", note, class_="note") if note else None,
        *content,
        aria_labelledby=key,
    )


def signed(value: Optional[float]) -> str:
    """Say a deviation with its sign."""
    if value is None:
        return figure(None)
    return f"{value:+.1f} %".replace("-", "\N{MINUS SIGN}") if value else "0 %"


def volume(size: Optional[float]) -> str:
    """Say a size as disks are sold."""
    if size is None:
        return figure(None)
    for unit, factor in (("PB", 1e15), ("TB", 1e12), ("GB", 1e9)):
        if size >= factor:
            return f"{size / factor:.3g} {unit}"
    return f"{size / 1e6:.3g} MB"


# --- the map -----------------------------------------------------------------------------------


def kilometres(one: Facts, other: Facts) -> float:
    """Give the distance of two places on the sphere."""
    first, second = math.radians(one["latitude"]), math.radians(other["latitude"])
    apart = math.radians(other["longitude"] - one["longitude"])
    half = (
        math.sin((second - first) / 2) ** 2
        + math.cos(first) * math.cos(second) * math.sin(apart / 2) ** 2
    )
    return 2 * 6371 * math.asin(min(1.0, math.sqrt(half)))


class Projection:
    """Degrees to the map's units: true to scale in the middle, north above."""

    def __init__(self, places: Sequence[Facts]) -> None:
        latitudes = [place["latitude"] for place in places]
        longitudes = [place["longitude"] for place in places]
        self.middle = (min(latitudes) + max(latitudes)) / 2
        self.shrink = max(0.05, math.cos(math.radians(self.middle)))
        # Room for the labels, and a map of something where there is one site only.
        wide = max((max(longitudes) - min(longitudes)) * self.shrink, 0.5)
        tall = max(max(latitudes) - min(latitudes), 0.5)
        self.scale = min((MAP_WIDTH - 190) / wide, (MAP_HEIGHT[1] - 130) / tall)
        self.height = max(MAP_HEIGHT[0], min(MAP_HEIGHT[1], tall * self.scale + 130))
        self.centre = (min(longitudes) + max(longitudes)) / 2

    def at(self, latitude: float, longitude: float) -> Tuple[float, float]:
        """Give the point of a place."""
        return (
            MAP_WIDTH / 2 + (longitude - self.centre) * self.shrink * self.scale,
            self.height / 2 - (latitude - self.middle) * self.scale,
        )

    def degrees(self, x: float, y: float) -> Tuple[float, float]:
        """Give the place of a point."""
        return (
            self.middle - (y - self.height / 2) / self.scale,
            self.centre + (x - MAP_WIDTH / 2) / (self.shrink * self.scale),
        )


def graticule(projection: Projection) -> Html:
    """Draw the lines of whole degrees, so that the map says what it is a map of."""
    north, west = projection.degrees(0, 0)
    south, east = projection.degrees(MAP_WIDTH, projection.height)
    widest = max(north - south, east - west)
    step = next((degrees for degrees in (1, 2, 5, 10, 20, 45) if widest / degrees <= 7), 90)
    parts: List[Html] = []
    for degree in range(math.ceil(south / step) * step, math.floor(north) + 1, step):
        y = projection.at(degree, 0)[1]
        parts.append(tag("line", x1=0, x2=MAP_WIDTH, y1=f"{y:.1f}", y2=f"{y:.1f}", class_="grid"))
        if 20 < y < projection.height - 34:
            said = f"{abs(degree)}° {'N' if degree >= 0 else 'S'}"
            parts.append(tag("text", said, x=8, y=f"{y - 4:.1f}", class_="soft"))
    for degree in range(math.ceil(west / step) * step, math.floor(east) + 1, step):
        x = projection.at(0, degree)[0]
        end = f"{projection.height:.1f}"
        parts.append(tag("line", x1=f"{x:.1f}", x2=f"{x:.1f}", y1=0, y2=end, class_="grid"))
        if 40 < x < MAP_WIDTH - 40:
            said = f"{abs(degree)}° {'E' if degree >= 0 else 'W'}"
            parts.append(tag("text", said, x=f"{x + 4:.1f}", y=14, class_="soft"))
    return join(parts)


def scale_bar(projection: Projection) -> Html:
    """Draw a round distance."""
    unit = projection.scale / KM_PER_DEGREE
    lengths = [length for length in (10, 20, 50, 100, 200, 500, 1000, 2000) if length * unit <= 110]
    length = lengths[-1] if lengths else 10
    y, left = projection.height - 14, 10.0
    right = left + length * unit
    return join(
        [
            tag("path", d=f"M{left} {y - 4}V{y}H{right:.1f}V{y - 4}", class_="scale"),
            tag("text", f"{length} km", x=f"{right + 6:.1f}", y=y, class_="soft"),
        ]
    )


def arc(x: float, y: float, radius: float, percent: float) -> Html:
    """Draw a share of a circle, from the top."""
    if percent >= 100:
        return tag("circle", cx=f"{x:.1f}", cy=f"{y:.1f}", r=radius, class_="arc")
    angle = 2 * math.pi * max(0.0, percent) / 100
    end = (x + radius * math.sin(angle), y - radius * math.cos(angle))
    large = int(percent > 50)
    way = f"M{x:.1f} {y - radius:.1f}A{radius} {radius} 0 {large} 1 {end[0]:.1f} {end[1]:.1f}"
    return tag("path", d=way, class_="arc")


def disks_drawn(devices: Sequence[Facts], x: float, y: float, limits: Facts) -> Html:
    """Draw a small square for each disk, filled as the disk is."""
    parts = []
    for index, device in enumerate(devices[:24]):
        left, top = x + index % 12 * 11, y + index // 12 * 11
        full = device["fill_percent"]
        alert = device["mounted"] is False or (full or 0) > limits["fill_percent"]
        tall = 9 * min(100.0, full or 0.0) / 100
        said = "not mounted" if device["mounted"] is False else f"{figure(full, ' %')} full"
        square = {"x": f"{left:.1f}", "width": 9}
        parts.append(
            tag(
                "g",
                tag("title", f"{device['host']}/{device['device']}: {said}"),
                tag(
                    "rect",
                    y=f"{top:.1f}",
                    height=9,
                    rx=1.5,
                    class_=classes("disk", "alert" if alert else None),
                    **square,
                ),
                tag(
                    "rect",
                    y=f"{top + 9 - tall:.1f}",
                    height=f"{tall:.1f}",
                    rx=1,
                    class_="used",
                    **square,
                ),
            )
        )
    return join(parts)


def placed(sites: Sequence[Facts]) -> List[Facts]:
    """Give the sites whose place is known."""
    return [
        site for site in sites if site["latitude"] is not None and site["longitude"] is not None
    ]


def draw_map(status: Facts) -> Optional[Html]:
    """Draw the sites where they are."""
    sites = placed(status["sites"])
    if not sites:
        return None
    projection = Projection(sites)
    regions = {region["region"]: region for region in status["regions"]}
    points = {site["site"]: projection.at(site["latitude"], site["longitude"]) for site in sites}
    backbone = [site for site in sites if site["region"] is not None]
    links: List[Html] = []
    for index, one in enumerate(backbone):
        for other in backbone[index + 1 :]:
            (x1, y1), (x2, y2) = points[one["site"]], points[other["site"]]
            far = kilometres(one, other)
            links.append(
                tag(
                    "g",
                    tag("title", f"{one['site']} to {other['site']}: {far:.0f} km"),
                    tag(
                        "line",
                        x1=f"{x1:.1f}",
                        y1=f"{y1:.1f}",
                        x2=f"{x2:.1f}",
                        y2=f"{y2:.1f}",
                        class_="link",
                    ),
                )
            )
            if len(backbone) <= 6 and math.hypot(x2 - x1, y2 - y1) > 110:
                links.append(
                    tag(
                        "text",
                        f"{far:.0f} km",
                        x=f"{(x1 + x2) / 2:.1f}",
                        y=f"{(y1 + y2) / 2:.1f}",
                        text_anchor="middle",
                        class_="soft halo",
                    )
                )
    marks = [
        draw_site(site, regions.get(site["region"]), status, points[site["site"]], label)
        for site, label in zip(sites, label_places(sites, points, projection.height))
    ]
    told = ", ".join(f"{site['site']} at {site['city'] or 'its place'}" for site in sites)
    return tag(
        "svg",
        tag("title", f"Map of {len(sites)} sites: {told}", id="map-title"),
        graticule(projection),
        scale_bar(projection),
        *links,
        *marks,
        viewBox=f"0 0 {MAP_WIDTH:g} {projection.height:.0f}",
        class_="map",
        role="img",
        aria_labelledby="map-title",
    )


def label_places(
    sites: Sequence[Facts], points: Mapping[str, Tuple[float, float]], height: float
) -> List[Tuple[float, float, bool]]:
    """Give each label a place beside its mark, on the side with more room, none over another."""
    room = 52.0
    taken: Dict[bool, List[float]] = {False: [], True: []}
    chosen: Dict[str, Tuple[float, float, bool]] = {}
    for site in sorted(sites, key=lambda one: points[one["site"]][1]):
        x, y = points[site["site"]]
        left = x > MAP_WIDTH * 0.62
        top = y - 8
        if taken[left]:
            top = max(top, taken[left][-1] + room)
        top = max(26.0, min(top, height - 40))
        taken[left].append(top)
        chosen[site["site"]] = (x - 20 if left else x + 20, top, left)
    return [chosen[site["site"]] for site in sites]


def draw_site(
    site: Facts,
    region: Optional[Facts],
    status: Facts,
    point: Tuple[float, float],
    label: Tuple[float, float, bool],
) -> Html:
    """Draw one site: how much of its copies it has, its name, its disks."""
    (x, y), (label_x, label_y, left) = point, label
    known = [
        value
        for value in (region or {"dispersion": {}})["dispersion"].values()
        if value is not None
    ]
    there = min(known) if known else None
    alert = there is not None and there < status["limits"]["dispersion_percent"]
    own = [device for device in status["devices"] if device["site"] == site["site"]]
    place = site["city"] or ""
    if region is not None:
        place += f"{' · ' if place else ''}region {region['region']}"
    said = f"{site['site']}: " + (
        "no copies were asked for" if there is None else f"{there:g} % of its copies in place"
    )
    anchor = "end" if left else "start"
    wide = 11 * min(12, len(own))
    moved = abs(label_y - (y - 8)) > 8
    return tag(
        "g",
        tag("title", said),
        tag(
            "line",
            x1=f"{x:.1f}",
            y1=f"{y:.1f}",
            x2=f"{label_x:.1f}",
            y2=f"{label_y + 8:.1f}",
            class_="lead",
        )
        if moved
        else None,
        tag("circle", cx=f"{x:.1f}", cy=f"{y:.1f}", r=10, class_="ring"),
        arc(x, y, 10, there) if there is not None else None,
        tag(
            "text",
            site["site"],
            x=f"{label_x:.1f}",
            y=f"{label_y + 6:.1f}",
            text_anchor=anchor,
            class_="name halo",
        ),
        tag(
            "text",
            place,
            x=f"{label_x:.1f}",
            y=f"{label_y + 21:.1f}",
            text_anchor=anchor,
            class_="soft halo",
        ),
        disks_drawn(own, label_x - wide if left else label_x, label_y + 28, status["limits"]),
        class_="alert" if alert else None,
    )


# --- charts ------------------------------------------------------------------------------------


def chart(
    title: str,
    runs: Sequence[Facts],
    key: str,
    say: Callable[[Optional[float]], str],
    *,
    floor: Optional[float] = None,
    ceiling: Optional[float] = None,
) -> Html:
    """Draw one figure over the last runs, with a gap where it was not known."""
    values: List[Optional[float]] = [run.get(key) for run in runs]
    known = [value for value in values if value is not None]
    wide, tall, top, base = 260.0, 84.0, 10.0, 64.0
    if not known:
        return tag("figure", tag("figcaption", title, tag("b", figure(None))))
    low = min([*known, *([floor] if floor is not None else [])])
    high = max([*known, *([ceiling] if ceiling is not None else [])])
    span = (high - low) or 1.0
    begin, end = runs[0]["time"], runs[-1]["time"]

    def at(index: int, value: float) -> Tuple[float, float]:
        part = (runs[index]["time"] - begin) / (end - begin) if end > begin else 1.0
        return 4 + part * (wide - 8), base - (value - low) / span * (base - top)

    pieces: List[List[Tuple[float, float]]] = [[]]
    hits: List[Html] = []
    for index, value in enumerate(values):
        if value is None:
            pieces.append([])
            continue
        x, y = at(index, value)
        pieces[-1].append((x, y))
        hits.append(
            tag(
                "circle",
                tag("title", f"{moment(runs[index]['time'])}: {say(value)}"),
                cx=f"{x:.1f}",
                cy=f"{y:.1f}",
                r=7,
                class_="hit",
            )
        )
    drawn: List[Html] = [tag("line", x1=0, x2=wide, y1=base, y2=base, class_="base")]
    for piece in pieces:
        if len(piece) > 1:
            way = "L".join(f"{x:.1f} {y:.1f}" for x, y in piece)
            first, last = piece[0][0], piece[-1][0]
            # An area says that the ground is zero.
            if low == 0:
                under = f"M{first:.1f} {base}L{way}L{last:.1f} {base}Z"
                drawn.append(tag("path", d=under, class_="area"))
            drawn.append(tag("path", d=f"M{way}", class_="curve"))
        elif piece:
            drawn.append(
                tag("circle", cx=f"{piece[0][0]:.1f}", cy=f"{piece[0][1]:.1f}", r=2.5, class_="dot")
            )
    if low:
        drawn.append(tag("text", say(low), x=0, y=base - 4))
    last_known = max(index for index, value in enumerate(values) if value is not None)
    x, y = at(last_known, values[last_known] or 0.0)
    drawn.append(tag("circle", cx=f"{x:.1f}", cy=f"{y:.1f}", r=3, class_="dot"))
    told = f"{title}: {len(runs)} runs, from {say(min(known))} to {say(max(known))}"
    return tag(
        "figure",
        tag("figcaption", title, tag("b", say(values[-1]))),
        tag(
            "svg",
            tag("title", told),
            *drawn,
            *hits,
            tag("text", moment(begin), x=0, y=tall - 4),
            tag("text", moment(end), x=wide, y=tall - 4, text_anchor="end")
            if end > begin
            else None,
            viewBox=f"0 0 {wide:g} {tall:g}",
            class_="chart",
            role="img",
            aria_label=told,
        ),
    )


def moment(seconds: float) -> str:
    """Say when a run was, in short."""
    return time.strftime("%d %b %H:%M", time.gmtime(seconds))


# --- the parts of the page ---------------------------------------------------------------------


def headline(status: Facts) -> Html:
    """Say first how it is."""
    count = len(status["findings"])
    if count:
        said = tag("b", f"{count} finding{'s' if count > 1 else ''}")
        rest = " to look at."
    else:
        said, rest = tag("b", "All is well."), " Every limit is kept."
    return tag("p", said, rest, class_=classes("verdict", "alert" if count else None))


def key_figures(status: Facts) -> Html:
    """Give the figures that one looks for first."""
    figures, limits = status["summary"], status["limits"]
    answered = figures["hosts"] - figures["hosts_not_reached"]
    about = {one["about"] for one in status["findings"]}
    dispersion = figures["dispersion_percent"]
    items = [
        (
            "Copies in place",
            figure(dispersion, " %"),
            None,
            dispersion is not None and dispersion < limits["dispersion_percent"],
        ),
        ("Hosts that answer", str(answered), f"of {figures['hosts']}", "not_reached" in about),
        ("Fullest disk", figure(figures["fill_percent"], " %"), None, "fill" in about),
        (
            "Oldest replication",
            duration(figures["replication_seconds"]),
            "ago" if figures["replication_seconds"] is not None else None,
            "replication" in about,
        ),
        ("Updates waiting", figure(figures["async_pending"]), None, "async" in about),
        ("In quarantine", figure(figures["quarantined"]), None, "quarantined" in about),
    ]
    return tag(
        "dl",
        *(
            tag(
                "div",
                tag("dt", name),
                tag("dd", value, tag("small", f" {unit}") if unit else None),
                class_="alert" if alert else None,
            )
            for name, value, unit, alert in items
        ),
        class_="figures",
    )


def findings(status: Facts) -> Optional[Html]:
    """List what wants a look."""
    if not status["findings"]:
        return None
    order = sorted(status["findings"], key=lambda one: ABOUT.index(one["about"]))
    return section(
        "Findings",
        None,
        tag(
            "ul",
            *(tag("li", tag("b", HEADLINES[one["about"]]), one["text"]) for one in order),
            class_="findings",
        ),
    )


def where(status: Facts) -> Html:
    """Show the sites, as a map and as a table."""
    missing = [site["site"] for site in status["sites"] if site not in placed(status["sites"])]
    rows = []
    for region in status["regions"]:
        values = list(region["dispersion"].values())
        rows.append(
            row(
                join([region["site"] or "", tag("small", f"region {region['region']}")]),
                *(dispersion_cell(value, status["limits"]) for value in values),
                str(region["devices"]),
                volume(region["size"]),
                figure(region["fill_percent"], " %"),
            )
        )
    parts = list(status["regions"][0]["dispersion"]) if status["regions"] else []
    others = [site for site in status["sites"] if site["region"] is None]
    return section(
        "Sites and regions",
        "A ring is closed where every sampled copy is in its region. Squares are disks, filled as "
        "the disks are.",
        tag(
            "div",
            draw_map(status),
            tag(
                "div",
                table(
                    "Copies in place, by region",
                    ["", *parts, "disks", "size", "fill"],
                    rows,
                ),
                tag(
                    "p",
                    "Not on the map, for want of coordinates: " + ", ".join(missing) + ".",
                    class_="note",
                )
                if missing
                else None,
                tag(
                    "p",
                    "Without a region of Swift: "
                    + ", ".join(f"{site['site']} ({site['coupling']})" for site in others)
                    + ".",
                    class_="note",
                )
                if others
                else None,
                samples_note(status),
            ),
            class_="where",
        ),
    )


def dispersion_cell(value: Optional[float], limits: Facts) -> Html:
    """Show the share of copies in place."""
    alert = value is not None and value < limits["dispersion_percent"]
    return pair(figure(value, " %"), share_bar(value, alert=alert), alert=alert)


def samples_note(status: Facts) -> Optional[Html]:
    """Say what the percentages are of."""
    dispersion = status["dispersion"]
    if not dispersion:
        return None
    parts = {"containers": dispersion.get("container") or {}}
    parts.update(dispersion.get("object") or {})
    rows = [
        row(
            name,
            str(figures["samples"]),
            figure(figures["coverage_percent"], " %"),
            *(
                str(figures["missing"].get(str(copies), 0) if figures["samples"] else 0)
                for copies in range(4)
            ),
        )
        for name, figures in parts.items()
        if figures
    ]
    head = ["", "samples", "of the ring", "all copies", "1 missing", "2 missing", "3 missing"]
    return tag(
        "details",
        tag("summary", "What was sampled"),
        table("Sampled partitions by the number of copies that they miss", head, rows),
    )


def disks(status: Facts) -> Html:
    """Show each disk: its weights, its share of the partitions, how full it is."""
    names = [ring["ring"] for ring in status["rings"] if not ring["error"]]
    rows: List[Html] = []
    group: object = object()
    for device in status["devices"]:
        if device["region"] != group:
            group = device["region"]
            title = f"{device['site'] or 'unknown site'}, region {group}"
            rows.append(
                tag("tr", tag("th", title, scope="rowgroup", colspan=3 + len(names)), class_="site")
            )
        full = device["fill_percent"]
        alert = (full or 0) > status["limits"]["fill_percent"]
        shares = [device["rings"].get(name) for name in names]
        rows.append(
            row(
                join([device["host"], tag("small", device["device"])]),
                weights(device),
                *(balance_cell(share) for share in shares),
                tag("span", "not mounted", class_="alert")
                if device["mounted"] is False
                else pair(figure(full, " %"), share_bar(full, alert=alert), alert=alert),
            )
        )
    return section(
        "Disks",
        "Partitions of each ring and how far they are from the share that the disk's weight asks "
        "for; the bars end at 10 %.",
        table("Disks by region", ["", "weight", *names, "fill"], rows)
        if rows
        else tag("p", "The rings could not be read.", class_="note"),
    )


def weights(device: Facts) -> Html:
    """Show weights now and wished, once where all rings have the same."""
    seen: List[str] = []
    for share in device["rings"].values():
        now, wished = figure(share["weight"]), figure(share["weight_wished"])
        said = now if now == wished else f"{now} \N{RIGHTWARDS ARROW} {wished}"
        if said not in seen:
            seen.append(said)
    moving = any("\N{RIGHTWARDS ARROW}" in said for said in seen)
    return tag("span", ", ".join(seen), class_="alert" if moving else None)


def balance_cell(share: Optional[Facts]) -> Html:
    """Show a disk's share of a ring."""
    if share is None:
        return tag("span", figure(None))
    off = off_balance(share)
    return tag(
        "span",
        tag("span", str(share["partitions"]), " ", tag("small", signed(off))),
        balance_bar(off),
        class_="pair",
        title=f"{share['partitions']} partitions, {figure(share['fair'])} by weight",
    )


def hosts(status: Facts) -> Html:
    """Show what each host said of its servers."""
    rows = []
    for host in status["hosts"]:
        name = join([host["host"], tag("small", host["site"] or "")])
        if not host["reached"]:
            rows.append(row(name, tag("span", "no answer", class_="alert"), *[""] * 5))
            continue
        away = host["quarantined"]
        rows.append(
            row(
                name,
                *(age_cell(host["replication"].get(kind), status["limits"]) for kind in KINDS),
                figure(host["async_pending"]),
                tag(
                    "span",
                    figure(sum(away[kind] for kind in KINDS) if away else None),
                    title=", ".join(f"{kind} {count}" for kind, count in (away or {}).items()),
                ),
                host["version"] or figure(None),
            )
        )
    return section(
        "Hosts",
        "How long ago the last pass of each replicator ended, updates that wait for a server that "
        "was away, and copies that an auditor took out.",
        table(
            "Storage hosts",
            ["", *(f"{kind} replication" for kind in KINDS), "async", "quarantine", "Swift"],
            rows,
        ),
    )


def age_cell(age: Optional[float], limits: Facts) -> Html:
    """Show an age."""
    alert = age is None or age > limits["replication_seconds"]
    return tag("span", duration(age), class_="alert" if alert else None)


def rings(status: Facts) -> Html:
    """Show the rings and whether all servers have them."""
    rows = []
    for ring in status["rings"]:
        if ring["error"]:
            rows.append(row(ring["ring"], tag("span", ring["error"], class_="alert"), *[""] * 6))
            continue
        said = "all agree" if ring["agreed"] else "they differ"
        groups = "; ".join(
            f"{md5}: {', '.join(sorted(names))}" for md5, names in sorted(ring["servers"].items())
        )
        rows.append(
            row(
                ring["ring"],
                f"{ring['partitions']:,}",
                f"{ring['replicas']:g}",
                str(ring["devices"]),
                figure(ring["balance"], " %"),
                str(ring["version"]),
                tag("code", ring["md5"][:12], title=ring["md5"]),
                tag("span", said, class_=None if ring["agreed"] else "alert", title=groups),
            )
        )
    head = ["", "partitions", "copies", "disks", "balance", "version", "md5", "servers"]
    return section("Rings", None, table("Rings, as built and as loaded", head, rows))


def history(runs: Sequence[Facts]) -> Html:
    """Draw the last runs."""
    last = list(runs)[-RUNS:]

    def percent(value: Optional[float]) -> str:
        return figure(value, " %")

    return section(
        "Last runs",
        f"{len(last)} run{'s' if len(last) != 1 else ''}, the newest to the right. Times are UTC.",
        tag(
            "div",
            chart("Copies in place", last, "dispersion_percent", percent, floor=90, ceiling=100),
            chart("Fullest disk", last, "fill_percent", percent, floor=0),
            chart("Oldest replication", last, "replication_seconds", duration, floor=0),
            chart("Updates waiting", last, "async_pending", figure, floor=0, ceiling=1),
            chart("In quarantine", last, "quarantined", figure, floor=0, ceiling=1),
            chart("Hosts without answer", last, "hosts_not_reached", figure, floor=0, ceiling=1),
            class_="charts",
        ),
    )


def page(status: Facts, runs: Sequence[Facts]) -> str:
    """Give the whole page."""
    title = f"Swift of {status['federation']}"
    policy = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("title", title),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("style", Html(STYLE)),
    )
    body = tag(
        "body",
        tag(
            "header",
            tag("h1", title),
            tag("p", status["taken"], class_="when"),
            headline(status),
            key_figures(status),
        ),
        tag(
            "main",
            findings(status),
            where(status),
            disks(status),
            hosts(status),
            rings(status),
            history(runs),
        ),
        tag(
            "footer",
            tag(
                "p",
                "Made by ",
                tag("code", "infn.cloud.operations.swift_status"),
                ". The same figures are in status.json beside this page.",
            ),
        ),
    )
    return "<!doctype html>\n" + tag("html", head, body, lang="en") + "\n"
