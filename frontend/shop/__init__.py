"""The shop that people see: pages to look around, a basket, a till."""
