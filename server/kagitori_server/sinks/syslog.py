"""Records as syslog messages (RFC 5424): over TCP or TLS with octet counting (RFC 6587, RFC 5425), or UDP (RFC 5426).

Syslog has no acknowledgement: a record counts as delivered once the connection has taken it and is still there.
"""

from __future__ import annotations

import json
import socket
import ssl
from typing import NamedTuple

from kagitori_server.sinks.delivery import Batch, DeliveryFailed
from kagitori_server.timed_http import Deadline, reached

_LOG_AUDIT, _WARNING, _INFORMATIONAL = 13, 4, 6
_SEQUENCE_MAX = 2_147_483_647
_APP = "kagitori"
_DROPPED = ("requestParameters", "responseElements", "additionalEventData", "serviceEventDetails", "tlsDetails",
            "resources", "errorMessage", "userAgent")
"""What a record that doesn't fit a datagram is sent without, in this order, until it fits."""
DATAGRAM_BYTES_MAX = 8_192
"""Receivers should take 2,048 bytes and more (RFC 5426 section 3.2); common ones take 8 KiB."""


class Place(NamedTuple):
    """Where a syslog server listens."""

    transport: str
    """`tcp`, `tls` or `udp`."""
    host: str
    port: int


class Syslog:
    """`Delivery` to a syslog server. Facility is 13 (log audit), severity 4 for refused calls and else 6, MSGID the
    operation, MSG the record as JSON."""

    def __init__(
        self, place: Place, tls: ssl.SSLContext, seconds: float, host_name: str, process_id: int,
        datagram_bytes: int = DATAGRAM_BYTES_MAX,
    ) -> None:
        """`seconds` is how long connecting may take, and the whole of a delivery."""
        self._place = place
        self._tls = tls
        self._seconds = seconds
        self._host_name = _token(host_name, 255)
        self._process_id = process_id
        self._datagram_bytes = datagram_bytes
        self._socket: socket.socket | None = None

    def deliver(self, batch: Batch) -> None:
        """Raises DeliveryFailed."""
        with Deadline(self._seconds) as deadline:
            try:
                connection = self._socket or self._connect(deadline)
                self._socket = connection
                deadline.watch(connection)
                self._send(connection, batch)
            except OSError as problem:
                if not deadline.passed:
                    self.close()
                    raise DeliveryFailed(type(problem).__name__) from None
        if deadline.passed:
            # A slow server may have time for fewer records.
            too_large = self._socket is not None
            self.close()
            raise DeliveryFailed("TimeoutError", too_large=too_large)

    def _send(self, connection: socket.socket, batch: Batch) -> None:
        numbered = enumerate(batch.records, batch.first_seq)
        if self._place.transport == "udp":
            for seq, record in numbered:
                connection.send(self._fitting(seq, record))
            return
        messages = [self.message(seq, record) for seq, record in numbered]
        _check_open(connection)
        connection.sendall(b"".join(b"%d %b" % (len(message), message) for message in messages))
        _check_open(connection)

    def message(self, seq: int, record: bytes) -> bytes:
        """One message, without its framing."""
        event = json.loads(record)
        severity = _WARNING if "errorCode" in event else _INFORMATIONAL
        head = (
            f"<{_LOG_AUDIT * 8 + severity}>1 {event['eventTime']} {self._host_name} {_APP} {self._process_id} "
            f"{_token(event['eventName'], 32)} [meta sequenceId=\"{(seq - 1) % _SEQUENCE_MAX + 1}\"] "
        )
        return head.encode("ascii") + record

    def _fitting(self, seq: int, record: bytes) -> bytes:
        message = self.message(seq, record)
        if len(message) <= self._datagram_bytes:
            return message
        event = json.loads(record)
        left_out: list[str] = []
        for name in _DROPPED:
            if event.pop(name, None) is None:
                continue
            left_out.append(name)
            shorter = json.dumps({**event, "kagitoriOmitted": left_out}, separators=(",", ":")).encode("ascii")
            message = self.message(seq, shorter)
            if len(message) <= self._datagram_bytes:
                break
        return message[: self._datagram_bytes]

    def close(self) -> None:
        """Closes the connection."""
        connection, self._socket = self._socket, None
        if connection is not None:
            connection.close()

    def _connect(self, deadline: Deadline) -> socket.socket:
        place = self._place
        if place.transport == "udp":
            family, kind, protocol, _, address = socket.getaddrinfo(place.host, place.port, type=socket.SOCK_DGRAM)[0]
            datagrams = socket.socket(family, kind, protocol)
            datagrams.settimeout(self._seconds)
            datagrams.connect(address)
            return datagrams
        connection = reached(place.host, place.port, self._seconds, deadline)
        if place.transport == "tcp":
            return connection
        secured = self._tls.wrap_socket(connection, server_hostname=place.host, do_handshake_on_connect=False)
        try:
            deadline.watch(secured)
            secured.do_handshake()
        except OSError:
            secured.close()
            raise
        return secured


def _check_open(connection: socket.socket) -> None:
    """Raises ConnectionError if the server has closed its side. What it says is nothing that we'd know."""
    before = connection.gettimeout()
    connection.settimeout(0)
    try:
        if connection.recv(4_096) == b"":
            raise ConnectionResetError
    except (BlockingIOError, ssl.SSLWantReadError):
        return
    finally:
        connection.settimeout(before)


def _token(text: str, longest: int) -> str:
    """Printable ASCII without spaces, `-` for nothing."""
    return "".join(letter for letter in text if 33 <= ord(letter) <= 126)[:longest] or "-"


