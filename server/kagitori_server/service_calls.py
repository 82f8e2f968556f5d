"""Keys used by a part of this service as a service of AWS would use them: the key's policy has to permit its principal,
and every use is recorded, in the account that has the key.

Such calls don't come over a transport and have no credential, no rate and no budget; their caller is code of this
process alone.
"""

from __future__ import annotations

from collections.abc import Mapping

from kagitori_keystore.base import KeyStoreError, MaterialRef
from kagitori_server.audit.identity import IdentityType, render_identity
from kagitori_server.audit.record import CallFacts, Resource, render_record
from kagitori_server.audit.trail import Trail
from kagitori_server.model.encryption_context import canonical
from kagitori_server.model.errors import AccessDeniedException, InvalidKeyUsageException, KmsError, NotFoundException
from kagitori_server.model.keys import Key, KeySpec
from kagitori_server.operations.context import Services, domain_of
from kagitori_server.operations.store_errors import as_kms_error
from kagitori_server.operations.stores import store_kind
from kagitori_server.operations.table import GENERATE_DATA_KEY
from kagitori_server.policy.context import ContextValue, make_context
from kagitori_server.policy.document import load_key_policy
from kagitori_server.policy.evaluate import Query, decide_key
from kagitori_server.policy.principals import SERVICE_CALLERS, Caller, CallerKind

CLOUDTRAIL = "cloudtrail.amazonaws.com"

_NAME = GENERATE_DATA_KEY.name
_DATA_KEY_BYTES = 32


class ServiceCaller:
    """One service principal, on behalf of the resource `source_arn` of the home account. Thread-safe; blocks."""

    def __init__(self, services: Services, trail: Trail, principal: str, source_arn: str) -> None:
        if principal not in SERVICE_CALLERS:
            raise ValueError("not a service that calls")
        self._services = services
        self._trail = trail
        self._principal = principal
        self._source_arn = source_arn

    def generate_data_key(self, key_arn: str, pairs: Mapping[str, str]) -> tuple[bytes, bytes]:
        """A data key of 32 bytes, in the clear and encrypted under the key, bound to the encryption context `pairs`.

        Raises what AWS GenerateDataKey raises; the key has to be the home account's. Nothing is answered that isn't
        recorded.
        """
        region, account, key_id = _parts(key_arn)
        with self._services.catalog.read() as reader:
            key = reader.get_key(region, key_id)
        if key is None or key.account != account:
            raise NotFoundException(f"Key '{key_arn}' does not exist")
        key = key.as_of(self._services.clock())
        try:
            answer = self._generate(key, pairs)
        except KmsError as refusal:
            self._record(key, pairs, refusal)
            raise
        self._record(key, pairs, None)
        return answer

    def _generate(self, key: Key, pairs: Mapping[str, str]) -> tuple[bytes, bytes]:
        self._authorize(key, pairs)
        refusal = GENERATE_DATA_KEY.keys[0].states.refusal(key)
        if refusal is not None:
            raise refusal
        if key.spec is not KeySpec.SYMMETRIC_DEFAULT:
            raise InvalidKeyUsageException(f"{key.arn} key spec is {key.spec}; data keys need SYMMETRIC_DEFAULT.")
        version = key.current_material
        reference = MaterialRef(store_kind(key), version.reference, version.material_id)
        try:
            return self._services.stores.of(key.store_id).generate_data_key(
                domain_of(key.account, key.region), key.key_id, reference, _DATA_KEY_BYTES, canonical(pairs)
            )
        except KeyStoreError as failure:
            raise as_kms_error(failure) from None

    def _authorize(self, key: Key, pairs: Mapping[str, str]) -> None:
        home, action = self._services.home_account, f"kms:{_NAME}"
        query = Query(
            caller=Caller(home, CallerKind.SERVICE, self._principal, self._principal),
            action=action,
            resource_arn=key.arn,
            resource_account=key.account,
            context=self._context(key, pairs),
            encryption_context=pairs,
        )
        decision = decide_key(query, load_key_policy(key.policy, key.policy_bindings), (), cross_account_capable=False)
        if not decision.allowed:
            raise AccessDeniedException(decision.denial_text(self._principal, action, key.arn))

    def _context(self, key: Key, pairs: Mapping[str, str]) -> dict[str, ContextValue]:
        now = self._services.clock()
        return make_context([
            ("aws:SourceArn", self._source_arn),
            ("aws:SourceAccount", self._services.home_account),
            ("aws:PrincipalIsAWSService", "true"),
            ("aws:PrincipalServiceName", self._principal),
            ("aws:PrincipalServiceNamesList", (self._principal,)),
            ("aws:ViaAWSService", "false"),
            ("aws:SecureTransport", "true"),
            ("aws:RequestedRegion", key.region),
            ("aws:ResourceAccount", key.account),
            ("aws:EpochTime", str(int(now))),
            ("aws:CurrentTime", str(int(now))),
            ("kms:CallerAccount", self._services.home_account),
            ("kms:EncryptionAlgorithm", "SYMMETRIC_DEFAULT"),
            ("kms:EncryptionContextKeys", tuple(pairs)),
            ("kms:KeyOrigin", key.origin.value),
            ("kms:KeySpec", key.spec.value),
            ("kms:KeyUsage", key.usage.value),
            ("kms:MultiRegion", "true" if key.multi_region else "false"),
            ("kms:ResourceAliases", tuple(key.aliases)),
            *((f"aws:ResourceTag/{tag.tag_key}", tag.tag_value) for tag in key.tags),
            *((f"kms:EncryptionContext:{name}", value) for name, value in pairs.items()),
        ])

    def _record(self, key: Key, pairs: Mapping[str, str], refusal: KmsError | None) -> None:
        ids, denied = self._services.ids, isinstance(refusal, AccessDeniedException)
        symmetric = refusal is None and key.spec is KeySpec.SYMMETRIC_DEFAULT
        self._trail.append_blocking(render_record(CallFacts(
            event_id=ids.uuid(),
            request_id=ids.uuid(),
            event_time=self._services.clock(),
            event_name=_NAME,
            region=key.region,
            user_identity=render_identity(IdentityType.AWS_SERVICE, invoked_by=self._principal),
            source_ip=self._principal,
            user_agent=self._principal,
            read_only=True,
            recipient_account=key.account,
            request_parameters={
                "key_id": key.arn, "number_of_bytes": _DATA_KEY_BYTES, "encryption_context": dict(pairs),
            },
            additional_event_data={"key_material_id": key.current_material.material_id} if symmetric else None,
            error_code=None if refusal is None else "AccessDenied" if denied else refusal.code(),
            error_message=None if refusal is None else refusal.message or None,
            resources=(Resource(key.account, key.arn),),
        )))


def _parts(arn: str) -> tuple[str, str, str]:
    """Region, account and id of a key's ARN."""
    region, account, resource = arn.split(":", 5)[3:]
    return region, account, resource.removeprefix("key/")
