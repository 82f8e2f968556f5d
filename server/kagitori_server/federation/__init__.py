"""What issuers elsewhere say of a caller: tokens of OpenID Connect, the keys that sign them, names of sessions."""
