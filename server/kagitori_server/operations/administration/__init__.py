"""The operations of AdminService: accounts, principals, credentials, the audit trail and the server itself."""
