"""The closed vocabulary of failures: every refusal of the service is one of these classes.

The first group is the AWS KMS API model's (2014-11-01, botocore 1.44.5). The second is the answers every AWS
service gives beside its model (authentication, permission, shape, rate). Transports translate them by one table
each; anything else that is raised becomes `KMSInternalException` with its detail withheld and logged.

Messages are for the caller: they never hold key material, plaintext, tokens or another caller's names.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """One member of a request that broke a constraint.

    `field` is the snake_case path of the member (`tags[3].tag_key`), `description` what it should have been.
    """

    field: str
    description: str


class KmsError(Exception):
    """Root of the vocabulary.

    `message` is safe to show. `violations` names the members at fault (shape errors only), `retry_after`
    is seconds until a retry makes sense (None: not before something changes).
    """

    server_fault = False
    """True when the caller did nothing wrong and the call may be retried (HTTP 500 in the AWS protocol)."""

    def __init__(
        self,
        message: str = "",
        *,
        violations: tuple[FieldViolation, ...] = (),
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.violations = violations
        self.retry_after = retry_after

    @classmethod
    def code(cls) -> str:
        """The AWS name of the exception, such as `NotFoundException`."""
        return cls.__name__


# --- the AWS KMS model's exceptions -------------------------------------------------------------------------


class AlreadyExistsException(KmsError):
    """The resource to be made exists already."""


class CloudHsmClusterInUseException(KmsError):
    """The cluster belongs to another custom key store already."""


class CloudHsmClusterInvalidConfigurationException(KmsError):
    """The cluster does not meet the needs of a custom key store."""


class CloudHsmClusterNotActiveException(KmsError):
    """The cluster is not active."""


class CloudHsmClusterNotFoundException(KmsError):
    """No cluster of this id is configured."""


class CloudHsmClusterNotRelatedException(KmsError):
    """The cluster is not the one the key store was made with."""


class ConflictException(KmsError):
    """Another change of the same resource is under way."""


class CustomKeyStoreHasCMKsException(KmsError):
    """The custom key store still holds KMS keys."""


class CustomKeyStoreInvalidStateException(KmsError):
    """The connection state of the custom key store forbids the call."""


class CustomKeyStoreNameInUseException(KmsError):
    """The name of the custom key store is taken in this account and Region."""


class CustomKeyStoreNotFoundException(KmsError):
    """No custom key store of this id or name."""


class DependencyTimeoutException(KmsError):
    """Something the service depends on (HSM, database) did not answer in time."""

    server_fault = True


class DisabledException(KmsError):
    """The key is disabled."""


class DryRunOperationException(KmsError):
    """The call was a dry run and would have succeeded."""

    def __init__(self) -> None:
        super().__init__("The request would have succeeded, but the DryRun option is set.")


class ExpiredImportTokenException(KmsError):
    """The import token is older than 24 hours."""


class IncorrectKeyException(KmsError):
    """The key named in the request is not the one the ciphertext was made under."""


class IncorrectKeyMaterialException(KmsError):
    """The material offered is expired, invalid or not the expected one."""


class IncorrectTrustAnchorException(KmsError):
    """The trust anchor is not the cluster's."""


class InvalidAliasNameException(KmsError):
    """The alias name is not acceptable."""


class InvalidArnException(KmsError):
    """An ARN is malformed, or of a kind that this call does not take."""


class InvalidCiphertextException(KmsError):
    """The ciphertext, or the context bound to it, does not verify. AWS sends no message."""


class InvalidGrantIdException(KmsError):
    """No grant of this id."""


class InvalidGrantTokenException(KmsError):
    """The grant token is not valid."""


class InvalidImportTokenException(KmsError):
    """The import token is malformed or belongs to another key."""


class InvalidKeyUsageException(KmsError):
    """The key's usage or algorithms do not allow the operation."""


class InvalidMarkerException(KmsError):
    """The pagination marker is not one this call handed out."""


class KMSInternalException(KmsError):
    """An unexpected failure inside the service; the detail is in its log only."""

    server_fault = True


class KMSInvalidMacException(KmsError):
    """The HMAC does not verify. AWS sends no message."""


class KMSInvalidSignatureException(KmsError):
    """The signature does not verify. AWS sends no message."""


class KMSInvalidStateException(KmsError):
    """The key's state forbids the call."""


class KeyUnavailableException(KmsError):
    """The key's material can't be reached just now."""

    server_fault = True


class LimitExceededException(KmsError):
    """A length or a quota was exceeded."""


class MalformedPolicyDocumentException(KmsError):
    """The policy document is not acceptable."""


class NotFoundException(KmsError):
    """No such key, alias, policy or principal, or none the caller may know of."""


class TagException(KmsError):
    """A tag is not acceptable."""


class UnsupportedOperationException(KmsError):
    """The operation or parameter is not supported for this resource."""


class XksKeyAlreadyInUseException(KmsError):
    """The external key backs another KMS key already."""


class XksKeyInvalidConfigurationException(KmsError):
    """The external key does not meet the needs of an external key store."""


class XksKeyNotFoundException(KmsError):
    """The external key store proxy does not know the external key."""


class XksProxyIncorrectAuthenticationCredentialException(KmsError):
    """The proxy refused the credentials."""


class XksProxyInvalidConfigurationException(KmsError):
    """The proxy is not configured for this service."""


class XksProxyInvalidResponseException(KmsError):
    """The proxy's answer made no sense."""


class XksProxyUriEndpointInUseException(KmsError):
    """The proxy endpoint belongs to another external key store."""


class XksProxyUriInUseException(KmsError):
    """The proxy endpoint and path belong to another external key store."""


class XksProxyUriUnreachableException(KmsError):
    """The proxy can't be reached."""


class XksProxyVpcEndpointServiceInUseException(KmsError):
    """The VPC endpoint service belongs to another external key store."""


class XksProxyVpcEndpointServiceInvalidConfigurationException(KmsError):
    """The VPC endpoint service does not meet the needs of an external key store."""


class XksProxyVpcEndpointServiceNotFoundException(KmsError):
    """No such VPC endpoint service."""


# --- what every AWS service answers beside its model --------------------------------------------------------


class AccessDeniedException(KmsError):
    """The caller is known and not allowed."""


class ValidationException(KmsError):
    """A member of the request breaks a constraint of its shape."""


class SerializationException(KmsError):
    """The bytes of the request can't be read as the request's type."""


class RequestEntityTooLargeException(KmsError):
    """The request is larger than the service reads."""


class UnknownOperationException(KmsError):
    """No operation of this name is served."""


class ThrottlingException(KmsError):
    """The caller exceeded its rate."""


class MissingAuthenticationTokenException(KmsError):
    """The call carries no credentials."""


class IncompleteSignatureException(KmsError):
    """The authorization header is malformed or lacks a part."""


class InvalidSignatureException(KmsError):
    """The signature, its scope or its time is wrong."""


class UnrecognizedClientException(KmsError):
    """The credentials belong to nobody we know, or were revoked."""


class ExpiredTokenException(KmsError):
    """The credentials were good once and have expired."""


# --- AdminService: what AWS IAM answers about principals and their policies ----------------------------------


class NoSuchEntityException(KmsError):
    """No principal, credential or identity policy of this name (AWS IAM `NoSuchEntity`)."""


class EntityAlreadyExistsException(KmsError):
    """The name is taken (AWS IAM `EntityAlreadyExists`)."""


class DeleteConflictException(KmsError):
    """The entity still has what depends on it (AWS IAM `DeleteConflict`)."""


def every_error() -> tuple[type[KmsError], ...]:
    """Each class of the vocabulary, in the order of this module: what the transports' tables must cover."""
    return tuple(
        value for value in globals().values()
        if isinstance(value, type) and issubclass(value, KmsError) and value is not KmsError
    )
