"""What the guard promises, simulated: `make bench-guard`, `make bench-guard-aa`."""
