"""What transports over HTTP share: a host for applications, and reading bodies within bounds. No transport itself."""
