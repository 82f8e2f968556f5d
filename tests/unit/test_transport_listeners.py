"""Where the gRPC host refuses to listen."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from kagitori_server.transports.grpc.listeners import (
    Listener,
    ListenerKind,
    ListenerRefused,
    TlsFiles,
    clear_stale_socket,
)

TLS = TlsFiles(b"certificate", b"key", b"authority")


@pytest.mark.parametrize("address", ["127.0.0.1:0", "127.9.9.9:443", "[::1]:1", "localhost:65535"])
def test_plaintext_on_loopback(address: str) -> None:
    """Addresses that nobody else can reach."""
    Listener(address, ListenerKind.PLAINTEXT).check()


@pytest.mark.parametrize(
    "address",
    ["0.0.0.0:0", "[::]:0", "192.0.2.1:80", "10.0.0.1:80", "example.org:80", "localhost.example.org:80",
     "[::ffff:127.0.0.1]:80", "169.254.0.1:80", "LOCALHOST:80"],
)
def test_plaintext_elsewhere(address: str) -> None:
    """Anything else, names included, whatever they mean today."""
    with pytest.raises(ListenerRefused, match="loopback"):
        Listener(address, ListenerKind.PLAINTEXT).check()


@pytest.mark.parametrize(
    "address",
    ["", "127.0.0.1", ":50051", "127.0.0.1:", "127.0.0.1:65536", "127.0.0.1:x", "127.0.0.1:-1", "127.0.0.1:1:2",
     "::1:50051", "unix:/run/x", "dns:///127.0.0.1:80", "ipv4:0.0.0.0:80", "/run/x", "127.0.0.1:80 ",
     "127.0.0.1:80\n"],
)
@pytest.mark.parametrize("kind", [ListenerKind.TLS, ListenerKind.MTLS, ListenerKind.PLAINTEXT])
def test_addresses_that_are_none(address: str, kind: ListenerKind) -> None:
    """grpcio would read some of these in its own way; we don't let it."""
    with pytest.raises(ListenerRefused, match="HOST:PORT"):
        Listener(address, kind, TLS).check()


@pytest.mark.parametrize("kind", [ListenerKind.TLS, ListenerKind.MTLS])
def test_tls_without_a_certificate(kind: ListenerKind) -> None:
    """A listener that is to be secured never falls back to plaintext."""
    with pytest.raises(ListenerRefused, match="certificate"):
        Listener("0.0.0.0:0", kind).check()


@pytest.mark.parametrize("authority", [None, b""])
def test_mutual_tls_without_an_authority(authority: bytes | None) -> None:
    """Nobody could be checked."""
    with pytest.raises(ListenerRefused, match="authority"):
        Listener("0.0.0.0:0", ListenerKind.MTLS, TlsFiles(b"c", b"k", authority)).check()


def test_key_is_not_shown() -> None:
    """Not in a repr."""
    assert "key" not in repr(TlsFiles(b"c", b"the key")).replace("key=", "")


@pytest.mark.parametrize("name", ["kagitori.sock", "../relative.sock"])
def test_socket_paths_are_absolute(name: str) -> None:
    """So that they don't depend on where the server was started."""
    with pytest.raises(ListenerRefused, match="absolute"):
        Listener(name, ListenerKind.UNIX).check()


def test_socket_path_is_bounded(tmp_path: Path) -> None:
    """The kernel would cut it."""
    with pytest.raises(ListenerRefused, match="107 bytes"):
        Listener(str(tmp_path / ("x" * 108)), ListenerKind.UNIX).check()


def test_socket_needs_a_safe_folder(tmp_path: Path) -> None:
    """A folder that exists, and where others can't put their own socket in its place."""
    with pytest.raises(ListenerRefused, match="can't be used"):
        Listener(str(tmp_path / "missing" / "x"), ListenerKind.UNIX).check()
    open_folder = tmp_path / "open"
    open_folder.mkdir()
    open_folder.chmod(0o777)
    with pytest.raises(ListenerRefused, match="safer folder"):
        Listener(str(open_folder / "x"), ListenerKind.UNIX).check()
    open_folder.chmod(0o1777)
    Listener(str(open_folder / "x"), ListenerKind.UNIX).check()


def test_socket_of_a_server_that_is_gone_is_removed(tmp_path: Path) -> None:
    """And no socket at all is fine."""
    path = tmp_path / "s"
    clear_stale_socket(path)
    with socket.socket(socket.AF_UNIX) as gone:
        gone.bind(str(path))
    assert path.exists()
    clear_stale_socket(path)
    assert not path.exists()


def test_socket_of_a_living_server_is_left(tmp_path: Path) -> None:
    """Two servers never share a socket."""
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as living:
        living.bind(str(path))
        living.listen()
        with pytest.raises(ListenerRefused, match="Another server"):
            clear_stale_socket(path)
    assert path.exists()


def test_anything_but_a_socket_is_left(tmp_path: Path) -> None:
    """A file or a link in the way is for the operator to remove."""
    path, link = tmp_path / "file", tmp_path / "link"
    path.write_text("precious")
    link.symlink_to(path)
    for place in (path, link, tmp_path):
        with pytest.raises(ListenerRefused, match="no socket"):
            clear_stale_socket(place)
    assert path.read_text() == "precious"
