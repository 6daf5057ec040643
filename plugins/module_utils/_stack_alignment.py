# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether hosts run the same versions of the same software.

PRIVATE to the collection: it may change without notice.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase

# What dpkg-query is asked to print for each package.
FORMAT = r"${db:Status-Status} ${binary:Package} ${Version}\n"


def read_packages(output: str, patterns: Iterable[str]) -> dict[str, str]:
    """Package -> version of those that are installed and match one of the patterns."""
    chosen = tuple(patterns)
    found = {}
    for line in output.splitlines():
        status, _space, rest = line.partition(" ")
        name, _space, version = rest.partition(" ")
        # Debian names the architecture where a package can be there for several.
        plain = name.partition(":")[0]
        if status == "installed" and any(fnmatchcase(plain, pattern) for pattern in chosen):
            found[plain] = version
    return found


def differences(hosts: Mapping[str, Mapping[str, str]], ignore: Iterable[str] = ()) -> list[str]:
    """One sentence for each component whose version differs between the hosts that have it.

    Hosts carry different services: a component that a host lacks is no difference.
    """
    sentences = []
    components = sorted({name for versions in hosts.values() for name in versions} - set(ignore))
    for component in components:
        by_version: dict[str, list[str]] = {}
        for host in sorted(hosts):
            if component in hosts[host]:
                by_version.setdefault(hosts[host][component], []).append(host)
        if len(by_version) > 1:
            parts = [f"{version} on {', '.join(on)}" for version, on in sorted(by_version.items())]
            sentences.append(f"{component}: {'; '.join(parts)}")
    return sentences
