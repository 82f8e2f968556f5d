"""Decides whether an attestation document proves what runs on the caller's side, and says what that is.

The decision knows no policy: which measurements may use which key is the policies' business, through the
condition keys of `Attestation.condition_values`.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field

from kagitori_server.attestation import cose, document
from kagitori_server.attestation.chain import verified_key
from kagitori_server.attestation.document import Platform
from kagitori_server.attestation.errors import AttestationFault, AttestationRefused
from kagitori_server.attestation.recipient import recipient_key

_CONDITION_KEY = "kms:RecipientAttestation:"


@dataclass(frozen=True, slots=True)
class Attestation:
    """What a verified document says of the caller.

    `pcrs` maps register numbers to SHA-384 hashes in lower-case hexadecimal. `public_key` is the DER
    SubjectPublicKeyInfo of an RSA key whose private half never left the attested environment. `issued_at` is
    in seconds since 1970.
    """

    platform: Platform
    module_id: str
    issued_at: float
    pcrs: dict[int, str]
    public_key: bytes = field(repr=False)
    user_data: bytes | None = field(repr=False)
    nonce: bytes | None = field(repr=False)

    def condition_values(self) -> dict[str, str]:
        """The condition keys of AWS KMS for attested calls, with their values."""
        if self.platform is Platform.NITRO_TPM:
            return {f"{_CONDITION_KEY}NitroTPMPCR{index}": value for index, value in self.pcrs.items()}
        values = {f"{_CONDITION_KEY}PCR{index}": value for index, value in self.pcrs.items()}
        if 0 in self.pcrs:
            values[f"{_CONDITION_KEY}ImageSha384"] = self.pcrs[0]
        return values


class AttestationVerifier:
    """Verifies documents under the given roots (DER, from `read_roots`).

    A document is fresh for `max_age` seconds; `max_skew` is by how many seconds its clock may run ahead of
    ours.
    """

    def __init__(self, roots: frozenset[bytes], *, max_age: float = 300.0, max_skew: float = 60.0) -> None:
        if not roots:
            raise ValueError("without a root no attestation document can be verified")
        self._roots = roots
        self._max_age = max_age
        self._max_skew = max_skew

    def verify(self, attestation_document: bytes, now: float) -> Attestation:
        """What the document (1 to 262,144 bytes) proves at `now` (seconds since 1970).

        Raises `AttestationRefused`.
        """
        # (1) The outer form.
        message = cose.parse(attestation_document)
        # (2) The content, as far as it takes to find the certificates: it is not believed yet.
        content = document.parse(message.payload)
        # (3) The signing certificate leads to a trusted root.
        at = dt.datetime.fromtimestamp(now, dt.UTC)
        signer = verified_key(content.certificate, content.bundle, self._roots, at)
        # (4) It signed the content, which is believed from here on.
        cose.check_signature(message, signer)
        # (5) The document is fresh.
        issued_at = content.timestamp / 1000
        if not now - self._max_age <= issued_at <= now + self._max_skew:
            raise AttestationRefused(AttestationFault.STALE, "the attestation document is too old, or not yet valid")
        # (6) There is a key to answer to.
        public_key = _answer_key(content.public_key)
        return Attestation(
            platform=content.platform,
            module_id=content.module_id,
            issued_at=issued_at,
            pcrs={index: value.hex() for index, value in sorted(content.pcrs.items())},
            public_key=public_key,
            user_data=content.user_data,
            nonce=content.nonce,
        )


def _answer_key(der: bytes | None) -> bytes:
    if not der:
        raise AttestationRefused(AttestationFault.PUBLIC_KEY, "the attestation document carries no public key")
    recipient_key(der)
    return der
