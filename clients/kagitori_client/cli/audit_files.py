"""`kagitori audit open`: reading log files that were delivered, encrypted ones as well."""

from __future__ import annotations

import zlib
from io import BytesIO
from typing import Annotated

import typer

from kagitori_client.cli.encryption import envelope_of
from kagitori_client.cli.files import STANDARD, check_output, read_small, write_output
from kagitori_client.cli.session import Session, command
from kagitori_client.errors import DoesNotVerify

app = typer.Typer()

_FILE_MAX = 256 * 1024 * 1024
_MESSAGE = b"\x02"
"""The first byte of a message of the AWS Encryption SDK; of gzip it is another."""
_GZIP = 16 + zlib.MAX_WBITS


@command(app, "open", epilog="Example: kagitori audit open log.json.gz - | jq .Records[].eventName")
def open_file(
    session: Session,
    source: Annotated[str, typer.Argument(metavar="IN", help="Log file as it was delivered.")],
    target: Annotated[str, typer.Argument(metavar="OUT", help="File to write its JSON to, - for stdout.")],
    packed: Annotated[
        bool, typer.Option("--packed", help="Write it compressed, as it was before it was encrypted.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace files that exist.")] = False,
) -> None:
    """Read a log file that was delivered; who may Decrypt with its key reads an encrypted one.

    Whether it is whole and the service's is for digests to say: see kagitori-server verify-audit.
    """
    if packed or target != STANDARD:
        check_output(target, force=force)
    content = read_small(source, _FILE_MAX, "a log file")
    if content.startswith(_MESSAGE):
        content = _opened(session, content)
    text = _unpacked(content)
    write_output(target, content if packed else text, force=force)
    if target != STANDARD:
        session.done(f"wrote {target} ({len(text)} bytes of JSON)", out=target, length=len(text))


def _opened(session: Session, message: bytes) -> bytes:
    envelope = envelope_of(session)
    # Only now: it belongs to the SDK.
    from kagitori_client.envelope import KeysOfMessage

    opened = BytesIO()
    envelope.decrypt(BytesIO(message), opened, keys=KeysOfMessage())
    return opened.getvalue()


def _unpacked(content: bytes) -> bytes:
    unpacker = zlib.decompressobj(_GZIP)
    try:
        text = unpacker.decompress(content, _FILE_MAX)
    except zlib.error:
        raise DoesNotVerify("it is not a log file: neither encrypted nor compressed") from None
    if not unpacker.eof or unpacker.unused_data:
        raise DoesNotVerify("it is not exactly one compressed file, or it is too long")
    return text
