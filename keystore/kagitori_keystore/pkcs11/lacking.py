"""What no token does: the operations of `GeneralKeyStore` that are refused, whatever the token."""

from __future__ import annotations

from kagitori_keystore.base import MaterialRef, RequestRefused


class Lacking:
    """Refuses; `StoreDescription` says so before. Secrets of the server stay with its default store."""

    __slots__ = ()

    def encapsulate(self, *_: object, **__: object) -> tuple[bytes, bytes]:
        raise RequestRefused("a token has no keys that encapsulate")

    def decapsulate(self, *_: object, **__: object) -> bytes:
        raise RequestRefused("a token has no keys that encapsulate")

    def replicate(self, *_: object, **__: object) -> MaterialRef:
        raise RequestRefused("a key of a token does not leave it")

    def import_parameters(self, *_: object, **__: object) -> tuple[bytes, bytes]:
        raise RequestRefused("a key of a token is made there")

    def import_material(self, *_: object, **__: object) -> MaterialRef:
        raise RequestRefused("a key of a token is made there")

    def wrap_secret(self, *_: object, **__: object) -> bytes:
        raise RequestRefused("a token keeps keys, and no secrets of the server")

    def unwrap_secret(self, *_: object, **__: object) -> bytes:
        raise RequestRefused("a token keeps keys, and no secrets of the server")
