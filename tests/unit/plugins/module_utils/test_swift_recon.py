# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from ansible_collections.infn.cloud.plugins.module_utils._swift_recon import (
    Answer,
    RequestError,
    Server,
    agreed_on,
    agreement,
    disagreements,
    path_of,
    read_answer,
    recon,
)

ONE, TWO = "1" * 32, "2" * 32
RING = "object.ring.gz"


class FakeSwift(BaseHTTPRequestHandler):
    """A fake of Swift's recon middleware, for faults that a real one cannot be told to have."""

    server_version = "FakeSwiftForTests/0"
    answers = {
        "/recon/ringmd5": {f"/etc/swift/{RING}": ONE, "/etc/swift/object-1.ring.gz": None},
        "/recon/swiftconfmd5": {"/etc/swift/swift.conf": TWO},
        "/recon/unmounted": [{"device": "d2", "mounted": False}, {"device": "d1", "mounted": ""}],
        "/recon/version": {"version": "2.35.1"},
        "/recon/replication/object": {"replication_last": 1.5},
    }

    def log_message(self, *args: object) -> None:
        """Keep the tests quiet."""

    def do_GET(self) -> None:
        fault = self.server.fault  # type: ignore[attr-defined]
        self.server.asked.append(self.path)  # type: ignore[attr-defined]
        if fault == "slow":
            self.server.release.wait(10)  # type: ignore[attr-defined]
            return
        if fault == "nonsense":
            self.wfile.write(b"SSH-2.0-OpenSSH\r\n")
            return
        content = self.answers.get(self.path)
        body = b"<html>hello" if fault == "garbage" else json.dumps(content).encode()
        self.send_response(200 if content is not None else 404)
        self.send_header("Content-Length", str(len(body) + (10 if fault == "truncated" else 0)))
        self.end_headers()
        if fault == "drip":
            for byte in body:
                self.wfile.write(bytes([byte]))
                self.wfile.flush()
                if self.server.release.wait(0.1):  # type: ignore[attr-defined]
                    return
        self.wfile.write(body)


class Fakes:
    def __init__(self) -> None:
        self.running: list[ThreadingHTTPServer] = []

    def start(self, host: str, fault: str = "", kind: str = "object") -> dict[str, object]:
        server = ThreadingHTTPServer(("127.0.0.1", 0), FakeSwift)
        server.fault, server.asked, server.release = fault, [], threading.Event()  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        self.running.append(server)
        return {"host": host, "address": "127.0.0.1", "port": server.server_port, "kind": kind}

    def stop(self) -> None:
        for server in self.running:
            server.release.set()  # type: ignore[attr-defined]
            server.shutdown()
            server.server_close()


@pytest.fixture
def fakes() -> Iterator[Fakes]:
    made = Fakes()
    try:
        yield made
    finally:
        made.stop()


def ask(*servers: dict[str, object], **changes: object) -> dict:
    return recon(
        {
            "servers": list(servers),
            "checks": ["ringmd5"],
            "timeout": 5.0,
            "deadline": 20.0,
            "expect": None,
            **changes,
        }
    )


def refused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


# --- pure


def test_paths() -> None:
    assert path_of("ringmd5", "object") == "/recon/ringmd5"
    assert path_of("replication", "account") == "/recon/replication/account"


@pytest.mark.parametrize(
    ("check", "body"),
    [
        ("ringmd5", b"[]"),
        ("ringmd5", b'{"a": 1}'),
        ("ringmd5", b'{"a": "'),
        ("ringmd5", b"\xff"),
        ("unmounted", b'{"device": "d1"}'),
        ("unmounted", b'["d1"]'),
        ("version", b'"2.35"'),
    ],
)
def test_what_swift_would_not_say(check: str, body: bytes) -> None:
    with pytest.raises(ValueError, match="the answer"):
        read_answer(check, body)


def answer(host: str, md5: str | None, kind: str = "object", **more: object) -> Answer:
    server = Server(host, "10.0.0.1", 6200, kind)
    return Answer(server, facts={"ringmd5": {RING: md5}}, **more)  # type: ignore[arg-type]


def test_agreement_names_each_host_once_and_leaves_null_out() -> None:
    answers = [answer("a", ONE), answer("a", ONE, "account"), answer("b", TWO), answer("c", None)]
    assert agreement(answers, "ringmd5") == {RING: {ONE: ["a"], TWO: ["b"]}}
    assert disagreements(answers) == [f"{RING}: hosts have different rings: {ONE} on a; {TWO} on b"]


def test_agreed() -> None:
    assert agreed_on([answer("a", ONE), answer("b", None)], {f"/etc/swift/{RING}": ONE})
    assert agreed_on([answer("a", ONE.upper())], {RING: ONE})
    assert not agreed_on([answer("a", ONE), answer("b", TWO)], {RING: ONE})
    assert not agreed_on([answer("a", ONE)], {RING: ONE, "account.ring.gz": TWO})
    assert not agreed_on([], {RING: ONE})
    down = Answer(Server("b", "10.0.0.2", 6200, "object"), reached=False, error="refused")
    assert agreed_on([answer("a", ONE), down], {RING: ONE})
    odd = Answer(Server("b", "10.0.0.2", 6200, "object"), error="garbage")
    assert not agreed_on([answer("a", ONE), odd], {RING: ONE})


def test_ipv6_is_shown_in_brackets() -> None:
    assert str(Server("a", "fd00::1", 6200, "object")) == "a (object [fd00::1]:6200)"


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"timeout": 0.0}, "timeout must be more than 0"),
        ({"deadline": -1.0}, "deadline must be more than 0"),
        ({"checks": ["version"], "expect": {RING: ONE}}, "add ringmd5"),
    ],
)
def test_questions_that_are_wrong(changes: dict[str, object], text: str) -> None:
    with pytest.raises(RequestError, match=text):
        ask(**changes)
    with pytest.raises(RequestError, match="70000 is no port"):
        ask({"host": "a", "address": "127.0.0.1", "port": 70000, "kind": "object"})


# --- over the network


def test_a_healthy_server(fakes: Fakes) -> None:
    checks = ["ringmd5", "swiftconfmd5", "unmounted", "version", "replication"]
    result = ask(fakes.start("a"), checks=checks, expect={RING: ONE})
    server = result["servers"][0]
    assert server["ok"] and server["error"] is None
    assert server["ringmd5"] == {RING: ONE, "object-1.ring.gz": None}
    assert server["unmounted"] == ["d1", "d2"] and server["version"] == "2.35.1"
    assert server["replication"] == {"replication_last": 1.5}
    assert result["ring_agreement"] == {RING: {ONE: ["a"]}}
    assert result["swiftconf_agreement"] == {"swift.conf": {TWO: ["a"]}}
    assert result["agreed"] and not result["disagreements"] and not result["not_reached"]


def test_disagreement_names_server_and_remedy(fakes: Fakes) -> None:
    server = fakes.start("bari-st1")
    result = ask(server, expect={RING: TWO})
    assert not result["agreed"]
    assert result["disagreements"] == [
        f"bari-st1 (object 127.0.0.1:{server['port']}): {RING} is {ONE}, expected {TWO}: "
        "publish the rings to it"
    ]
    assert "agreed" not in ask(server)


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        ("garbage", "the answer is no JSON"),
        ("truncated", "the answer is cut off"),
        ("nonsense", "broken HTTP answer"),
    ],
)
def test_a_server_that_answers_badly_is_no_agreement(fakes: Fakes, fault: str, text: str) -> None:
    result = ask(fakes.start("good"), fakes.start("bad", fault), expect={RING: ONE})
    good, bad = result["servers"]
    assert good["ok"] and not bad["ok"] and bad["reached"] and text in bad["error"]
    assert result["not_reached"] == [] and not result["agreed"]
    assert text in result["disagreements"][0]


def test_an_unknown_check_is_named_and_the_others_are_asked(fakes: Fakes) -> None:
    server = ask(fakes.start("a"), checks=["time", "ringmd5"])["servers"][0]
    assert "HTTP 404" in server["error"] and "pipeline" in server["error"]
    assert not server["ok"] and server["ringmd5"][RING] == ONE


def test_servers_that_are_down_are_listed_and_not_fatal(fakes: Fakes) -> None:
    down = {"host": "down", "address": "127.0.0.1", "port": refused_port(), "kind": "account"}
    result = ask(fakes.start("up"), down, expect={RING: ONE})
    assert result["agreed"] and len(result["not_reached"]) == 1
    # Keys by which Ansible would take the host that asks for a broken one.
    assert not {"unreachable", "failed", "skipped", "rc"} & set(result)
    assert result["not_reached"][0].startswith("down (account 127.0.0.1:")
    assert "refused" in result["not_reached"][0]


def test_slow_servers_cost_one_timeout_together(fakes: Fakes) -> None:
    slow = [fakes.start(f"slow{number}", "slow") for number in range(5)]
    begin = time.monotonic()
    result = ask(*slow, fakes.start("up"), checks=["ringmd5", "version"], timeout=0.5)
    assert time.monotonic() - begin < 2.5
    assert len(result["not_reached"]) == 5 and "timed out after 0.5 s" in result["not_reached"][0]
    assert fakes.running[0].asked == ["/recon/ringmd5"]  # type: ignore[attr-defined]
    assert result["servers"][5]["ok"]


def test_a_dripping_answer_ends_too(fakes: Fakes) -> None:
    begin = time.monotonic()
    server = ask(fakes.start("drip", "drip"), timeout=0.5)["servers"][0]
    assert time.monotonic() - begin < 2.5
    assert "timed out after 0.5 s" in server["error"]


def test_the_deadline_ends_all(fakes: Fakes) -> None:
    slow = [fakes.start(f"slow{number}", "slow") for number in range(3)]
    begin = time.monotonic()
    result = ask(*slow, timeout=5.0, deadline=0.6)
    assert time.monotonic() - begin < 2.5 and len(result["not_reached"]) == 3


def test_environment_proxies_are_not_used(fakes: Fakes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{refused_port()}")
    assert ask(fakes.start("a"))["servers"][0]["ok"]
