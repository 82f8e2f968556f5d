"""AWS endpoints as an ASGI application: requests -> calls of the one pipeline -> answers.

Which service and operation a request is for is told by `X-Amz-Target`, or for the query protocol by `Action` and
`Version` in a form or in the query string. Who signs it is the principal that the pipeline decides about; the account
is the signer's, the Region that of the credential scope.
"""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import Callable, Container, Sequence
from functools import partial
from typing import Any, NamedTuple, Protocol
from urllib.parse import parse_qsl

from kagitori_keystore.sigv4 import Headers
from kagitori_server.authn.sigv4 import is_signature_parameter, read_signed
from kagitori_server.model.arn import shortened
from kagitori_server.model.call import LARGE_BYTES, Call, Evidence, SignedRequest
from kagitori_server.model.errors import (
    InvalidSignatureException,
    KmsError,
    KMSInternalException,
    RequestEntityTooLargeException,
    SerializationException,
    ThrottlingException,
    UnknownOperationException,
)
from kagitori_server.transports.awsjson.codec import MEDIA_TYPES
from kagitori_server.transports.awsjson.messages import Received, Written
from kagitori_server.transports.awsjson.services import AwsService, Codec, Route, Routes
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

BODY_BYTES_MAX = 1_048_576
FORM_BYTES_MAX = 65_536
"""Of a body with parameters."""
QUERY_BYTES_MAX = 8_192
"""Of the query string."""
LARGE_AT_ONCE = 64
"""Requests of more than LARGE_BYTES that are worked on at once; they are read in threads, and wait there."""
PARAMETERS_MAX = 1_000
"""Of a query string and of a form, each."""
_RETRY_SECONDS = 1.0
_FORM = "application/x-www-form-urlencoded"
_SINGLE = frozenset({
    "host", "content-type", "content-encoding", "x-amz-target", "x-amz-date", "x-amz-content-sha256",
    "x-amz-security-token", "authorization",
})
"""Headers that a request has once at most, so that nobody on its way can understand it differently."""

_log = logging.getLogger(__name__)


class Pipeline(Protocol):
    """What takes calls to their answers."""

    async def handle(self, call: Call) -> Any:
        """The answer, an instance of the row's response class. Raises KmsError and nothing else."""


class _Request(NamedTuple):
    """A request whose body has been read."""

    scope: Scope
    headers: Headers
    query: Sequence[tuple[str, str]]
    body: bytes


class _Refused(Exception):
    """A request that is answered without being a call; `codec` says it."""

    def __init__(self, codec: Codec, error: KmsError, *, close: bool = False) -> None:
        super().__init__()
        self.codec = codec
        self.error = error
        self.close = close


class _Unknown(_Refused):
    """A request for an operation that isn't served. Whoever signed it is to be found in the trail."""

    def __init__(self, service: AwsService, named: str, message: str) -> None:
        super().__init__(service.codec, UnknownOperationException(message))
        self.service = service
        self.named = named


class Application:
    """Answers requests; never raises. One per listener."""

    def __init__(
        self, pipeline: Pipeline, routes: Routes, request_ids: Callable[[], str], regions: Container[str],
        most_in_flight: int,
    ) -> None:
        """`regions` are those that are served."""
        self._pipeline = pipeline
        self._routes = routes
        self._request_ids = request_ids
        self._regions = regions
        self._most_in_flight = most_in_flight
        self._bodies = Bodies(BODY_BYTES_MAX)
        self._large = 0
        self.in_flight = 0
        """How many requests are worked on now, their bodies having come."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request (ASGI 3.0)."""
        if scope["type"] != "http":
            return
        if scope["method"] == "GET" and scope["raw_path"] == b"/ping":
            await _respond(send, Written(200, ((b"Content-Type", b"text/plain"),), b"healthy"), None, close=False)
            return
        request_id, close = self._request_ids(), False
        try:
            written = await self._read(scope, receive, request_id)
        except _Refused as refused:
            written, close = refused.codec.failure(refused.error, request_id), refused.close
        except Exception as bug:  # noqa: BLE001 - whatever it is, the caller must get an answer that says nothing
            _log_bug(request_id, bug)
            written = self._routes.default.codec.failure(_internal(), request_id)
        await _respond(send, written, request_id, close=close)

    async def _read(self, scope: Scope, receive: Receive, request_id: str) -> Written:
        """The body is read first, whatever comes of it: a client that is still sending may not hear an early answer.

        Raises _Refused.
        """
        default = self._routes.default.codec
        problem = problem_of_head(scope)
        if problem is not None:
            raise _Refused(default, SerializationException(problem), close=True)
        try:
            body = await self._bodies.read(scope, receive)
        except BodyRefused as refused:
            too_large = RequestEntityTooLargeException("The body is too long, or was sent too slowly.")
            raise _Refused(default, _busy() if refused.busy else too_large, close=True) from None
        large = len(body) > LARGE_BYTES
        if self.in_flight >= self._most_in_flight or (large and self._large >= LARGE_AT_ONCE):
            raise _Refused(default, _busy(), close=True)
        self.in_flight += 1
        self._large += large
        try:
            return await self._answered(scope, body, request_id)
        finally:
            self.in_flight -= 1
            self._large -= large

    async def _answered(self, scope: Scope, body: bytes, request_id: str) -> Written:
        """Raises _Refused."""
        default = self._routes.default.codec
        request = _Request(scope, headers_of(scope), _query(scope, default), body)
        try:
            route, received = self._route(request)
        except _Unknown as unknown:
            await self._record(request, unknown, request_id)
            raise
        codec = route.service.codec
        if len(body) > LARGE_BYTES:
            evidence = await asyncio.to_thread(_evidence, request, route, received)
        else:
            evidence = _evidence(request, route, received)
        region = None
        if evidence.signed is not None:
            region = evidence.signed.region
            if region not in self._regions:
                text = f"Credential should be scoped to a valid region, not '{region}'."
                evidence.signed, evidence.problem, region = None, InvalidSignatureException(text), None
        call = Call(route.row, request_id, evidence, region, partial(route.read, received), len(body))
        try:
            return route.write(await self._pipeline.handle(call), request_id)
        except KmsError as error:
            return codec.failure(error, request_id)
        except Exception as bug:  # noqa: BLE001 - as above
            _log_bug(request_id, bug)
            return codec.failure(_internal(), request_id)

    async def _record(self, request: _Request, unknown: _Unknown, request_id: str) -> None:
        """Has a request recorded that names no operation, if it's signed for the service: strangers who try names can't
        fill the trail. Raises _Refused if it can't be recorded."""
        try:
            if len(request.body) > LARGE_BYTES:
                signed = await asyncio.to_thread(_signed, request, unknown.service)
            else:
                signed = _signed(request, unknown.service)
        except KmsError:
            return
        if signed.region not in self._regions:
            return
        evidence = where_from(request.scope, request.headers)
        evidence.signed = signed
        # With a slash in front it is no name of a row, whatever stands behind.
        call = Call("/" + shortened(unknown.named), request_id, evidence, signed.region, dict, len(request.body))
        try:
            await self._pipeline.handle(call)
        except UnknownOperationException:
            return
        except KmsError as error:
            raise _Refused(unknown.codec, error) from None

    def _route(self, request: _Request) -> tuple[Route, Received]:
        """The operation, and what its codec reads. Raises _Refused."""
        headers = dict(request.headers)
        default = self._routes.default.codec
        names = [name for name, _ in request.headers if name in _SINGLE]
        if len(names) != len(set(names)):
            raise _Refused(default, SerializationException("A header is there twice."), close=True)
        if headers.get("content-encoding", "identity") != "identity":
            raise _Refused(default, SerializationException("The body must not be compressed."))
        media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
        target = headers.get("x-amz-target")
        if target is not None:
            route = self._routes.by_target(target)
            if route is None or media_type not in MEDIA_TYPES or not _is_plain(request.scope, "POST"):
                service = self._routes.service_of_target(target)
                raise _Unknown(service, target, f"{shortened(target)} is no operation here.")
            return route, Received(request.body, ())
        parameters = [*request.query]
        if media_type == _FORM:
            if len(request.body) > FORM_BYTES_MAX:
                raise _Refused(default, RequestEntityTooLargeException("The form is too long."))
            parameters += _pairs(request.body.decode("latin-1"), default)
        said = dict(parameters)
        action, version = said.get("Action"), said.get("Version", "")
        if action is None or not _is_plain(request.scope, "POST", "GET"):
            raise _Refused(default, UnknownOperationException("The request names no operation of this service."))
        if len({name for name, _ in parameters}) != len(parameters):
            raise _Refused(
                self._routes.service_of_version(version).codec, SerializationException("A parameter is there twice.")
            )
        route = self._routes.by_action(version, action)
        if route is None:
            raise _Unknown(
                self._routes.service_of_version(version), action,
                f"Could not find operation {shortened(action)} for version {shortened(version)}.",
            )
        return route, Received(
            request.body, tuple(pair for pair in parameters if not is_signature_parameter(pair[0]))
        )


def _is_plain(scope: Scope, *methods: str) -> bool:
    return scope["method"] in methods and scope["raw_path"] == b"/"


def _query(scope: Scope, codec: Codec) -> Sequence[tuple[str, str]]:
    raw: bytes = scope["query_string"]
    if not raw:
        return ()
    if len(raw) > QUERY_BYTES_MAX:
        raise _Refused(codec, RequestEntityTooLargeException("The query string is too long."))
    return _pairs(raw.decode("latin-1"), codec)


def _pairs(text: str, codec: Codec) -> list[tuple[str, str]]:
    try:
        return parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=PARAMETERS_MAX)
    except ValueError:
        raise _Refused(codec, SerializationException("The parameters can't be read.")) from None


def _evidence(request: _Request, route: Route, received: Received) -> Evidence:
    evidence = where_from(request.scope, request.headers)
    try:
        if route.proof is not None:
            # Whatever signature came with it says nothing: who has no access key can have this done.
            evidence.exchanged = route.proof(received)
            return evidence
        evidence.signed = _signed(request, route.service)
    except KmsError as problem:
        evidence.problem = problem
    return evidence


def _signed(request: _Request, service: AwsService) -> SignedRequest:
    """Raises as `read_signed`. Takes as long as hashing the body."""
    path: bytes = request.scope["raw_path"]
    return read_signed(
        request.scope["method"], path.decode("latin-1"), request.query, request.headers, request.body,
        service.signing_name,
    )


def _busy() -> ThrottlingException:
    return ThrottlingException("The service is busy. Please try again.", retry_after=_RETRY_SECONDS)


def _internal() -> KMSInternalException:
    return KMSInternalException("An internal error occurred.")


def _log_bug(request_id: str, bug: BaseException) -> None:
    """Write where it happened and what kind it is; the text of an exception may quote the request."""
    frames = "".join(traceback.format_tb(bug.__traceback__))
    _log.error(
        "a call by AWS's protocol failed by a mistake of the service: %s\n%s", type(bug).__qualname__, frames,
        extra={"request_id": request_id},
    )


async def _respond(send: Send, written: Written, request_id: str | None, *, close: bool) -> None:
    headers = [*written.headers, (b"cache-control", b"no-cache, no-store, must-revalidate, private")]
    if request_id is not None:
        headers.append((b"x-amzn-RequestId", request_id.encode()))
    await respond(send, written.status, headers, written.body, close=close)
