"""Envelope encryption: data of any size under a KMS key, in the AWS Encryption SDK's message format.

The data is encrypted here, with a data key from the service; the message carries that key encrypted under one
or several KMS keys. Any AWS Encryption SDK with its KMS provider can read these messages, and this can read
theirs. Needs the extra `cli`.
"""

from __future__ import annotations

from kagitori_client.envelope.messages import DEFAULT_FRAME_LENGTH, Envelope, MessageFacts
from kagitori_client.envelope.provider import KeysOfMessage, NamedKeys

__all__ = ["DEFAULT_FRAME_LENGTH", "Envelope", "KeysOfMessage", "MessageFacts", "NamedKeys"]
