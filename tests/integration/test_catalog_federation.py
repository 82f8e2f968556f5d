"""OpenID Connect providers and patterns of SPIFFE IDs in the catalog, on both databases."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from tests.support.catalogs import ACCOUNT, OTHER_ACCOUNT, Place, a_certificate, a_role, a_root, a_user

from kagitori_server.model.errors import (
    DeleteConflictException,
    EntityAlreadyExistsException,
    NoSuchEntityException,
    ValidationException,
)
from kagitori_server.model.principals import Account, CertificateRecord, OidcProviderRecord
from kagitori_server.storage import Catalog, NotLoaded, Writer

pytest_plugins = ["tests.support.catalog_fixtures"]

ROLE, FOREIGN = a_role(), a_role(account=OTHER_ACCOUNT)
ISSUER = "https://issuer.example/realms/ä"


def a_provider(
    number: int = 1, *, account: str = ACCOUNT, issuer: str = ISSUER, audience: str = ""
) -> OidcProviderRecord:
    """A provider; the even ones are to be asked for their keys."""
    return OidcProviderRecord(
        arn=f"arn:aws:iam::{account}:oidc-provider/{number:04}",
        account=account,
        issuer=issuer,
        audiences=(audience or f"audience {number}", "z\U0001f511"),
        role_arn=ROLE.arn if account == ACCOUNT else FOREIGN.arn,
        session_name_claim="/a/b",
        tag_claims={"team": "ä", "a": "b"},
        jwks='{"keys": []}' if number % 2 else None,
        created=8.125 + number,
    )


def a_pattern(number: int, text: str, *, account: str = ACCOUNT) -> CertificateRecord:
    role = ROLE if account == ACCOUNT else FOREIGN
    certificate = a_certificate(number, principal_arn=role.arn, account=account)
    return replace(certificate, uri_san=f"spiffe://example.org/{text}", session_name="")


def filled(place: Place) -> Catalog:
    catalog = place.with_account()
    with catalog.write() as writer:
        writer.insert_account(Account(OTHER_ACCOUNT, "other", 2.0), a_root(OTHER_ACCOUNT))
        for each in (ROLE, FOREIGN, a_user()):
            writer.insert_principal(each)
    return catalog


def test_providers_come_back_as_they_were(place: Place) -> None:
    catalog = filled(place)
    providers = [
        replace(a_provider(1), audiences=("a",)), replace(a_provider(2), audiences=("b", "c"), tag_claims={}),
        replace(a_provider(3, issuer="https://x.example"), audiences=("a",)),
    ]
    foreign = replace(a_provider(4, account=OTHER_ACCOUNT), audiences=("d",))
    with catalog.write() as writer:
        for each in (*reversed(providers), foreign):
            writer.insert_oidc_provider(each)
    with place.open().read() as reader:
        assert reader.get_oidc_provider(providers[1].arn) == providers[1]
        assert reader.get_oidc_provider("arn:nobody") is None
        assert reader.oidc_providers_of(ISSUER) == (*providers[:2], foreign)
        assert reader.list_oidc_providers(ACCOUNT) == providers
        assert reader.list_oidc_providers(ACCOUNT, providers[0].arn, 1) == [providers[1]]
        assert (reader.count_oidc_providers(ACCOUNT), reader.count_oidc_providers(OTHER_ACCOUNT)) == (3, 1)


@pytest.mark.parametrize(
    ("provider", "error"),
    [
        (a_provider(1, issuer="https://x.example"), EntityAlreadyExistsException),
        (a_provider(2, audience="audience 1"), EntityAlreadyExistsException),
        (a_provider(2), EntityAlreadyExistsException),
        (a_provider(2, account=OTHER_ACCOUNT), EntityAlreadyExistsException),
        (replace(a_provider(2, issuer="https://x.example"), role_arn="arn:nobody"), NoSuchEntityException),
        (replace(a_provider(2, issuer="https://x.example"), role_arn=FOREIGN.arn), NoSuchEntityException),
        (replace(a_provider(2, issuer="https://x.example"), role_arn=a_user().arn), ValueError),
        (a_provider(2, issuer="https://" + "x" * 255), ValidationException),
        (replace(a_provider(2, issuer="https://x.example"), jwks="x" * 65_537), ValidationException),
    ],
    ids=["ARN", "audience", "second audience", "another account", "no role", "foreign role", "user", "issuer", "keys"],
)
def test_providers_that_are_refused(place: Place, provider: OidcProviderRecord, error: type[Exception]) -> None:
    catalog = filled(place)
    with catalog.write() as writer:
        writer.insert_oidc_provider(a_provider(1))
    with pytest.raises(error), catalog.write() as writer:
        writer.insert_oidc_provider(provider)
    with catalog.read() as reader:
        assert reader.oidc_providers_of(ISSUER) == (a_provider(1),)


def test_a_role_with_a_provider_stays(place: Place) -> None:
    catalog = filled(place)
    with catalog.write() as writer:
        writer.delete_principal_policy(ROLE.arn, "use")
        writer.insert_oidc_provider(a_provider(1))
    with pytest.raises(DeleteConflictException), catalog.write() as writer:
        writer.delete_principal(ROLE.arn)
    with catalog.write() as writer:
        writer.delete_oidc_provider(a_provider(1).arn)
        writer.delete_principal(ROLE.arn)
    with pytest.raises(NoSuchEntityException), catalog.write() as writer:
        writer.delete_oidc_provider(a_provider(1).arn)


@pytest.mark.parametrize(
    "change",
    [
        lambda w: w.insert_oidc_provider(replace(a_provider(2), audiences=("other",))),
        lambda w: w.delete_oidc_provider(a_provider(1).arn),
        lambda w: w.insert_certificate(a_pattern(2, "*/*")),
        lambda w: w.delete_certificate("cert-0001"),
    ],
    ids=["provider", "no provider", "pattern", "no pattern"],
)
def test_views_see_changes_at_once(place: Place, change: Callable[[Writer], None]) -> None:
    """And keep the same objects until then; of what doesn't exist as well."""
    catalog, other = filled(place), place.open()
    with catalog.write() as writer:
        writer.insert_oidc_provider(a_provider(1))
        writer.insert_certificate(a_pattern(1, "*"))
    other.view.prove_blocking()
    kept = other.view.kept
    before = other.view.oidc_providers(ISSUER), other.view.spiffe_patterns("example.org")
    assert before == ((a_provider(1),), (a_pattern(1, "*"),))
    assert not other.view.oidc_providers("https://none.example")
    assert not other.view.spiffe_patterns("none")
    assert kept.oidc_providers(ISSUER) is before[0]
    assert kept.spiffe_patterns("example.org") is before[1]
    assert kept.oidc_providers("https://none.example") == kept.oidc_providers("x" * 300) == ()
    with catalog.write() as writer:
        change(writer)
    other.view.prove_blocking()
    with pytest.raises(NotLoaded):
        (kept.oidc_providers(ISSUER), kept.spiffe_patterns("example.org"))
    with catalog.read() as reader:
        assert other.view.oidc_providers(ISSUER) == reader.oidc_providers_of(ISSUER)
        assert other.view.spiffe_patterns("example.org") == reader.spiffe_patterns("example.org")


def test_patterns(place: Place) -> None:
    """Kept apart from what is compared exactly; no two overlap, and none what another account has."""
    catalog = filled(place)
    with catalog.write() as writer:
        writer.insert_certificate(a_pattern(1, "ns/*/web"))
        writer.insert_certificate(a_pattern(2, "ns/a/web"))
        writer.insert_certificate(a_pattern(3, "one"))
    for refused in (
        a_pattern(4, "*/a/web"), a_pattern(4, "ns/b/web", account=OTHER_ACCOUNT), a_pattern(4, "ns/*/web"),
        a_pattern(4, "*", account=OTHER_ACCOUNT),
    ):
        with pytest.raises(EntityAlreadyExistsException), catalog.write() as writer:
            writer.insert_certificate(refused)
    with catalog.write() as writer:
        writer.insert_certificate(a_pattern(4, "ns/*/app", account=OTHER_ACCOUNT))
        writer.insert_certificate(a_pattern(5, "*"))
    with catalog.read() as reader:
        found = [each.certificate_id for each in reader.spiffe_patterns("example.org")]
        assert found == ["cert-0001", "cert-0004", "cert-0005"]
        assert reader.spiffe_patterns("example.com") == ()


def test_a_catalog_of_the_revision_before(place: Place) -> None:
    """Mappings made by it go on, even those that SPIFFE would refuse; none of them is a pattern."""
    catalog = filled(place)
    odd = replace(a_pattern(1, "a%20b"), session_name="odd")
    with catalog.write() as writer:
        writer.insert_certificate(odd)
        writer.insert_certificate(a_pattern(2, "*"))
        writer.delete_certificate("cert-0001")
    with catalog.read() as reader:
        assert [each.certificate_id for each in reader.spiffe_patterns("example.org")] == ["cert-0002"]
