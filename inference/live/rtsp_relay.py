"""Passes an RTSP connection on, and cuts it when the server redirects to another address. FFmpeg would follow it."""

import contextlib
import logging
import re
import socket
import threading
from urllib.parse import urlsplit, urlunsplit

from ...files.errors import InputError

logger = logging.getLogger(__name__)

DEFAULT_PORT = 554
CHUNK = 65_536
MOST_HEAD_BYTES = 65_536  # of a message; real ones have a few hundred
INTERLEAVED = ord("$")  # begins a packet of picture or sound between the messages
STATUS_LINE = re.compile(rb"RTSP/\d\.\d (\d{3})(?: .*)?")
LENGTH_LINE = re.compile(rb"content-length:\s*(\d{1,9})\s*", re.IGNORECASE)


class RefusedReplyError(Exception):
    """A server sent something that must not reach FFmpeg."""


class ReplyFilter:
    """
    Splits what an RTSP server sends into messages and packets, as FFmpeg does, and refuses redirects.

    A message that FFmpeg might split in another way is refused too. So no redirect can hide in it.
    """

    def __init__(self):
        self._buffer = b""

    def passed(self, data: bytes) -> bytes:
        """
        Returns the complete messages and packets that `data` finishes.

        Raises:
            RefusedReplyError: a reply redirects, or a message is malformed.
        """
        self._buffer += data
        end = 0
        while (size := self._size(end)) is not None and end + size <= len(self._buffer):
            end += size
        result, self._buffer = self._buffer[:end], self._buffer[end:]
        return result

    def _size(self, start: int) -> int | None:
        """The bytes of the message or packet that begins at `start`; None if that is not known yet."""
        waiting = len(self._buffer) - start
        if waiting < 4:
            return None
        if self._buffer[start] == INTERLEAVED:
            return 4 + int.from_bytes(self._buffer[start + 2 : start + 4], "big")
        end = self._buffer.find(b"\r\n\r\n", start)
        if end < 0:
            if waiting > MOST_HEAD_BYTES:
                raise RefusedReplyError("sent a message without an end")
            return None
        return end + 4 - start + self._body(self._buffer[start:end].split(b"\r\n"))

    @staticmethod
    def _body(lines: list[bytes]) -> int:
        """Checks the head of a message, and returns the bytes of its body."""
        if any(b"\n" in line or b"\r" in line or line[:1] in (b"$", b"") for line in lines):
            raise RefusedReplyError("sent a malformed message")
        if lines[0].lstrip().upper().startswith(b"RTSP"):
            status = STATUS_LINE.fullmatch(lines[0])
            if status is None:
                raise RefusedReplyError("sent a malformed message")
            if status[1].startswith(b"3"):
                where = next((line[9:].strip() for line in lines if line.lower().startswith(b"location:")), b"")
                raise RefusedReplyError(f"redirects to {where.decode(errors='replace')}, which is not followed")
        lengths = [line for line in lines if line.lower().lstrip().startswith(b"content-length")]
        if not lengths:
            return 0
        length = LENGTH_LINE.fullmatch(lengths[0])
        if length is None or len(lengths) > 1:
            raise RefusedReplyError("sent a malformed message")
        return int(length[1])


class RtspRelay:
    """
    Listens on this machine and passes one connection on to the server of an RTSP URL. Use it until the stream ends.

    Args:
        url: the user's URL.

    Raises:
        ValueError: the URL names no host.
    """

    def __init__(self, url: str):
        parts = urlsplit(url)
        if not parts.hostname:
            raise InputError(f"SOURCE {url} names no host")
        self.server = parts.hostname, parts.port or DEFAULT_PORT
        self.refused: str | None = None  # why the connection was cut
        self._listener = socket.create_server(("127.0.0.1", 0))
        user, at, _ = parts.netloc.rpartition("@")
        port = self._listener.getsockname()[1]
        self.url = urlunsplit(parts._replace(netloc=f"{user}{at}127.0.0.1:{port}"))
        threading.Thread(target=self._serve, name="auss-rtsp", daemon=True).start()

    def close(self) -> None:
        """Takes no more connections."""
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:  # closed
                return
            threading.Thread(target=self._connect, args=(client,), name="auss-rtsp", daemon=True).start()

    def _connect(self, client: socket.socket) -> None:
        with contextlib.ExitStack() as opened, contextlib.suppress(OSError):
            opened.enter_context(client)
            server = opened.enter_context(socket.create_connection(self.server, timeout=10.0))
            server.settimeout(None)
            threading.Thread(target=self._copy, args=(client, server), name="auss-rtsp", daemon=True).start()
            filtered = ReplyFilter()
            try:
                while data := server.recv(CHUNK):
                    client.sendall(filtered.passed(data))
            except RefusedReplyError as error:
                self.refused = f"{self.server[0]} {error}"
            finally:
                for one in (client, server):
                    with contextlib.suppress(OSError):
                        one.shutdown(socket.SHUT_RDWR)

    @staticmethod
    def _copy(source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(CHUNK):
                target.sendall(data)
            target.shutdown(socket.SHUT_RDWR)


__all__ = ["ReplyFilter", "RefusedReplyError", "RtspRelay"]
