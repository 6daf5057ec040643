# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lists the containers of this machine, as podman's own program tells them.

PRIVATE to the collection: it may change without notice.

A container that is called like a host in the list of its site is that host: the host stays in the
inventory whatever becomes of the container, since a storage host that is switched off must not
leave the rings, and its state says how it is.
"""

from __future__ import annotations

import json
import subprocess
import typing as t

from ansible_collections.infn.cloud.plugins.module_utils._federation_cloud import (
    ContainersOptions,
)

from ._provider import Answer, Instance, Provider, ProviderError, Request

Json = dict[str, t.Any]


class ContainersProvider(Provider):
    def __init__(self, request: Request) -> None:
        super().__init__(request)
        if not isinstance(request.options, ContainersOptions):
            raise ProviderError("options of another provider")
        self.options: ContainersOptions = request.options

    def answer(self) -> Answer:
        chosen = ["--filter", f"label={self.options.label}"] if self.options.label else []
        ids = self._run("ps", "--all", "--quiet", "--no-trunc", *chosen).split()
        if not ids:
            return Answer([], 1)
        try:
            found = json.loads(self._run("inspect", "--type", "container", *sorted(ids)))
            return Answer([self._instance(one) for one in found], 2)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ProviderError(
                f"{self.options.command[-1]} inspect answered in another shape: {error!r}"
            ) from error

    def _run(self, *arguments: str) -> str:
        command = [*self.options.command, *arguments]
        left = max(0.1, self.request.deadline.left())
        try:
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=left,
                check=False,
            )
        except OSError as error:
            raise ProviderError(
                f"{command[0]}: {error.strerror}; install it, or set command"
            ) from error
        except subprocess.TimeoutExpired as error:
            raise ProviderError(f"{' '.join(command[:3])}: no answer in {left:.0f} s") from error
        if done.returncode:
            said = " ".join(done.stderr.split())[-300:]
            raise ProviderError(f"{' '.join(command[:3])} ended with {done.returncode}: {said}")
        return done.stdout

    def _instance(self, container: Json) -> Instance:
        networks: Json = container["NetworkSettings"].get("Networks") or {}
        addresses = {
            str(name): str(one.get("IPAddress") or one.get("GlobalIPv6Address") or "")
            for name, one in sorted(networks.items())
        }
        labels: dict[str, str] = container["Config"].get("Labels") or {}
        found = Instance(
            id=str(container["Id"]),
            name=str(container["Name"]).lstrip("/"),
            address=next((one for one in addresses.values() if one), None),
            state=str(container["State"]["Status"]),
            image=str(container.get("ImageName") or container.get("Image") or "") or None,
            networks=list(addresses),
            metadata={key: labels[key] for key in self.request.metadata_groups if key in labels},
        )
        if self.request.details:
            found.details = {
                "addresses": addresses,
                "created": str(container.get("Created") or ""),
                "labels": {str(key): str(value) for key, value in labels.items()},
            }
        return found
