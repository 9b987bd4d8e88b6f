"""A lean gRPC client over HTTP/2 (RFC 9113), for load only.

A server that shares two cores with its load is measured fairly only by a client that costs next to nothing: this one
hands out each stream's bytes in place, decodes no headers and keeps no objects per message. It speaks to servers in
plain text, knows no deadlines, and takes a unary call for good when a whole message came.
"""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections import deque
from collections.abc import Callable
from typing import Protocol, cast

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PING, _GOAWAY, _WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
_END_STREAM, _ACK, _END_HEADERS, _PADDED = 0x1, 0x1, 0x4, 0x8
_SETTING_HEADER_TABLE_SIZE, _SETTING_INITIAL_WINDOW, _SETTING_FRAME_MAX = 1, 4, 5
_DEFAULT_WINDOW = 65_535
_FRAME_BYTES = 1 << 20
_CONNECTION_WINDOW = 1 << 30
_READ_BYTES = 1 << 20
_HEADER_BYTES = 9
_PREFIX_BYTES = 5
_RETRY_S = 0.05

STREAM_WINDOW_BYTES = 4 << 20


class CallFailed(Exception):
    """A call ended without a message, or its stream or connection broke; the message quotes the trailers' text."""


class Receiver(Protocol):
    """Takes a stream's bytes: gRPC frames, cut anywhere. ``data`` is only valid during the call."""

    def receive(self, data: bytearray, start: int, end: int) -> None: ...

    def opened(self) -> None:
        """The server's headers are here: the call stands."""
        ...

    def ended(self, reason: str) -> None:
        """Nothing follows; ``reason`` is what is readable of the trailers."""
        ...


class Stream:
    """One call. ``received`` counts bytes for flow control."""

    __slots__ = ("number", "open", "outgoing", "received", "receiver", "window")

    def __init__(self, number: int, receiver: Receiver, window: int) -> None:
        self.number = number
        self.receiver = receiver
        self.received = 0
        self.window = window
        self.outgoing: deque[tuple[memoryview, bool]] = deque()
        self.open = False


class Connection(asyncio.BufferedProtocol):
    """One connection. ``unread``: its streams never grant more than ``stream_window``, as a client that never reads."""

    def __init__(self, authority: str, *, stream_window: int = STREAM_WINDOW_BYTES, unread: bool = False) -> None:
        self._authority = authority
        self._stream_window = stream_window
        self._unread = unread
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray(_READ_BYTES)
        self._room = memoryview(self._buffer)
        self._filled = 0
        self._streams: dict[int, Stream] = {}
        self._next = 1
        self._consumed = 0
        # What is being received: the frame's type, flags and stream, and how much of it is still to come.
        self._left = 0
        self._type = self._flags = 0
        self._stream: Stream | None = None
        self._control = bytearray()
        # What may be sent.
        self._send_window = _DEFAULT_WINDOW
        self._peer_stream_window = _DEFAULT_WINDOW
        self._peer_frame_bytes = 16_384
        self._sending: deque[Stream] = deque()
        self.failure = ""

    # -- calls

    def start(self, path: str, receiver: Receiver, request: bytes | None, *, half_close: bool = True) -> Stream:
        """Begin a call. ``request``: the first message, None for none yet; ``half_close``: no other one follows."""
        if self._transport is None or self.failure:
            raise CallFailed(self.failure or "not connected")
        stream = Stream(self._next, receiver, self._peer_stream_window)
        self._next += 2
        self._streams[stream.number] = stream
        block = _header_block(path, self._authority)
        self._transport.write(_frame(_HEADERS, _END_HEADERS, stream.number, block))
        if request is not None:
            self.send(stream, request, half_close=half_close)
        return stream

    def send(self, stream: Stream, message: bytes, *, half_close: bool = False) -> None:
        """Send a message as far as the server's windows go; the rest follows by itself."""
        framed = b"".join((b"\0", len(message).to_bytes(4, "big"), message))
        if not stream.outgoing:
            self._sending.append(stream)
        stream.outgoing.append((memoryview(framed), half_close))
        self._pump()

    async def call(self, path: str, request: bytes) -> bytes:
        """A unary call. Raises ``CallFailed``."""
        receiver = _Unary(asyncio.get_running_loop().create_future())
        self.start(path, receiver, request)
        return await receiver.answer

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    # -- the transport's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclasses of asyncio's.
        self._transport = cast(asyncio.Transport, transport)
        transport = self._transport
        settings = struct.pack(
            ">HIHIHI",
            _SETTING_HEADER_TABLE_SIZE,
            0,
            _SETTING_INITIAL_WINDOW,
            self._stream_window,
            _SETTING_FRAME_MAX,
            _FRAME_BYTES,
        )
        window = struct.pack(">I", _CONNECTION_WINDOW)
        transport.write(_PREFACE + _frame(_SETTINGS, 0, 0, settings) + _frame(_WINDOW_UPDATE, 0, 0, window))

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(f"the connection ended: {exc or 'closed'}")

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._room[self._filled :]

    def buffer_updated(self, nbytes: int) -> None:
        end = self._filled + nbytes
        position = self._parse(end)
        rest = end - position
        if rest:
            self._buffer[:rest] = self._buffer[position:end]
        self._filled = rest

    def _parse(self, end: int) -> int:
        """Take in complete frame headers and whatever payload is here; returns how far."""
        buffer, position = self._buffer, 0
        while True:
            if self._left:
                taken = min(self._left, end - position)
                if not taken:
                    return position
                self._left -= taken
                if self._type == _DATA:
                    self._receive(position, position + taken)
                else:
                    self._control += buffer[position : position + taken]
                position += taken
                if self._left:
                    return position
                self._end_of_frame()
            elif end - position < _HEADER_BYTES:
                return position
            else:
                self._left = buffer[position] << 16 | buffer[position + 1] << 8 | buffer[position + 2]
                self._type, self._flags = buffer[position + 3], buffer[position + 4]
                number = int.from_bytes(buffer[position + 5 : position + 9], "big") & 0x7FFF_FFFF
                self._stream = self._streams.get(number)
                if self._type == _DATA and self._flags & _PADDED:
                    self._fail("padded frames are not understood")
                position += _HEADER_BYTES
                if not self._left:
                    self._end_of_frame()

    def _receive(self, start: int, end: int) -> None:
        size = end - start
        if not self._unread:
            self._consumed += size
            if self._consumed >= _CONNECTION_WINDOW // 4:
                self._grant(0, self._consumed)
                self._consumed = 0
        stream = self._stream
        if stream is None:
            return
        if not self._unread:
            stream.received += size
            if stream.received >= self._stream_window // 2:
                self._grant(stream.number, stream.received)
                stream.received = 0
        stream.receiver.receive(self._buffer, start, end)

    def _end_of_frame(self) -> None:
        stream = self._stream
        match self._type:
            case 0:
                if stream is not None and self._flags & _END_STREAM:
                    self._end(stream, "no trailers")
            case 1 if stream is not None:
                if self._flags & _END_STREAM:
                    self._end(stream, _readable(self._control))
                elif not stream.open:
                    stream.open = True
                    stream.receiver.opened()
            case 3 if stream is not None:
                self._end(stream, f"reset, code {int.from_bytes(self._control, 'big')}")
            case 4 if not self._flags & _ACK:
                self._apply_settings(bytes(self._control))
            case 6 if not self._flags & _ACK:
                self._write(_frame(_PING, _ACK, 0, bytes(self._control)))
            case 7:
                self._fail(f"the server goes away: {_readable(self._control)}")
            case 8:
                increment = int.from_bytes(self._control, "big")
                if stream is not None:
                    stream.window += increment
                else:
                    self._send_window += increment
                self._pump()
        self._control.clear()

    def _end(self, stream: Stream, reason: str) -> None:
        self._streams.pop(stream.number, None)
        stream.receiver.ended(reason)

    def _apply_settings(self, payload: bytes) -> None:
        for setting, value in struct.iter_unpack(">HI", payload):
            if setting == _SETTING_INITIAL_WINDOW:
                for stream in self._streams.values():
                    stream.window += value - self._peer_stream_window
                self._peer_stream_window = value
            elif setting == _SETTING_FRAME_MAX:
                self._peer_frame_bytes = min(value, _FRAME_BYTES)
        self._write(_frame(_SETTINGS, _ACK, 0, b""))
        self._pump()

    def _pump(self) -> None:
        """Send what the windows allow, one stream after the other."""
        frames: list[bytes | memoryview] = []
        for _ in range(len(self._sending)):
            stream = self._sending.popleft()
            while stream.outgoing:
                message, half_close = stream.outgoing[0]
                size = min(len(message), self._peer_frame_bytes, self._send_window, stream.window)
                if size <= 0:
                    break
                last = size == len(message)
                frames += (
                    _frame_head(size, _DATA, _END_STREAM if last and half_close else 0, stream.number),
                    message[:size],
                )
                self._send_window -= size
                stream.window -= size
                if last:
                    stream.outgoing.popleft()
                else:
                    stream.outgoing[0] = message[size:], half_close
            if stream.outgoing:
                self._sending.append(stream)
        if frames:
            self._write(b"".join(frames))

    def _grant(self, number: int, size: int) -> None:
        self._write(_frame(_WINDOW_UPDATE, 0, number, struct.pack(">I", size)))

    def _write(self, data: bytes) -> None:
        if self._transport is not None and not self.failure:
            self._transport.write(data)

    def _fail(self, reason: str) -> None:
        if self.failure:
            return
        self.failure = reason
        for stream in tuple(self._streams.values()):
            self._end(stream, reason)


async def connect(endpoint: str, *, stream_window: int = STREAM_WINDOW_BYTES, unread: bool = False) -> Connection:
    """A connection to ``host:port``. Raises ``OSError``."""
    host, _, port = endpoint.rpartition(":")
    loop = asyncio.get_running_loop()
    _, connection = await loop.create_connection(
        lambda: Connection(endpoint, stream_window=stream_window, unread=unread), host, int(port)
    )
    return connection


async def connect_soon(endpoint: str, *, within_s: float = 30.0) -> Connection:
    """A connection to a server that is starting. Raises ``TimeoutError``."""
    async with asyncio.timeout(within_s):
        while True:
            with contextlib.suppress(OSError):
                return await connect(endpoint)
            await asyncio.sleep(_RETRY_S)


class Messages:
    """A ``Receiver`` that hands on whole messages, in place where they came in one piece."""

    def __init__(self, take: Callable[[bytes | bytearray, int, int], None]) -> None:
        self._take = take
        self._part = bytearray()
        self.end_reason = ""

    def receive(self, data: bytearray, start: int, end: int) -> None:
        if self._part:
            self._part += data[start:end]
            used = self._whole(self._part, 0, len(self._part))
            if used:
                del self._part[:used]
            return
        start = self._whole(data, start, end)
        if start < end:
            self._part += data[start:end]

    def _whole(self, data: bytearray, start: int, end: int) -> int:
        while end - start >= _PREFIX_BYTES:
            size = int.from_bytes(data[start + 1 : start + _PREFIX_BYTES], "big")
            if end - start - _PREFIX_BYTES < size:
                break
            start += _PREFIX_BYTES
            self._take(data, start, start + size)
            start += size
        return start

    def opened(self) -> None:
        pass

    def ended(self, reason: str) -> None:
        self.end_reason = reason or "ended"


class _Unary:
    def __init__(self, answer: asyncio.Future[bytes]) -> None:
        self.answer = answer
        self._data = bytearray()

    def receive(self, data: bytearray, start: int, end: int) -> None:
        self._data += data[start:end]

    def opened(self) -> None:
        pass

    def ended(self, reason: str) -> None:
        if self.answer.done():
            return
        size = int.from_bytes(self._data[1:_PREFIX_BYTES], "big")
        if len(self._data) >= _PREFIX_BYTES and len(self._data) == size + _PREFIX_BYTES:
            self.answer.set_result(bytes(self._data[_PREFIX_BYTES:]))
        else:
            self.answer.set_exception(CallFailed(reason))


def _frame_head(size: int, frame_type: int, flags: int, stream: int) -> bytes:
    return struct.pack(">IBI", size << 8 | frame_type, flags, stream)


def _frame(frame_type: int, flags: int, stream: int, payload: bytes) -> bytes:
    return _frame_head(len(payload), frame_type, flags, stream) + payload


def _header_block(path: str, authority: str) -> bytes:
    """HPACK (RFC 7541) without the dynamic table: static entries, and literals that are not indexed."""
    return b"".join(
        (
            b"\x83\x86",  # :method POST, :scheme http
            b"\x04" + _text(path),
            b"\x01" + _text(authority),
            b"\x0f\x10" + _text("application/grpc"),  # content-type
            b"\x00" + _text("te") + _text("trailers"),
        )
    )


def _text(value: str) -> bytes:
    data = value.encode()
    if len(data) >= 127:
        raise ValueError(f"{value!r} is longer than a one-byte length")
    return bytes((len(data),)) + data


def _readable(data: bytes | bytearray) -> str:
    return "".join(chr(byte) if 32 <= byte < 127 else " " for byte in data).strip()
