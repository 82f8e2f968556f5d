"""The nouns and rules of the service. Standard library only: no I/O, no clock, no randomness."""
