"""The protocols of AWS services over HTTP, signed with access keys, for AWS SDKs and the AWS CLI as they are."""
