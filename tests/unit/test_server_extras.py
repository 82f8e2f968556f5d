"""The extra `server` alone is enough to load the server; the command line loads late what few commands need."""

from __future__ import annotations

import subprocess
import sys

import pytest

_LOAD = """
import sys
for name in {absent!r}:
    sys.modules[name] = None
{code}
loaded = {absent!r} & sys.modules.keys() - {{name for name, module in sys.modules.items() if module is None}}
sys.exit(f"loaded: {{loaded}}" if loaded else 0)
"""
_CATALOG = """
from kagitori_server.storage.catalog import CatalogUnusableError, open_catalog
try:
    open_catalog("postgresql://nobody@127.0.0.1:9/none", monotonic=lambda: 0.0)
except CatalogUnusableError as error:
    assert "extra postgres" in str(error), error
else:
    sys.exit("it was opened")
"""


@pytest.mark.parametrize(
    ("code", "absent"),
    [
        (
            "import kagitori_server.commands, kagitori_server.wiring",
            {"psycopg", "pkcs11", "boto3", "aws_encryption_sdk", "opentelemetry", "typer", "rich", "pyarrow", "pytest"},
        ),
        (_CATALOG, {"psycopg"}),
        (
            "from kagitori_client.cli import app; app.build()",
            {"cryptography", "boto3", "aws_encryption_sdk", "pyarrow"},
        ),
    ],
)
def test_what_is_not_needed_is_not_loaded(code: str, absent: set[str]) -> None:
    script = _LOAD.format(absent=absent, code=code)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
