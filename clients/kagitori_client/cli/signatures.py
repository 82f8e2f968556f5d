"""`kagitori sign`, `verify`, `mac`: who made a file, and that it is as it was."""

from __future__ import annotations

import base64
from typing import Annotated

import typer

from kagitori.kms.v1.cryptography_pb2 import (
    GenerateMacRequest,
    GetPublicKeyRequest,
    SignRequest,
    VerifyMacRequest,
    VerifyRequest,
)
from kagitori.kms.v1.keys_pb2 import DescribeKeyRequest
from kagitori.kms.v1.resources_pb2 import KeyMetadata, MacAlgorithm, SigningAlgorithm
from kagitori_client.cli.arguments import value, values
from kagitori_client.cli.failures import UsageError
from kagitori_client.cli.files import STANDARD, check_output, open_input, read_small, refuse_same_file, write_output
from kagitori_client.cli.session import Session, command
from kagitori_client.signing import RAW_MAX_BYTES, Prepared, hashed_form, signable

_SIGNATURE_MAX = 6144
_INVALID = "Exit code 4: the file is not what KEY made this for; 1: the service refused."

mac_app = typer.Typer(help="Make and check message authentication codes.", no_args_is_help=True)

KeyOption = Annotated[str, typer.Option("--key", help="Key id, key ARN, alias/NAME or alias ARN.", metavar="KEY")]
File = Annotated[str, typer.Argument(metavar="FILE", help="File to read, - for stdin.")]
Algorithm = Annotated[
    str | None,
    typer.Option(
        help=f"Signing algorithm, where the key has several: {', '.join(values(SigningAlgorithm))}.",
        metavar="ALGORITHM",
    ),
]
Digest = Annotated[
    bool, typer.Option("--digest", help="FILE holds the hash of the message (of ML-DSA: its mu), not the message.")
]
MacName = Annotated[
    str | None,
    typer.Option("--algorithm", help="The key's own algorithm, looked up unless it is given.", metavar="ALGORITHM"),
]
Out = Annotated[
    str | None, typer.Option("--out", "-o", help="File to write, - for stdout; base64 without it.", metavar="OUT")
]
Force = Annotated[bool, typer.Option("--force", help="Replace files that exist.")]


def register(app: typer.Typer) -> None:
    """Adds these commands to the command line."""
    command(
        app, "sign",
        epilog="Example: kagitori sign --key alias/releases --algorithm RSASSA_PSS_SHA_256 app.tar.gz -o app.sig",
    )(sign)
    command(
        app, "verify",
        epilog=f"{_INVALID} Example: kagitori verify --key alias/releases --algorithm RSASSA_PSS_SHA_256 "
        "app.tar.gz app.sig",
    )(verify)
    app.add_typer(mac_app, name="mac")


def sign(
    session: Session,
    key: KeyOption,
    file: File,
    algorithm: Algorithm = None,
    digest: Digest = False,
    out: Out = None,
    force: Force = False,
) -> None:
    """Sign a file with a key that is for SIGN_VERIFY.

    The file stays here, and may have any size: with RSA and ECDSA its hash is sent, with ML-DSA the message
    representative mu (FIPS 204), which is made of the public key and the file if that is longer than 4,096 bytes.
    Other software verifies the signature over the whole file.

    Ed25519 is different: ED25519_SHA_512 takes files of up to 4,096 bytes. ED25519_PH_SHA_512 takes any size; what
    it signs, by the rules of Ed25519ph, is the file's SHA-512 digest as the message, so that is what other software
    has to be given.
    """
    if out is not None:
        refuse_same_file(file, out)
        check_output(out, force=force)
    chosen = _signing_algorithm(session, key, algorithm)
    prepared = _prepared(session, key, chosen, file, digest=digest)
    answer = session.client.crypto.Sign(
        SignRequest(
            key_id=key, message=prepared.message, message_type=prepared.message_type, signing_algorithm=chosen
        )
    )
    if out is None:
        _show(session, answer.signature, "signature", answer.key_id)
        return
    write_output(out, answer.signature, force=force)
    if out != STANDARD:
        session.done(f"wrote {out}", key_id=answer.key_id, out=out)


def verify(
    session: Session,
    key: KeyOption,
    file: File,
    signature: Annotated[str, typer.Argument(metavar="SIGNATURE", help="File with the signature that sign -o wrote.")],
    algorithm: Algorithm = None,
    digest: Digest = False,
) -> None:
    """Check a signature that was made with a key of the service.

    What is sent of the file is what `kagitori sign` sends.
    """
    _not_both_stdin(file, signature)
    given = read_small(signature, _SIGNATURE_MAX, "signature")
    chosen = _signing_algorithm(session, key, algorithm)
    prepared = _prepared(session, key, chosen, file, digest=digest)
    answer = session.client.crypto.Verify(
        VerifyRequest(
            key_id=key, message=prepared.message, message_type=prepared.message_type, signing_algorithm=chosen,
            signature=given,
        )
    )
    session.done("the signature is valid", key_id=answer.key_id, signature_valid=True)


@command(mac_app, "generate", epilog="Example: kagitori mac generate --key alias/tickets ticket.json -o ticket.mac")
def generate_mac(
    session: Session, key: KeyOption, file: File, algorithm: MacName = None, out: Out = None, force: Force = False
) -> None:
    """Make the message authentication code of a file of up to 4,096 bytes.

    The service has to see the file itself, since HMAC hashes it together with the key.
    """
    if out is not None:
        refuse_same_file(file, out)
        check_output(out, force=force)
    message = read_small(file, RAW_MAX_BYTES, "message for a MAC")
    chosen = _mac_algorithm(session, key, algorithm)
    answer = session.client.crypto.GenerateMac(
        GenerateMacRequest(key_id=key, message=message, mac_algorithm=chosen)
    )
    if out is None:
        _show(session, answer.mac, "mac", answer.key_id)
        return
    write_output(out, answer.mac, force=force)
    if out != STANDARD:
        session.done(f"wrote {out}", key_id=answer.key_id, out=out)


@command(
    mac_app, "verify", epilog=f"{_INVALID} Example: kagitori mac verify --key alias/tickets ticket.json ticket.mac"
)
def verify_mac(
    session: Session,
    key: KeyOption,
    file: File,
    mac: Annotated[str, typer.Argument(metavar="MAC", help="File with the code, as generate -o wrote it.")],
    algorithm: MacName = None,
) -> None:
    """Check the message authentication code of a file of up to 4,096 bytes."""
    _not_both_stdin(file, mac)
    given = read_small(mac, _SIGNATURE_MAX, "MAC")
    message = read_small(file, RAW_MAX_BYTES, "message for a MAC")
    chosen = _mac_algorithm(session, key, algorithm)
    answer = session.client.crypto.VerifyMac(
        VerifyMacRequest(key_id=key, message=message, mac_algorithm=chosen, mac=given)
    )
    session.done("the MAC is valid", key_id=answer.key_id, mac_valid=True)


def _not_both_stdin(file: str, proof: str) -> None:
    if file == proof == STANDARD:
        raise UsageError("one file can come from stdin, not both")


def _prepared(
    session: Session, key: str, algorithm: SigningAlgorithm.ValueType, file: str, *, digest: bool
) -> Prepared:
    if not digest:
        with open_input(file) as reader:
            return signable(reader, algorithm, lambda: _public_key(session, key))
    form = hashed_form(algorithm)
    if form is None:
        raise UsageError("this algorithm signs messages, not hashes", hint="for Ed25519 there is ED25519_PH_SHA_512")
    kind, length = form
    content = read_small(file, length, f"hash of {length} bytes")
    if len(content) != length:
        raise UsageError(f"{file} has {len(content)} bytes: the algorithm's hash has {length}")
    return Prepared(content, kind)


def _public_key(session: Session, key: str) -> bytes:
    return session.client.crypto.GetPublicKey(GetPublicKeyRequest(key_id=key)).public_key


def _signing_algorithm(session: Session, key: str, name: str | None) -> SigningAlgorithm.ValueType:
    if name is not None:
        return value(SigningAlgorithm, name, "--algorithm")
    known = list(_described(session, key).signing_algorithms)
    if len(known) > 1:
        names = [name for name, number in values(SigningAlgorithm).items() if number in known]
        raise UsageError(f"{key} signs in several ways: say which with --algorithm", hint=f"one of {', '.join(names)}")
    if not known:
        raise UsageError(f"{key} is not for signing")
    return known[0]


def _mac_algorithm(session: Session, key: str, name: str | None) -> MacAlgorithm.ValueType:
    if name is not None:
        return value(MacAlgorithm, name, "--algorithm")
    known = list(_described(session, key).mac_algorithms)
    if not known:
        raise UsageError(f"{key} is not for message authentication codes")
    return known[0]


def _described(session: Session, key: str) -> KeyMetadata:
    return session.client.keys.DescribeKey(DescribeKeyRequest(key_id=key)).key_metadata


def _show(session: Session, content: bytes, name: str, key_id: str) -> None:
    text = base64.b64encode(content).decode("ascii")
    session.done(text, **{name: text, "key_id": key_id})
