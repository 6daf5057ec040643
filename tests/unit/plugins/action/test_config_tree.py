# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""config_tree from a task to the files, with the ansible-core of this interpreter."""

from __future__ import annotations

import json
import os
import shlex
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from ansible.release import __version__ as core_version

ROOT = Path(__file__).parents[4]
PLAYBOOK = Path(sys.executable).with_name("ansible-playbook")
CORE = tuple(int(part) for part in core_version.split(".")[:2])
MANAGED = "Managed by Ansible (infn.cloud). Local changes are overwritten."

pytestmark = pytest.mark.skipif(
    not PLAYBOOK.exists(), reason=f"ansible-core is not installed beside {sys.executable}"
)

TRICKY = r"""{{ ansible_managed | comment }}
{% for host in groups['all'] %}
    {% if hostvars[host].inventory_hostname == host %}
name = {{ host }}
    {% endif %}
{% endfor %}
{% include 'part.j2' %}
{%- set sum = [1, 2] | ansible.builtin.to_json %}
  {# a comment #}
json = {{ sum }} {{ nested.deep.value | default('none', true) }}
backslash = {{ '\\d+' }} \n "{{ quoted }}"
lookup = {{ lookup('ansible.builtin.env', 'TREE_TEST') }}{{ '' }}
raw = {% raw %}{{ not this }}{% endraw %}
yes = {{ true }} {{ none }} {{ [1, 'a'] }} {{ {'a': 1} }}
number = {{ "017" }} {{ 1.0 }}
unicode = é {{ "\u20ac" }}
last = {{ multi }}


"""


class Tree:
    """A play's directory, and the directory it writes to."""

    def __init__(self, path: Path) -> None:
        self.path = path / "with a space"
        self.out = path / "out"
        self.templates = self.path / "templates"
        self.templates.mkdir(parents=True)
        self.out.mkdir()
        # ansible-core does not quote an interpreter, and the checkout's path may have a space.
        self.python = path / "python"
        self.python.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$@"\n')
        self.python.chmod(0o755)

    def template(self, name: str, text: str) -> None:
        path = self.templates / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def play(self, *tasks, options=(), variables=None, config=None, ok=True):
        """Run tasks; return what was printed and each registered `result`."""
        play = {
            "hosts": "localhost",
            "gather_facts": False,
            # Apart, since an error shows the lines of the playbook around its task.
            "vars_files": ["vars.yml"],
            "tasks": [*tasks],
        }
        playbook = self.path / "play.yml"
        playbook.write_text(yaml.safe_dump([play], sort_keys=False), encoding="utf-8")
        variables = {"ansible_python_interpreter": str(self.python), **(variables or {})}
        (self.path / "vars.yml").write_text(yaml.safe_dump(variables), encoding="utf-8")
        environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")},
            "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".cache" / "collections"),
            "ANSIBLE_LOCALHOST_WARNING": "false",
            "ANSIBLE_NOCOLOR": "true",
            "ANSIBLE_CONFIG": str(self.path / "ansible.cfg"),
            "ANSIBLE_DEPRECATION_WARNINGS": "true",
            "TREE_TEST": "from the controller",
        }
        (self.path / "ansible.cfg").write_text(config or "[defaults]\n", encoding="utf-8")
        run = subprocess.run(
            [str(PLAYBOOK), "-i", "localhost,", "-c", "local", *options, str(playbook)],
            cwd=self.path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        printed = run.stdout + run.stderr
        assert (run.returncode == 0) == ok, printed
        assert "DEPRECATION" not in printed
        assert "Traceback" not in printed
        return printed

    def configure(self, *files, options=(), ok=True, variables=None, config=None, **more):
        """Run config_tree once; return its result (if it succeeded) and what was printed."""
        result = self.path / "result.json"
        result.unlink(missing_ok=True)
        printed = self.play(
            {"infn.cloud.config_tree": {"files": [*files], **more}, "register": "result"},
            {
                "ansible.builtin.copy": {
                    "content": "{{ result | ansible.builtin.to_json }}",
                    "dest": str(result),
                },
                "check_mode": False,
                "diff": False,
                "no_log": True,
            },
            options=options,
            ok=ok,
            variables=variables,
            config=config,
        )
        return (json.loads(result.read_text()) if result.exists() else {}), printed

    def file(self, name, **more):
        return {"path": str(self.out / name), **more}

    def state(self):
        """Everything below the output directory, with times."""
        return {
            str(path): (path.lstat().st_mtime_ns, path.lstat().st_mode, path.lstat().st_ino)
            for path in sorted(self.out.rglob("*"))
        }


@pytest.fixture
def tree(tmp_path):
    return Tree(tmp_path)


def test_a_template_gives_the_same_bytes_as_the_builtin_one(tree):
    tree.template("tricky.j2", TRICKY)
    tree.template("part.j2", "part of {{ kind }}\n{% include 'sub/leaf.j2' %}")
    tree.template("sub/leaf.j2", "leaf {{ quoted }}\n\n")
    tree.template("header.j2", "#jinja2: lstrip_blocks: True, trim_blocks: False\n" + TRICKY)
    tree.template("empty.j2", "")
    tree.template("none.j2", "{{ none }}")
    tree.template("list.j2", "{{ [1, 2] }}")
    tree.template("crlf.j2", "a\r\n{{ kind }}\r\n")
    names = ("tricky", "header", "empty", "none", "list", "crlf")
    variables = {
        "quoted": 'a "b" {{ kind_of }}',
        "kind_of": "x",
        "nested": {"deep": {"value": ""}},
        "multi": "one\ntwo\n",
    }
    kind = {"kind": "object"}
    reference = [
        {
            "ansible.builtin.template": {
                "src": f"{name}.j2",
                "dest": str(tree.out / f"{name}.reference"),
            },
            "vars": kind,
        }
        for name in names
    ]
    ours = {
        "infn.cloud.config_tree": {
            "files": [tree.file(name, template=f"{name}.j2", vars=kind) for name in names]
        }
    }
    # Before 2.19 the builtin one takes ansible_managed from the configuration alone.
    config = f"[defaults]\nansible_managed = {MANAGED}\n" if CORE < (2, 19) else None
    variables["ansible_managed"] = MANAGED
    tree.play(*reference, ours, variables=variables, config=config)
    for name in names:
        expected = (tree.out / f"{name}.reference").read_bytes()
        assert (tree.out / name).read_bytes() == expected, name


def test_the_second_run_changes_nothing(tree):
    tree.template(f"{str(tree.out).lstrip('/')}/a.conf.j2", "{{ ansible_managed | comment }}\n")
    files = (
        tree.file("conf.d", state="directory", mode="0750"),
        str(tree.out / "a.conf"),
        tree.file("conf.d/b.conf", content="b\n", mode="0600", force=False),
        tree.file("gone.conf", state="absent"),
    )
    (tree.out / "gone.conf").write_text("old")
    first, _printed = tree.configure(*files, defaults={"mode": "0640"})
    assert first["changed"]
    assert first["changed_files"] == [
        str(tree.out / name) for name in ("conf.d", "a.conf", "conf.d/b.conf", "gone.conf")
    ]
    assert MANAGED in (tree.out / "a.conf").read_text()
    assert stat.S_IMODE((tree.out / "a.conf").stat().st_mode) == 0o640
    assert stat.S_IMODE((tree.out / "conf.d").stat().st_mode) == 0o750
    before = tree.state()
    second, _printed = tree.configure(*files, defaults={"mode": "0640"})
    assert (second["changed"], second["changed_files"], second["diff"]) == (False, [], [])
    assert tree.state() == before


def test_check_mode_predicts_and_writes_nothing(tree):
    (tree.out / "a").write_text("old\n")
    before = tree.state()
    files = (
        tree.file("a", content="new\n", owner="no-such-user", validate="/no/such/program %s"),
        tree.file("not/there/b", content="b\n", group="no-such-group"),
        tree.file("c", content="c\n", validate="/bin/false %s"),
    )
    result, printed = tree.configure(*files, options=("--check", "--diff"))
    names = ("a", "not/there/b", "c")
    assert result["changed_files"] == [str(tree.out / name) for name in names]
    assert "-old\n+new\n" in printed
    assert "+owner: no-such-user" in printed
    assert "check mode:" in printed
    assert "refused by /bin/false" in " ".join(printed.split())
    assert tree.state() == before


def test_only_attributes_that_differ_do_not_count_as_a_changed_file(tree):
    (tree.out / "a").write_text("a\n")
    (tree.out / "a").chmod(0o644)
    before = (tree.out / "a").stat()
    result, printed = tree.configure(
        tree.file("a", content="a\n", mode="0600"), options=("--diff",)
    )
    assert (result["changed"], result["changed_files"]) == (True, [])
    assert result["changed_attributes"] == [str(tree.out / "a")]
    after = (tree.out / "a").stat()
    assert (after.st_mtime_ns, after.st_ino) == (before.st_mtime_ns, before.st_ino)
    assert "-mode: 0644\n+mode: 0600\n" in printed


def test_a_refused_file_leaves_all_others_untouched(tree):
    (tree.out / "b").write_text("good\n")
    before = tree.state()
    files = (
        tree.file("new", content="new\n"),
        tree.file("b", content="bad\n", validate="/bin/grep --quiet good %s"),
    )
    _result, printed = tree.configure(*files, ok=False)
    assert f"{tree.out / 'b'}: refused by /bin/grep (exit code 1), nothing was written" in printed
    assert tree.state() == before
    files[1]["validate"] = "/bin/grep --quiet bad %s"
    tree.configure(*files)
    assert (tree.out / "b").read_text() == "bad\n"


def test_a_missing_validator_is_named(tree):
    _result, printed = tree.configure(tree.file("a", content="", validate="/no/such %s"), ok=False)
    assert "validate cannot run /no/such %s" in printed
    assert not tree.state()


def test_a_secret_is_in_no_output(tree):
    tree.template("secret.j2", "password = {{ password }}\n")
    (tree.out / "literal").write_text("hunter1\n")
    files = (
        tree.file("templated", template="secret.j2", secret=True),
        tree.file("literal", content="{{ password }}\n", secret=True, mode="0640"),
        # A word of the secret elsewhere must not be scrubbed from the rest of the output.
        tree.file("plain", content="password\n"),
    )
    variables = {"password": "hunter2"}
    options = ("-vvv", "--diff")
    _result, printed = tree.configure(*files, options=options, variables=variables)
    assert "hunter" not in printed
    assert "(secret content, changed)" in printed
    assert "+password" in printed
    assert stat.S_IMODE((tree.out / "templated").stat().st_mode) == 0o600
    assert (tree.out / "literal").read_text() == "hunter2\n"

    files[1]["validate"] = "/bin/grep hunter3 %s /dev/null"
    _result, printed = tree.configure(
        *files, options=options, variables={"password": "hunter4"}, ok=False
    )
    assert "hunter4" not in printed
    assert "since the file is secret" in printed

    tree.template("secret.j2", "{{ password | ansible.builtin.from_json }}\n")
    _result, printed = tree.configure(*files[:1], options=options, variables=variables, ok=False)
    assert "hunter" not in printed
    assert "more is not shown, since the file is secret" in printed


def test_a_template_error_names_file_and_template_and_writes_nothing(tree):
    tree.template("broken.j2", "{{ no_such_variable }}\n")
    files = (tree.file("a", content="a\n"), tree.file("b", template="broken.j2"))
    _result, printed = tree.configure(*files, ok=False)
    text = " ".join(printed.split())
    assert f"{tree.out / 'b'}: template {tree.templates / 'broken.j2'} failed:" in text
    assert "'no_such_variable' is undefined" in text
    assert not tree.state()
    _result, printed = tree.configure(tree.file("b", template="nowhere.j2"), ok=False)
    assert f"{tree.out / 'b'}: template nowhere.j2 was not found" in " ".join(printed.split())


def test_a_missing_parent_is_an_error_that_says_what_to_do(tree):
    _result, printed = tree.configure(tree.file("not/there", content=""), ok=False)
    assert f"directory {tree.out / 'not'} does not exist; list it before" in printed


def test_templates_are_found_in_another_directory(tree):
    other = tree.path / "other"
    other.mkdir()
    (other / "a.j2").write_text("{% include 'b.j2' %}\n")
    (other / "b.j2").write_text("other")
    for base in ("other", str(other)):
        tree.configure(tree.file("a", template="a.j2"), src=base)
        assert (tree.out / "a").read_text() == "other\n"


def test_a_role_finds_its_own_templates(tree):
    role = tree.path / "roles" / "service"
    path = role / "templates" / str(tree.out).lstrip("/") / "a.conf.j2"
    path.parent.mkdir(parents=True)
    path.write_text("{% include 'shared.j2' %}{{ item }}\n")
    (role / "templates" / "shared.j2").write_text("shared ")
    (role / "tasks").mkdir()
    task = {
        "infn.cloud.config_tree": {"files": [str(tree.out / "a.conf")]},
        "loop": ["one", "two"],
        "delegate_to": "localhost",
        "become": False,
    }
    (role / "tasks" / "main.yml").write_text(yaml.safe_dump([task]))
    tree.play({"ansible.builtin.include_role": {"name": "service"}})
    assert (tree.out / "a.conf").read_text() == "shared two\n"


@pytest.mark.parametrize(
    ("variables", "config", "expected"),
    [
        ({}, None, MANAGED),
        ({"ansible_managed": "Mine {{ 1 + 1 }}"}, None, "Mine 2"),
    ],
)
def test_ansible_managed_is_the_users_or_ours(tree, variables, config, expected):
    tree.template("a.j2", "{{ ansible_managed }}\n")
    tree.configure(tree.file("a", template="a.j2"), variables=variables, config=config)
    assert (tree.out / "a").read_text() == f"{expected}\n"


def test_it_works_through_pipelining(tree):
    config = "[defaults]\n[connection]\npipelining = true\n"
    tree.configure(tree.file("a", content="a\n"), config=config)
    assert (tree.out / "a").read_text() == "a\n"
