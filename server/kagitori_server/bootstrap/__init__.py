"""The first start: data directory, local certificates, home account and its root credential."""
