"""The frontend: the public API, the cache with its lease, and the balancer."""
