"""What the service can do: a table with a row per operation, and the handlers by family."""
