# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Controller side of infn.cloud.config_tree: renders everything, then calls its module once."""

from __future__ import annotations

import os
import pwd
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ansible import constants as C
from ansible.errors import AnsibleActionFail, AnsibleError, AnsibleUndefinedVariable
from ansible.module_utils.common.text.converters import to_text
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.action import ActionBase
from ansible_collections.infn.cloud.plugins.module_utils._config_tree import (
    ConfigTreeError,
    Source,
    Wanted,
    encode_payload,
    parse_files,
)
from jinja2 import TemplateError, TemplateSyntaxError

try:
    from ansible.template import trust_as_template
except ImportError:  # ansible-core before 2.19, where every template is trusted
    trust_as_template = None

MANAGED = "Managed by Ansible (infn.cloud). Local changes are overwritten."
OVERRIDES = {"trim_blocks": True, "lstrip_blocks": False}
# What filters, tests and lookups raise by themselves, besides Ansible's and Jinja's own errors.
RENDER_ERRORS = (
    AnsibleError,
    TemplateError,
    ArithmeticError,
    AttributeError,
    LookupError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)


class ActionModule(ActionBase):
    """Render the templates of a list of files and hand them to the target as one."""

    TRANSFERS_FILES = False
    _VALID_ARGS = frozenset(("files", "defaults", "src"))

    def run(
        self, tmp: str | None = None, task_vars: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Render everything before the target hears of anything."""
        super().run(tmp, task_vars)
        task_vars = task_vars or {}
        _validation, arguments = self.validate_argument_spec(
            {
                "files": {"type": "list", "elements": "raw", "required": True},
                "defaults": {"type": "dict", "default": {}},
                "src": {"type": "path"},
            }
        )
        try:
            sources = parse_files(arguments["files"], arguments["defaults"], boolean)
        except ConfigTreeError as error:
            raise AnsibleActionFail(str(error)) from error
        wanted = [self._render(source, arguments["src"], task_vars) for source in sources]
        return dict(
            self._execute_module(
                module_name="infn.cloud.config_tree",
                module_args={
                    "files": [item.path for item in wanted],
                    "payload": encode_payload(wanted),
                },
                task_vars=task_vars,
            )
        )

    def _render(self, source: Source, base: str | None, task_vars: dict[str, Any]) -> Wanted:
        """Fill in the content of one file."""
        if source.template is None:
            return source.wanted
        path = source.wanted.path
        name = os.path.join(base, source.template) if base else source.template
        try:
            template = self._find_needle("templates", name)
        except AnsibleError as error:
            raise AnsibleActionFail(
                f"{path}: template {name} was not found; add it below templates/, or name "
                "another with template"
            ) from error
        cause: Exception | None = None
        try:
            return replace(source.wanted, content=self._template(template, name, source, task_vars))
        except RENDER_ERRORS as error:
            failure = f"{path}: template {template} failed: {to_text(error)}"
            if not source.wanted.secret:
                cause = error if trust_as_template else None
            elif not isinstance(error, (AnsibleUndefinedVariable, TemplateSyntaxError)):
                failure = (
                    f"{path}: template {template} failed with {type(error).__name__}; more is not "
                    "shown, since the file is secret"
                )
        # Raised out here, where no traceback of the cause, with its values, comes along.
        raise AnsibleActionFail(failure) from cause

    def _template(self, template: str, name: str, source: Source, task_vars: dict[str, Any]) -> str:
        """Render one template as ansible.builtin.template would with its defaults."""
        roots = [*task_vars.get("ansible_search_path", []), self._loader.get_basedir()]
        roots.append(os.path.dirname(template))
        searchpath = [path for root in roots for path in (os.path.join(root, "templates"), root)]
        variables = task_vars.copy()
        variables.update(self._template_variables(template, name, source, task_vars))
        variables.update(source.variables)
        templar = self._templar.copy_with_new_env(
            searchpath=searchpath, available_variables=variables
        )
        if trust_as_template is None:
            text = to_text(self._loader._get_file_contents(template)[0])
            content = templar.do_template(
                text, preserve_trailing_newlines=True, escape_backslashes=False, overrides=OVERRIDES
            )
        else:
            text = trust_as_template(self._loader.get_text_file_contents(template))
            content = templar.template(text, escape_backslashes=False, overrides=OVERRIDES)
        return "" if content is None else to_text(content)

    def _template_variables(
        self, template: str, name: str, source: Source, task_vars: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Variables about the template itself, of those that do not change by themselves."""
        status = os.stat(template)
        try:
            owner = pwd.getpwuid(status.st_uid).pw_name
        except KeyError:
            owner = str(status.st_uid)
        variables = {
            "template_host": os.uname().nodename,
            "template_uid": owner,
            "template_path": name,
            "template_fullpath": template,
            "template_destpath": source.wanted.path,
        }
        if "ansible_managed" not in task_vars:
            variables["ansible_managed"] = _managed(status)
        return variables


def _managed(status: os.stat_result) -> str:
    """The configured ansible_managed, formatted as ever, or else our own constant one."""
    # The constant, since asking the configuration for it warns once more that it is deprecated.
    definition = C.config.get_configuration_definitions().get("DEFAULT_MANAGED_STR", {})
    configured = getattr(C, "DEFAULT_MANAGED_STR", None)
    if configured is None or configured == definition.get("default"):
        return MANAGED
    text = configured.format(
        host="{{ template_host }}", uid="{{ template_uid }}", file="{{ template_path }}"
    )
    text = time.strftime(text, time.localtime(status.st_mtime))
    return text if trust_as_template is None else trust_as_template(text)
