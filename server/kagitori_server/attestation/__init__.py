"""Attested calls (AWS RecipientInfo): who asks, proved by hardware, and the answer only they can read.

Pure: no I/O, no clock, no policy. Documents come from AWS Nitro Enclaves and NitroTPM.
"""

from __future__ import annotations

from kagitori_server.attestation.document import Platform
from kagitori_server.attestation.errors import AttestationFault, AttestationRefused
from kagitori_server.attestation.recipient import ciphertext_for_recipient
from kagitori_server.attestation.roots import AWS_NITRO_ROOT_PEM, read_roots
from kagitori_server.attestation.verifier import Attestation, AttestationVerifier

__all__ = [
    "AWS_NITRO_ROOT_PEM",
    "Attestation",
    "AttestationFault",
    "AttestationRefused",
    "AttestationVerifier",
    "Platform",
    "ciphertext_for_recipient",
    "read_roots",
]
