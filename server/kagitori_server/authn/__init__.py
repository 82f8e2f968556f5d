"""From what a caller brought (token, certificate, local socket) to who it is."""
