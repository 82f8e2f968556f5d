"""The key policy of a key that was made without one."""

from __future__ import annotations

import re

_DEFAULT = """{
  "Version" : "2012-10-17",
  "Id" : "key-default-1",
  "Statement" : [ {
    "Sid" : "Enable IAM User Permissions",
    "Effect" : "Allow",
    "Principal" : {
      "AWS" : "arn:PARTITION:iam::ACCOUNT:root"
    },
    "Action" : "kms:*",
    "Resource" : "*"
  } ]
}"""


def default_key_policy(account: str, partition: str = "aws") -> str:
    """The default policy of CreateKey, laid out as GetKeyPolicy shows it: all is delegated to the account.

    ValueError if the account is not 12 digits or the partition not of lower-case letters, digits and hyphens.
    """
    if not re.fullmatch(r"[0-9]{12}", account) or not re.fullmatch(r"[a-z0-9-]+", partition):
        raise ValueError("not an account id and a partition")
    return _DEFAULT.replace("PARTITION", partition).replace("ACCOUNT", account)
