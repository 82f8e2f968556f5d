"""Moving from AWS KMS: what an account has there, made here. Key material stays where it is, unless it was imported."""
