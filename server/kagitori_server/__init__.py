"""The Kagitori server: an AWS-KMS-shaped key management service behind replaceable transports."""
