"""The tests: unit (rules), service (one app), cluster (several, simulated), system (processes)."""
