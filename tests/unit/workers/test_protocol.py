"""Frames, however the bytes of them arrive."""

from __future__ import annotations

import socket
from queue import Queue
from threading import Thread
from typing import TYPE_CHECKING

import pytest

from dotflow.workers.protocol import Closed, FrameReader, Permits, PermitTaker, packed, send

if TYPE_CHECKING:
    from collections.abc import Iterator

LARGE = 1 << 16


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Return the two ends of a connection."""
    one, other = socket.socketpair()
    with one, other:
        yield one, other


def test_a_frame_arrives_whole(ends: tuple[socket.socket, socket.socket]) -> None:
    """Head and body come out as they went in."""
    send(ends[0], b"head", b"body")
    head, body = FrameReader(ends[1]).wait()
    assert (bytes(head), bytes(body)) == (b"head", b"body")


def test_an_empty_frame(ends: tuple[socket.socket, socket.socket]) -> None:
    """A frame may have neither head nor body."""
    send(ends[0], b"", b"")
    head, body = FrameReader(ends[1]).wait()
    assert (bytes(head), bytes(body)) == (b"", b"")


def test_coalesced_frames_are_told_apart(ends: tuple[socket.socket, socket.socket]) -> None:
    """Frames that arrive in one piece come out one by one, and then there is none."""
    ends[0].sendall(b"".join(piece for n in range(3) for piece in packed(b"%d" % n, b"x" * n)))
    ends[1].setblocking(False)
    reader = FrameReader(ends[1])
    frames = [reader.wait() for _ in range(3)]
    assert [(bytes(head), bytes(body)) for head, body in frames] == [
        (b"0", b""),
        (b"1", b"x"),
        (b"2", b"xx"),
    ]
    assert reader.read() is None


def test_a_frame_that_arrives_byte_by_byte(ends: tuple[socket.socket, socket.socket]) -> None:
    """A frame is given only once its last byte is there."""
    ends[1].setblocking(False)
    reader = FrameReader(ends[1])
    [data] = packed(b"head", b"body")
    for byte in data[:-1]:
        ends[0].sendall(bytes([byte]))
        assert reader.read() is None
    ends[0].sendall(data[-1:])
    frame = reader.read()
    assert frame is not None
    assert (bytes(frame.head), bytes(frame.body)) == (b"head", b"body")


@pytest.mark.parametrize("size", [LARGE - 1, LARGE, LARGE + 1, 5 * LARGE, 3_000_000])
def test_large_bodies(size: int, ends: tuple[socket.socket, socket.socket]) -> None:
    """Bodies around and above the size of one reading arrive, with what follows them."""
    body = bytes(range(256)) * (size // 256 + 1)
    body = body[:size]

    def sender() -> None:
        send(ends[0], b"large", body)
        send(ends[0], b"next", b"small")

    thread = Thread(target=sender)
    thread.start()
    reader = FrameReader(ends[1])
    first, second = reader.wait(), reader.wait()
    thread.join(10)
    assert bytes(first.body) == body
    assert (bytes(second.head), bytes(second.body)) == (b"next", b"small")


def test_only_large_bodies_go_apart() -> None:
    """A small frame is one piece, a large body is not copied."""
    body = bytes(LARGE + 1)
    assert len(packed(b"head", body[:-1])) == 1
    assert packed(b"head", body)[1] is body


def test_a_frame_outlives_the_next_one(ends: tuple[socket.socket, socket.socket]) -> None:
    """What was received is not overwritten by what comes later."""
    reader = FrameReader(ends[1])
    send(ends[0], b"first", b"one")
    first = reader.wait()
    send(ends[0], b"second", b"two")
    reader.wait()
    assert (bytes(first.head), bytes(first.body)) == (b"first", b"one")


@pytest.mark.parametrize("kept", [0, 3, 17])
def test_the_end_of_the_peer(kept: int, ends: tuple[socket.socket, socket.socket]) -> None:
    """A peer that closes, also within a frame, ends the waiting with an error."""
    ends[0].sendall(packed(b"head", b"body")[0][:kept])
    ends[0].close()
    with pytest.raises(Closed):
        FrameReader(ends[1]).wait()


def test_what_was_sent_before_the_end_arrives(ends: tuple[socket.socket, socket.socket]) -> None:
    """A whole frame is given though the peer has closed since."""
    send(ends[0], b"last", b"word")
    ends[0].close()
    reader = FrameReader(ends[1])
    assert bytes(reader.wait().body) == b"word"
    with pytest.raises(Closed):
        reader.read()


def test_a_peer_that_resets(ends: tuple[socket.socket, socket.socket]) -> None:
    """A connection that breaks, with bytes unread, is a closed one."""
    send(ends[1], b"never", b"read")
    ends[0].close()  # a local socket tells of unread bytes by a reset
    with pytest.raises(Closed):
        FrameReader(ends[1]).wait()


def test_a_body_in_pieces(ends: tuple[socket.socket, socket.socket]) -> None:
    """It arrives as one; small pieces are joined, large ones not copied."""
    large = bytes(LARGE)
    assert len(packed(b"head", [b"one", b"two"])) == 1
    assert any(piece is large for piece in packed(b"head", [b"one", large, b"two"]))
    thread = Thread(target=send, args=(ends[0], b"head", [b"one", large, b"two"]))
    thread.start()
    head, body = FrameReader(ends[1]).wait()
    thread.join(10)
    assert (bytes(head), bytes(body)) == (b"head", b"one" + large + b"two")


def test_permits_are_of_one_or_the_other() -> None:
    """Each permit is taken or taken back, whoever comes first, in two threads at once."""
    permits = Permits()
    taker = PermitTaker(permits.reading)
    taken: list[int] = []
    rounds = 300
    batches: Queue[int | None] = Queue()

    def take() -> None:
        while (batch := batches.get()) is not None:
            taken.append(taker.take(batch))

    thread = Thread(target=take)
    thread.start()
    left = 0
    for _ in range(rounds):
        for _ in range(5):
            batches.put(permits.add())
        left += permits.withdraw()
    batches.put(None)
    thread.join()
    # One of a later batch may have been taken for none yet: there is nothing that it was for.
    assert sum(taken) + left == rounds * 5
    permits.close()
    permits.close()


def test_a_permit_waits_for_its_batch() -> None:
    """What was taken back before is refused, also where the permits of a later batch are there."""
    permits = Permits()
    taker = PermitTaker(permits.reading)
    first = permits.add()
    assert permits.withdraw() == 1
    second = permits.add()
    assert (first, second) == (1, 2)
    assert not taker.take(first)
    assert not taker.take(first)
    assert taker.take(second)
    assert not taker.take(second)
    for _ in range(254):
        permits.withdraw()
    assert permits.add() == 1
    permits.close()
