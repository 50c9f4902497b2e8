"""canary-sidecar: Python thinks, C routes, Envoy carries.

The map of the rooms is docs/architecture.md; the layers are checked by import-linter.
"""
