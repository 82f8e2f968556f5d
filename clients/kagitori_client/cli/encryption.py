"""`kagitori encrypt`, `decrypt`, `data-key`, `random`: the uses of keys."""

from __future__ import annotations

import base64
import importlib.util
import sys
from contextlib import AbstractContextManager
from enum import StrEnum
from typing import IO, TYPE_CHECKING, Annotated

import typer

from kagitori.kms.v1.cryptography_pb2 import (
    GenerateDataKeyRequest,
    GenerateDataKeyWithoutPlaintextRequest,
    GenerateRandomRequest,
)
from kagitori.kms.v1.resources_pb2 import DataKeySpec
from kagitori_client.cli.arguments import pairs
from kagitori_client.cli.failures import UsageError
from kagitori_client.cli.files import (
    STANDARD,
    check_target,
    direct_stdout,
    open_input,
    progress,
    refuse_same_file,
    replaced_file,
    spooled_stdout,
    write_secret,
)
from kagitori_client.cli.raw_encryption import decrypt_raw, encrypt_raw
from kagitori_client.cli.session import Session, command
from kagitori_client.cli.text import Plain
from kagitori_client.errors import ConfigurationError

if TYPE_CHECKING:
    from kagitori_client.envelope import Envelope, MessageFacts

_MAX_RANDOM = 1024

Context = Annotated[
    list[str] | None,
    typer.Option("--context", help="Pair of the encryption context; repeatable.", metavar="NAME=VALUE"),
]
Source = Annotated[str, typer.Argument(metavar="IN", help="File to read, - for stdin.")]
Target = Annotated[str, typer.Argument(metavar="OUT", help="File to write, - for stdout.")]
Raw = Annotated[
    bool,
    typer.Option(
        "--raw", help="No envelope: up to 4,096 bytes through the service itself, RSA keys too (which take up to "
        "446, by their size).",
    ),
]
Algorithm = Annotated[
    str | None,
    typer.Option(
        help="With --raw and an RSA key: RSAES_OAEP_SHA_256 or RSAES_OAEP_SHA_1.", metavar="ALGORITHM"
    ),
]
Force = Annotated[bool, typer.Option("--force", help="Replace files that exist.")]


class DataKeyKind(StrEnum):
    """The named lengths of data keys."""

    AES_128 = "AES_128"
    AES_256 = "AES_256"


class Encoding(StrEnum):
    """How random bytes are written."""

    HEX = "hex"
    BASE64 = "base64"
    RAW = "raw"


def register(app: typer.Typer) -> None:
    """Adds these commands to the command line."""
    command(
        app, "encrypt",
        epilog="Example: kagitori encrypt --key alias/orders --context table=orders dump.sql dump.sql.enc",
    )(encrypt)
    command(
        app, "decrypt",
        epilog="Example: kagitori decrypt --context table=orders dump.sql.enc dump.sql",
    )(decrypt)
    command(
        app, "data-key",
        epilog="Example: kagitori data-key --key alias/orders --plaintext-out dk.bin --ciphertext-out dk.enc",
    )(data_key)
    command(app, "random", epilog="Example: kagitori random 32 --format base64")(random)


def envelope_of(session: Session) -> Envelope:
    """What encrypts and decrypts files. Raises ConfigurationError without the SDK."""
    if importlib.util.find_spec("aws_encryption_sdk") is None:
        raise ConfigurationError(
            "encrypting files needs the AWS Encryption SDK", hint="pip install 'kagitori-kms[cli]'"
        )
    # Only now: the SDK takes a while to load, and the other commands do without.
    from kagitori_client.envelope import Envelope

    return Envelope(session.client)


def _report(session: Session, done: str, target: str, facts: MessageFacts) -> None:
    """Says what was done, on stderr where stdout carries the data."""
    if target == STANDARD:
        return
    arns: list[Plain] = list(facts.key_arns)
    context: dict[str, Plain] = dict(facts.encryption_context)
    session.done(
        f"{done} {target} ({facts.plaintext_length} bytes of plaintext)",
        out=target, key_arns=arns, encryption_context=context, plaintext_length=facts.plaintext_length,
    )


def encrypt(
    session: Session,
    source: Source,
    target: Target,
    key: Annotated[
        list[str], typer.Option("--key", help="Key to encrypt under; repeatable, each can decrypt.", metavar="KEY")
    ],
    context: Context = None,
    raw: Raw = False,
    algorithm: Algorithm = None,
    force: Force = False,
) -> None:
    """Encrypt a file of any size.

    The file is encrypted here, under a data key that the service protects with KEY, in the AWS Encryption SDK's
    message format. The encryption context is readable in the result and can't be altered.
    """
    if raw:
        encrypt_raw(session, source, target, keys=key, algorithm=algorithm, context=context, force=force)
        return
    _only_raw(algorithm)
    envelope = envelope_of(session)
    # Only now: it belongs to the SDK.
    from kagitori_client.envelope import NamedKeys

    refuse_same_file(source, target)
    output = direct_stdout() if target == STANDARD else replaced_file(target, force=force)
    bound = pairs(context, "--context")
    with open_input(source) as reader, output as writer, progress("encrypting", reader) as bar:
        facts = envelope.encrypt(reader, writer, keys=NamedKeys(tuple(key)), context=bound, progress=bar)
    _report(session, "wrote", target, facts)


def decrypt(
    session: Session,
    source: Source,
    target: Target,
    key: Annotated[
        list[str] | None,
        typer.Option(
            "--key", help="Accept only messages under this key; repeatable. Any key you may use without it.",
            metavar="KEY",
        ),
    ] = None,
    context: Context = None,
    raw: Raw = False,
    algorithm: Algorithm = None,
    force: Force = False,
) -> None:
    """Decrypt a file.

    Every pair of --context must be in the message. OUT appears only when all of the message has been verified;
    for stdout the plaintext waits in a temporary file until then. With --raw, FILE is a ciphertext of the service's
    Encrypt, an encrypted data key or private key, or one of an RSA key, whose --key has to be named.
    """
    if raw:
        decrypt_raw(session, source, target, keys=key or (), algorithm=algorithm, context=context, force=force)
        return
    _only_raw(algorithm)
    envelope = envelope_of(session)
    # Only now: it belongs to the SDK.
    from kagitori_client.envelope import KeysOfMessage, NamedKeys

    refuse_same_file(source, target)
    output: AbstractContextManager[IO[bytes]]
    output = spooled_stdout() if target == STANDARD else replaced_file(target, force=force)
    keys = NamedKeys(tuple(key)) if key else KeysOfMessage()
    wanted = pairs(context, "--context")
    with open_input(source) as reader, output as writer, progress("decrypting", reader) as bar:
        facts = envelope.decrypt(reader, writer, keys=keys, context=wanted, progress=bar)
    _report(session, "wrote", target, facts)


def _only_raw(algorithm: str | None) -> None:
    if algorithm is not None:
        raise UsageError("--algorithm belongs to --raw: an envelope has its own")


def data_key(
    session: Session,
    key: Annotated[str, typer.Option("--key", help="Key that protects the data key.", metavar="KEY")],
    ciphertext_out: Annotated[str, typer.Option(help="File for the encrypted data key.", metavar="FILE")],
    number_of_bytes: Annotated[
        int | None, typer.Option("--bytes", min=1, max=1024, help="Length of the data key.")
    ] = None,
    spec: Annotated[DataKeyKind | None, typer.Option(help="Length by name; AES_256 by default.")] = None,
    plaintext_out: Annotated[
        str | None, typer.Option(help="File for the data key itself, mode 0600.", metavar="FILE")
    ] = None,
    without_plaintext: Annotated[
        bool, typer.Option("--without-plaintext", help="Make a data key that nobody sees yet.")
    ] = False,
    context: Context = None,
    force: Force = False,
) -> None:
    """Make a data key: for encrypting here, with its encrypted copy to keep beside the data."""
    if (plaintext_out is None) != without_plaintext:
        raise UsageError("say either --plaintext-out FILE or --without-plaintext")
    if number_of_bytes is not None and spec is not None:
        raise UsageError("say either --bytes or --spec")
    if plaintext_out is not None:
        refuse_same_file(plaintext_out, ciphertext_out)
        check_target(plaintext_out, force=force)
    check_target(ciphertext_out, force=force)
    bound = pairs(context, "--context")
    kind = None
    if number_of_bytes is None:
        kind = DataKeySpec.Value(f"DATA_KEY_SPEC_{spec or DataKeyKind.AES_256}")
    if plaintext_out is None:
        sealed = session.client.crypto.GenerateDataKeyWithoutPlaintext(
            GenerateDataKeyWithoutPlaintextRequest(
                key_id=key, encryption_context=bound, number_of_bytes=number_of_bytes, key_spec=kind
            )
        )
        write_secret(ciphertext_out, sealed.ciphertext_blob, force=force)
        session.done(f"wrote {ciphertext_out}", key_id=sealed.key_id, ciphertext_out=ciphertext_out)
        return
    answer = session.client.crypto.GenerateDataKey(
        GenerateDataKeyRequest(key_id=key, encryption_context=bound, number_of_bytes=number_of_bytes, key_spec=kind)
    )
    # The encrypted copy first: a plaintext key without it protects what nobody can read again.
    write_secret(ciphertext_out, answer.ciphertext_blob, force=force)
    write_secret(plaintext_out, answer.plaintext, force=force)
    session.done(
        f"wrote {plaintext_out} and {ciphertext_out}",
        key_id=answer.key_id, plaintext_out=plaintext_out, ciphertext_out=ciphertext_out,
    )


def random(
    session: Session,
    count: Annotated[int, typer.Argument(metavar="N", min=1, max=_MAX_RANDOM, help="How many bytes, 1 to 1024.")],
    encoding: Annotated[Encoding, typer.Option("--format", help="How to write them.")] = Encoding.HEX,
    out: Annotated[str | None, typer.Option(help="Write them to this file, mode 0600.", metavar="FILE")] = None,
    force: Force = False,
) -> None:
    """Print random bytes from the service's key store."""
    if out is not None:
        check_target(out, force=force)
    if session.as_json and out is None and encoding is not Encoding.BASE64:
        encoding = Encoding.BASE64
    content = session.client.crypto.GenerateRandom(GenerateRandomRequest(number_of_bytes=count)).plaintext
    written = {
        Encoding.HEX: lambda: content.hex().encode("ascii") + b"\n",
        Encoding.BASE64: lambda: base64.b64encode(content) + b"\n",
        Encoding.RAW: lambda: content,
    }[encoding]()
    if out is not None:
        write_secret(out, written, force=force)
        session.done(f"wrote {out}", out=out, number_of_bytes=count)
    elif session.as_json:
        session.json({"plaintext": written.decode("ascii").strip(), "number_of_bytes": count})
    elif encoding is Encoding.RAW:
        with direct_stdout() as stdout:
            stdout.write(written)
    else:
        sys.stdout.write(written.decode("ascii"))
