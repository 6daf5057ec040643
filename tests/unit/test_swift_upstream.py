# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What `make test-swift-upstream` makes of the suites' results and of the explanations."""

from __future__ import annotations

from pathlib import Path

import pytest

import swift_upstream as upstream


def test_explanations_are_read_from_the_document() -> None:
    text = (
        "Why.\n\n```failed\nt.A.one\nt.A.two\n```\n\n"
        "```skipped from Python 3.12 on\nt.B.*\n```\n```sh\nls\n```\n"
    )
    assert upstream.explained(text, 11) == [("failed", "t.A.one"), ("failed", "t.A.two")]
    assert upstream.explained(text, 13)[2:] == [("skipped", "t.B.*")]


def test_our_document_explains_something() -> None:
    known = upstream.explained(upstream.EXPLAINED.read_text(encoding="utf-8"), 13)
    assert known
    assert all(pattern.startswith("test.") for _outcome, pattern in known)


@pytest.mark.parametrize("outcome", ["failed", "skipped"])
def test_what_is_not_explained_is_wrong(outcome: str) -> None:
    wrong, stale = upstream.judge({"t.A.one": (outcome, "why")}, [])
    assert wrong == [f"{outcome}, unexplained: t.A.one: why"]
    assert not stale


def test_a_failure_is_not_explained_as_a_skip() -> None:
    wrong, stale = upstream.judge({"t.A.one": ("failed", "")}, [("skipped", "t.A.*")])
    assert len(wrong) == 1
    assert stale == ["explained as skipped, but failed: t.A.*"]


def test_explanations_go_out_of_date() -> None:
    known = [("failed", "t.A.one"), ("failed", "t.A.gone")]
    wrong, stale = upstream.judge({"t.A.one": ("passed", "")}, known)
    assert not wrong
    assert stale == [
        "explained as failed, but passed: t.A.one",
        "explained, but there is no such test: t.A.gone",
    ]


def test_outcomes_of_a_junit_file(tmp_path: Path) -> None:
    junit = tmp_path / "junit.xml"
    junit.write_text(
        "<testsuites><testsuite>"
        '<testcase classname="t.A" name="one"/>'
        '<testcase classname="t.A" name="two"><skipped message="no keys"/></testcase>'
        '<testcase classname="t.A" name="three"><failure message="1 != 2&#10;more"/></testcase>'
        '<testcase classname="t.A" name="four"/>'
        '<testcase classname="t.A" name="four"><error message="teardown"/></testcase>'
        "</testsuite></testsuites>",
        encoding="utf-8",
    )
    assert upstream.outcomes(junit) == {
        "t.A.one": ("passed", ""),
        "t.A.two": ("skipped", "no keys"),
        "t.A.three": ("failed", "1 != 2"),
        "t.A.four": ("failed", "teardown"),
    }
