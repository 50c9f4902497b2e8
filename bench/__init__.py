"""Through a real Envoy: the demo and the benchmarks, and the lab they share with the tests."""
