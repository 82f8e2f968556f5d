"""From what was used to what it costs, by a price list of your own or the one that AWS publishes."""
