# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The tools that check the repository find what is planted for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tooling import docs, examples, interface, quick, text, tree

SPECS: dict[str, Any] = {
    "argument_specs": {
        "main": {
            "short_description": "Greets the federation",
            "description": ["Says hello to O(greeter_name)."],
            "options": {
                "greeter_name": {"type": "str", "required": True, "description": "Who is greeted."},
                "greeter_port": {"type": "int", "default": 80, "description": "Where."},
                "greeter_sites": {
                    "type": "list",
                    "elements": "dict",
                    "default": [],
                    "description": "Sites, a|b.",
                    "options": {
                        "name": {"type": "str", "required": True, "description": "Its name."}
                    },
                },
            },
        }
    }
}
DEFAULTS: dict[str, Any] = {"greeter_port": 80, "greeter_sites": []}
TASKS: list[dict[str, Any]] = [
    {
        "block": [
            {
                "name": "Ask",
                "ansible.builtin.command": "true",
                "register": "__greeter_answer",
                "loop_control": {"loop_var": "__greeter_item"},
            }
        ],
        "vars": {"greeter_mood": "good"},
    },
    {
        "name": "Call another role",
        "ansible.builtin.include_role": {"name": "other"},
        "vars": {"other_name": 1},
    },
]


@pytest.fixture
def role(tmp_path: Path) -> Path:
    path = tmp_path / "roles/greeter"
    write(path / "meta/argument_specs.yml", SPECS)
    write(path / "defaults/main.yml", DEFAULTS)
    write(path / "tasks/main.yml", TASKS)
    return path


def write(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(content))


def options(**changed: dict[str, Any] | None) -> dict[str, Any]:
    main = SPECS["argument_specs"]["main"]
    merged = {**main["options"], **changed}
    kept = {name: option for name, option in merged.items() if option is not None}
    return {"argument_specs": {"main": {**main, "options": kept}}}


def test_a_sound_role_has_no_problems(role: Path) -> None:
    assert interface.problems(role) == []
    assert tree.roles(role.parents[1]) == [role]


@pytest.mark.parametrize(
    ("changed", "complaint"),
    [
        ({"greeter_port": {"type": "int", "default": 81, "description": "x"}}, "default 81"),
        ({"greeter_port": {"type": "int", "default": "80", "description": "x"}}, 'default "80"'),
        ({"greeter_port": {"type": "int", "description": "x"}}, "needs a default"),
        ({"greeter_port": None}, "'greeter_port' is not in meta"),
        (
            {"greeter_port": {"type": "int", "required": True, "description": "x"}},
            "required, yet defaults/main.yml has it",
        ),
        (
            {"greeter_more": {"type": "str", "default": "x", "description": "x"}},
            "greeter_more: not in defaults/main.yml",
        ),
        ({"greeter_name": {"type": "str", "required": True}}, "greeter_name: no description"),
    ],
)
def test_a_planted_mismatch_is_found(role: Path, changed: dict[str, Any], complaint: str) -> None:
    write(role / "meta/argument_specs.yml", options(**changed))
    (problem,) = interface.problems(role)
    assert complaint in problem


@pytest.mark.parametrize(
    "task",
    [
        {"ansible.builtin.command": "true", "register": "answer"},
        {"ansible.builtin.set_fact": {"answer": 1}},
        {"ansible.builtin.command": "true", "vars": {"answer": 1}},
        {"ansible.builtin.command": "true", "loop_control": {"loop_var": "answer"}},
        {"block": [], "rescue": [{"ansible.builtin.command": "true", "register": "answer"}]},
    ],
)
def test_a_variable_without_the_name_of_the_role_is_found(role: Path, task: dict[str, Any]) -> None:
    write(role / "tasks/other.yml", [task])
    (problem,) = interface.problems(role)
    assert problem.startswith("tasks/other.yml: variable 'answer'")


def test_the_page_of_a_role(role: Path) -> None:
    (role / "examples").mkdir()
    (role / "examples/one.yml").write_text("---\n# SPDX-License-Identifier: x\n- hosts: all\n")
    page = docs.role_page(role)
    assert page.startswith("# infn.cloud.greeter\n")
    assert "Says hello to `greeter_name`." in page
    assert "| `greeter_name` | str | **required** | Who is greeted. |" in page
    assert "| `greeter_sites` | list of dict | `[]` | Sites, a\\|b. |" in page
    assert "| `greeter_sites[].name` | str | **required** | Its name. |" in page
    assert page.endswith("## Example\n\n```yaml\n---\n- hosts: all\n```\n")


def test_ansible_markup_becomes_markdown() -> None:
    marked = "See O(a=b\\)), V(1), B(bold), I(it), L(here, https://x.org/a), U(https://x.org)."
    assert docs.markdown(marked) == (
        "See `a=b)`, `1`, **bold**, *it*, [here](https://x.org/a), <https://x.org>."
    )


@pytest.fixture
def documented(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    option: dict[str, Any] = {
        "path": {"type": "path", "required": True},
        "copies": {"type": "int"},
        "auth": {"type": "dict", "suboptions": {"url": {"required": True, "choices": ["a"]}}},
        "devices": {
            "type": "list",
            "elements": "dict",
            "suboptions": {"weight": {"type": "float", "required": True}},
        },
    }
    spec = {"argument_spec": examples.from_documentation(option)}
    monkeypatch.setattr(examples, "module_interface", lambda *_arguments: spec)
    return option


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ("path: /a, copies: '{{ n }}', devices: '{{ list }}'", None),
        ("path: '{{ p }}', devices: [{weight: '{{ w }}'}]", None),
        ("path: /a, auth: '{{ login }}'", None),
        ("path: /a, auth: {}", "url"),
        ("copies: 3", "missing required arguments: path"),
        ("path: /a, copy: 3", "copy"),
        ("path: /a, copies: many", "cannot be converted"),
        ("path: /a, devices: [{wait: 3}]", "weight"),
    ],
)
def test_examples_are_held_against_the_specification(
    documented: dict[str, Any], arguments: str, complaint: str | None
) -> None:
    play = f"- name: T\n  infn.cloud.thing: {{{arguments}}}\n"
    problems = examples.module_problems("thing", documented, play)
    assert bool(problems) == bool(complaint)
    assert (complaint or "") in " ".join(problems)


def test_a_module_that_no_example_calls(documented: dict[str, Any]) -> None:
    assert examples.module_problems("thing", documented, "- debug:\n") == [
        "no example calls infn.cloud.thing"
    ]


@pytest.mark.parametrize(
    "line",
    [
        "home: /ho" + "me/someone/x",
        "url: https://py" + "pi.org/simple",
        "ignore_errors" + ": true",
        "# TO" + "DO later",
        "# FIX" + "ME",
    ],
)
def test_a_forbidden_word_is_found(line: str) -> None:
    head = "# SPDX-FileCopyrightText: x\n# SPDX-License-Identifier: GPL-3.0-or-later\n"
    (problem,) = text.problems(Path("a.yml"), f"{head}{line}\n", [])
    assert problem.startswith("a.yml:3: ")
    assert text.problems(Path("a.yml"), f"{head}mktemp /tmp/XXXXXX\n", []) == []


def test_a_file_without_a_licence_is_found() -> None:
    assert len(text.problems(Path("plugins/a.py"), "import os\n", ["**.md"])) == 2
    assert text.problems(Path("docs/a.md"), "# A\n", ["**.md"]) == []


def test_results_are_counted(tmp_path: Path) -> None:
    report = tmp_path / "junit.xml"
    report.write_text(
        "<testsuites><testsuite><testcase name='a'/><testcase name='b'><failure/></testcase>"
        "<testcase name='c'><skipped message='no disk'/></testcase></testsuite></testsuites>"
    )
    outcome = quick.junit([report])
    assert (outcome.passed, outcome.failed, outcome.skipped) == (1, 1, ["c: no disk"])
    assert outcome.word == "failed"


def test_a_failing_command_is_one_failure_with_its_output() -> None:
    outcome = quick.check("python", "-c", "raise SystemExit('broken')")
    assert (outcome.passed, outcome.failed) == (0, 1)
    assert "broken" in outcome.details
