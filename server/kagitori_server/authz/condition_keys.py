"""What conditions can ask about a call: one entry per condition key, read only when a policy mentions it.

Keys, their types and the operations that have them follow the AWS service authorization reference for KMS and the
IAM list of global condition keys. A key that isn't in the table, or has no entry for the action, is absent. Adding
a condition key is an entry here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from kagitori_server.model.call import Evidence
from kagitori_server.model.keys import Key
from kagitori_server.model.limits import ROTATION_PERIOD_DEFAULT
from kagitori_server.model.principals import Caller, PrincipalKind
from kagitori_server.policy.effort import Size

Value = str | tuple[str, ...] | None

_SHORT_VALUES = 1_024
"""Characters that ARNs, tags, names and the like have together."""


@dataclass(slots=True)
class Asked:
    """One permission that is asked, and what is known of the call. Made for every call, so not frozen: that costs."""

    action: str
    """`kms:Encrypt`."""
    caller: Caller
    request: Any
    evidence: Evidence
    region: str
    resource_account: str
    now: float
    """When the call was received, seconds since the epoch."""
    key: Key | None
    """The key it is asked on."""
    named: str | None
    """How the caller wrote the key: id, ARN, or alias."""
    pairs: Mapping[str, str]
    """The encryption context of the request, for the key it is asked on."""
    attested: Mapping[str, str]
    """The condition keys that a verified attestation document gives, with their values."""
    same_key: Callable[[], bool | None]
    """Whether the source and destination of a re-encryption are one key; None for other operations."""
    constraint: tuple[str, Mapping[str, str]] | None = None
    """Kind and pairs of the constraint of the grant that it is asked on."""
    hurried: bool = False
    """Whether it is asked where nothing may take long: then `authorizer.Lengthy` is raised instead."""
    known: dict[str, Value] = field(default_factory=dict, init=False, repr=False, compare=False)
    """What was worked out already: many statements ask for the same, and grants are decided on after policies."""


def size_of(asked: Asked) -> Size:
    """What a question says of the request and its resource, beside what is always short."""
    pairs, aliases = asked.pairs, () if asked.key is None else asked.key.aliases
    characters = sum(map(len, pairs)) + sum(map(len, pairs.values())) + sum(map(len, aliases))
    return Size(len(pairs) + len(aliases), _SHORT_VALUES + len(asked.evidence.user_agent or "") + characters)


class RequestContext(Mapping[str, str | tuple[str, ...]]):
    """The condition keys of one question, by lower-case name, each worked out when it is asked for.

    `brought` are keys that go before those of the table.
    """

    __slots__ = ("_asked", "_brought", "_known", "_operation")

    def __init__(self, asked: Asked, brought: Mapping[str, str | tuple[str, ...]] | None = None) -> None:
        self._asked = asked
        self._brought = brought or {}
        self._operation = asked.action.partition(":")[2]
        self._known = {} if brought else asked.known

    def __getitem__(self, name: str) -> str | tuple[str, ...]:
        value = self._get(name)
        if value is None:
            raise KeyError(name)
        return value

    def get(self, name: str, default: Any = None) -> Any:
        """The value; `default` for a key that is absent. The one method that decisions call."""
        value = self._known[name] if name in self._known else self._get(name)
        return default if value is None else value

    def _get(self, name: str) -> Value:
        value = self._brought[name] if name in self._brought else self._value(name)
        if value == ():
            value = None
        self._known[name] = value
        return value

    def __iter__(self) -> Iterator[str]:
        """The names without a free part of those that are present."""
        return (name for name in {**self._brought, **_ENTRIES} if name in self)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def _value(self, name: str) -> Value:
        entry = _ENTRIES.get(name)
        if entry is not None:
            return entry.read(self._asked) if entry.on is None or self._operation in entry.on else None
        for prefix, family in _FAMILIES.items():
            if name.startswith(prefix):
                present = family.on is None or self._operation in family.on
                return _folded(family.read(self._asked), name.removeprefix(prefix)) if present else None
        return None


class SupposedContext(Mapping[str, str | tuple[str, ...]]):
    """The condition keys of a call that isn't made: what is supposed of it goes before what key, principal and
    clock say.

    Condition keys about a request itself (`_OF_REQUEST`; those that CreateKey takes from its members) are present
    only when supposed: there is no request that could have them. Names in `supposed` are in lower case.
    """

    __slots__ = ("_asked", "_known", "_supposed")

    def __init__(self, asked: Asked, supposed: Mapping[str, str | tuple[str, ...]]) -> None:
        self._asked = asked
        self._supposed = supposed
        self._known = RequestContext(asked)

    def __getitem__(self, name: str) -> str | tuple[str, ...]:
        if name in self._supposed:
            return self._supposed[name]
        if name in _OF_REQUEST or name.startswith("aws:requesttag/"):
            raise KeyError(name)
        if self._asked.key is None and name in _OF_KEY:
            raise KeyError(name)
        return self._known[name]

    def __iter__(self) -> Iterator[str]:
        """The names of all that are present."""
        operation = self._asked.action.partition(":")[2]
        names = [*self._supposed, *_ENTRIES]
        for prefix, family in _FAMILIES.items():
            if prefix != "aws:requesttag/" and (family.on is None or operation in family.on):
                names += (prefix + name.lower() for name in family.read(self._asked))
        return (name for name in dict.fromkeys(names) if name in self)

    def __len__(self) -> int:
        return sum(1 for _ in self)


@dataclass(frozen=True, slots=True)
class _Entry:
    """A condition key: `on` lists the actions that have it, None for all (those without the key give None)."""

    read: Callable[[Asked], Value]
    on: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class _Family:
    """Condition keys with a free part, such as `aws:PrincipalTag/NAME`: `read` gives the pairs of name and value."""

    read: Callable[[Asked], Mapping[str, str]]
    on: frozenset[str] | None = None


def _folded(pairs: Mapping[str, str], name: str) -> Value:
    """The value of the pair of that name in any case; all of them when several names differ in case alone."""
    found = tuple(value for key, value in pairs.items() if key.lower() == name)
    return found[0] if len(found) == 1 else found


def _bool(value: object) -> str:
    return "true" if value else "false"


def _member(name: str) -> Callable[[Asked], Value]:
    """The request's own member, as text."""

    def read(asked: Asked) -> Value:
        value = getattr(asked.request, name, None)
        if value is None:
            return None
        return _bool(value) if isinstance(value, bool) else str(value)

    return read


def _of_key(read: Callable[[Key], Value]) -> Callable[[Asked], Value]:
    return lambda asked: None if asked.key is None else read(asked.key)


def _of_key_or_request(read: Callable[[Key], Value], *members: str, default: str) -> Callable[[Asked], Value]:
    """From the key; for CreateKey from the first of the request's members that is given, else the default."""

    def value(asked: Asked) -> Value:
        if asked.key is not None:
            return read(asked.key)
        if asked.action != "kms:CreateKey":
            return None
        given = (getattr(asked.request, name, None) for name in members)
        return next((str(found) for found in given if found is not None), default)

    return value


def _multi_region(asked: Asked) -> Value:
    if asked.key is not None:
        return _bool(asked.key.multi_region)
    return _bool(asked.request.multi_region) if asked.action == "kms:CreateKey" else None


def _multi_region_key_type(asked: Asked) -> Value:
    if asked.key is not None:
        return ("REPLICA" if asked.key.is_replica else "PRIMARY") if asked.key.multi_region else None
    return "PRIMARY" if asked.action == "kms:CreateKey" and asked.request.multi_region else None


def _valid_to(asked: Asked) -> Value:
    moment: float | None = getattr(asked.request, "valid_to", None)
    return None if moment is None else _date(moment)


def _rotation_period(asked: Asked) -> Value:
    """What it comes to: who bounds the period means one that isn't named as well."""
    return str(getattr(asked.request, "rotation_period_in_days", None) or ROTATION_PERIOD_DEFAULT)


def _encryption_algorithm(asked: Asked) -> Value:
    prefix = {"kms:ReEncryptFrom": "source_", "kms:ReEncryptTo": "destination_"}.get(asked.action, "")
    # Operations that take no algorithm (data keys) use the only one that their keys have.
    return str(getattr(asked.request, f"{prefix}encryption_algorithm", "SYMMETRIC_DEFAULT"))


def _same_key(asked: Asked) -> Value:
    same = asked.same_key()
    return None if same is None else _bool(same)


def _caller_account(asked: Asked) -> Value:
    """Of calls on keys and on custom key stores."""
    on_stores = asked.action.endswith(("CustomKeyStore", "CustomKeyStores"))
    # A policy is put on a key, also where CreateKey has yet to make it: its lockout check asks so.
    on_key = asked.key is not None or asked.action == "kms:PutKeyPolicy"
    return asked.caller.account if on_key or on_stores else None


_CONSTRAINTS = {
    "encryption_context_equals": "EncryptionContextEquals", "encryption_context_subset": "EncryptionContextSubset",
}


def _constraint(asked: Asked) -> tuple[str, Mapping[str, str]] | None:
    """Kind and pairs of the constraint that a call to CreateGrant asks for, or of the grant that is to be retired."""
    if asked.action != "kms:CreateGrant":
        return asked.constraint
    constraints = asked.request.constraints
    for name, kind in _CONSTRAINTS.items():
        pairs: Mapping[str, str] | None = getattr(constraints, name, None)
        if pairs:
            return kind, pairs
    return None


def _constraint_type(asked: Asked) -> Value:
    found = _constraint(asked)
    return None if found is None else found[0]


def _context_pairs(asked: Asked) -> Mapping[str, str]:
    """The encryption context of the request; of CreateGrant and RetireGrant, the pairs of the grant's constraint."""
    of_grant = asked.action == "kms:RetireGrant" or (asked.action == "kms:CreateGrant" and asked.request is not None)
    if of_grant:
        found = _constraint(asked)
        return {} if found is None else found[1]
    return asked.pairs


def _request_alias(asked: Asked) -> Value:
    if asked.named is None:
        return None
    name = asked.named.rpartition(":")[2]
    return name if name.startswith("alias/") else None


def _principal_arn(asked: Asked) -> Value:
    """Of a role session: the role's."""
    return asked.caller.record.arn


_PRINCIPAL_TYPES = {PrincipalKind.ROOT: "Account", PrincipalKind.USER: "User", PrincipalKind.ROLE: "AssumedRole"}


def _token_issue_time(asked: Asked) -> Value:
    return _date(asked.caller.session_started) if asked.caller.kind is PrincipalKind.ROLE else None


def _date(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _request_tags(asked: Asked) -> Mapping[str, str]:
    return {tag.tag_key: tag.tag_value for tag in getattr(asked.request, "tags", None) or ()}


def _tag_keys(asked: Asked) -> Value:
    return tuple(_request_tags(asked)) or tuple(getattr(asked.request, "tag_keys", ()))


def _resource_tags(asked: Asked) -> Mapping[str, str]:
    return {} if asked.key is None else {tag.tag_key: tag.tag_value for tag in asked.key.tags}


_DATA_KEYS = frozenset({
    "GenerateDataKey", "GenerateDataKeyWithoutPlaintext", "GenerateDataKeyPair", "GenerateDataKeyPairWithoutPlaintext",
})
_CRYPTO = frozenset({"Encrypt", "Decrypt", "ReEncryptFrom", "ReEncryptTo"}) | _DATA_KEYS
_CONSTRAINED = frozenset({"CreateGrant", "RetireGrant"})
_ALIASED = _CRYPTO | {
    "DeriveSharedSecret", "DescribeKey", "GenerateMac", "VerifyMac", "GetPublicKey", "Sign", "Verify", "Encapsulate",
    "Decapsulate",
}

_ATTESTED = "kms:RecipientAttestation:"


def _attested(asked: Asked) -> Mapping[str, str]:
    return {name.removeprefix(_ATTESTED): value for name, value in asked.attested.items()}


_ENTRIES: Mapping[str, _Entry] = {
    name.lower(): entry for name, entry in {
        "kms:BypassPolicyLockoutSafetyCheck": _Entry(
            _member("bypass_policy_lockout_safety_check"), frozenset({"CreateKey", "PutKeyPolicy"})
        ),
        "kms:CallerAccount": _Entry(_caller_account),
        "kms:KeySpec": _Entry(_of_key_or_request(
            lambda key: str(key.spec), "key_spec", "customer_master_key_spec", default="SYMMETRIC_DEFAULT"
        )),
        "kms:CustomerMasterKeySpec": _Entry(_of_key_or_request(
            lambda key: str(key.spec), "key_spec", "customer_master_key_spec", default="SYMMETRIC_DEFAULT"
        )),
        "kms:KeyUsage": _Entry(_of_key_or_request(
            lambda key: str(key.usage), "key_usage", default="ENCRYPT_DECRYPT"
        )),
        "kms:CustomerMasterKeyUsage": _Entry(_of_key_or_request(
            lambda key: str(key.usage), "key_usage", default="ENCRYPT_DECRYPT"
        )),
        "kms:KeyOrigin": _Entry(_of_key_or_request(lambda key: str(key.origin), "origin", default="AWS_KMS")),
        "kms:MultiRegion": _Entry(_multi_region),
        "kms:MultiRegionKeyType": _Entry(_multi_region_key_type),
        "kms:PrimaryRegion": _Entry(_member("primary_region"), frozenset({"UpdatePrimaryRegion"})),
        "kms:ReplicaRegion": _Entry(_member("replica_region"), frozenset({"ReplicateKey"})),
        "kms:RotationPeriodInDays": _Entry(_rotation_period, frozenset({"EnableKeyRotation"})),
        "kms:WrappingAlgorithm": _Entry(_member("wrapping_algorithm"), frozenset({"GetParametersForImport"})),
        "kms:WrappingKeySpec": _Entry(_member("wrapping_key_spec"), frozenset({"GetParametersForImport"})),
        "kms:ExpirationModel": _Entry(_member("expiration_model"), frozenset({"ImportKeyMaterial"})),
        "kms:ValidTo": _Entry(_valid_to, frozenset({"ImportKeyMaterial"})),
        "kms:SigningAlgorithm": _Entry(_member("signing_algorithm"), frozenset({"Sign", "Verify"})),
        "kms:MessageType": _Entry(_member("message_type"), frozenset({"Sign", "Verify"})),
        "kms:MacAlgorithm": _Entry(_member("mac_algorithm"), frozenset({"GenerateMac", "VerifyMac"})),
        "kms:KeyAgreementAlgorithm": _Entry(_member("key_agreement_algorithm"), frozenset({"DeriveSharedSecret"})),
        "kms:DataKeyPairSpec": _Entry(
            _member("key_pair_spec"), frozenset({"GenerateDataKeyPair", "GenerateDataKeyPairWithoutPlaintext"})
        ),
        "kms:EncryptionAlgorithm": _Entry(_encryption_algorithm, _CRYPTO),
        "kms:EncryptionContextKeys": _Entry(lambda asked: tuple(_context_pairs(asked)), _CRYPTO | _CONSTRAINED),
        "kms:GrantOperations": _Entry(
            lambda asked: tuple(str(operation) for operation in asked.request.operations), frozenset({"CreateGrant"})
        ),
        "kms:GranteePrincipal": _Entry(_member("grantee_principal"), frozenset({"CreateGrant"})),
        "kms:RetiringPrincipal": _Entry(_member("retiring_principal"), frozenset({"CreateGrant"})),
        "kms:GrantConstraintType": _Entry(_constraint_type, _CONSTRAINED),
        # No service of ours makes grants for a user's resources.
        "kms:GrantIsForAWSResource": _Entry(
            lambda _asked: "false", frozenset({"CreateGrant", "ListGrants", "RevokeGrant"})
        ),
        "kms:ReEncryptOnSameKey": _Entry(
            _same_key, frozenset({"ReEncryptFrom", "ReEncryptTo"}),
        ),
        "kms:RequestAlias": _Entry(_request_alias, _ALIASED),
        "kms:ResourceAliases": _Entry(_of_key(lambda key: key.aliases)),
        "kms:ScheduleKeyDeletionPendingWindowInDays": _Entry(
            _member("pending_window_in_days"), frozenset({"ScheduleKeyDeletion"})
        ),
        "aws:PrincipalArn": _Entry(_principal_arn),
        "aws:PrincipalAccount": _Entry(lambda asked: asked.caller.account),
        "aws:PrincipalType": _Entry(lambda asked: _PRINCIPAL_TYPES[asked.caller.kind]),
        "aws:userid": _Entry(lambda asked: asked.caller.user_id),
        "aws:username": _Entry(
            lambda asked: asked.caller.record.name if asked.caller.kind is PrincipalKind.USER else None
        ),
        "aws:FederatedProvider": _Entry(lambda asked: asked.caller.federated_provider),
        "aws:SourceIdentity": _Entry(lambda asked: asked.caller.source_identity),
        "aws:SourceIp": _Entry(lambda asked: asked.evidence.source_ip or None),
        "aws:CurrentTime": _Entry(lambda asked: _date(asked.now)),
        "aws:EpochTime": _Entry(lambda asked: str(int(asked.now))),
        "aws:TokenIssueTime": _Entry(_token_issue_time),
        # A call by the local socket never leaves the machine.
        "aws:SecureTransport": _Entry(
            lambda asked: _bool(asked.evidence.tls is not None or asked.evidence.local_socket)
        ),
        "aws:RequestedRegion": _Entry(lambda asked: asked.region),
        "aws:ResourceAccount": _Entry(lambda asked: asked.resource_account),
        "aws:UserAgent": _Entry(lambda asked: asked.evidence.user_agent or None),
        "aws:ViaAWSService": _Entry(lambda _asked: "false"),
        "aws:PrincipalIsAWSService": _Entry(lambda _asked: "false"),
        "aws:TagKeys": _Entry(_tag_keys, frozenset({"CreateKey", "TagResource", "UntagResource"})),
    }.items()
}

_FAMILIES: Mapping[str, _Family] = {
    "kms:encryptioncontext:": _Family(_context_pairs, _CRYPTO | _CONSTRAINED),
    _ATTESTED.lower(): _Family(_attested, frozenset({
        "Decrypt", "DeriveSharedSecret", "GenerateDataKey", "GenerateDataKeyPair", "GenerateRandom",
    })),
    "aws:principaltag/": _Family(lambda asked: asked.caller.tags),
    "aws:resourcetag/": _Family(_resource_tags),
    "aws:requesttag/": _Family(_request_tags, frozenset({"CreateKey", "TagResource"})),
}

_OF_REQUEST = frozenset({
    "kms:bypasspolicylockoutsafetycheck", "kms:encryptionalgorithm", "kms:reencryptonsamekey",
    "kms:schedulekeydeletionpendingwindowindays", "aws:sourceip", "aws:securetransport", "aws:useragent", "aws:tagkeys",
    "kms:primaryregion", "kms:replicaregion", "kms:rotationperiodindays", "kms:wrappingalgorithm",
    "kms:wrappingkeyspec", "kms:expirationmodel", "kms:validto", "kms:signingalgorithm", "kms:messagetype",
    "kms:macalgorithm", "kms:keyagreementalgorithm", "kms:datakeypairspec",
    "kms:grantoperations", "kms:granteeprincipal", "kms:retiringprincipal", "kms:grantconstrainttype",
})
"""Condition keys that are about the request itself and how it came, whoever makes it on whatever key."""

_OF_KEY = frozenset({
    "kms:keyspec", "kms:customermasterkeyspec", "kms:keyusage", "kms:customermasterkeyusage", "kms:keyorigin",
    "kms:multiregion", "kms:multiregionkeytype",
})
"""Condition keys about a key, which CreateKey has from its request."""
