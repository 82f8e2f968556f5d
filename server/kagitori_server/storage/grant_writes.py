"""Writing grants and their tokens."""

from __future__ import annotations

from sqlalchemy import select

from kagitori_server.model.errors import AlreadyExistsException, NotFoundException
from kagitori_server.model.grants import Grant
from kagitori_server.storage import rows, schema
from kagitori_server.storage.changes import Change
from kagitori_server.storage.recorder import Recorder

TOKENS_PER_GRANT = 100
"""Tokens kept of one grant: repeating CreateGrant by name makes another each time, and forgets the oldest."""


class GrantWrites(Recorder):
    """Changes to what is granted. A grant is made and removed, never altered."""

    def insert_grant(self, grant: Grant) -> None:
        """A new grant. Raises AlreadyExistsException when its key has one of this id, NotFoundException when
        there is no such key."""
        if self.get_grant(grant.region, grant.key_id, grant.grant_id) is not None:
            raise AlreadyExistsException(f"Grant {grant.grant_id} exists already.")
        keys = schema.keys.c
        if not self._count(schema.keys, keys.region == grant.region, keys.key_id == grant.key_id):
            raise NotFoundException(f"Key {grant.key_id} is not found.")
        self._insert(schema.grants, rows.grant_values(grant))
        self._touch_grant(grant)

    def add_grant_token(self, grant: Grant, digest: bytes, created: float) -> None:
        """One more token of a grant, as its SHA-256; the oldest goes when there are too many."""
        tokens = schema.grant_tokens
        place = {"region": grant.region, "key_id": grant.key_id, "grant_id": grant.grant_id}
        statement = (
            select(tokens.c.digest).filter_by(**place).order_by(tokens.c.created.desc(), tokens.c.digest)
        )
        for old in self._connection.scalars(statement.offset(TOKENS_PER_GRANT - 1)).all():
            self._delete(tokens, tokens.c.digest == old)
            self._touch(Change.of_grant_token(bytes(old)))
        self._insert(tokens, {**place, "digest": digest, "created": created})
        self._touch(Change.of_grant_token(digest))

    def delete_grant(self, region: str, key_id: str, grant_id: str) -> None:
        """Removes a grant and its tokens. Raises NotFoundException when there is none."""
        grant = self.get_grant(region, key_id, grant_id)
        if grant is None:
            raise NotFoundException(f"Grant {grant_id} is not found.")
        grants, tokens = schema.grants, schema.grant_tokens
        digests = self._connection.scalars(
            select(tokens.c.digest).filter_by(region=region, key_id=key_id, grant_id=grant_id)
        ).all()
        self._touch(*(Change.of_grant_token(bytes(digest)) for digest in digests))
        self._delete(
            grants, grants.c.region == region, grants.c.key_id == key_id, grants.c.grant_id == grant_id
        )
        self._touch_grant(grant)

    def _touch_grant(self, grant: Grant) -> None:
        self._touch(Change.of_grants(grant.region, grant.key_id, grant.grantee.unique_id))
