# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Asks sites at the same time, each in a process of its own that can be ended.

PRIVATE to the collection: it may change without notice.

Processes, because a thread that hangs in a library cannot be ended, a crash or an exit in it takes
the whole inventory with it, and a thread that is left behind is dangerous when Ansible forks its
workers. They are forked, as Ansible's own workers are: what was imported is there already.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import multiprocessing
import os
import selectors
import signal
import struct
import sys
import tempfile
import time
import typing as t
from collections.abc import Callable, Sequence

from ._provider import Answer, Deadline, ProviderError

LENGTH = struct.Struct("!Q")
CHUNK = 1 << 20
# Bytes of what a process printed that are shown when it fails.
SHOWN = 2000
# Seconds after its deadline in which a process ends itself, should nobody be left to end it.
ORPHAN = 5


@dataclasses.dataclass(frozen=True)
class Question:
    """Who is asked, for how many seconds at most, and by which function, which runs elsewhere."""

    site: str
    timeout: float
    ask: Callable[[Deadline], Answer]
    secrets: Sequence[str] = ()


@dataclasses.dataclass(frozen=True)
class Reply:
    """An answer, or else the reason why there is none; seconds, and what the process printed."""

    answer: Answer | None
    failure: str
    seconds: float
    printed: str = ""


class _Child:
    def __init__(self, question: Question, deadline: Deadline) -> None:
        self.question = question
        self.began = time.monotonic()
        self.deadline = Deadline(min(deadline.end, self.began + question.timeout))
        self.received = bytearray()
        self.printed = tempfile.TemporaryFile()  # noqa: SIM115 (closed by reply)
        self.pipe, writer = os.pipe()
        self.process = multiprocessing.get_context("fork").Process(
            target=_answer, args=(question, self.deadline, writer, self.printed.fileno())
        )
        try:
            self.process.start()
        finally:
            os.close(writer)
        with contextlib.suppress(OSError):  # it did so itself, or has ended already
            os.setpgid(self.process.pid or 0, self.process.pid or 0)
        os.set_blocking(self.pipe, False)

    def receive(self) -> bool:
        """Take what is there; true when there will be no more."""
        try:
            chunk = os.read(self.pipe, CHUNK)
        except BlockingIOError:
            return False
        self.received += chunk
        return not chunk or self.complete

    @property
    def complete(self) -> bool:
        head = LENGTH.size
        return (
            len(self.received) >= head
            and len(self.received) - head >= LENGTH.unpack_from(self.received)[0]
        )

    def end(self) -> None:
        """Nothing of it is left, nor of what it started."""
        with contextlib.suppress(OSError):
            os.killpg(self.process.pid or 0, signal.SIGKILL)
        self.process.join()
        os.close(self.pipe)

    def reply(self) -> Reply:
        seconds = time.monotonic() - self.began
        late = not self.complete and self.deadline.left() <= 0
        if not self.complete and not late:
            self.process.join(max(0.0, min(1.0, self.deadline.left())))
        code = self.process.exitcode
        self.end()
        self.printed.seek(0, os.SEEK_END)
        self.printed.seek(max(0, self.printed.tell() - SHOWN))
        printed = self.printed.read().decode("utf-8", "replace").strip()
        self.printed.close()
        for secret in self.question.secrets:
            printed = printed.replace(secret, "********")
        answer, failure = None, ""
        if late:
            failure = f"no answer in {seconds:.0f} s"
        elif not self.complete:
            last = printed.splitlines()[-1][:300] if printed else ""
            how = f"was ended by signal {-code}" if code and code < 0 else f"ended with {code}"
            failure = f"its process {how} before it had answered{': ' if last else ''}{last}"
        else:
            answer, failure = _decode(memoryview(self.received)[LENGTH.size :])
        for secret in self.question.secrets:
            failure = failure.replace(secret, "********")
        return Reply(answer, failure, seconds, printed)


def _decode(message: memoryview) -> tuple[Answer | None, str]:
    try:
        plain = json.loads(str(message, "utf-8"))
        if isinstance(plain, dict) and isinstance(plain.get("failure"), str):
            return None, plain["failure"]
        return Answer.of_plain(plain), ""
    except ValueError as error:
        return None, f"its answer is none: {error}"


def _answer(question: Question, deadline: Deadline, pipe: int, output: int) -> None:
    """The child's whole life. What it prints is kept for the message, should it fail."""
    with contextlib.suppress(OSError):
        os.setpgid(0, 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    # Whoever runs Ansible may have put something else there.
    sys.stdout = sys.stderr = os.fdopen(2, "w", buffering=1, errors="replace", closefd=False)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, max(0.1, deadline.left()) + ORPHAN)
    try:
        plain = question.ask(deadline).plain()
    except ProviderError as error:
        plain = {"failure": str(error)}
    message = json.dumps(plain, separators=(",", ":"), allow_nan=False).encode()
    with os.fdopen(pipe, "wb") as stream:
        stream.write(LENGTH.pack(len(message)))
        stream.write(message)


def ask_all(
    questions: Sequence[Question], *, concurrency: int, deadline: Deadline
) -> dict[str, Reply]:
    """Every question's reply, by site; never later than the deadline by more than a moment."""
    waiting = list(questions)
    running: dict[int, _Child] = {}
    replies: dict[str, Reply] = {}
    with selectors.DefaultSelector() as selector:

        def finish(child: _Child) -> None:
            selector.unregister(child.pipe)
            del running[child.pipe]
            replies[child.question.site] = child.reply()

        try:
            while waiting or running:
                while waiting and len(running) < concurrency and deadline.left() > 0:
                    child = _Child(waiting.pop(0), deadline)
                    running[child.pipe] = child
                    selector.register(child.pipe, selectors.EVENT_READ, child)
                if not running:
                    break
                soonest = min(child.deadline.left() for child in running.values())
                for key, _events in selector.select(max(0.0, soonest)):
                    child = t.cast(_Child, key.data)
                    if child.receive():
                        finish(child)
                for child in [one for one in running.values() if one.deadline.left() <= 0]:
                    finish(child)
        finally:  # also when the person at the terminal has had enough
            for child in running.values():
                child.end()
    for question in waiting:
        replies[question.site] = Reply(None, "not asked: the time for all sites was over", 0.0)
    return replies
