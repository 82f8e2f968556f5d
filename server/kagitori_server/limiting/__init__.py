"""How much callers may do: rates of calls, and budgets of the use of keys. It knows neither operations nor the wire."""
