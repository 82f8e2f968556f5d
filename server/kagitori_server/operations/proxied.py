"""Encrypt and Decrypt as the AWS KMS External Key Store Proxy API wants them: nonce, ciphertext and tag on their own,
the ciphertext as long as the plaintext, up to 4,300 bytes.

To the caller's policies, grants, rates, budgets and records they are the operations Encrypt and Decrypt. The nonce
goes into the initialisation vector as far as that holds it, the rest into the ciphertext metadata:

    offset  bytes  field
         0      1  0x01
         1      n  rest of the nonce: 8 bytes of the software store's 24, none of a token's 12
       1+n     11  first bytes of the material's id

What is authenticated with the data is what the specification says: additional data and metadata, each behind its
length; and by the store, the key and the whole id of its material.
"""

from __future__ import annotations

import hmac

from kagitori_keystore.base import Capability, StoreKind
from kagitori_keystore.capabilities import ProxyEncryption
from kagitori_keystore.xks import wire
from kagitori_server.model.errors import (
    InvalidCiphertextException,
    KMSInternalException,
    UnsupportedOperationException,
)
from kagitori_server.model.keys import Key, KeySpec, MaterialVersion
from kagitori_server.operations.context import Context, domain_of
from kagitori_server.operations.references import current_reference, reference
from kagitori_server.operations.shapes.proxied import (
    ProxiedDecryptRequest,
    ProxiedDecryptResponse,
    ProxiedEncryptRequest,
    ProxiedEncryptResponse,
)
from kagitori_server.operations.stores import store_kind

_VERSION = b"\x01"
_IV_BYTES = max(wire.IV_BYTES)
_NAMED_BYTES = 11


def check_proxied(context: Context, request: ProxiedEncryptRequest | ProxiedDecryptRequest) -> None:
    """Notes for the record what the proxy's client says of its own call; refuses keys that can't serve as external
    ones: all but AES keys of this service and of its tokens."""
    for name in ("kms_request_id", "kms_operation", "kms_key_arn", "aws_principal_arn"):
        noted = getattr(request, name)
        if noted:
            context.extra[f"xks_{name}"] = noted
    key = context.key  # its store isn't looked at: a token may take its time, and this is the event loop
    if key.spec is not KeySpec.SYMMETRIC_DEFAULT or store_kind(key) is StoreKind.XKS:
        raise _unfit(key)


def proxied_encrypt(context: Context, request: ProxiedEncryptRequest) -> ProxiedEncryptResponse:
    """Encrypts under the key's current material."""
    key = context.key
    used, store = current_reference(context, key), _store(context, key)
    tail_bytes = max(store.proxy_nonce_bytes() - _IV_BYTES, 0)
    named = bytes.fromhex(used.material_id)[:_NAMED_BYTES]
    # The rest of the nonce, which the store draws only now, is authenticated as a nonce is; zeros stand for it here.
    bound = wire.gcm_context(request.additional_data, _VERSION + bytes(tail_bytes) + named)
    domain = domain_of(key.account, key.region)
    nonce, sealed = store.seal_for_proxy(domain, key.key_id, used, request.plaintext, bound)
    iv, metadata = nonce[:_IV_BYTES], _VERSION + nonce[_IV_BYTES:] + named
    ciphertext, tag = sealed[: -wire.TAG_BYTES], sealed[-wire.TAG_BYTES :]
    value = None
    if request.integrity:
        # In this order, so that the value fits nothing but what is decrypted after it (specification, appendix C).
        value = wire.integrity_value(request.additional_data, metadata, iv, ciphertext, tag)
        opened = store.open_for_proxy(domain, key.key_id, used, nonce, ciphertext + tag, bound)
        if not hmac.compare_digest(opened, request.plaintext):
            raise KMSInternalException("What was encrypted does not decrypt.")
    return ProxiedEncryptResponse(iv=iv, metadata=metadata, ciphertext=ciphertext, tag=tag, integrity_value=value)


def proxied_decrypt(context: Context, request: ProxiedDecryptRequest) -> ProxiedDecryptResponse:
    """Decrypts what `proxied_encrypt` made under any material the key has had."""
    key = context.key
    store = _store(context, key)
    tail_bytes = max(store.proxy_nonce_bytes() - _IV_BYTES, 0)
    metadata = request.metadata
    if metadata[:1] != _VERSION or len(metadata) != 1 + tail_bytes + _NAMED_BYTES:
        raise InvalidCiphertextException
    named = metadata[1 + tail_bytes :]
    version = _material(key, named)
    nonce = request.iv + metadata[1 : 1 + tail_bytes]
    bound = wire.gcm_context(request.additional_data, _VERSION + bytes(tail_bytes) + named)
    plaintext = store.open_for_proxy(
        domain_of(key.account, key.region), key.key_id, reference(context, key, version), nonce,
        request.ciphertext + request.tag, bound,
    )
    return ProxiedDecryptResponse(plaintext=plaintext)


def _store(context: Context, key: Key) -> ProxyEncryption:
    store = context.store(key)
    if Capability.PROXY_ENCRYPTION not in store.describe().capabilities:
        raise _unfit(key)
    return store


def _unfit(key: Key) -> UnsupportedOperationException:
    return UnsupportedOperationException(f"{key.arn} can't serve as an external key.")


def _material(key: Key, named: bytes) -> MaterialVersion:
    digits = named.hex()
    for version in key.materials:
        if version.present and version.material_id.startswith(digits):
            return version
    raise InvalidCiphertextException
