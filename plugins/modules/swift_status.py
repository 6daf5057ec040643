#!/usr/bin/python
# SPDX-FileCopyrightText: The infn.cloud contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: swift_status
short_description: Put together what Swift's rings and servers say, as a page
version_added: 0.1.0
description:
  - Judges what M(infn.cloud.swift_ring_info), M(infn.cloud.swift_recon_info) and
    M(infn.cloud.swift_dispersion_info) returned, and writes it as C(report.html), C(status.json)
    and one more line of C(history.jsonl) into a directory.
  - The page holds everything it needs and asks no network for anything.
  - Run it where the page is wanted, usually on the controller.
options:
  directory:
    description:
      - Where the files are written. It is made if it is not there.
    type: path
    required: true
  federation:
    description:
      - Name of the federation.
    type: str
    required: true
  sites:
    description:
      - The sites by name, what P(infn.cloud.federation#inventory) sets as C(federation_sites).
    type: dict
    required: true
  rings:
    description:
      - The rings, as M(infn.cloud.swift_ring_info) returns them. Empty if they could not be read.
    type: list
    elements: dict
    default: []
  wished:
    description:
      - The rings as they shall be, with C(name) and C(devices), as the role
        R(infn.cloud.swift_rings, ansible_collections.infn.cloud.swift_rings_role) takes them. A
        device's C(target_weight) counts before its C(weight).
    type: list
    elements: dict
    default: []
  recon:
    description:
      - What M(infn.cloud.swift_recon_info) returned.
    type: dict
    default: {}
  dispersion:
    description:
      - What M(infn.cloud.swift_dispersion_info) returned.
    type: dict
    default: {}
  not_reached:
    description:
      - More that did not answer, as texts.
    type: list
    elements: str
    default: []
  problems:
    description:
      - What kept the questions from being asked, as texts.
    type: list
    elements: str
    default: []
  limits:
    description:
      - What is no finding yet. Other limits than those given keep their values.
    type: dict
    suboptions:
      dispersion_percent:
        description: Share of copies in place.
        type: float
        default: 99.9
      fill_percent:
        description: How full a disk may be.
        type: float
        default: 80
      replication_seconds:
        description: How long ago a replication pass may have ended.
        type: float
        default: 86400
      async_pending:
        description: Updates that may wait on one host.
        type: float
        default: 1000
  keep:
    description:
      - Runs that are kept in C(history.jsonl).
    type: int
    default: 500
attributes:
  check_mode:
    description: Judges and writes nothing.
    support: full
  diff_mode:
    description: Has no differences to show.
    support: none
  idempotent:
    description: Each run is one more line of the history.
    support: none
seealso:
  - module: infn.cloud.swift_ring_info
  - module: infn.cloud.swift_recon_info
  - module: infn.cloud.swift_dispersion_info
author:
  - The infn.cloud contributors (@infn-cloud)
"""

EXAMPLES = r"""
- name: Write the page beside the playbook
  infn.cloud.swift_status:
    directory: "{{ playbook_dir }}/status"
    federation: "{{ federation_name }}"
    sites: "{{ federation_sites }}"
    rings: "{{ rings.rings }}"
    recon: "{{ recon }}"
    dispersion: "{{ copies }}"
    limits: {fill_percent: 70}
  delegate_to: localhost
"""

RETURN = r"""
findings:
  description: What wants a look, the gravest first.
  returned: success
  type: list
  elements: dict
  contains:
    about:
      description: One of V(not_reached), V(dispersion), V(rings), V(disks), V(quarantined),
        V(fill), V(replication), V(async), V(servers), V(weights).
      type: str
    text:
      description: What it is.
      type: str
page:
  description: The page for a terminal.
  returned: success
  type: str
report:
  description: Path of the page.
  returned: success
  type: str
summary:
  description: The few figures that the history keeps.
  returned: success
  type: dict
"""

import json
import os
import time

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.infn.cloud.plugins.module_utils._swift_page import page
from ansible_collections.infn.cloud.plugins.module_utils._swift_status import (
    page_of_text,
    put_together,
    with_run,
)

ARGUMENTS = {
    "directory": {"type": "path", "required": True},
    "federation": {"type": "str", "required": True},
    "sites": {"type": "dict", "required": True},
    "rings": {"type": "list", "elements": "dict", "default": []},
    "wished": {"type": "list", "elements": "dict", "default": []},
    "recon": {"type": "dict", "default": {}},
    "dispersion": {"type": "dict", "default": {}},
    "not_reached": {"type": "list", "elements": "str", "default": []},
    "problems": {"type": "list", "elements": "str", "default": []},
    "limits": {
        "type": "dict",
        "apply_defaults": True,
        "options": {
            "dispersion_percent": {"type": "float", "default": 99.9},
            "fill_percent": {"type": "float", "default": 80},
            "replication_seconds": {"type": "float", "default": 86400},
            "async_pending": {"type": "float", "default": 1000},
        },
    },
    "keep": {"type": "int", "default": 500},
}


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    params = module.params
    status = put_together(
        federation=params["federation"],
        sites=params["sites"],
        rings=params["rings"],
        wished=params["wished"],
        recon=params["recon"],
        dispersion=params["dispersion"],
        problems=params["problems"],
        not_reached=params["not_reached"],
        limits=params["limits"],
        now=time.time(),
    )
    paths = {
        name: os.path.join(params["directory"], name)
        for name in ("report.html", "status.json", "history.jsonl")
    }
    try:
        with open(paths["history.jsonl"], encoding="utf-8") as stream:
            before = stream.read()
    except FileNotFoundError:
        before = ""
    except (OSError, UnicodeDecodeError) as error:
        module.fail_json(msg=f"{paths['history.jsonl']}: {error}: move it away")
    runs = with_run(before, status["summary"], params["keep"])
    if not module.check_mode:
        contents = {
            "history.jsonl": "".join(json.dumps(run, sort_keys=True) + "\n" for run in runs),
            "status.json": json.dumps(status, indent=2) + "\n",
            "report.html": page(status, runs),
        }
        try:
            os.makedirs(params["directory"], exist_ok=True)
            for name, content in contents.items():
                temporary = os.path.join(module.tmpdir, name)
                with open(temporary, "w", encoding="utf-8") as stream:
                    stream.write(content)
                module.atomic_move(temporary, paths[name])
        except OSError as error:
            module.fail_json(msg=f"{params['directory']}: {error}: choose another directory")
    module.exit_json(
        changed=not module.check_mode,
        findings=status["findings"],
        summary=status["summary"],
        page=page_of_text(status),
        report=paths["report.html"],
    )


if __name__ == "__main__":
    main()
