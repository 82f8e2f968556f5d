"""Whether a signature holds: the keys that access keys' secrets give, opened when they are first needed."""

from __future__ import annotations

import hmac

from kagitori_keystore import sigv4
from kagitori_keystore.base import Domain, SecretWrapping
from kagitori_keystore.cache import HandleCache
from kagitori_keystore.secret import Guarded
from kagitori_server.model.call import SignedRequest
from kagitori_server.model.principals import AccessKeyRecord, access_key_label


class _Kept(Guarded):
    __slots__ = ("ready", "record")

    def __init__(self, record: AccessKeyRecord, key: bytes) -> None:
        self.record = record
        self.ready = sigv4.prepared(key)


class Signatures:
    """Verifies signatures. Thread-safe; keeps at most `entries` signing keys.

    A signing key is good for a day, Region and service; it is kept once a signature with it held, so that who has no
    secret fills nothing, and only as long as the access key's record is the same object.
    """

    def __init__(self, secrets: SecretWrapping, entries: int = 10_000) -> None:
        self._secrets = secrets
        self._kept: HandleCache[tuple[str, sigv4.Scope], _Kept] = HandleCache(entries)

    def is_known(self, signed: SignedRequest) -> bool:
        """Whether `hold` will most likely not have to open a secret, which can block."""
        return self._kept.get((signed.access_key_id, _scope(signed))) is not None

    def hold(self, signed: SignedRequest, record: AccessKeyRecord) -> bool:
        """Whether the request was signed with the access key's secret, compared in constant time.

        Raises KeyStoreError when the secret can't be opened.
        """
        scope = _scope(signed)
        place = record.access_key_id, scope
        drops = self._kept.drops
        kept = self._kept.get(place)
        if kept is None or kept.record is not record:
            kept = _Kept(record, sigv4.signing_key(self._secret(record), scope))
        expected = sigv4.prepared_signature(kept.ready, signed.string_to_sign)
        held = hmac.compare_digest(expected, signed.signature)
        if held and self._kept.get(place) is not kept:
            self._kept.put(place, kept, drops)
        return held

    def forget(self, access_key_id: str | None) -> None:
        """Drops what is kept of an access key that has changed or is gone, or of all."""
        self._kept.drop_where(lambda kept: access_key_id in (None, kept.record.access_key_id))

    def _secret(self, record: AccessKeyRecord) -> bytes:
        domain = Domain(record.account, record.region)
        return self._secrets.unwrap_secret(domain, access_key_label(record.access_key_id), record.wrapped_secret)


def _scope(signed: SignedRequest) -> sigv4.Scope:
    return sigv4.Scope(signed.date, signed.region, signed.service)
