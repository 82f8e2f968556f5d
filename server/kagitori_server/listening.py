"""Where the configuration has the service listen, and by which certificates it is known there."""

from __future__ import annotations

from collections.abc import Callable

from kagitori_server.bootstrap.certificates import Issued, check_pair, host_names, prepare
from kagitori_server.bootstrap.data_directory import DataDirectory
from kagitori_server.config import Config, ConfigurationError
from kagitori_server.configured import read_file, read_secret
from kagitori_server.transports.grpc.listeners import Listener, ListenerKind, TlsFiles
from kagitori_server.transports.http.host import HttpTls


class Listening:
    """The listeners of a configuration."""

    def __init__(self, config: Config, data: DataDirectory, everybody: Callable[[], float]) -> None:
        """`everybody` is the time by which peers judge certificates."""
        self._config = config
        self._data = data
        self._everybody = everybody

    def grpc(self) -> list[Listener]:
        """Those of gRPC, their files made or checked. Raises ConfigurationError, CertificatesRefused, OSError."""
        listen = self._config.listen
        listeners = []
        if listen.grpc:
            listeners.append(Listener(listen.grpc, ListenerKind.TLS, self._files()))
        if listen.grpc_mtls:
            listeners.append(Listener(listen.grpc_mtls, ListenerKind.MTLS, self._files()))
        if listen.grpc_plaintext:
            listeners.append(Listener(listen.grpc_plaintext, ListenerKind.PLAINTEXT))
        if listen.socket:
            listeners.append(Listener(listen.socket, ListenerKind.UNIX))
        return listeners

    def http_tls(self, client_ca: str = "", client_name: str = "") -> HttpTls:
        """The files of a listener for HTTPS, made or checked. Raises as `grpc` does."""
        tls = self._config.tls
        self._files()
        return HttpTls(
            certificate=tls.certificate_file or str(self._data.tls / "server.crt"),
            key=tls.key_file or str(self._data.tls / "server.key"),
            client_ca=client_ca, client_name=client_name,
        )

    def _files(self) -> TlsFiles:
        tls = self._config.tls
        if tls.certificate_file and tls.client_ca_file:
            local = None
        else:
            local = prepare(self._data.tls, (*host_names(), *tls.server_names), self._everybody)
        own_ca = local.authority.pem if local is not None else None
        client_ca = read_file(tls.client_ca_file) if tls.client_ca_file else own_ca
        if tls.certificate_file:
            own = Issued(read_file(tls.certificate_file), read_secret(tls.key_file))
            check_pair(own)
            return TlsFiles(own.certificate, own.key, client_ca)
        if local is None:
            raise ConfigurationError("tls: there is no server certificate")
        return TlsFiles(local.server.certificate, local.server.key, client_ca)
