"""Requests and answers of the operations, by family, with the limits of the AWS model."""
