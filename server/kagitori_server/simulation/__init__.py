"""SimulatePolicy's work: recorded calls are read, decided again with and without a change, and counted."""
