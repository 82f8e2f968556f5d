"""Fixtures for pytest. They are there wherever `kagitori-kms[testing]` is installed.

    def test_orders_are_sealed(kagitori):
        key = kagitori.client.keys.CreateKey(CreateKeyRequest()).key_metadata

Options: `--kagitori-seed FILE` or `kagitori_seed` in the configuration of pytest (relative to its folder), and
`kagitori_arguments` there, more arguments for `kagitori-server dev`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    # gRPC takes its time to load; who doesn't use the fixtures needn't wait for it.
    from kagitori_client.testing.processes import Nursery
    from kagitori_client.testing.service import Account, Aws, Service, Spare


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options of this plugin."""
    group = parser.getgroup("kagitori", "key management service for tests")
    group.addoption("--kagitori-seed", metavar="FILE", help="TOML file with what servers for tests hold at first")
    parser.addini("kagitori_seed", "TOML file with what servers for tests hold at first")
    parser.addini("kagitori_arguments", "more arguments for kagitori-server dev", type="args", default=[])


@pytest.fixture(scope="session")
def kagitori_seed(pytestconfig: pytest.Config) -> Path | None:
    """The seed file. Override this fixture to have another."""
    given: str | None = pytestconfig.getoption("--kagitori-seed")
    if given:
        return pytestconfig.invocation_params.dir / given
    configured: str = pytestconfig.getini("kagitori_seed")
    return pytestconfig.rootpath / configured if configured else None


@pytest.fixture(scope="session")
def kagitori_nursery() -> Iterator[Nursery | None]:
    """Where servers come from: loading the server takes most of the time of a start, and is done once."""
    from kagitori_client.testing.service import nursery

    with nursery() as found:
        yield found


@pytest.fixture(scope="session")
def kagitori(
    kagitori_seed: Path | None, pytestconfig: pytest.Config, kagitori_nursery: Nursery | None
) -> Iterator[Service]:
    """A server that all tests of the session share, as its administrator. Each worker of pytest-xdist has its own."""
    from kagitori_client.testing.service import running

    arguments = pytestconfig.getini("kagitori_arguments")
    with running(seed=kagitori_seed, arguments=arguments, nursery=kagitori_nursery) as service:
        yield service


@pytest.fixture(scope="session")
def kagitori_aws(kagitori: Service) -> Aws:
    """The session's server for AWS SDKs, as its administrator: `boto3.client("kms", **kagitori_aws.for_boto3)`."""
    return kagitori.aws


@pytest.fixture
def kagitori_account(kagitori: Service) -> Account:
    """An account of the session's server that this test has for itself, as its root user."""
    return kagitori.new_account()


@pytest.fixture(scope="session")
def kagitori_spare(request: pytest.FixtureRequest, kagitori_nursery: Nursery | None) -> Iterator[Spare]:
    """Where `kagitori_instance` comes from: while a test has one, the next test's is started."""
    from kagitori_client.testing.service import Spare

    wanted = sum("kagitori_instance" in getattr(item, "fixturenames", ()) for item in request.session.items)
    with closing(Spare(wanted, kagitori_nursery)) as spare:
        yield spare


@pytest.fixture
def kagitori_instance(
    kagitori_seed: Path | None, pytestconfig: pytest.Config, kagitori_spare: Spare
) -> Iterator[Service]:
    """A server that this test has for itself: to move its clock, to let it fail."""
    with kagitori_spare.running(kagitori_seed, pytestconfig.getini("kagitori_arguments")) as service:
        yield service
