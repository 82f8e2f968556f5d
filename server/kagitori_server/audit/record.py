"""One CloudTrail record (event version 1.11) from the facts of a call, as compact ASCII JSON on one line.

What may be shown is decided before: nothing is hidden here, but byte strings and secret fields are refused,
so that key material and payloads can't slip in. The order of the members is CloudTrail's.
"""

from __future__ import annotations

import enum
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from json.encoder import encode_basestring_ascii as quoted
from typing import NamedTuple

from kagitori_server.audit.members import render_members
from kagitori_server.model.call import TlsFacts

KMS_SOURCE = "kms.amazonaws.com"
ADMIN_SOURCE = "kagitori.amazonaws.com"
KEY_RESOURCE = "AWS::KMS::Key"

# CloudTrail's record contents: maximum field sizes.
MAX_PARAMETERS_BYTES = 100 * 1024
MAX_ADDITIONAL_BYTES = 28 * 1024
MAX_MESSAGE_BYTES = 1024
MAX_AGENT_BYTES = 1024

_CUT = "... (truncated)"


class EventType(enum.StrEnum):
    """Whether somebody called, or the service acted by itself."""

    API_CALL = "AwsApiCall"
    SERVICE_EVENT = "AwsServiceEvent"


class Resource(NamedTuple):
    """What a call was about; alias operations name the alias ARN under the same type."""

    account_id: str
    arn: str
    type: str = KEY_RESOURCE


@dataclass(slots=True, kw_only=True)
class CallFacts:
    """All that a record says. Made for every call, so not frozen: that costs.

    `event_time` is the time of completion in epoch seconds. `user_identity` is what `render_identity`
    returned. `request_id` and `tls` are None on service events. Parameters, answer and additional data have
    snake_case names and are rendered in camelCase; None is written as null for the first two and left out for
    the third. `error_code` is CloudTrail's (`AccessDenied` for refusals of permission). `shared_event_id`
    joins the copies of a cross-account call's record.
    """

    event_id: str
    request_id: str | None
    event_time: float
    event_name: str
    region: str
    user_identity: bytes
    source_ip: str
    user_agent: str
    read_only: bool
    recipient_account: str
    event_source: str = KMS_SOURCE
    event_type: EventType = EventType.API_CALL
    request_parameters: Mapping[str, object] | None = None
    response_elements: Mapping[str, object] | None = None
    additional_event_data: Mapping[str, object] | None = None
    error_code: str | None = None
    error_message: str | None = None
    resources: tuple[Resource, ...] = ()
    tls: TlsFacts | None = None
    service_event_details: Mapping[str, object] | None = None
    shared_event_id: str | None = None


class RecordForm(NamedTuple):
    """The records of calls that differ in time and id alone."""

    before_time: str
    before_id: str
    after_id: str

    def render(self, event_time: float, event_id: str) -> bytes:
        """One of them: its JSON."""
        return (
            f"{self.before_time}{event_timestamp(int(event_time))}{self.before_id}{quoted(event_id)}{self.after_id}"
        ).encode("ascii")


def render_record(facts: CallFacts) -> bytes:
    """The record's JSON. Longer strings and objects than CloudTrail allows are shortened with a visible mark.

    Raises TypeError for bytes or unknown objects among the members, ValueError for malformed names or dates:
    both are mistakes of the program, and the call must fail.
    """
    return record_form(facts).render(facts.event_time, facts.event_id)


def record_form(facts: CallFacts) -> RecordForm:
    """What `render_record` renders, without time and id. Raises as it does."""
    head, middle, about, closing = _frame(
        facts.user_identity, facts.event_source, facts.event_name, facts.region, facts.source_ip, facts.user_agent,
        facts.read_only, facts.resources, facts.event_type.value, facts.recipient_account, facts.tls,
    )
    errors = shared = extra = request = ""
    if facts.error_code is not None:
        errors = f',"errorCode":{quoted(facts.error_code)}'
    if facts.error_message is not None:
        errors += f',"errorMessage":{quoted(_cut(facts.error_message, MAX_MESSAGE_BYTES))}'
    if facts.additional_event_data is not None:
        extra = ',"additionalEventData":' + _members(facts.additional_event_data, MAX_ADDITIONAL_BYTES)
    if facts.request_id is not None:
        request = ',"requestID":' + quoted(facts.request_id)
    if facts.shared_event_id is not None:
        shared = ',"sharedEventID":' + quoted(facts.shared_event_id)
    if facts.service_event_details is not None:
        shared += ',"serviceEventDetails":' + _members(facts.service_event_details, MAX_PARAMETERS_BYTES)
    before_id = (
        f'{middle}{errors}'
        f',"requestParameters":{_members(facts.request_parameters, MAX_PARAMETERS_BYTES)}'
        f',"responseElements":{_members(facts.response_elements, MAX_PARAMETERS_BYTES)}'
        f'{extra}{request},"eventID":'
    )
    return RecordForm(head, before_id, f"{about}{shared}{closing}")


@lru_cache(maxsize=16)
def event_timestamp(second: int) -> str:
    """An epoch second as `YYYY-MM-DDTHH:MM:SSZ`."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(second))


def _members(members: Mapping[str, object] | None, limit_bytes: int) -> str:
    return "null" if members is None else render_members(members, limit_bytes)


def _cut(text: str, limit_bytes: int) -> str:
    if len(text) * 4 <= limit_bytes:
        return text
    encoded = text.encode("utf-8", "backslashreplace")
    if len(encoded) <= limit_bytes:
        return text
    return encoded[: limit_bytes - len(_CUT)].decode("utf-8", "ignore") + _CUT


@lru_cache(maxsize=4096)
def _frame(
    identity: bytes, source: str, name: str, region: str, source_ip: str, user_agent: str, read_only: bool,
    resources: tuple[Resource, ...], event_type: str, account: str, tls: TlsFacts | None,
) -> tuple[str, str, str, str]:
    """The parts that repeat from record to record of a caller and operation: what stands before the time, behind it,
    behind the event's id, and at the end. Rendered once."""
    head = '{"eventVersion":"1.11","userIdentity":' + identity.decode("ascii") + ',"eventTime":"'
    middle = (
        f'","eventSource":{quoted(source)},"eventName":{quoted(name)},"awsRegion":{quoted(region)}'
        f',"sourceIPAddress":{quoted(source_ip)},"userAgent":{quoted(_cut(user_agent, MAX_AGENT_BYTES))}'
    )
    about = f',"readOnly":{"true" if read_only else "false"}'
    if resources:
        listed = ",".join(
            f'{{"accountId":{quoted(owner)},"type":{quoted(kind)},"ARN":{quoted(arn)}}}'
            for owner, arn, kind in resources
        )
        about += f',"resources":[{listed}]'
    about += f',"eventType":"{event_type}","managementEvent":true,"recipientAccountId":{quoted(account)}'
    closing = ',"eventCategory":"Management"'
    if tls is not None:
        closing += f',"tlsDetails":{{"tlsVersion":{quoted(tls.version)},"cipherSuite":{quoted(tls.cipher_suite)}'
        if tls.host is not None:
            closing += f',"clientProvidedHostHeader":{quoted(tls.host)}'
        closing += "}"
    return head, middle, about, closing + "}"
