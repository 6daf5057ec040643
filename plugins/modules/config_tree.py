#!/usr/bin/python
# SPDX-FileCopyrightText: The infn.cloud contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: config_tree
short_description: Configure a service's files in one call
version_added: 0.1.0
author:
  - The infn.cloud contributors (@infn-cloud)
description:
  - Renders all templates of a service on the controller, compares them on the target and writes
    what differs, in one module call for the whole list.
  - Everything is rendered, looked at and validated before the first file is written, so an
    undefined variable or a file that its program refuses leaves the target as it was.
  - A template gives the same bytes as with M(ansible.builtin.template) and its defaults.
  - The variable C(ansible_managed) is the same text on every run and every controller, unless it is
    set in the inventory or configured.
options:
  files:
    description:
      - The paths, in the order in which they are made.
      - An entry is a path, rendered from the template of that path below C(templates/) with C(.j2)
        after it (V(/etc/swift/swift.conf) from C(templates/etc/swift/swift.conf.j2)), or a
        dictionary with the keys below.
      - C(path), absolute.
      - C(state) is V(file) (the default), V(directory) or V(absent). A parent directory is not made
        unless listed before. V(absent) removes a file or a link, never a directory.
      - C(template) names another template, searched like C(src) of M(ansible.builtin.template).
      - C(vars) are more variables for the template.
      - C(content) is the literal content, in place of a template.
      - C(owner), C(group) as names or numbers. Where neither the entry nor O(defaults) has them,
        what is there stays.
      - C(mode), a quoted octal number. Without one, what is there stays, and what is new gets
        V(0644), a secret V(0600), a directory V(0755).
      - C(secret) keeps the content out of diffs and messages, also out of what C(validate) prints,
        and refuses a mode that opens the file to everyone.
      - C(validate) is a command, run without a shell before anything is written, with C(%s) in
        place of the name of a copy of the new content. It sees the other files as they were. It
        runs for changed content only.
      - C(force=false) leaves the content of an existing file alone.
      - A symbolic link in a file's place is replaced by the file, as M(ansible.builtin.template)
        does. A link to a directory stands for the directory.
    type: list
    elements: raw
    required: true
  defaults:
    description:
      - What entries have that do not say otherwise.
    type: dict
    suboptions:
      owner:
        description: The owner of files and directories.
        type: str
      group:
        description: The group of files and directories.
        type: str
      mode:
        description: The mode of files, a quoted octal number.
        type: str
      directory_mode:
        description: The mode of directories, a quoted octal number.
        type: str
  src:
    description:
      - A directory in which the templates are, instead of C(templates/); absolute, or searched
        like a template.
    type: path
  payload:
    description:
      - The rendered files; the action plugin sets it.
    type: str
attributes:
  action:
    description: Runs partly on the controller, where the templates are rendered.
    support: full
  async:
    description: Can be run in the background.
    support: none
  check_mode:
    description: Predicts every change and writes nothing.
    support: full
    details:
      - An owner, a group or a parent directory that does not exist counts as a change that is still
        to come, since a package may bring it.
      - A validation that fails is a warning, and one whose program is not installed is left out.
  diff_mode:
    description: Shows content, owner, group and mode of each path before and after.
    support: full
  idempotent:
    description: A second run changes nothing.
    support: full
seealso:
  - module: ansible.builtin.template
  - module: infn.cloud.service_units
"""

EXAMPLES = r"""
- name: Configure the storage servers
  infn.cloud.config_tree:
    defaults: {owner: root, group: swift, mode: "0640"}
    files:
      - {path: /etc/swift/conf.d, state: directory, mode: "0755"}
      - /etc/swift/account-server.conf
      - path: /etc/swift/container-server.conf
        template: etc/swift/generic-server.conf.j2
        vars: {kind: container}
      - {path: /etc/swift/swift.conf, secret: true}
      - {path: /etc/swift/old.conf, state: absent}
      - path: /etc/nftables.conf
        group: root
        validate: /usr/sbin/nft -c -f %s
  register: tree

- name: Run the storage servers with it
  infn.cloud.service_units:
    units:
      - name: swift-account.service
        restart_if_newer: [/etc/swift/account-server.conf, /etc/swift/swift.conf]
    changed_files: "{{ tree.changed_files }}"
"""

RETURN = r"""
changed_files:
  description: Paths that were written, made or removed, in the order of O(files).
  returned: success
  type: list
  elements: str
  sample: [/etc/swift/account-server.conf]
changed_attributes:
  description: Paths of which only owner, group or mode changed; no service has to read them again.
  returned: success
  type: list
  elements: str
  sample: [/etc/swift/swift.conf]
"""

import os
import shlex
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.infn.cloud.plugins.module_utils._config_tree import (
    ConfigTreeError,
    Step,
    Surroundings,
    Wanted,
    Writer,
    decode_payload,
    diff_of,
    find_group,
    find_user,
    look_at,
    plan,
    staged,
    validation_command,
)

ARGUMENTS: dict[str, Any] = {
    "files": {"type": "list", "elements": "raw", "required": True},
    "defaults": {
        "type": "dict",
        "options": {
            "owner": {"type": "str"},
            "group": {"type": "str"},
            "mode": {"type": "str"},
            "directory_mode": {"type": "str"},
        },
    },
    "src": {"type": "path"},
    # One word for everything: hiding it hides nothing else.
    "payload": {"type": "str", "no_log": True},
}


def survey(wanted: list[Wanted]) -> dict[str, Surroundings]:
    """Look at every path and at what it needs."""
    return {
        item.path: Surroundings(
            found=look_at(item.path),
            parent_exists=os.path.isdir(os.path.dirname(item.path)),
            user=find_user(item.owner),
            group=find_group(item.group),
        )
        for item in wanted
    }


def validate(module: AnsibleModule, step: Step) -> None:
    """Have the new content checked by its program; raise what the program says."""
    item = step.wanted
    if item.validate is None or not step.writes:
        return
    program = shlex.split(item.validate)[0]
    if module.check_mode and not module.get_bin_path(program):
        return
    with staged(step, module.tmpdir) as path:
        command = validation_command(item.validate, path)
        code, output, errors = module.run_command(command, handle_exceptions=False)
    if code == 0:
        return
    said = (errors.strip() or output.strip() or "nothing").replace(path, item.path)
    if item.secret:
        said = "something that is not shown, since the file is secret"
    raise ConfigTreeError(
        f"{item.path}: refused by {program} (exit code {code}), nothing was written; "
        f"it says: {said}"
    )


def validate_all(module: AnsibleModule, steps: list[Step]) -> None:
    """Validate every step; in check mode a refusal is news, since more may change before."""
    for step in steps:
        try:
            validate(module, step)
        except ConfigTreeError as error:
            if not module.check_mode:
                raise
            module.warn(f"check mode: {error}")
        except OSError as error:
            raise ConfigTreeError(
                f"{step.wanted.path}: validate cannot run {step.wanted.validate}: {error.strerror}"
            ) from error


def make_writer(module: AnsibleModule) -> Writer:
    """A writer that labels new files as the target's policy says."""

    def label(temporary: str, final: str) -> None:
        if module.selinux_enabled():
            context = module.selinux_default_context(final)
            module.set_context_if_different(temporary, context, False)

    return Writer(label)


def run(module: AnsibleModule, result: dict[str, Any]) -> None:
    """Compare, decide, validate, write; `result` says at any moment what has been done."""
    wanted = decode_payload(module.params["payload"] or "")
    steps = plan(wanted, survey(wanted), tolerant=module.check_mode)
    validate_all(module, steps)
    writer = make_writer(module)
    for step in steps:
        if not module.check_mode:
            writer.apply(step)
        result["changed"] = True
        result["changed_files" if step.writes else "changed_attributes"].append(step.wanted.path)
        if module._diff:
            result["diff"].extend(diff_of(step))


def main() -> None:
    """Configure the files of the payload."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    result: dict[str, Any] = {
        "changed": False,
        "changed_files": [],
        "changed_attributes": [],
        "diff": [],
    }
    try:
        run(module, result)
    except ConfigTreeError as error:
        module.fail_json(msg=str(error), **result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
