"""`kagitori public-key`, `data-key-pair`, `derive`, `encapsulate`, `decapsulate`: public keys and shared secrets.

Private keys and secrets go into files of mode 0600, or to stdout where that is asked for by name.
"""

from __future__ import annotations

from typing import Annotated

import typer

from kagitori.kms.v1.cryptography_pb2 import (
    DecapsulateRequest,
    DeriveSharedSecretRequest,
    EncapsulateRequest,
    GenerateDataKeyPairRequest,
    GenerateDataKeyPairWithoutPlaintextRequest,
    GetPublicKeyRequest,
)
from kagitori.kms.v1.resources_pb2 import DataKeyPairSpec, EncapsulationAlgorithm, KeyAgreementAlgorithm
from kagitori_client.cli.arguments import pairs, value, values
from kagitori_client.cli.failures import UsageError
from kagitori_client.cli.files import (
    STANDARD,
    check_output,
    check_target,
    read_small,
    refuse_same_file,
    write_output,
    write_secret,
)
from kagitori_client.cli.pem import PRIVATE, PUBLIC, KeyForm, public_key, written
from kagitori_client.cli.session import Session, command
from kagitori_client.cli.text import plain

_PUBLIC_KEY_MAX = 16_384
_CIPHERTEXT_MAX = 6144

KeyOption = Annotated[str, typer.Option("--key", help="Key id, key ARN, alias/NAME or alias ARN.", metavar="KEY")]
Form = Annotated[KeyForm, typer.Option("--format", help="How keys are written.")]
Force = Annotated[bool, typer.Option("--force", help="Replace files that exist.")]
SecretOut = Annotated[str, typer.Option("--out", "-o", help="File for the secret, - for stdout.", metavar="OUT")]


def register(app: typer.Typer) -> None:
    """Adds these commands to the command line."""
    command(app, "public-key", epilog="Example: kagitori public-key alias/releases -o releases.pem")(public_key_of)
    command(
        app, "data-key-pair",
        epilog="Example: kagitori data-key-pair --key alias/devices --spec ECC_NIST_P256 --public-out device.pub "
        "--private-out device.key --ciphertext-out device.key.enc",
    )(data_key_pair)
    command(app, "derive", epilog="Example: kagitori derive --key alias/agreement --peer peer.pem -o secret")(derive)
    command(
        app, "encapsulate",
        epilog="Example: kagitori encapsulate --key alias/kem --ciphertext-out sent --secret-out secret",
    )(encapsulate)
    command(app, "decapsulate", epilog="Example: kagitori decapsulate --key alias/kem sent -o secret")(decapsulate)


def public_key_of(
    session: Session,
    key: Annotated[str, typer.Argument(metavar="KEY", help="Key id, key ARN, alias/NAME or alias ARN.")],
    form: Form = KeyForm.PEM,
    out: Annotated[
        str | None, typer.Option("--out", "-o", help="File to write, - for stdout.", metavar="OUT")
    ] = None,
    force: Force = False,
) -> None:
    """Show the public key of an asymmetric key (SubjectPublicKeyInfo).

    With it anyone encrypts, verifies and encapsulates without the service.
    """
    if out is not None and (out != STANDARD or form is KeyForm.DER):
        check_output(out, force=force)
    answer = session.client.crypto.GetPublicKey(GetPublicKeyRequest(key_id=key))
    content = written(answer.public_key, PUBLIC, form)
    if out is None and session.as_json:
        session.json(plain(answer))
    elif out is None and form is KeyForm.PEM:
        session.text(content.decode("ascii"))
    else:
        target = STANDARD if out is None else out
        write_output(target, content, force=force)
        if target != STANDARD:
            session.done(f"wrote {target}", key_id=answer.key_id, out=target)


def data_key_pair(
    session: Session,
    key: Annotated[
        str, typer.Option("--key", help="Symmetric key that protects the private key.", metavar="KEY")
    ],
    spec: Annotated[str, typer.Option(help=f"Kind of pair: {', '.join(values(DataKeyPairSpec))}.", metavar="SPEC")],
    public_out: Annotated[str, typer.Option(help="File for the public key.", metavar="FILE")],
    ciphertext_out: Annotated[str, typer.Option(help="File for the encrypted private key.", metavar="FILE")],
    private_out: Annotated[
        str | None, typer.Option(help="File for the private key itself (PKCS #8), mode 0600.", metavar="FILE")
    ] = None,
    without_plaintext: Annotated[
        bool, typer.Option("--without-plaintext", help="Make a private key that nobody sees yet.")
    ] = False,
    context: Annotated[
        list[str] | None,
        typer.Option("--context", help="Pair of the encryption context; repeatable.", metavar="NAME=VALUE"),
    ] = None,
    form: Form = KeyForm.PEM,
    force: Force = False,
) -> None:
    """Make a pair of keys for use outside the service, and an encrypted copy of the private one.

    `kagitori decrypt --raw` opens the encrypted copy again; in it the private key is DER.
    """
    if (private_out is None) != without_plaintext:
        raise UsageError("say either --private-out FILE or --without-plaintext")
    targets = [target for target in (public_out, ciphertext_out, private_out) if target is not None]
    for number, target in enumerate(targets):
        check_target(target, force=force)
        for other in targets[:number]:
            refuse_same_file(other, target)
    bound, kind = pairs(context, "--context"), value(DataKeyPairSpec, spec, "--spec")
    if private_out is None:
        sealed = session.client.crypto.GenerateDataKeyPairWithoutPlaintext(
            GenerateDataKeyPairWithoutPlaintextRequest(key_id=key, encryption_context=bound, key_pair_spec=kind),
            timeout=session.patience,
        )
        write_secret(ciphertext_out, sealed.private_key_ciphertext_blob, force=force)
        write_secret(public_out, written(sealed.public_key, PUBLIC, form), force=force)
        session.done(
            f"wrote {public_out} and {ciphertext_out}",
            key_id=sealed.key_id, public_out=public_out, ciphertext_out=ciphertext_out,
        )
        return
    answer = session.client.crypto.GenerateDataKeyPair(
        GenerateDataKeyPairRequest(key_id=key, encryption_context=bound, key_pair_spec=kind), timeout=session.patience
    )
    # The encrypted copy first: a private key without it is lost with its file.
    write_secret(ciphertext_out, answer.private_key_ciphertext_blob, force=force)
    write_secret(private_out, written(answer.private_key_plaintext, PRIVATE, form), force=force)
    write_secret(public_out, written(answer.public_key, PUBLIC, form), force=force)
    session.done(
        f"wrote {public_out}, {private_out} and {ciphertext_out}",
        key_id=answer.key_id, public_out=public_out, private_out=private_out, ciphertext_out=ciphertext_out,
    )


def derive(
    session: Session,
    key: KeyOption,
    peer: Annotated[str, typer.Option(help="File with the other side's public key, PEM or DER.", metavar="FILE")],
    out: SecretOut,
    force: Force = False,
) -> None:
    """Derive the secret that a key for KEY_AGREEMENT shares with the other side (ECDH).

    It is the raw x coordinate: put it through a key derivation function before you use it.
    """
    check_output(out, force=force)
    their = public_key(read_small(peer, _PUBLIC_KEY_MAX, "public key"))
    answer = session.client.crypto.DeriveSharedSecret(
        DeriveSharedSecretRequest(
            key_id=key, public_key=their,
            key_agreement_algorithm=KeyAgreementAlgorithm.KEY_AGREEMENT_ALGORITHM_ECDH,
        )
    )
    _secret(session, answer.shared_secret, out, answer.key_id, force=force)


def encapsulate(
    session: Session,
    key: KeyOption,
    ciphertext_out: Annotated[str, typer.Option(help="File for what is sent to the other side.", metavar="FILE")],
    secret_out: Annotated[str, typer.Option(help="File for the secret, mode 0600, - for stdout.", metavar="FILE")],
    force: Force = False,
) -> None:
    """Make a shared secret of 32 bytes, and its encapsulation under an ML-KEM key."""
    refuse_same_file(ciphertext_out, secret_out)
    check_target(ciphertext_out, force=force)
    check_output(secret_out, force=force)
    answer = session.client.crypto.Encapsulate(
        EncapsulateRequest(
            key_id=key, encapsulation_algorithm=EncapsulationAlgorithm.ENCAPSULATION_ALGORITHM_ML_KEM
        )
    )
    write_secret(ciphertext_out, answer.shared_secret_ciphertext_blob, force=force)
    write_output(secret_out, answer.shared_secret, force=force)
    if secret_out != STANDARD:
        session.done(
            f"wrote {secret_out} and {ciphertext_out}",
            key_id=answer.key_id, secret_out=secret_out, ciphertext_out=ciphertext_out,
        )


def decapsulate(
    session: Session,
    key: KeyOption,
    ciphertext: Annotated[str, typer.Argument(metavar="FILE", help="The encapsulation, - for stdin.")],
    out: SecretOut,
    force: Force = False,
) -> None:
    """Recover the shared secret from its encapsulation under an ML-KEM key.

    An encapsulation that was made for another key, or altered, gives a secret that fits nothing (FIPS 203).
    """
    check_output(out, force=force)
    answer = session.client.crypto.Decapsulate(
        DecapsulateRequest(
            key_id=key, shared_secret_ciphertext_blob=read_small(ciphertext, _CIPHERTEXT_MAX, "encapsulation"),
            encapsulation_algorithm=EncapsulationAlgorithm.ENCAPSULATION_ALGORITHM_ML_KEM,
        )
    )
    _secret(session, answer.shared_secret, out, answer.key_id, force=force)


def _secret(session: Session, secret: bytes, out: str, key_id: str, *, force: bool) -> None:
    write_output(out, secret, force=force)
    if out != STANDARD:
        session.done(f"wrote {out}", key_id=key_id, out=out)
