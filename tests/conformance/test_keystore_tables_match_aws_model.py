"""The key store's tables against botocore's copy of the AWS model: the same names, nothing missing but SM2."""

from __future__ import annotations

from enum import Enum

import botocore.session
import pytest

from kagitori_keystore.algorithms import (
    AsymmetricEncryptionAlgorithm,
    DataKeyPairSpec,
    KeySpec,
    MacAlgorithm,
    MessageForm,
    SigningAlgorithm,
    WrappingAlgorithm,
    WrappingSpec,
)

MODEL = botocore.session.get_session().get_service_model("kms")
SM2 = {"SM2", "SM2DSA", "SM2PKE"}


@pytest.mark.parametrize(
    ("ours", "shape", "elsewhere"),
    [
        (KeySpec, "KeySpec", set()),
        (MessageForm, "MessageType", set()),
        (SigningAlgorithm, "SigningAlgorithmSpec", set()),
        (MacAlgorithm, "MacAlgorithmSpec", set()),
        (AsymmetricEncryptionAlgorithm, "EncryptionAlgorithmSpec", {"SYMMETRIC_DEFAULT"}),
        (DataKeyPairSpec, "DataKeyPairSpec", set()),
        (WrappingSpec, "WrappingKeySpec", set()),
        (WrappingAlgorithm, "AlgorithmSpec", {"RSAES_PKCS1_V1_5"}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_names_are_those_of_the_model(ours: type[Enum], shape: str, elsewhere: set[str]) -> None:
    """By name; and the values of the string enumerations are their names."""
    theirs = set(MODEL.shape_for(shape).enum)
    assert {member.name for member in ours} == theirs - SM2 - elsewhere
    assert all(member.value == member.name for member in ours if isinstance(member, str))
