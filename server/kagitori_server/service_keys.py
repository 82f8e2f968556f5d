"""Keys of the service's own, with which it signs for its audit trail.

They are ordinary keys of the home account in the default Region, made when first needed, and shown like every other;
but their policy lets nobody use or change them, and their aliases `alias/kagitori/…` are reserved. The service itself
signs past the way of a call, so signatures leave no records. A key signs for one period. Then another takes its place,
and its private half is destroyed a week later; its public half is listed for ever.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace

from kagitori_keystore import algorithms as material
from kagitori_keystore.base import KeyStoreError, MaterialRef
from kagitori_server.model.arn import SERVICE_ALIAS_PREFIX, key_arn
from kagitori_server.model.custom_key_stores import DEFAULT_STORE
from kagitori_server.model.delivery_records import KeyPurpose, ListedKey
from kagitori_server.model.errors import KMSInternalException
from kagitori_server.model.keys import Alias, Key, KeyManager, KeySpec, KeyState, KeyUsage, Origin
from kagitori_server.model.limits import SECONDS_PER_DAY
from kagitori_server.operations.consequences import Consequence
from kagitori_server.operations.context import Services, domain_of
from kagitori_server.operations.keys import first_version
from kagitori_server.operations.principal_names import resolver
from kagitori_server.operations.store_errors import as_kms_error
from kagitori_server.operations.stores import store_kind
from kagitori_server.policy.document import parse_key_policy
from kagitori_server.recording import Record
from kagitori_server.service_events import ServiceEvents
from kagitori_server.storage.writer import Writer

__all__ = ["KeyPurpose", "ListedKey", "ServiceKeys", "SigningKey"]

RETIRED_DAYS = 7
"""How long the private half of a key is kept after its period, for what was begun within it."""


@dataclass(frozen=True, slots=True)
class _Purpose:
    spec: KeySpec
    algorithm: material.SigningAlgorithm
    description: str


_PURPOSES: Mapping[KeyPurpose, _Purpose] = {
    KeyPurpose.AUDIT_DIGEST: _Purpose(
        KeySpec.RSA_2048, material.SigningAlgorithm.RSASSA_PKCS1_V1_5_SHA_256,
        "Signs the digest files of the delivered audit trail. Made and used by the service itself.",
    ),
    KeyPurpose.AUDIT_LOG: _Purpose(
        KeySpec.ECC_NIST_EDWARDS25519, material.SigningAlgorithm.ED25519_SHA_512,
        "Signs the heads of the audit trail's trees. Made and used by the service itself.",
    ),
}


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A key of the service, ready to sign."""

    key_id: str
    public_key_der: bytes
    """SubjectPublicKeyInfo (RFC 5280)."""
    sign: Callable[[bytes], bytes]
    """The signature of a message of 1 to 4,096 bytes: RSASSA-PKCS1-v1_5 with SHA-256, or Ed25519 (RFC 8032), by
    purpose. Raises KmsError."""


class ServiceKeys:
    """Finds and makes them. Thread-safe; any number of processes agree on each key. Everything blocks and raises
    KmsError when the catalog, the trail or the key store fail.

    `days` is the length of a key's period.
    """

    def __init__(self, services: Services, region: str, events: ServiceEvents, days: int) -> None:
        self._services = services
        self._region = region
        self._events = events
        self._seconds = days * SECONDS_PER_DAY

    def current(self, purpose: KeyPurpose) -> SigningKey:
        """The key that signs now; a new one if there was none or its period is over."""
        with self._services.catalog.read() as reader:
            listed = reader.signing_key(purpose)
        if listed is None or listed.valid_until <= self._services.clock():
            listed = self._replace(purpose, listed)
        found = self._ready(listed)
        if found is None:
            # A catalog that was brought back from an older copy, or edited. Signing goes on with another key.
            found = self._ready(self._replace(purpose, listed))
        if found is None:
            raise KMSInternalException(f"The service's key for {purpose} is lost.")
        return found

    def named(self, purpose: KeyPurpose, key_id: str) -> SigningKey | None:
        """A key that was current lately; None for one whose private half is gone, or that never was."""
        with self._services.catalog.read() as reader:
            keys = reader.signing_keys(purpose)
        return next((self._ready(listed) for listed in keys if listed.key_id == key_id), None)

    def listed(self, purpose: KeyPurpose) -> tuple[ListedKey, ...]:
        """All keys that there ever were for a purpose, oldest first."""
        with self._services.catalog.read() as reader:
            return reader.signing_keys(purpose)

    def rotate(self, purpose: KeyPurpose) -> SigningKey:
        """Ends the period of the current key now, in every process, and makes the next one."""
        with self._services.catalog.read() as reader:
            listed = reader.signing_key(purpose)
        self._replace(purpose, listed)
        return self.current(purpose)

    def _ready(self, listed: ListedKey) -> SigningKey | None:
        with self._services.catalog.read() as reader:
            key = reader.get_key(listed.region, listed.key_id)
        if key is None:
            return None
        version = key.current_material
        reference = MaterialRef(store_kind(key), version.reference, version.material_id)
        store, domain = self._services.stores.default, domain_of(key.account, key.region)
        algorithm = _PURPOSES[listed.purpose].algorithm

        def sign(message: bytes) -> bytes:
            with _translated():
                return store.sign(domain, key.key_id, reference, algorithm, material.MessageForm.RAW, message)

        return SigningKey(key.key_id, listed.public_key_der, sign)

    def _replace(self, purpose: KeyPurpose, old: ListedKey | None) -> ListedKey:
        """Makes the key after `old`, unless another process has."""
        services = self._services
        store, domain = services.stores.default, domain_of(services.home_account, self._region)
        key_id = services.ids.uuid()
        with _translated():
            reference = store.generate(material.KeySpec[_PURPOSES[purpose].spec.name], domain, key_id)
            public_key = store.public_key(domain, key_id, reference)
        key = self._new_key(purpose, key_id, reference)
        number = 1 if old is None else old.number + 1
        listed = ListedKey(
            purpose, number, self._region, key_id, public_key, key.created, key.created + self._seconds
        )
        with services.catalog.write() as writer:
            newest = writer.signing_key(purpose)
            if newest is not None and newest.number >= number:
                return newest
            record = self._install(writer, key, listed, old)
        self._events.keep(record)
        return listed

    def _install(self, writer: Writer, key: Key, listed: ListedKey, old: ListedKey | None) -> Record:
        purpose, now = listed.purpose, key.created
        policy = parse_key_policy(key.policy, resolver(writer, self._services.partition))
        writer.insert_key(replace(key, policy_bindings=policy.bindings))
        if old is not None:
            writer.end_signing_key(purpose, old.number, min(old.valid_until, now))
            if writer.get_key(old.region, old.key_id) is not None:
                due = now + RETIRED_DAYS * SECONDS_PER_DAY
                writer.set_key_state(old.region, old.key_id, KeyState.PENDING_DELETION, due)
        writer.insert_signing_key(listed)
        name = SERVICE_ALIAS_PREFIX + purpose
        if writer.get_alias(key.account, key.region, name) is None:
            writer.insert_alias(Alias(key.account, key.region, name, key.key_id, created=now, updated=now))
        else:
            writer.repoint_alias(key.account, key.region, name, key.key_id, now)
        details = {"key_id": key.key_id, "purpose": purpose.value}
        return self._events.promise(writer, Consequence(name="CreateKey", key=key, details=details))

    def _new_key(self, purpose: KeyPurpose, key_id: str, reference: MaterialRef) -> Key:
        services, account = self._services, self._services.home_account
        arn, now = key_arn(services.partition, self._region, account, key_id), services.clock()
        text = _policy(services.partition, account)
        return Key(
            account=account,
            region=self._region,
            key_id=key_id,
            arn=arn,
            spec=_PURPOSES[purpose].spec,
            usage=KeyUsage.SIGN_VERIFY,
            origin=Origin.AWS_KMS,
            state=KeyState.ENABLED,
            description=_PURPOSES[purpose].description,
            created=now,
            store_id=DEFAULT_STORE,
            materials=(first_version(reference, now),),
            policy=text,
            policy_bindings={},
            manager=KeyManager.AWS,
        )


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except KeyStoreError as failure:
        raise as_kms_error(failure) from None


def _policy(partition: str, account: str) -> str:
    """What lets the account's principals look at a key, as far as their own policies do, and nobody do anything."""
    return json.dumps({
        "Version": "2012-10-17",
        "Id": "kagitori-service-key-1",
        "Statement": [{
            "Sid": "The account may look",
            "Effect": "Allow",
            "Principal": {"AWS": f"arn:{partition}:iam::{account}:root"},
            "Action": ["kms:Describe*", "kms:Get*", "kms:List*"],
            "Resource": "*",
        }],
    }, indent=2)
