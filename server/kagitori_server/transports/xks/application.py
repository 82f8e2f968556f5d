"""The proxy as an ASGI application: requests -> calls of the one pipeline -> answers.

    GetKeyMetadata   POST PREFIX/kms/xks/v1/keys/KEY/metadata   as DescribeKey
    Encrypt          POST PREFIX/kms/xks/v1/keys/KEY/encrypt    as Encrypt
    Decrypt          POST PREFIX/kms/xks/v1/keys/KEY/decrypt    as Decrypt
    GetHealthStatus  POST PREFIX/kms/xks/v1/health              authenticated, no operation
    (load balancers) GET  /ping                                 not authenticated

KEY is one of the names under which the configuration offers keys. Who signs a request is the principal that the
pipeline decides about; another name than these is told to be unknown, to who is authenticated.
"""

from __future__ import annotations

import json
import logging
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple, Protocol

from kagitori_keystore.xks import wire
from kagitori_server.authn.sigv4 import read_signed
from kagitori_server.model.call import Call, Evidence
from kagitori_server.model.errors import KmsError, NotFoundException
from kagitori_server.operations.proxied_table import PROXIED_DECRYPT, PROXIED_ENCRYPT
from kagitori_server.transports.http.messages import (
    Bodies,
    BodyRefused,
    Receive,
    Scope,
    Send,
    headers_of,
    problem_of_head,
    respond,
    where_from,
)
from kagitori_server.transports.xks import bodies
from kagitori_server.transports.xks.failures import INTERNAL, failure, named

Answer = tuple[int, dict[str, object]]
"""(HTTP status, JSON object)."""

_log = logging.getLogger(__name__)


class Pipeline(Protocol):
    """What takes calls to their answers."""

    async def handle(self, call: Call) -> Any:
        """The answer, an instance of the row's response class. Raises KmsError and nothing else."""


class Health(Protocol):
    """What GetHealthStatus asks."""

    async def check(self, call: Call) -> Mapping[str, bool]:
        """Authenticates the call and tries the key stores: which there are, and which work. Raises KmsError."""


@dataclass(frozen=True, slots=True)
class Offer:
    """What a proxy offers: its path before `/kms/xks/v1`, and the keys (id, ARN or alias) by their external ids."""

    prefix: str
    keys: Mapping[str, str]
    version: str
    """Of this software."""


class _Action(NamedTuple):
    operation: str
    members: Callable[[bytes, str], bodies.Members]
    answer: Callable[[Any], dict[str, object]]


_ACTIONS = {
    "metadata": _Action("DescribeKey", bodies.metadata_members, bodies.metadata_answer),
    "encrypt": _Action(PROXIED_ENCRYPT, bodies.encrypt_members, bodies.encrypt_answer),
    "decrypt": _Action(PROXIED_DECRYPT, bodies.decrypt_members, bodies.decrypt_answer),
}


@dataclass(slots=True)
class _Request:
    """A request whose body has been read."""

    scope: Scope
    body: bytes = field(repr=False)


class Application:
    """Answers requests; never raises. One per listener."""

    def __init__(
        self, pipeline: Pipeline, health: Health, offer: Offer, request_ids: Callable[[], str], most_in_flight: int
    ) -> None:
        self._pipeline = pipeline
        self._health = health
        self._offer = offer
        self._request_ids = request_ids
        self._most_in_flight = most_in_flight
        self._bodies = Bodies(wire.MESSAGE_MAX_BYTES)
        self.in_flight = 0
        """How many requests are worked on now, their bodies having come."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request (ASGI 3.0)."""
        if scope["type"] != "http":
            return
        if scope["method"] == "GET" and _path(scope) == "/ping":
            await _respond(send, 200, {})
            return
        close = False
        try:
            (status, found), close = await self._read(scope, receive)
        except Exception as bug:  # noqa: BLE001 - whatever it is, the caller must get an answer that says nothing
            frames = "".join(traceback.format_tb(bug.__traceback__))
            _log.error("a proxied call failed by a mistake of the service: %s\n%s", type(bug).__qualname__, frames)
            status, found = named(INTERNAL)
        await _respond(send, status, found, close=close)

    async def _read(self, scope: Scope, receive: Receive) -> tuple[Answer, bool]:
        """(answer, whether the connection ends with it).

        The body is read first, whatever comes of it: a client that is still sending may not hear an early answer. Until
        it has come, the request takes nobody's place.
        """
        problem = problem_of_head(scope)
        if problem is not None:
            return named("ValidationException", problem), True
        try:
            body = await self._bodies.read(scope, receive)
        except BodyRefused as refused:
            if refused.busy:
                return _busy(), True
            return named("ValidationException", "The body is too long, or was sent too slowly."), True
        if self.in_flight >= self._most_in_flight:
            return _busy(), True
        self.in_flight += 1
        try:
            return await self._routed(_Request(scope, body)), False
        finally:
            self.in_flight -= 1

    async def _routed(self, request: _Request) -> Answer:
        scope, path = request.scope, _path(request.scope)
        below = path.removeprefix(self._offer.prefix + wire.API_PATH)
        parts = below.split("/")
        of_key = len(parts) == 4 and parts[1] == "keys" and parts[3] in _ACTIONS and wire.KEY_ID.fullmatch(parts[2])
        if below == path or not (of_key or below == "/health"):
            return named("InvalidUriPathException", "The URI path is not valid.")
        if scope["method"] != "POST":
            return 405, {"errorName": "ValidationException", "errorMessage": "Only POST is allowed."}
        if scope["query_string"]:
            return named("ValidationException", "There are no query parameters.")
        try:
            if of_key:
                return await self._about_key(request, parts[2], _ACTIONS[parts[3]])
            return await self._about_health(request)
        except KmsError as error:
            return failure(error)

    async def _about_key(self, request: _Request, external_id: str, action: _Action) -> Answer:
        key = self._offer.keys.get(external_id)
        decode: Callable[[], bodies.Members] = partial(_unknown, external_id)
        if key is not None:
            decode = partial(action.members, request.body, key)
        call = Call(action.operation, self._request_ids(), _evidence(request), _region(key), decode)
        return 200, action.answer(await self._pipeline.handle(call))

    async def _about_health(self, request: _Request) -> Answer:
        call = Call("GetHealthStatus", self._request_ids(), _evidence(request), None, dict)
        stores = await self._health.check(call)
        bodies.health_members(request.body)
        return 200, {
            "xksProxyFleetSize": 1,
            "xksProxyVendor": "Kagitori",
            "xksProxyModel": f"Kagitori {self._offer.version}",
            "ekmVendor": "Kagitori",
            "ekmFleetDetails": [
                {
                    "id": store_id, "model": f"Kagitori {self._offer.version}",
                    "healthStatus": "ACTIVE" if works else "UNAVAILABLE",
                }
                for store_id, works in stores.items()
            ],
        }


def _unknown(external_id: str) -> bodies.Members:
    raise NotFoundException(f"The external key {external_id} is not offered here.")


def _region(key: str | None) -> str | None:
    """The Region that a key's ARN names; None for the default."""
    return key.split(":")[3] if key is not None and key.startswith("arn:") else None


def _path(scope: Scope) -> str:
    raw: bytes = scope["raw_path"]
    return raw.decode("latin-1")


def _evidence(request: _Request) -> Evidence:
    scope, headers = request.scope, headers_of(request.scope)
    evidence = where_from(scope, headers)
    try:
        evidence.signed = read_signed("POST", _path(scope), (), headers, request.body, wire.SERVICE)
    except KmsError as problem:
        evidence.problem = problem
    return evidence


def _busy() -> Answer:
    return named("ThrottlingException", "The proxy is busy.")


async def _respond(send: Send, status: int, found: Mapping[str, object], *, close: bool = False) -> None:
    headers = [(b"content-type", wire.MEDIA_TYPE.encode()), (b"cache-control", b"no-store")]
    if status == 405:
        headers.append((b"allow", b"POST"))
    await respond(send, status, headers, json.dumps(found, separators=(",", ":")).encode(), close=close)
