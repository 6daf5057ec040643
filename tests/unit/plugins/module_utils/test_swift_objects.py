# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from ansible_collections.infn.cloud.plugins.module_utils._swift_objects import (
    Answer,
    Node,
    Place,
    RequestError,
    Target,
    ask_all,
    describe,
    look,
    path_of,
    read_answer,
    read_targets,
)

STAMP = "1795450000.12345"


def node(region: int = 1, port: int = 6200, handoff: bool = False) -> Node:
    return Node(region, 1, "127.0.0.1", port, "d1", f"st{region}", handoff)


# --- pure


def test_targets_are_objects_containers_and_accounts() -> None:
    targets = read_targets(
        [
            {"account": "AUTH_a", "container": None, "object": None},
            {"account": "AUTH_a", "container": "c", "object": None},
            {"account": "AUTH_a", "container": "c", "object": "x/y"},
        ]
    )
    assert [target.kind for target in targets] == ["account", "container", "object"]
    assert [str(target) for target in targets] == ["AUTH_a", "AUTH_a/c", "AUTH_a/c/x/y"]
    assert targets[1].names == ("AUTH_a", "c")


@pytest.mark.parametrize(
    ("item", "text"),
    [
        ({"account": ""}, "entry 1 has an empty name"),
        ({"account": "AUTH_a", "container": "c", "object": ""}, "entry 1 has an empty name"),
        ({"account": "AUTH_a/c"}, "entry 1: the name of an account or container holds no '/'"),
        ({"account": "AUTH_a", "object": "o"}, "entry 1: o is an object without a container"),
    ],
)
def test_targets_that_cannot_be(item: dict[str, str], text: str) -> None:
    with pytest.raises(RequestError, match=text):
        read_targets([item])


def test_paths_are_quoted() -> None:
    place = Place(Target("AUTH_a", "c d", "è/?#%"), 17, ())
    assert path_of(place, node()) == "/d1/17/AUTH_a/c%20d/%C3%A8/%3F%23%25"
    assert path_of(Place(Target("AUTH_a"), 0, ()), node()) == "/d1/0/AUTH_a"


@pytest.mark.parametrize(
    ("kind", "status", "headers", "answer"),
    [
        (
            "object",
            200,
            {"Etag": '"abc"', "X-Backend-Timestamp": STAMP, "Content-Length": "5"},
            Answer(200, None, "abc", STAMP, 5),
        ),
        (
            "container",
            204,
            {"X-Container-Bytes-Used": "7", "X-Timestamp": STAMP, "Content-Length": "0"},
            Answer(204, None, None, STAMP, 7),
        ),
        ("account", 204, {"X-Account-Bytes-Used": "nonsense"}, Answer(204)),
        # A tombstone, and an object that never was.
        (
            "object",
            404,
            {"X-Backend-Timestamp": STAMP, "Content-Length": "70"},
            Answer(404, timestamp=STAMP),
        ),
        ("object", 404, {"X-Backend-Timestamp": "0000000000.00000"}, Answer(404)),
        ("object", 404, {"X-Backend-Timestamp": "nonsense"}, Answer(404)),
        (
            "object",
            404,
            {"X-Backend-Timestamp": f"{STAMP}_0000000000000001"},
            Answer(404, timestamp=f"{STAMP}_0000000000000001"),
        ),
        ("object", 507, {"Etag": "abc"}, Answer(507)),
    ],
)
def test_answers(kind: str, status: int, headers: dict[str, str], answer: Answer) -> None:
    assert read_answer(kind, status, headers) == answer


def test_copies_are_counted_and_regions_named_once() -> None:
    nodes = (node(3), node(1), node(2), node(3, handoff=True))
    answers = [Answer(200), Answer(404), Answer(error="refused"), Answer(200)]
    result = describe(Place(Target("AUTH_a", "c", "o"), 17, nodes), answers)
    assert result["copies"] == 2 and result["regions"] == [3] and result["partition"] == 17
    assert [replica["handoff"] for replica in result["replicas"]] == [False, False, False, True]
    assert result["replicas"][2] == {
        "region": 2,
        "zone": 1,
        "ip": "127.0.0.1",
        "port": 6200,
        "device": "d1",
        "host": "st2",
        "handoff": False,
        "status": None,
        "error": "refused",
        "etag": None,
        "timestamp": None,
        "bytes": None,
    }


def test_a_device_of_the_ring() -> None:
    device = {"region": 2, "zone": 1, "ip": "10.0.2.1", "port": 6200, "device": "d2", "meta": ""}
    assert Node.of(device, handoff=True) == Node(2, 1, "10.0.2.1", 6200, "d2", "10.0.2.1", True)
    assert Node.of({**device, "meta": "bari-st1"}, handoff=False).host == "bari-st1"


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"timeout": 0.0}, "timeout must be more than 0"),
        ({"deadline": -1.0}, "deadline must be more than 0"),
        ({"handoffs": -1}, "handoffs is less than 0"),
        ({"policy": -1}, "policy is less than 0"),
    ],
)
def test_questions_that_are_wrong(changes: dict[str, object], text: str) -> None:
    good = {"objects": [], "timeout": 5.0, "deadline": 5.0, "handoffs": 0, "policy": 0}
    with pytest.raises(RequestError, match=text):
        look({**good, "swift_dir": "/etc/swift", **changes})


# --- with Swift's own library


@pytest.fixture
def cluster(tmp_path: Path) -> Path:
    """A directory as /etc/swift, with an object ring of two regions with two devices each."""
    pytest.importorskip("swift")
    from swift.common.ring import RingBuilder

    builder = RingBuilder(4, 2, 0)
    for number in range(4):
        builder.add_dev(
            {
                "region": number % 2 + 1,
                "zone": 1,
                "ip": f"10.0.{number % 2 + 1}.1",
                "port": 6200,
                "device": f"d{number // 2 + 1}",
                "weight": 100.0,
                "meta": f"st{number % 2 + 1}",
            }
        )
    builder.rebalance(seed=1)
    builder.get_ring().save(str(tmp_path / "object.ring.gz"))
    (tmp_path / "swift.conf").write_text("[swift-hash]\nswift_hash_path_suffix = for-tests\n")
    return tmp_path


def params(directory: Path, **changes: object) -> dict:
    objects = [{"account": "AUTH_a", "container": "c", "object": "o"}]
    limits = {"timeout": 0.2, "deadline": 0.000001}
    return {
        "objects": objects,
        "swift_dir": str(directory),
        "policy": 0,
        "handoffs": 0,
        **limits,
        **changes,
    }


def test_the_ring_is_asked(cluster: Path) -> None:
    found = look(params(cluster, handoffs=5))[0]
    assert 0 <= found["partition"] < 16 and found["copies"] == 0
    replicas = found["replicas"]
    # Two primaries in two regions, and all that is left as handoffs.
    assert [replica["handoff"] for replica in replicas] == [False, False, True, True]
    assert {replica["region"] for replica in replicas[:2]} == {1, 2}
    assert len({(replica["host"], replica["device"]) for replica in replicas}) == 4
    assert replicas[0]["error"] == "not asked in time: raise deadline"


def test_a_ring_that_is_not_there(cluster: Path) -> None:
    with pytest.raises(RequestError, match=r"object-3\.ring\.gz.*name a policy that exists"):
        look(params(cluster, policy=3))


def test_a_directory_without_a_cluster(tmp_path: Path) -> None:
    pytest.importorskip("swift")
    with pytest.raises(RequestError, match="run this as root on a host that has the rings"):
        look(params(tmp_path))
    (tmp_path / "swift.conf").write_text("[swift-hash]\n")
    with pytest.raises(RequestError, match="has no swift_hash_path_prefix or suffix"):
        look(params(tmp_path))


# --- over the network


class FakeSwift(BaseHTTPRequestHandler):
    """A fake object server, for faults that a real one cannot be told to have."""

    server_version = "FakeSwiftForTests/0"

    def log_message(self, *args: object) -> None:
        """Keep the tests quiet."""

    def do_HEAD(self) -> None:
        server = self.server
        server.asked.append((self.path, dict(self.headers)))  # type: ignore[attr-defined]
        if server.fault == "nonsense":  # type: ignore[attr-defined]
            self.wfile.write(b"SSH-2.0-OpenSSH\r\n")
            return
        self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n")
        if server.fault == "drip":  # type: ignore[attr-defined]
            while not server.release.wait(0.1):  # type: ignore[attr-defined]
                self.wfile.write(b"X-Drip: 1\r\n")
        if server.fault == "drip":  # type: ignore[attr-defined]
            return
        self.wfile.write(f'Etag: "abc"\r\nX-Backend-Timestamp: {STAMP}\r\n\r\n'.encode())


@pytest.fixture
def fake(request: pytest.FixtureRequest) -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), FakeSwift)
    server.fault, server.asked = getattr(request, "param", ""), []  # type: ignore[attr-defined]
    server.release = threading.Event()  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield server
    server.release.set()  # type: ignore[attr-defined]
    server.shutdown()
    server.server_close()


def replicas_of(*nodes: Node, target: Target | None = None, timeout: float = 5.0) -> list[dict]:
    place = Place(target or Target("AUTH_a", "c", "o"), 17, nodes)
    return ask_all([place], 2, timeout=timeout, deadline=20.0)[0]["replicas"]


def test_a_healthy_server_and_one_that_is_down(
    fake: ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        down = probe.getsockname()[1]
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{down}")
    up, gone = replicas_of(node(1, fake.server_port), node(2, down))
    assert (up["status"], up["etag"], up["bytes"], up["error"]) == (200, "abc", 5, None)
    assert gone["status"] is None and "refused" in gone["error"]
    path, headers = fake.asked[0]  # type: ignore[attr-defined]
    assert path == "/d1/17/AUTH_a/c/o" and headers["X-Backend-Storage-Policy-Index"] == "2"


def test_only_objects_have_a_policy(fake: ThreadingHTTPServer) -> None:
    replicas_of(node(1, fake.server_port), target=Target("AUTH_a", "c"))
    assert "X-Backend-Storage-Policy-Index" not in fake.asked[0][1]  # type: ignore[attr-defined]


@pytest.mark.parametrize("fake", ["nonsense"], indirect=True)
def test_a_server_that_answers_badly(fake: ThreadingHTTPServer) -> None:
    assert "broken HTTP answer" in replicas_of(node(1, fake.server_port))[0]["error"]


@pytest.mark.parametrize("fake", ["drip"], indirect=True)
def test_a_dripping_answer_ends(fake: ThreadingHTTPServer) -> None:
    begin = time.monotonic()
    assert (
        "timed out after 0.5 s" in replicas_of(node(1, fake.server_port), timeout=0.5)[0]["error"]
    )
    assert time.monotonic() - begin < 2.5


# --- completeness


def test_complete_means_on_every_primary_and_with_the_right_checksum() -> None:
    nodes = (node(1), node(2), node(3), node(1, handoff=True))
    right, other = Answer(status=200, etag="aa"), Answer(status=200, etag="bb")
    gone, down = Answer(status=404), Answer(error="timed out after 5 s")

    def found(*answers: Answer, etag: str | None = "aa") -> tuple[bool, int]:
        target = Target("AUTH_a", "c", "o", etag)
        result = describe(Place(target, 17, nodes), answers)
        return result["complete"], result["wrong"]

    assert found(right, right, right, gone) == (True, 0)
    assert found(right, right, gone, right) == (False, 0)
    assert found(right, right, down, right) == (False, 0)
    assert found(right, right, other, gone) == (False, 1)
    assert found(right, right, right, other) == (False, 1)
    assert found(right, right, other, gone, etag=None) == (True, 0)


def test_only_objects_have_a_checksum() -> None:
    with pytest.raises(RequestError, match="entry 1: only an object has an etag"):
        read_targets([{"account": "AUTH_a", "container": "c", "etag": "aa"}])
