"""The server around a service, with real sockets and signals; `tests/support/toy.py` is it."""

from __future__ import annotations

import contextlib
import json
import re
import select
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.support.processes import Process, free_ports, write_cluster
from tests.support.toy import LANES
from tests.support.wait import wait_until

FAST_BYTES_MAX = LANES["fast"].body_bytes_max
SLOW_INSIDE_MAX = LANES["slow"].workers + LANES["slow"].waiting_max


class Toy(Process):
    """The toy service in a process of its own."""

    def __init__(self, folder: Path, config: Path, port: int) -> None:
        self.folder = folder / "data" / "catalog-1"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        arguments = ["-m", "tests.support.toy", "--node", "catalog-1", "--config", str(config)]
        super().__init__(arguments, folder / "log")

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=10)

    def state(self) -> dict[str, Any]:
        state: dict[str, Any] = requests.get(f"{self.url}/state", timeout=5).json()
        return state

    def hold(self, name: str) -> socket.socket:
        """Send a request that is held, and wait until it is."""
        connection = self.connect()
        connection.sendall(f"GET /hold/{name} HTTP/1.1\r\nHost: toy\r\n\r\n".encode())
        return connection

    def wait_for_held(self, count: int) -> None:
        wait_until(lambda: len(self.state()["held"]) == count, 5, f"{count} held", self.logs)

    def diary(self) -> list[str]:
        return (self.folder / "diary").read_text().splitlines()


def start(folder: Path) -> Toy:
    config, ports = write_cluster(folder)
    toy = Toy(folder, config, ports[1])
    toy.wait_for("listening")
    return toy


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Toy]:
    """One toy for all tests that leave it as it was."""
    with start(tmp_path_factory.mktemp("toy")) as toy:
        yield toy


@pytest.fixture
def toy(tmp_path: Path) -> Iterator[Toy]:
    """A toy of this test's own."""
    with start(tmp_path) as toy:
        yield toy


def read_all(connection: socket.socket) -> bytes:
    """Return everything until the other side closes."""
    received = b""
    while chunk := connection.recv(65536):
        received += chunk
    return received


def talk(toy: Toy, request: bytes) -> bytes:
    """Send bytes over a connection of their own and return all that comes back."""
    with toy.connect() as connection:
        connection.sendall(request)
        return read_all(connection)


def head(method: str, path: str, *headers: str) -> bytes:
    return "\r\n".join((f"{method} {path} HTTP/1.1", "Host: toy", *headers, "", "")).encode(
        "latin-1"
    )


def problem(answer: bytes) -> str:
    """Return the code of a raw problem answer."""
    assert b"content-type: application/problem+json" in answer
    return str(json.loads(answer.partition(b"\r\n\r\n")[2])["code"])


CLOSE = "Connection: close"


def test_a_request_reaches_flask_as_it_was_sent(shared: Toy) -> None:
    """The raw target for the signature, the decoded path for the routes, no forged header."""
    path = "/echo/a%2Fb%C3%BC/../c?x=%41&y"
    answer = talk(shared, head("GET", path, "X_Forged: 1", "A: 1", "A: 2", CLOSE))
    seen = json.loads(answer.partition(b"\r\n\r\n")[2])
    assert (seen["target"], seen["path"]) == (path, "a/bü/../c")
    assert seen["remote"] == "127.0.0.1"
    assert seen["headers"]["A"] == "1,2"
    assert not {"X-Forged", "X_Forged"} & set(seen["headers"])


def test_a_connection_is_kept_and_carries_no_needless_headers(shared: Toy) -> None:
    """Several requests, one connection; neither Date nor Server."""
    with requests.Session() as session:
        answers = [session.get(f"{shared.url}/echo", timeout=5) for _ in range(3)]
    assert {answer.status_code for answer in answers} == {200}
    assert set(answers[0].headers) == {"content-type", "content-length"}


def test_requests_sent_at_once_are_answered_in_order(shared: Toy) -> None:
    """HTTP/1.1 pipelining."""
    requests_ = head("GET", "/echo/1") + head("GET", "/echo/2") + head("GET", "/echo/3", CLOSE)
    assert re.findall(rb'"path":"(\d)"', talk(shared, requests_)) == [b"1", b"2", b"3"]


def test_an_absolute_target_is_understood(shared: Toy) -> None:
    """RFC 9112 wants servers to take it."""
    answer = talk(shared, head("GET", "http://toy/echo/x?y=1", CLOSE))
    assert b'"path":"x"' in answer
    assert b'"target":"http://toy/echo/x?y=1"' in answer


def test_head_has_no_body(shared: Toy) -> None:
    """But the length that GET has."""
    answer = talk(shared, head("HEAD", "/state", CLOSE))
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert re.search(rb"content-length: [1-9]\d*", answer)
    assert answer.endswith(b"\r\n\r\n")


def chunked(body: bytes) -> bytes:
    return f"{len(body):x}\r\n".encode() + body + b"\r\n0\r\n\r\n"


def test_a_body_may_come_in_chunks(shared: Toy) -> None:
    """Flask sees it whole, with its length."""
    request = head("POST", "/echo", "Transfer-Encoding: chunked", CLOSE) + chunked(b"hello")
    answer = talk(shared, request)
    assert b'"body":"hello"' in answer
    assert b'"Content-Length":"5"' in answer


@pytest.mark.parametrize("size", [0, 1, FAST_BYTES_MAX])
def test_a_body_up_to_the_limit_is_taken(shared: Toy, size: int) -> None:
    """The limit itself is still fine."""
    answer = requests.post(f"{shared.url}/echo", data=b"x" * size, timeout=5)
    assert answer.json()["body"] == "x" * size


@pytest.mark.parametrize("size", [FAST_BYTES_MAX + 1, 4_000_000])
@pytest.mark.parametrize("in_chunks", [True, False])
def test_a_body_over_the_limit_is_refused_and_the_client_hears_it(
    shared: Toy, size: int, in_chunks: bool
) -> None:
    """413 with a length and without one, even for who sends all of it before listening."""
    body, framing = b"x" * size, f"Content-Length: {size}"
    if in_chunks:
        body, framing = chunked(body), "Transfer-Encoding: chunked"
    assert problem(talk(shared, head("POST", "/echo", framing, CLOSE) + body)) == "too-large"


def test_a_client_that_asks_first_is_told_before_it_sends(shared: Toy) -> None:
    """`Expect: 100-continue` with a length that is too large: no 100, the refusal at once."""
    headers = (f"Content-Length: {FAST_BYTES_MAX + 1}", "Expect: 100-continue")
    answer = talk(shared, head("POST", "/echo", *headers))
    assert answer.startswith(b"HTTP/1.1 413 ")


def test_a_header_block_has_a_limit(shared: Toy) -> None:
    """16 KiB; a plain 400 will do when it comes in pieces."""
    line = "X: " + "a" * 1000
    assert talk(shared, head("GET", "/echo", *[line] * 15, CLOSE)).startswith(b"HTTP/1.1 200 ")
    in_one_piece = talk(shared, head("GET", "/echo", *[line] * 17, CLOSE))
    assert in_one_piece.startswith((b"HTTP/1.1 413 ", b"HTTP/1.1 400 "))
    with shared.connect() as connection, contextlib.suppress(ConnectionError):
        connection.sendall(head("GET", "/echo")[:-2])
        for _ in range(64):
            connection.sendall(f"{line}\r\n".encode())
        assert read_all(connection).startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize("piece_bytes", [1000, 8_000_000])
def test_a_header_without_end_is_refused(shared: Toy, piece_bytes: int) -> None:
    """One line of it alone, however it is cut."""
    with shared.connect() as connection, contextlib.suppress(ConnectionError):
        connection.sendall(head("GET", "/echo")[:-2] + b"X: ")
        for _ in range(8_000_000 // piece_bytes):
            connection.sendall(b"a" * piece_bytes)
        assert read_all(connection).startswith(b"HTTP/1.1 400 ")
    assert shared.state()


@pytest.mark.parametrize(
    ("version", "hosts", "status"),
    [("1.1", 0, 400), ("1.1", 1, 200), ("1.1", 2, 400), ("1.0", 0, 200), ("1.0", 2, 400)],
)
def test_a_request_of_http_1_1_names_one_host(
    shared: Toy, version: str, hosts: int, status: int
) -> None:
    """RFC 9112, section 3.2."""
    lines = (f"GET /echo HTTP/{version}", *["Host: toy"] * hosts, CLOSE, "", "")
    answer = talk(shared, "\r\n".join(lines).encode())
    assert answer.startswith(f"HTTP/1.1 {status} ".encode())
    if status == 400:
        assert problem(answer) == "invalid-request"


@pytest.mark.parametrize("header", ["", "Connection: keep-alive\r\n"])
def test_http_1_0_gets_one_answer_a_connection(shared: Toy, header: str) -> None:
    """It is told that nothing follows."""
    answer = talk(shared, f"GET /echo HTTP/1.0\r\n{header}\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"\r\nconnection: close\r\n" in answer


def test_a_request_may_come_byte_by_byte(shared: Toy) -> None:
    """Twice on one connection."""
    with shared.connect() as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in head("GET", "/echo/1") + head("GET", "/echo/2", CLOSE):
            connection.sendall(bytes((byte,)))
        assert re.findall(rb'"path":"(\d)"', read_all(connection)) == [b"1", b"2"]


def test_get_may_have_a_body(shared: Toy) -> None:
    """It is read to its end: what follows on the connection is another request."""
    first = head("GET", "/echo/1", "Content-Length: 5") + b"hello"
    answer = talk(shared, first + head("GET", "/echo/2", CLOSE))
    assert re.findall(rb'"body":"(\w*)"', answer) == [b"hello", b""]


@pytest.mark.parametrize("protocol", ["websocket", "h2c"])
def test_an_offer_of_another_protocol_is_ignored(shared: Toy, protocol: str) -> None:
    """With its body, and with what follows: Java's client offers h2c with its first request."""
    offer = ("Connection: Upgrade, HTTP2-Settings", f"Upgrade: {protocol}", "HTTP2-Settings: AA")
    first = head("POST", "/echo/1", *offer, "Content-Length: 5") + b"hello"
    second = head("GET", "/echo/2", *offer)
    answer = talk(shared, first + second + head("GET", "/echo/3", CLOSE))
    assert re.findall(rb'"path":"(\d)","target":"[^"]*","body":"(\w*)"', answer) == [
        (b"1", b"hello"), (b"2", b""), (b"3", b""),
    ]  # fmt: skip


def test_blanks_around_a_header_are_no_part_of_it(shared: Toy) -> None:
    """RFC 9112, section 5.1."""
    assert b'"A":"b c"' in talk(shared, head("GET", "/echo", "A: \t b c \t ", CLOSE))


def test_who_asks_to_close_is_closed(shared: Toy) -> None:
    """Also after requests that did not ask."""
    answer = talk(shared, head("HEAD", "/echo") + head("GET", "/echo/2", CLOSE))
    assert answer.count(b"HTTP/1.1 200 ") == 2
    assert answer.count(b"connection: close") == 1


@pytest.mark.parametrize(
    "request_",
    [
        b"\0\0\0\0\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\n\r\n",
        b"GET /echo\r\n\r\n",
        b"GET /echo HTTP/2.0\r\nHost: toy\r\n\r\n",
        b"CONNECT toy:80 HTTP/1.1\r\nHost: toy\r\n\r\n",
        b"GET /echo HTTP/1.1\r\nHost: toy\r\n folded\r\n\r\n",
        b"GET /echo HTTP/1.1\r\nHo st: toy\r\n\r\n",
        head("GET", "/echo", "Content-Length: 1", "Transfer-Encoding: chunked"),
        b"POST /echo HTTP/1.1\r\nHost: toy\r\nContent-Length: x\r\n\r\n",
    ],
)
def test_what_is_no_http_is_refused(shared: Toy, request_: bytes) -> None:
    """A plain 400, and the server lives on."""
    assert talk(shared, request_).startswith(b"HTTP/1.1 400 ")
    assert shared.state()


@pytest.mark.parametrize(("method", "code"), [("GET", "unavailable"), ("POST", "outcome-unknown")])
def test_an_error_that_leaves_flask_is_no_500(shared: Toy, method: str, code: str) -> None:
    """A problem without a traceback; the log has it."""
    answer = requests.request(method, f"{shared.url}/escape", timeout=5)
    assert (answer.status_code, answer.json()["code"]) == (503, code)
    assert "foresaw" not in answer.text
    shared.wait_for("RuntimeError: nobody foresaw this")


def test_a_line_break_in_a_path_makes_no_log_line(shared: Toy) -> None:
    """Nobody forges our log."""
    requests.get(f"{shared.url}/escape%0Aforged", timeout=5)
    requests.get(f"{shared.url}/escape?%0Aforged", timeout=5)
    assert "\nforged" not in shared.logs()


def test_a_slow_client_holds_no_worker(shared: Toy) -> None:
    """More half-sent bodies than the lane has workers, and the lane still answers."""
    with contextlib.ExitStack() as stack:
        for _ in range(LANES["fast"].workers * 4):
            connection = stack.enter_context(shared.connect())
            connection.sendall(head("POST", "/echo", "Content-Length: 10") + b"half")
        assert shared.state()


def test_a_failing_ticker_goes_on(shared: Toy) -> None:
    """Its error is logged, and it ticks again."""
    shared.wait_for("ticker ticker failed; it goes on")
    wait_until(lambda: shared.state()["ticks"] > 2, 5, "a third tick", shared.logs)


def test_a_full_lane_refuses_at_once_and_starves_no_other(toy: Toy) -> None:
    """Beyond its workers and its waiting places: 429; the other lane answers all the while."""
    with contextlib.ExitStack() as stack:
        sent = [stack.enter_context(toy.hold(str(number))) for number in range(SLOW_INSIDE_MAX + 2)]
        wait_until(lambda: len(readable(sent)) == 2, 5, "two refusals", toy.logs)
        refused = readable(sent)
        for connection in refused:
            answer = connection.recv(65536)
            assert b"\r\nretry-after: 1\r\n" in answer
            assert problem(answer) == "rate-limited"
        toy.wait_for_held(LANES["slow"].workers)
        (toy.folder / "free").touch()
        assert all(held.recv(12) == b"HTTP/1.1 200" for held in sent if held not in refused)


def readable(connections: list[socket.socket]) -> list[socket.socket]:
    """Return the connections on which something has arrived."""
    return select.select(connections, [], [], 0)[0]


def test_sigterm_finishes_what_is_in_flight_and_exits_0(toy: Toy) -> None:
    """Nothing new is taken; what is there is answered; the loops stop; the files close."""
    with toy.hold("last") as held, toy.connect():
        toy.wait_for_held(1)
        toy.popen.send_signal(signal.SIGTERM)
        wait_until(lambda: refuses(toy), 5, "a refused connection", toy.logs)
        assert toy.popen.poll() is None
        (toy.folder / "free").touch()
        assert b'{"held":"last"}' in read_all(held)
    assert toy.ends() == 0
    assert toy.diary() == ["loop runs", "answered last", "stop", "loop ended", "close"]


def test_sigterm_closes_idle_connections(toy: Toy) -> None:
    """At once, and the process exits 0."""
    with toy.connect() as used, toy.connect() as fresh:
        used.sendall(head("HEAD", "/echo"))
        assert used.recv(65536).startswith(b"HTTP/1.1 200 ")
        toy.popen.send_signal(signal.SIGTERM)
        assert (used.recv(1), fresh.recv(1)) == (b"", b"")
    assert toy.ends() == 0


def refuses(toy: Toy) -> bool:
    try:
        toy.connect().close()
    except ConnectionRefusedError:
        return True
    return False


def test_sigterm_does_not_wait_for_ever(toy: Toy) -> None:
    """A stuck request is told that nobody knows, and the process exits 0 all the same."""
    with toy.hold("stuck") as held:
        toy.wait_for_held(1)
        toy.popen.send_signal(signal.SIGTERM)
        assert problem(read_all(held)) == "unavailable"
    assert toy.ends() == 0
    assert toy.diary()[-1] == "loop ended"


def test_ctrl_c_ends_it_too(toy: Toy) -> None:
    """Without a traceback."""
    toy.popen.send_signal(signal.SIGINT)
    assert toy.ends() == 0
    assert "KeyboardInterrupt" not in toy.logs()


def test_a_failed_loop_ends_the_process(toy: Toy) -> None:
    """A node without its writer must not look alive."""
    (toy.folder / "break").touch()
    assert toy.ends() == 1
    assert "loop loop failed" in toy.logs()


def test_a_second_process_on_the_same_folder_is_refused(toy: Toy, tmp_path: Path) -> None:
    """Two writers on one database would be the end of it."""
    with Toy(tmp_path, tmp_path / "cluster.env", toy.port) as second:
        assert second.ends() == 2
    assert f"is already in use by process {toy.popen.pid}" in toy.logs()
    assert toy.state()


def test_a_killed_process_leaves_its_folder_free(toy: Toy, tmp_path: Path) -> None:
    """The lock goes with the process, however it ends."""
    toy.popen.kill()
    toy.ends()
    with Toy(tmp_path, tmp_path / "cluster.env", toy.port) as second:
        wait_until(lambda: not refuses(second), 10, "the second process", second.logs)


def test_a_taken_port_is_said_plainly(toy: Toy, tmp_path: Path) -> None:
    """With the address, and without a traceback."""
    folder = tmp_path / "other"
    folder.mkdir()
    catalogs = f"catalog-1={toy.url} catalog-2=http://127.0.0.1:1"
    config, _ = write_cluster(folder, CATALOGS=catalogs)
    with Toy(folder, config, toy.port) as second:
        assert second.ends() == 1
        assert f"cannot bind 127.0.0.1:{toy.port}" in second.logs()
        assert "Traceback" not in second.logs()


def test_a_refused_start_is_said_plainly(tmp_path: Path) -> None:
    """`StartRefused` is a message for people, not a traceback."""
    config, ports = write_cluster(tmp_path)
    (tmp_path / "data" / "catalog-1").mkdir(parents=True)
    (tmp_path / "data" / "catalog-1" / "refuse").touch()
    with Toy(tmp_path, config, ports[1]) as toy:
        assert toy.ends() == 1
        assert "catalog-1 ERROR this disk is not usable" in toy.logs()
        assert "Traceback" not in toy.logs()


def test_wrong_settings_are_all_printed_before_anything_starts(tmp_path: Path) -> None:
    """Exit code 2, one line each."""
    config, ports = write_cluster(tmp_path, CACHE_LEASE_S="0", CACHE_CAPACITY="x")
    with Toy(tmp_path, config, ports[1]) as toy:
        assert toy.ends() == 2
        names = [line.split()[0] for line in toy.logs().splitlines()]
        assert names == ["CACHE_CAPACITY", "CACHE_LEASE_S"]


def test_the_backup_server_starts_like_any_other_node(tmp_path: Path) -> None:
    """As a module inside the catalog, under the role that the settings give it."""
    (port,) = free_ports(1)
    config, _ = write_cluster(tmp_path, BACKUP=f"backup=http://127.0.0.1:{port}")
    command = ["-m", "catalog.backup", "--node", "backup", "--config", str(config)]
    with Process(command, tmp_path / "log") as backup:
        backup.wait_for("listening")
        assert requests.get(f"http://127.0.0.1:{port}/livez", timeout=5).json() == {"alive": True}
        ready = requests.get(f"http://127.0.0.1:{port}/readyz", timeout=5)
        assert (ready.status_code, "no vote yet" in ready.text) == (503, True)
        backup.popen.send_signal(signal.SIGTERM)
        assert backup.ends() == 0
    assert sorted(path.name for path in (tmp_path / "data" / "backup").glob("*.db")) == [
        "backup.db", "node.db",
    ]  # fmt: skip
