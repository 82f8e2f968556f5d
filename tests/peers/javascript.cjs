// The AWS SDK for JavaScript v3: keys, encryption, data keys, signatures, pages and failures, in one go.
// Prints what it saw as JSON. Credentials, endpoint and CA come from the environment.
const {
  KMSClient, CreateKeyCommand, CreateAliasCommand, EncryptCommand, DecryptCommand, GenerateDataKeyCommand,
  SignCommand, VerifyCommand, GetPublicKeyCommand, DisableKeyCommand, paginateListKeys, NotFoundException,
  DisabledException, InvalidCiphertextException,
} = require("@aws-sdk/client-kms");
const { createPublicKey, verify } = require("node:crypto");

const kms = new KMSClient({});

async function failure(command) {
  try {
    await kms.send(command);
  } catch (error) {
    return error;
  }
  throw new Error(`${command.constructor.name} was not refused`);
}

async function main() {
  const { KeyMetadata: key } = await kms.send(new CreateKeyCommand({ Description: "of JavaScript", Tags: [{ TagKey: "a", TagValue: "b" }] }));
  await kms.send(new CreateAliasCommand({ AliasName: "alias/javascript", TargetKeyId: key.KeyId }));
  const EncryptionContext = { tenant: "t1", "größe": "ü" };
  const sealed = await kms.send(new EncryptCommand({ KeyId: "alias/javascript", Plaintext: Buffer.from("secret"), EncryptionContext }));
  const opened = await kms.send(new DecryptCommand({ CiphertextBlob: sealed.CiphertextBlob, EncryptionContext }));
  const dataKey = await kms.send(new GenerateDataKeyCommand({ KeyId: key.Arn, NumberOfBytes: 64 }));

  const { KeyMetadata: signer } = await kms.send(new CreateKeyCommand({ KeySpec: "ECC_NIST_P256", KeyUsage: "SIGN_VERIFY" }));
  const asked = { KeyId: signer.KeyId, Message: Buffer.from("message"), SigningAlgorithm: "ECDSA_SHA_256" };
  const { Signature } = await kms.send(new SignCommand(asked));
  const { SignatureValid } = await kms.send(new VerifyCommand({ ...asked, Signature }));
  const { PublicKey } = await kms.send(new GetPublicKeyCommand({ KeyId: signer.KeyId }));
  const publicKey = createPublicKey({ key: Buffer.from(PublicKey), format: "der", type: "spki" });

  const listed = [];
  for await (const page of paginateListKeys({ client: kms, pageSize: 1 }, {})) {
    listed.push(...page.Keys.map((each) => each.KeyId));
  }
  const missing = await failure(new EncryptCommand({ KeyId: "alias/none", Plaintext: Buffer.from("x") }));
  const altered = await failure(new DecryptCommand({ CiphertextBlob: sealed.CiphertextBlob, EncryptionContext: { tenant: "t2" } }));
  await kms.send(new DisableKeyCommand({ KeyId: key.KeyId }));
  const disabled = await failure(new DecryptCommand({ CiphertextBlob: sealed.CiphertextBlob, EncryptionContext }));

  console.log(JSON.stringify({
    opened: Buffer.from(opened.Plaintext).toString(),
    openedBy: opened.KeyId === key.Arn,
    created: key.CreationDate instanceof Date && Math.abs(Date.now() - key.CreationDate) < 600_000,
    dataKeyBytes: dataKey.Plaintext.length,
    valid: SignatureValid,
    validOutside: verify("sha256", Buffer.from("message"), publicKey, Buffer.from(Signature)),
    listed: listed.includes(key.KeyId) && listed.includes(signer.KeyId),
    missing: [missing instanceof NotFoundException, missing.$metadata.httpStatusCode],
    altered: [altered instanceof InvalidCiphertextException, altered.$metadata.httpStatusCode],
    disabled: [disabled instanceof DisabledException, disabled.message],
    requestId: typeof disabled.$metadata.requestId === "string",
  }));
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
