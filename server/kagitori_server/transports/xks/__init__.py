"""The AWS KMS External Key Store Proxy API, version 1, over HTTPS: keys of this service as external keys of AWS KMS."""
