"""The AWS services that are spoken here, each a value, and how a request finds its operation.

A service names its operations and the rows that perform them; its codec reads requests and writes answers by the
shapes of those rows. Adding a service is another `AwsService` and, for another protocol, another `Codec`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from kagitori_server.model.call import ExchangedToken
from kagitori_server.model.errors import KmsError
from kagitori_server.operations.row import Operation, Table
from kagitori_server.operations.table import TABLE
from kagitori_server.transports.awsjson.codec import JsonCodec
from kagitori_server.transports.awsjson.messages import Received, Written

Reader = Callable[[Received], Mapping[str, Any]]
"""Request -> members by snake_case name. Raises SerializationException."""
Writer = Callable[[Any, str], Written]
"""(answer of the row, request id) -> response."""


class Codec(Protocol):
    """How a protocol writes requests, answers and failures."""

    def reader(self, service: AwsService, operation: str, request: type[Any]) -> Reader:
        """Reads requests into the members of the shape `request`."""

    def writer(self, service: AwsService, operation: str, response: type[Any]) -> Writer:
        """Writes answers of the class `response`."""

    def failure(self, error: KmsError, request_id: str) -> Written:
        """What a caller is told of `error`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AwsService:
    """One AWS service."""

    signing_name: str
    """What the credential scope of its requests names."""
    endpoint_variable: str
    """The environment variable by which SDKs and the CLI are told where it is."""
    codec: Codec
    operations: Mapping[str, str]
    """AWS operation -> row of the tables that the pipeline has."""
    target_prefixes: tuple[str, ...] = ()
    """For JSON: what stands before `.Operation` in `X-Amz-Target`."""
    version: str = ""
    """For the query protocol: what stands in `Version`, beside `Action`."""
    member_names: Mapping[str, str] = field(default_factory=dict)
    """Member -> its AWS name where that isn't the words of it capitalised (`key_id` -> `KeyId`)."""
    absent_if_empty: frozenset[str] = frozenset()
    """Members with lists that answers have only with something in them."""
    unsigned: Mapping[str, Callable[[Any], ExchangedToken]] = field(default_factory=dict)
    """Operations whose requests nobody signs, and what in the row's request proves the caller instead."""


KMS = AwsService(
    signing_name="kms",
    endpoint_variable="AWS_ENDPOINT_URL_KMS",
    codec=JsonCodec(no_output=frozenset({
        "CreateAlias", "DeleteAlias", "DisableKey", "DisableKeyRotation", "EnableKey", "EnableKeyRotation",
        "PutKeyPolicy", "RetireGrant", "RevokeGrant", "TagResource", "UntagResource", "UpdateAlias",
        "UpdateKeyDescription", "UpdatePrimaryRegion",
    })),
    operations={row.name: row.name for row in TABLE.values() if isinstance(row, Operation) and row.service == "kms"},
    target_prefixes=("TrentService",),
    member_names={"aws_account_id": "AWSAccountId"},
    absent_if_empty=frozenset({
        "encryption_algorithms", "signing_algorithms", "mac_algorithms", "key_agreement_algorithms",
        "encapsulation_algorithms",
    }),
)
"""AWS Key Management Service, API of 2014-11-01."""


class Route(NamedTuple):
    """An operation, and how to read and write it."""

    service: AwsService
    row: str
    """The row's name."""
    read: Reader
    write: Writer
    proof: Callable[[Received], ExchangedToken] | None
    """What proves the caller of a request that isn't signed; None where a signature does. Raises KmsError for a request
    that isn't acceptable."""


def _proof(
    take: Callable[[Any], ExchangedToken] | None, row: Operation, read: Reader
) -> Callable[[Received], ExchangedToken] | None:
    if take is None:
        return None
    return lambda received: take(row.request.build(read(received)))


class Routes:
    """Finds the operation of a request."""

    def __init__(self, services: Sequence[AwsService], rows: Table) -> None:
        """Raises KeyError for a row that isn't there, TypeError for one that isn't an operation."""
        self._targets: dict[str, Route] = {}
        self._actions: dict[tuple[str, str], Route] = {}
        self._prefixes: dict[str, AwsService] = {}
        self._versions: dict[str, AwsService] = {}
        self.default = services[0]
        """Answers requests that name no service."""
        for service in services:
            for prefix in service.target_prefixes:
                self._prefixes[prefix] = service
            if service.version:
                self._versions[service.version] = service
            for operation, row_name in service.operations.items():
                row = rows[row_name]
                if not isinstance(row, Operation):
                    raise TypeError(row_name)
                codec = service.codec
                read = codec.reader(service, operation, row.request.cls)
                route = Route(
                    service, row_name, read, codec.writer(service, operation, row.response),
                    _proof(service.unsigned.get(operation), row, read),
                )
                for prefix in service.target_prefixes:
                    self._targets[f"{prefix}.{operation}"] = route
                if service.version:
                    self._actions[service.version, operation] = route

    def by_target(self, target: str) -> Route | None:
        """The operation that `X-Amz-Target` names."""
        return self._targets.get(target)

    def by_action(self, version: str, action: str) -> Route | None:
        """The operation that `Action` and `Version` name."""
        return self._actions.get((version, action))

    def service_of_target(self, target: str) -> AwsService:
        """Whose operation it would be, and whose failures to answer with."""
        return self._prefixes.get(target.rpartition(".")[0], self.default)

    def service_of_version(self, version: str) -> AwsService:
        """The same of an action: of a version that nothing has it is another query service."""
        found = self._versions.get(version)
        return found if found is not None else next(iter(self._versions.values()), self.default)
