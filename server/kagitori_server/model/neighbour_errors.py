"""Failures by names of AWS services beside KMS (STS, CloudTrail, Resource Groups Tagging; botocore 1.44.5).

Each is a kind of one of the closed vocabulary (`model.errors`), and for a transport that doesn't know those services it
is that one.
"""

from __future__ import annotations

from kagitori_server.model import errors


class InvalidIdentityTokenException(errors.UnrecognizedClientException):
    """The web identity token can't be validated (AWS STS `InvalidIdentityToken`)."""


class ExpiredIdentityTokenException(errors.ExpiredTokenException):
    """The web identity token was good once (AWS STS `ExpiredTokenException`). Of access keys STS tells it otherwise."""

    @classmethod
    def code(cls) -> str:
        """The AWS name of the exception."""
        return errors.ExpiredTokenException.code()


class IDPRejectedClaimException(errors.UnrecognizedClientException):
    """A claim of the web identity token isn't acceptable (AWS STS `IDPRejectedClaim`)."""


class IDPCommunicationErrorException(errors.DependencyTimeoutException):
    """The issuer of the web identity token can't be reached just now (AWS STS `IDPCommunicationError`)."""

    server_fault = False


class PackedPolicyTooLargeException(errors.LimitExceededException):
    """Session policy and session tags are larger than a session may have (AWS STS `PackedPolicyTooLarge`)."""


class InvalidLookupAttributesException(errors.ValidationException):
    """LookupEvents takes one attribute, of those that there are (AWS CloudTrail)."""


class InvalidTimeRangeException(errors.ValidationException):
    """The start is after the end, or a time can't be (AWS CloudTrail)."""


class InvalidMaxResultsException(errors.ValidationException):
    """LookupEvents gives 1 to 50 events at a time (AWS CloudTrail)."""


class InvalidNextTokenException(errors.ValidationException):
    """The token isn't one that this query returned (AWS CloudTrail)."""


class InvalidEventCategoryException(errors.ValidationException):
    """There is no such category of events (AWS CloudTrail)."""


class InvalidTokenException(errors.ValidationException):
    """No page has such a token (AWS CloudTrail ListPublicKeys)."""


class InvalidTrailNameException(errors.ValidationException):
    """No trail can have that name (AWS CloudTrail)."""


class CloudTrailARNInvalidException(errors.ValidationException):
    """The ARN isn't one of a trail (AWS CloudTrail)."""


class TrailNotFoundException(errors.NotFoundException):
    """No trail has that name (AWS CloudTrail)."""


class InvalidParameterException(errors.ValidationException):
    """A parameter isn't acceptable, or not beside another one (AWS Resource Groups Tagging API)."""


def every_neighbour_error() -> tuple[type[errors.KmsError], ...]:
    """Each class of this module, in its order."""
    return tuple(
        value for value in globals().values() if isinstance(value, type) and issubclass(value, errors.KmsError)
    )
