"""From the recipient that a request names to what its attestation document proves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from kagitori_server.attestation import Attestation, AttestationRefused, AttestationVerifier
from kagitori_server.model.errors import FieldViolation, ValidationException
from kagitori_server.operations.shapes.crypto import RecipientInfo
from kagitori_server.storage.view import NotLoaded

_DOCUMENT = "recipient.attestation_document"
_ALGORITHM = "recipient.key_encryption_algorithm"

Attested = dict[bytes, Attestation | ValidationException]
"""Documents of one call, or of all items of one batch, with what came of them."""


class Unverified(NotLoaded):
    """A document has to be verified before the call can go on."""


@dataclass(frozen=True, slots=True)
class Attesting:
    """What the pipeline asks for whom an answer is."""

    verifier: AttestationVerifier
    clock: Callable[[], float]

    def attest(self, recipient: RecipientInfo, found: Attested, *, blocks: bool) -> Attestation:
        """What the recipient's document proves. It is verified unless `found` has it, which takes milliseconds: with
        `blocks` here, else by `load` of the `Unverified` that is raised.

        Raises ValidationException for a document that proves nothing, or when it or the algorithm is missing.
        """
        document = _document(recipient)
        if document not in found:
            if not blocks:
                raise Unverified(lambda: self._verify(document, found))
            self._verify(document, found)
        outcome = found[document]
        if isinstance(outcome, ValidationException):
            raise outcome
        return outcome

    def _verify(self, document: bytes, found: Attested) -> None:
        try:
            found[document] = self.verifier.verify(document, self.clock())
        except AttestationRefused as refused:
            text = f"The attestation document of the recipient was not accepted: {refused}."
            found[document] = ValidationException(text, violations=(FieldViolation(_DOCUMENT, str(refused)),))


def _document(recipient: RecipientInfo) -> bytes:
    if recipient.attestation_document is None:
        raise _missing("AttestationDocument", _DOCUMENT)
    if recipient.key_encryption_algorithm is None:
        raise _missing("KeyEncryptionAlgorithm", _ALGORITHM)
    return recipient.attestation_document


def _missing(name: str, path: str) -> ValidationException:
    return ValidationException(
        f"A recipient must have {name}.", violations=(FieldViolation(path, "Member must not be null"),)
    )
