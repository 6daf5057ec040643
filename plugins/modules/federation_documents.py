#!/usr/bin/python
# SPDX-FileCopyrightText: The infn.cloud contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module: what other services want to be told of a federation."""

from __future__ import annotations

DOCUMENTATION = r"""
module: federation_documents
short_description: Write what the registry, the manager, clients and the IM want of a federation
version_added: 0.1.0
author:
  - The infn.cloud contributors (@infn-cloud)
description:
  - Makes of one C(federation.yml) the documents that other services want of its OpenStack sites, so
    that a site is described once.
  - All that is missing for them is told at once, by file, site and key, before anything is written.
  - No document holds a secret. Passwords and tokens are references, or are given beside it.
  - Asks no service anything. Run it where the file is, usually on the controller.
options:
  federation:
    description: The path of C(federation.yml), which P(infn.cloud.federation#inventory) describes.
    type: path
    required: true
  destination:
    description: The directory to write into. It is made if it is not there.
    type: path
    required: true
  kinds:
    description:
      - Which documents to write.
      - V(feeder) is C(feeder/<site>.config.yaml), one for each site, for the feeder of the
        Federation-Registry.
      - V(manager) is C(federation-manager.json), the requests that enter the sites into the
        federation-manager, in their order.
      - V(clouds) is C(clouds.yaml) for the users of the federation, with an entry for each project.
      - V(im) is C(im-auth.txt), the authorization for the Infrastructure Manager, with a line for
        each project.
    type: list
    elements: str
    choices: [feeder, manager, clouds, im]
    default: [feeder, manager, clouds, im]
  sites:
    description:
      - Names of the sites to describe. By default all that have the provider V(openstack).
    type: list
    elements: str
    default: []
  registration:
    description:
      - What the registry and the manager want to know of a site, and C(federation.yml) does not
        say, by the name of the site. Each site takes the keys below.
      - C(country), its English name as in ISO 3166. Without it the feeder's file tells no location.
      - C(project_ids), from names of projects to their ids, for agreements that name a project by
        its name. V(feeder) and V(manager) need the ids; M(infn.cloud.site_info) tells them.
      - C(site_admins), UUIDs that the manager gave to the administrators of the site. V(manager)
        needs at least one.
      - C(rally_username), the user of the site that runs the manager's tests. V(manager) needs it.
        Its password is a reference to the environment variable C(RALLY_PASSWORD_<SITE>).
      - C(root_project), the project of these tests, one of the agreements'. V(manager) needs it.
      - C(test_flavor), the flavor of these tests. By default, the manager's.
      - C(floating_ips), whether these tests may take floating addresses. By default they do not.
    type: dict
    default: {}
  group_claim:
    description:
      - The claim of a token that lists the groups of its user. With the WLCG profile of INDIGO-IAM
        it is V(wlcg.groups).
    type: str
    default: groups
  sla_url:
    description:
      - Where the document of an agreement is, with C({doc_uuid}) in place of its UUID. V(manager)
        needs it.
    type: str
  project_domain:
    description:
      - The domain of projects that are known by name only, for V(clouds).
    type: str
    default: Default
  token_from:
    description:
      - Where the Infrastructure Manager's clients get the access token from, a variable to put in
        or a command to run, as in V(command(oidc-token my-account\)). A token itself is refused.
    type: str
    default: ${ACCESS_TOKEN}
requirements:
  - PyYAML
attributes:
  check_mode:
    description: Makes and checks the documents, and writes none.
    support: full
  diff_mode:
    description: Shows each file that changes.
    support: full
  idempotent:
    description: The documents depend on its options and on the file alone.
    support: full
notes:
  - A feeder's file of a site that has left the federation is not removed, since the registry would
    forget the site with it. A warning names it.
seealso:
  - plugin: infn.cloud.federation
    plugin_type: inventory
  - module: infn.cloud.site_info
"""

EXAMPLES = r"""
- name: Write what users need to reach the sites
  infn.cloud.federation_documents:
    federation: "{{ inventory_dir }}/federation.yml"
    destination: "{{ playbook_dir }}/documents"
    kinds: [clouds, im]
    token_from: command(oidc-token federation)
  delegate_to: localhost

- name: Describe one site to the Federation-Registry and the federation-manager
  infn.cloud.federation_documents:
    federation: "{{ inventory_dir }}/federation.yml"
    destination: "{{ playbook_dir }}/documents"
    kinds: [feeder, manager]
    sites: [torino]
    sla_url: https://documents.example.org/sla/{doc_uuid}
    registration:
      torino:
        country: Italy
        project_ids: {catch-all: 5f1d3c0a9e6b4c1f8a7d2e3b4c5d6e7f}
        site_admins: [7c2f0d8e-3b1a-4c5d-9e8f-0a1b2c3d4e5f]
        rally_username: rally
        root_project: catch-all
  delegate_to: localhost
"""

RETURN = r"""
files:
  description: The documents, in the order of O(kinds)' choices.
  returned: success
  type: list
  elements: dict
  contains:
    path:
      description: Path of the file.
      type: str
      sample: documents/feeder/torino.config.yaml
    kind:
      description: One of O(kinds).
      type: str
    changed:
      description: Whether it was not there, or differed.
      type: bool
notes:
  description: What is written all the same, but wants a look, such as an agreement that has ended.
  returned: success
  type: list
  elements: str
stale:
  description: Feeder's files in the directory that are of no OpenStack site of the federation.
  returned: success
  type: list
  elements: str
"""

import datetime
import json
import os
import traceback
from typing import Any

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible_collections.infn.cloud.plugins.module_utils._federation_cloud import OPENSTACK
from ansible_collections.infn.cloud.plugins.module_utils._federation_documents import (
    FEEDER_DIRECTORY,
    FEEDER_SUFFIX,
    Document,
    documents,
    notes,
)
from ansible_collections.infn.cloud.plugins.module_utils._federation_model import (
    ANSIBLE_KEYS,
    Federation,
    FederationError,
    read_federation,
)
from ansible_collections.infn.cloud.plugins.module_utils._federation_registration import (
    KINDS,
    Wanted,
)

try:
    import yaml

    class Loader(yaml.SafeLoader):
        """Keeps values that are encrypted or marked for Ansible as they stand.

        Only variables of hosts can be, and no document has any of these.
        """

    Loader.add_multi_constructor("!", lambda _loader, _tag, node: node.value)
    YAML_ERROR = None
except ImportError:
    YAML_ERROR = traceback.format_exc()

ARGUMENTS: dict[str, Any] = {
    "federation": {"type": "path", "required": True},
    "destination": {"type": "path", "required": True},
    "kinds": {"type": "list", "elements": "str", "choices": list(KINDS), "default": list(KINDS)},
    "sites": {"type": "list", "elements": "str", "default": []},
    "registration": {"type": "dict", "default": {}},
    "group_claim": {"type": "str", "default": "groups"},
    "sla_url": {"type": "str"},
    "project_domain": {"type": "str", "default": "Default"},
    # A reference, never a token: anything else is refused without being repeated.
    "token_from": {"type": "str", "default": "${ACCESS_TOKEN}", "no_log": False},
}
MADE_BY = "Made of federation.yml by infn.cloud.federation_documents; changes here are lost."


def text_of(document: Document) -> str:
    """The document as it stands in its file."""
    comment = "".join(f"# {line}\n" for line in (MADE_BY, *document.comment))
    if document.path.endswith(".json"):
        return json.dumps(document.content, indent=2, ensure_ascii=False) + "\n"
    if document.path.endswith(".yaml"):
        return comment + str(
            yaml.safe_dump(
                document.content, sort_keys=False, allow_unicode=True, default_flow_style=False
            )
        )
    return comment + str(document.content)


def read(path: str) -> Federation:
    with open(path, encoding="utf-8") as stream:
        data = yaml.load(stream, Loader)  # noqa: S506 (a SafeLoader)
    return read_federation(data, path, options=ANSIBLE_KEYS)


def before(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as stream:
            return stream.read()
    except FileNotFoundError:
        return ""


def write(module: AnsibleModule, path: str, text: str) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    temporary = os.path.join(module.tmpdir, os.path.basename(path))
    with open(temporary, "w", encoding="utf-8") as stream:
        stream.write(text)
    module.atomic_move(temporary, path)


def stale(directory: str, federation: Federation) -> list[str]:
    """Feeder's files that are of no OpenStack site."""
    known = {
        site.name + FEEDER_SUFFIX for site in federation.sites if site.source.provider == OPENSTACK
    }
    try:
        names = os.listdir(os.path.join(directory, FEEDER_DIRECTORY))
    except FileNotFoundError:
        return []
    return sorted(
        os.path.join(directory, FEEDER_DIRECTORY, name)
        for name in names
        if name.endswith(FEEDER_SUFFIX) and name not in known
    )


def run(module: AnsibleModule) -> dict[str, Any]:
    given = module.params
    destination = given["destination"]
    wanted = Wanted(
        kinds=given["kinds"],
        sites=given["sites"],
        registration=given["registration"],
        group_claim=given["group_claim"],
        sla_url=given["sla_url"],
        project_domain=given["project_domain"],
        token_from=given["token_from"],
    )
    federation = read(given["federation"])
    files, diff = [], []
    for document in documents(federation, given["federation"], wanted):
        path = os.path.join(destination, document.path)
        old, new = before(path), text_of(document)
        files.append({"path": path, "kind": document.kind, "changed": old != new})
        if old != new:
            diff.append({"before_header": path, "before": old, "after_header": path, "after": new})
    if not module.check_mode:
        for change in diff:
            write(module, change["after_header"], change["after"])
    left = stale(destination, federation)
    for path in left:
        module.warn(f"{path} is of no OpenStack site of {given['federation']}: remove it by hand")
    return {
        "changed": bool(diff),
        "files": files,
        "diff": diff,
        "stale": left,
        "notes": notes(federation, wanted, datetime.datetime.now(datetime.timezone.utc).date()),
    }


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    if YAML_ERROR is not None:
        module.fail_json(missing_required_lib("PyYAML"), exception=YAML_ERROR)
    path = module.params["federation"]
    try:
        result = run(module)
    except FederationError as error:
        module.fail_json(str(error))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        module.fail_json(f"{path} or a document is no YAML in UTF-8: {error}")
    except OSError as error:
        module.fail_json(
            f"{error.filename or path}: {error.strerror}: correct the path or its mode"
        )
    module.exit_json(**result)


if __name__ == "__main__":
    main()
