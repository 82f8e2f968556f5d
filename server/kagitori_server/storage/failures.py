"""From SQL's failures to the service's vocabulary. Details go to the log, never to the caller."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy.exc

from kagitori_server.model.errors import (
    DependencyTimeoutException,
    KMSInternalException,
    ValidationException,
)

_log = logging.getLogger(__name__)


class CatalogUnusableError(Exception):
    """The catalog can't be opened at all; the message tells an operator why. Raised at start only."""


class UnstorableError(sqlalchemy.exc.DontWrapMixin, ValueError):
    """A value that no database would keep as it is. Turned into ValidationException at the catalog's edge."""


def timed_out(what: str) -> DependencyTimeoutException:
    """The refusal for a database that didn't answer in time; `what` is what the caller was waiting for."""
    return DependencyTimeoutException(f"The catalog did not answer in time: {what}.", retry_after=1.0)


@contextmanager
def translated() -> Iterator[None]:
    """Turns what SQL raises within the block into the vocabulary.

    Raises DependencyTimeoutException when the database is busy, gone or too slow, ValidationException for
    values that can't be stored, KMSInternalException for everything else. Causes aren't chained: a
    statement's parameters may hold wrapped keys.
    """
    try:
        yield
    except UnstorableError as error:
        raise ValidationException(str(error)) from None
    except (
        sqlalchemy.exc.TimeoutError,
        sqlalchemy.exc.OperationalError,
        sqlalchemy.exc.InterfaceError,
    ) as error:
        _log.warning("the catalog's database failed: %s", reason(error))
        raise timed_out("the database is busy or unreachable") from None
    except sqlalchemy.exc.DBAPIError as error:
        _log.error("the catalog's database refused a statement: %s", reason(error))
        if error.connection_invalidated:
            raise timed_out("the connection to the database was lost") from None
        raise KMSInternalException("The catalog failed.") from None
    except sqlalchemy.exc.SQLAlchemyError as error:
        _log.error("the catalog failed: %s", type(error).__name__)
        raise KMSInternalException("The catalog failed.") from None


def reason(error: Exception) -> str:
    """One line for the log without a statement's parameters.

    A database's first line names constraint and table; values follow in later lines ("DETAIL: …").
    """
    cause = error.orig if isinstance(error, sqlalchemy.exc.DBAPIError) else error
    first = str(cause).splitlines()[:1]
    return f"{type(cause).__name__}: {first[0] if first else ''}"
