"""The lab: real Envoys, upstreams and load on loopback, for the demo, the tests and benchmarks.

It measures from outside (Envoy's admin statistics, the upstreams' own logs, `oracle`), so it
imports nothing of `sidecar` that it would have to trust, except to write an Envoy configuration.
"""
