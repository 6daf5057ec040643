# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A real browser for tests of pages: Debian's Chromium, spoken to through two pipes."""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any

# What a page may say that no page of ours says.
COMPLAINTS = ("Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded")


def install() -> str:
    """Give the path of Chromium; install it from Debian where it is absent and we are root."""
    if not shutil.which("chromium") and os.geteuid() == 0:
        apt = ["apt-get", "-qq", "--no-install-recommends", "install", "chromium"]
        with_defaults = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        subprocess.run([*apt[:1], "-qq", "update"], check=True, env=with_defaults)
        subprocess.run([*apt, "-y"], check=True, env=with_defaults, stdout=subprocess.DEVNULL)
    path = shutil.which("chromium")
    if path is None:
        raise FileNotFoundError("no chromium here: apt install chromium")
    return path


class Browser:
    """One Chromium with one empty page."""

    def __init__(self, *, timeout: float = 120) -> None:
        self.timeout, self.number = timeout, 0
        self.events: list[dict[str, Any]] = []
        self.waiting = b""
        self.home = tempfile.TemporaryDirectory(prefix="infn-cloud-browser-")
        options = "--headless --no-sandbox --disable-gpu --remote-debugging-pipe --no-first-run"
        commands_in, self.commands = os.pipe()
        self.answers, answers_out = os.pipe()
        # Chromium reads from descriptor 3 and writes to 4.
        script = f'exec "$0" {options} --user-data-dir="$1" 3<&{commands_in} 4>&{answers_out}'
        self.process = subprocess.Popen(
            ["bash", "-c", script, install(), self.home.name],
            pass_fds=(commands_in, answers_out),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "HOME": self.home.name},
        )
        os.close(commands_in)
        os.close(answers_out)
        self.session: str | None = None
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self.session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def __enter__(self) -> Browser:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        os.close(self.commands)
        os.close(self.answers)
        # Its children may write there a moment longer.
        shutil.rmtree(self.home.name, ignore_errors=True)
        self.home.cleanup()

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Have something done and give the answer."""
        self.number += 1
        message: dict[str, Any] = {"id": self.number, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.commands, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + self.timeout
        while True:
            answer = self.read(deadline)
            if answer.get("id") == self.number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                result: dict[str, Any] = answer["result"]
                return result
            self.events.append(answer)

    def read(self, deadline: float) -> dict[str, Any]:
        """Read one message."""
        while b"\0" not in self.waiting:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self.answers], [], [], left)[0]:
                raise TimeoutError(f"Chromium said nothing for {self.timeout} s")
            part = os.read(self.answers, 1 << 20)
            if not part:
                raise RuntimeError("Chromium ended")
            self.waiting += part
        line, self.waiting = self.waiting.split(b"\0", 1)
        message: dict[str, Any] = json.loads(line)
        return message

    def open(self, page: Path, *, width: int, height: int = 900, dark: bool = False) -> None:
        """Load a page on a screen of this size, by day or by night."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=width < 600,
        )  # fmt: skip
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.events.clear()
        self.call("Page.navigate", url=page.resolve().as_uri())
        deadline = time.monotonic() + self.timeout
        while not any(event.get("method") == "Page.loadEventFired" for event in self.events):
            self.events.append(self.read(deadline))

    def run(self, script: str) -> Any:
        """Evaluate an expression in the page."""
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(answer["exceptionDetails"]["text"])
        return answer["result"].get("value")

    @property
    def complaints(self) -> list[str]:
        """What the page complained of since it was opened."""
        return [json.dumps(event) for event in self.events if event.get("method") in COMPLAINTS]

    @property
    def requests(self) -> list[str]:
        """What the page asked for, itself included."""
        return [
            event["params"]["request"]["url"]
            for event in self.events
            if event.get("method") == "Network.requestWillBeSent"
        ]

    def picture(self, path: Path) -> None:
        """Keep a picture of the whole page."""
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
        shot = self.call("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)
        path.write_bytes(base64.b64decode(shot["data"]))
