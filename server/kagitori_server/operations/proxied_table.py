"""Rows for external key store proxies: AWS's Encrypt, Decrypt and DescribeKey in every column but shapes and handlers.

They are in a table of their own, under names that no caller of a service can say.
"""

from __future__ import annotations

from dataclasses import replace

from kagitori_server.model.shape import Shape
from kagitori_server.operations import proxied
from kagitori_server.operations.row import Table
from kagitori_server.operations.shapes import proxied as shapes
from kagitori_server.operations.table import DECRYPT, ENCRYPT

PROXIED_ENCRYPT = "proxied Encrypt"
PROXIED_DECRYPT = "proxied Decrypt"

PROXIED: Table = {
    PROXIED_ENCRYPT: replace(
        ENCRYPT, request=Shape(shapes.ProxiedEncryptRequest), response=shapes.ProxiedEncryptResponse,
        check=proxied.check_proxied, handler=proxied.proxied_encrypt,
    ),
    PROXIED_DECRYPT: replace(
        DECRYPT, request=Shape(shapes.ProxiedDecryptRequest), response=shapes.ProxiedDecryptResponse,
        check=proxied.check_proxied, handler=proxied.proxied_decrypt,
    ),
}
"""What the pipeline serves to proxies beside its table."""
