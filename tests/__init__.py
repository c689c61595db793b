"""The tests: `unit` (pure rules), `service` (one app), `cluster` (several, simulated), `system` (real processes)."""
