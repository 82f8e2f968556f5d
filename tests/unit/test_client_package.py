"""The package's face, and the tree of errors behind it."""

from __future__ import annotations

import inspect
import tomllib
from pathlib import Path

import pytest

import kagitori_client
from kagitori_client import errors
from kagitori_client.cli import failures
from kagitori_client.errors import KagitoriError, NoUsableKey, ServiceError


def test_every_name_is_there() -> None:
    assert dir(kagitori_client) == sorted(kagitori_client.__all__)
    for name in kagitori_client.__all__:
        value = getattr(kagitori_client, name)
        assert value.__name__ == name
        assert value.__module__.startswith("kagitori_client.")
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        kagitori_client.nonsense  # noqa: B018  # looking it up is the test


def test_every_error_is_in_the_tree_and_exported() -> None:
    kinds = {name for name, kind in vars(errors).items() if inspect.isclass(kind) and issubclass(kind, Exception)}
    assert kinds <= set(kagitori_client.__all__)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ServiceError("AccessDeniedException", "x"), 1),
        (ServiceError("NotFoundException", "x"), 1),
        (ServiceError("InvalidCiphertextException", ""), 4),
        (ServiceError("KMSInvalidMacException", ""), 4),
        (ServiceError("KMSInvalidSignatureException", ""), 4),
        (NoUsableKey("x"), 1),
        (NoUsableKey("x", causes=(ServiceError("DisabledException", "x"),)), 1),
        (NoUsableKey("x", causes=(ServiceError("InvalidCiphertextException", ""),)), 4),
        (errors.EnvelopeError("x"), 1),
        (errors.DoesNotVerify("x"), 4),
        (errors.ContextMismatch("x"), 4),
        (errors.TooLarge("x"), 4),
        (errors.ConnectionFailed("x"), 3),
        (errors.ConfigurationError("x"), 2),
        (errors.KeyMaterialError("x"), 2),
        (failures.UsageError("x"), 2),
        (failures.LocalFileError("x"), 2),
        (failures.Unhealthy("x"), 1),
        (failures.AuditTrailBroken("x"), 4),
        (failures.ReceiptMissing("x"), 1),
        (errors.ReceiptInvalid("x"), 4),
    ],
)
def test_exit_codes(error: KagitoriError, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert failures.report(error, debug=False) == code
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith(f"error: {error.code}: ")


def test_report_shows_all_there_is_and_no_escape_sequences(capsys: pytest.CaptureFixture[str]) -> None:
    error = ServiceError(
        "ValidationException",
        "bad \x1b[2J",
        request_id="r-1",
        violations=(errors.Violation("tags[0].tag_key", "too long"),),
    )
    error.hint = "shorten it"
    failures.report(error, debug=False)
    assert capsys.readouterr().err == (
        "error: ValidationException: bad \\x1b[2J\n"
        "  tags[0].tag_key: too long\n"
        "hint: shorten it\n"
        "request id: r-1\n"
    )


def test_the_extra_all_is_all_that_users_can_have() -> None:
    """What `make serve` installs; a hint of the command line never asks for more than it."""
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    [everything] = extras["all"]
    assert set(everything.removeprefix("kagitori-kms[").removesuffix("]").split(",")) == extras.keys() - {
        "all", "dev", "testing"
    }
