"""A call as its audit record shows it, and what stands for the parts that it doesn't show."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from kagitori_server.audit.members import OMITTED, read_members
from kagitori_server.authz.condition_keys import Asked, RequestContext
from kagitori_server.model.call import Evidence, TlsFacts
from kagitori_server.model.errors import KmsError
from kagitori_server.operations.row import Operation

DENIED = "AccessDenied"
"""The error code of calls that were refused for want of permission."""

_TIMES = frozenset({"aws:currenttime", "aws:epochtime"})
_OF_PAIRS = "kms:encryptioncontext"


class Reason(StrEnum):
    """Why a call can't be decided (`SimulationUndecided` in the contract)."""

    NOT_SHOWN = "NOT_SHOWN"
    OTHER_ACCOUNT = "OTHER_ACCOUNT"
    PRINCIPAL_GONE = "PRINCIPAL_GONE"
    SESSION_GONE = "SESSION_GONE"
    KEY_GONE = "KEY_GONE"
    GRANT_GONE = "GRANT_GONE"
    NOT_SIMULATED = "NOT_SIMULATED"
    DAMAGED = "DAMAGED"


class Undecidable(Exception):
    """A call that can't be decided. `detail` says what the record didn't show."""

    def __init__(self, reason: Reason, detail: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.detail = detail


@dataclasses.dataclass(frozen=True, slots=True)
class RecordedCall:
    """The parts of a record that decide. Members of the wrong kind count as absent."""

    identity: Mapping[str, Any]
    operation: str
    source: str
    region: str
    error: str | None
    parameters: Mapping[str, Any] | None
    """The request's members that were shown, by snake_case name; None where the record has no request."""
    cut: bool
    """Whether members were left out of the record for their length."""
    extra: Mapping[str, Any]
    key_arns: tuple[str, ...]
    """In the order in which they were found."""
    evidence: Evidence

    def is_of(self, row: Operation) -> bool:
        """Whether it was made to this row's service: names of operations aren't told apart by themselves."""
        return self.source == f"{row.service}.amazonaws.com"

    @property
    def asked_nothing(self) -> bool:
        """Whether it was refused before its request was read, and so before any permission was asked."""
        return self.error not in (None, DENIED) and self.parameters is None and not self.key_arns


def read_call(record: Mapping[str, Any]) -> RecordedCall:
    """The call of a record."""
    shown = record.get("requestParameters")
    resources = record.get("resources")
    arns = [str(_members(each).get("ARN")) for each in resources] if isinstance(resources, list) else []
    error = record.get("errorCode")
    return RecordedCall(
        identity=_members(record.get("userIdentity")),
        operation=str(record.get("eventName")),
        source=str(record.get("eventSource")),
        region=str(record.get("awsRegion")),
        error=None if error is None else str(error),
        parameters=read_members(shown) if isinstance(shown, dict) else None,
        cut=isinstance(shown, dict) and OMITTED in shown,
        extra=_members(record.get("additionalEventData")),
        key_arns=tuple(arn for arn in arns if arn.split(":", 5)[5:] and arn.split(":", 5)[5].startswith("key/")),
        evidence=_evidence(record),
    )


def _members(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _evidence(record: Mapping[str, Any]) -> Evidence:
    tls, ip = _members(record.get("tlsDetails")), str(record.get("sourceIPAddress") or "")
    return Evidence(
        # Only there a caller has no address.
        local_socket=not ip,
        source_ip=ip,
        user_agent=str(record.get("userAgent") or ""),
        tls=TlsFacts(str(tls.get("tlsVersion")), str(tls.get("cipherSuite"))) if tls else None,
    )


class RecordedRequest:
    """Stands for the request: members that records show are as they were, reading another raises Undecidable."""

    __slots__ = ("_call", "_fields", "_made", "_row")

    def __init__(self, row: Operation, call: RecordedCall) -> None:
        self._row = row
        self._call = call
        self._fields = {field.name: field for field in dataclasses.fields(row.request.cls)}
        self._made: dict[str, Any] = {}

    def __getattr__(self, name: str) -> Any:
        field = self._fields.get(name)
        if field is None:
            derived = inspect.getattr_static(self._row.request.cls, name, None)
            if derived is None:
                # What a request of this operation never has, as opposed to what isn't known of it.
                raise AttributeError(name)
            # A property or method of the shape, over what is known of its members.
            return derived.__get__(self, self._row.request.cls)
        if name not in self._row.audit.request_shown:
            raise Undecidable(Reason.NOT_SHOWN, name)
        if name not in self._made:
            self._made[name] = self._make(name, field)
        return self._made[name]

    def _make(self, name: str, field: dataclasses.Field[Any]) -> Any:
        value = None if self._call.parameters is None else self._call.parameters.get(name)
        if value is None:
            if self._call.cut or (self._call.parameters is None and self._call.error not in (None, DENIED)):
                raise Undecidable(Reason.NOT_SHOWN, name)
            # Members at their empty defaults aren't shown.
            if field.default_factory is not dataclasses.MISSING:
                return field.default_factory()
            return None if field.default is dataclasses.MISSING else field.default
        try:
            return self._row.request.member(name, value)
        except KmsError:
            # Dates are shown in words.
            raise Undecidable(Reason.NOT_SHOWN, name) from None


class Watch:
    """Notes what a decision asked of the call that differs from call to call, so that one isn't taken for another."""

    __slots__ = ("paired", "timely")

    def __init__(self) -> None:
        self.timely = False
        """The time."""
        self.paired = False
        """The encryption context."""

    def begin(self) -> None:
        """Nothing was asked yet."""
        self.timely = self.paired = False

    def context_of(self, asked: Asked) -> RequestContext:
        """The condition keys of a question about a recorded call."""
        return _WatchedContext(asked, self)


class _WatchedContext(RequestContext):
    __slots__ = ("_watch",)

    def __init__(self, asked: Asked, watch: Watch) -> None:
        super().__init__(asked)
        self._watch = watch

    def __getitem__(self, name: str) -> str | tuple[str, ...]:
        self._note(name)
        return super().__getitem__(name)

    def get(self, name: str, default: Any = None) -> Any:
        """See RequestContext."""
        self._note(name)
        return super().get(name, default)

    def _note(self, name: str) -> None:
        if name in _TIMES:
            self._watch.timely = True
        elif name.startswith(_OF_PAIRS):
            self._watch.paired = True
