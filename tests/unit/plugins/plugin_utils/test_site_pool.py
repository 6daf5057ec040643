# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Processes that crash, hang, exit, flood and leave others behind: each only loses its own site."""

from __future__ import annotations

import faulthandler
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from ansible_collections.infn.cloud.plugins.plugin_utils._provider import (
    Answer,
    Deadline,
    Instance,
    ProviderError,
)
from ansible_collections.infn.cloud.plugins.plugin_utils._site_pool import (
    Question,
    Reply,
    ask_all,
)

GOOD = Answer([Instance("i1", "web")], 3)
Ask = Callable[[Deadline], Answer]


def ask(*asks: Ask, timeout: float = 30, concurrency: int = 8, deadline: float = 60) -> list[Reply]:
    questions = [
        Question(f"s{number}", timeout, one, ["hunter2"]) for number, one in enumerate(asks)
    ]
    replies = ask_all(questions, concurrency=concurrency, deadline=Deadline.after(deadline))
    assert set(replies) == {question.site for question in questions}
    return [replies[question.site] for question in questions]


def good(_deadline: Deadline) -> Answer:
    return GOOD


def refuses(_deadline: Deadline) -> Answer:
    raise ProviderError("wrong password hunter2")


def crashes(_deadline: Deadline) -> Answer:
    faulthandler.disable()  # pytest's; it would print where
    os.kill(os.getpid(), signal.SIGSEGV)
    return GOOD


def exits(_deadline: Deadline) -> Answer:
    sys.exit(3)


def leaves(_deadline: Deadline) -> Answer:
    os._exit(0)


def raises(_deadline: Deadline) -> Answer:
    raise KeyError("token hunter2")


def hangs(_deadline: Deadline) -> Answer:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(600)
    return GOOD


def prints(_deadline: Deadline) -> Answer:
    print("said hunter2")
    sys.stdout.flush()
    return GOOD


def large(_deadline: Deadline) -> Answer:
    return Answer([Instance(f"i{n}", "x" * 200) for n in range(20000)], 1)


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (refuses, "wrong password ********"),
        (crashes, "its process was ended by signal 11 before it had answered"),
        (exits, "its process ended with 3 before it had answered"),
        (leaves, "its process ended with 0 before it had answered"),
        (raises, "before it had answered: KeyError: 'token ********'"),
    ],
)
def test_a_failure_is_its_sites_alone(bad: Ask, says: str) -> None:
    before, failed, after = ask(good, bad, good)
    assert before.answer == after.answer == GOOD
    assert failed.answer is None
    assert says in failed.failure


def test_a_site_that_hangs_is_ended_at_its_deadline() -> None:
    began = time.monotonic()
    first, failed = ask(good, hangs, timeout=2)
    assert first.answer == GOOD
    assert failed.failure.startswith("no answer in ")
    assert time.monotonic() - began < 20


def test_the_deadline_of_all_ends_what_runs_and_what_waits() -> None:
    first, second = ask(hangs, good, concurrency=1, deadline=1)
    assert first.failure.startswith("no answer in ")
    assert second.failure == "not asked: the time for all sites was over"


def test_what_a_site_started_is_ended_too(tmp_path: Path) -> None:
    def starts(_deadline: Deadline) -> Answer:
        child = subprocess.Popen(["sleep", "600"])
        (tmp_path / "pid").write_text(str(child.pid))
        time.sleep(600)
        return GOOD

    ask(starts, timeout=3)
    child = int((tmp_path / "pid").read_text())
    for _attempt in range(100):
        state = Path(f"/proc/{child}/stat")
        if not state.exists() or state.read_text().split()[2] == "Z":
            return
        time.sleep(0.1)
    pytest.fail(f"process {child} is still there")


def test_a_child_that_keeps_the_pipe_open_delays_nobody() -> None:
    def forks(_deadline: Deadline) -> Answer:
        if os.fork() == 0:
            time.sleep(600)
        return GOOD

    began = time.monotonic()
    (reply,) = ask(forks, timeout=300, deadline=300)
    assert reply.answer == GOOD
    assert time.monotonic() - began < 100


def test_large_answers_come_whole() -> None:
    replies = ask(large, large, large, concurrency=2)
    assert [len(reply.answer.instances) for reply in replies if reply.answer] == [20000] * 3


def test_not_more_than_so_many_at_a_time(tmp_path: Path) -> None:
    def counts(_deadline: Deadline) -> Answer:
        mine = tmp_path / str(os.getpid())
        mine.touch()
        time.sleep(0.2)
        number = len(list(tmp_path.iterdir()))
        mine.unlink()
        return Answer([], number)

    replies = ask(*[counts] * 6, concurrency=2)
    assert max(reply.answer.requests for reply in replies if reply.answer) <= 2


def test_what_a_site_prints_is_kept_from_the_terminal_without_secrets(capfd: object) -> None:
    (reply,) = ask(prints)
    assert reply.printed == "said ********"
    assert capfd.readouterr() == ("", "")  # type: ignore[attr-defined]
