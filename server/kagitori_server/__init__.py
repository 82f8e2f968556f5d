"""The Kagitori server: an AWS-KMS-shaped key management service behind replaceable transports."""

__version__ = "0.1.0"
