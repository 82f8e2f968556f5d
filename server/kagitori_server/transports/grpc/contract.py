"""The services of the contract, laid over the table of operations."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor

from kagitori.kms.v1 import admin_service_pb2, crypto_service_pb2, dev_service_pb2, key_service_pb2
from kagitori_server.operations.row import BatchOperation, Operation, Row, Table
from kagitori_server.transports.grpc.marshal import (
    Decoder,
    Encoder,
    batch_decoder,
    batch_encoder,
    request_decoder,
    response_encoder,
)
from kagitori_server.transports.grpc.mismatch import ContractMismatch

SERVICES: tuple[ServiceDescriptor, ...] = (
    key_service_pb2.DESCRIPTOR.services_by_name["KeyService"],
    crypto_service_pb2.DESCRIPTOR.services_by_name["CryptoService"],
    admin_service_pb2.DESCRIPTOR.services_by_name["AdminService"],
)
DEV_SERVICE: ServiceDescriptor = dev_service_pb2.DESCRIPTOR.services_by_name["DevService"]
"""Of instances for tests; no other has rows for it, and it is listed by those that have."""


@dataclass(frozen=True, slots=True)
class Method:
    """An rpc that is served."""

    operation: str
    decode: Decoder
    encode: Encoder
    streams: bool
    """Whether the answer is a stream of messages, each of which `encode` writes."""


def methods(table: Table) -> Mapping[str, Method]:
    """Path (`/kagitori.kms.v1.KeyService/CreateKey`) -> method, for each row of `table`.

    An rpc without a row is left out. Raises ContractMismatch for a row without an rpc, or with shapes that don't
    fit it.
    """
    served: dict[str, Method] = {}
    rpcs = {method.name: method for service in (*SERVICES, DEV_SERVICE) for method in service.methods}
    for name, row in table.items():
        rpc = rpcs.get(name)
        if rpc is None or row.name != name:
            raise ContractMismatch(f"No rpc of the contract is called {name}.")
        streams = isinstance(row, Operation) and row.streams
        if rpc.client_streaming or rpc.server_streaming != streams:
            raise ContractMismatch(f"Of the rpc {name} and its row, one is a stream and the other is not.")
        served[path(rpc)] = _method(rpc, row)
    return served


def services(paths: Iterable[str]) -> tuple[ServiceDescriptor, ...]:
    """The services to tell of where these paths are served."""
    served = frozenset(paths)
    dev = any(path(rpc) in served for rpc in DEV_SERVICE.methods)
    return (*SERVICES, DEV_SERVICE) if dev else SERVICES


def path(rpc: MethodDescriptor) -> str:
    """The path of an rpc on the wire."""
    return f"/{rpc.containing_service.full_name}/{rpc.name}"


def _method(rpc: MethodDescriptor, row: Row) -> Method:
    if isinstance(row, BatchOperation):
        return Method(
            row.name,
            batch_decoder(rpc.input_type, row.item.request.cls),
            batch_encoder(rpc.output_type, row.item.response),
            streams=False,
        )
    return Method(
        row.name,
        request_decoder(rpc.input_type, row.request.cls),
        response_encoder(rpc.output_type, row.response),
        streams=row.streams,
    )
