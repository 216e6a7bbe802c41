"""Simulated labelers: keep-alive connections that judge whatever they are given, all in one loop.

They run on the same cores as the server they measure, so they send what is ready-made and read of an answer the next
claim alone.
"""

from __future__ import annotations

import heapq
import random
import re
import selectors
import socket
import time
import uuid
from dataclasses import dataclass, field

CSRF = "benchmark" * 3 + "token"
CLAIM = re.compile(rb'"slot":(\d+),"lease_token":"([0-9a-f-]+)"')
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
ANSWER_S = 60.0  # who waits longer is given up
MAX_ERRORS = 5  # in a row


@dataclass
class Labeler:
    """One connection, the request that is under way on it, and the claim it holds."""

    port: int
    session: str
    due_s: float = 0.0
    errors: list[str] = field(default_factory=list)
    n_in_a_row: int = 0  # errors
    claim: tuple[str, str] | None = None  # slot and lease token
    has_asked: bool = False
    request: bytes = b""  # under way; none is b""
    received: bytes = b""

    def __post_init__(self) -> None:
        self.connect()

    def connect(self) -> None:
        self.connection = socket.create_connection(("127.0.0.1", self.port))
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    @property
    def is_done(self) -> bool:
        """Whether there was nothing for her, or nothing but errors."""
        return (self.has_asked and self.claim is None) or self.n_in_a_row >= MAX_ERRORS

    def act(self) -> None:
        """Judge what she holds, and ask for the next in the same breath; or ask for a first claim."""
        if self.claim is None:
            self.has_asked = True
            self.send("/api/v1/projects/bench/claims/", "{}")
            return
        slot, token = self.claim
        self.claim = None
        vote = f'"idempotency_key":"{uuid.uuid4()}","preference":{random.randint(-3, 3)},"claim_next":true'
        self.send("/api/v1/judgments/", f'{{"slot":{slot},"lease_token":"{token}",{vote}}}')

    def send(self, path: str, body: str) -> None:
        self.request = (
            f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nX-CSRFToken: {CSRF}\r\n"
            f"Cookie: sessionid={self.session}; csrftoken={CSRF}\r\nContent-Length: {len(body)}\r\n\r\n{body}"
        ).encode()
        self.received = b""
        self.connection.sendall(self.request)

    def receive(self) -> bool:
        """Read what there is, and say whether the answer is whole. Raises: ConnectionError where the server hung up."""
        if not (more := self.connection.recv(65536)):
            raise ConnectionError
        self.received += more
        head, separator, body = self.received.partition(b"\r\n\r\n")
        length = LENGTH.search(head)
        if not separator or len(body) < (int(length[1]) if length else 0):
            return False
        self.request = b""
        self.read_answer(int(head.split(None, 2)[1]), body)
        return True

    def read_answer(self, status: int, body: bytes) -> None:
        """Keep the next claim, or the error, after which she asks for one."""
        if status in (200, 201, 204):
            self.n_in_a_row = 0
            found = CLAIM.search(body)
            self.claim = (found[1].decode(), found[2].decode()) if found else None
        else:
            self.n_in_a_row += 1
            self.has_asked = False
            self.errors.append(f"{status} {body[:200].decode(errors='replace')}")


@dataclass
class Drive:
    """What labelers did in a while. cpu_ms: what they themselves took of the processor for each judgment."""

    rate: float
    spent_ms: list[float]  # sorted, each from when its request was due
    cpu_ms: float


class Crowd:
    """Labelers who judge at once, each as soon as she is answered or, at a rate, as she is due."""

    def __init__(self, labelers: list[Labeler], *, interval_s: float) -> None:
        self.interval_s = interval_s  # 0 is flat out
        self.spent_ms: list[float] = []
        self.selector = selectors.DefaultSelector()
        self.labelers = labelers
        self.idle: list[tuple[float, int]] = []  # a heap: when who is due

    def work(self, seconds: float) -> float:
        """Judge for so long, wait for the last answers, and return how long that took."""
        started_s = time.monotonic()
        for number, labeler in enumerate(self.labelers):
            self.selector.register(labeler.connection, selectors.EVENT_READ, number)
            labeler.due_s = started_s + random.random() * self.interval_s
            heapq.heappush(self.idle, (labeler.due_s, number))
        until_s = started_s + seconds
        while (now_s := time.monotonic()) < until_s + ANSWER_S:
            self.start_due(now_s, until_s)
            wait_s = max(0.0, min(self.idle[0][0], until_s) - now_s) if self.idle else 1.0
            if now_s >= until_s and not any(labeler.request for labeler in self.labelers):
                break
            for key, _ in self.selector.select(wait_s):
                self.hear(key.data)
        self.selector.close()
        return time.monotonic() - started_s

    def start_due(self, now_s: float, until_s: float) -> None:
        while self.idle and self.idle[0][0] <= now_s:
            due_s, number = heapq.heappop(self.idle)
            labeler = self.labelers[number]
            if due_s < until_s and not labeler.is_done:
                labeler.act()

    def hear(self, number: int) -> None:
        """Take an answer, or the end of a connection: an idle one is closed by the server after a while."""
        labeler = self.labelers[number]
        is_vote = b"/judgments/ " in labeler.request
        try:
            if not labeler.receive():
                return
        except ConnectionError:
            self.selector.unregister(labeler.connection)
            labeler.connect()
            self.selector.register(labeler.connection, selectors.EVENT_READ, number)
            labeler.connection.sendall(labeler.request)  # the same key: none is stored twice
            return
        now_s = time.monotonic()
        if is_vote:
            self.spent_ms.append(1000 * (now_s - labeler.due_s))
            labeler.due_s += self.interval_s
        labeler.due_s = labeler.due_s if self.interval_s else now_s
        heapq.heappush(self.idle, (labeler.due_s, number))


def drive(labelers: list[Labeler], seconds: float, *, rate: float = 0.0) -> Drive:
    """Let all judge at once, `rate` a second together or flat out."""
    crowd = Crowd(labelers, interval_s=len(labelers) / rate if rate else 0.0)
    began_s = time.process_time()
    took_s = crowd.work(seconds)
    n = max(1, len(crowd.spent_ms))
    return Drive(len(crowd.spent_ms) / took_s, sorted(crowd.spent_ms), 1000 * (time.process_time() - began_s) / n)
