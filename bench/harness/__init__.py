"""What a decision costs: real Envoy, one worker, every contender under the same load.

`python -m bench.harness` (README.md in bench/). One contender measured once is a cell (`cell`);
cells are interleaved in rounds (`rounds`); ratios over rounds carry an interval (`ratios`).
Invariant: a cell begins with the dialogue and ends with every failure counter, so a number without
both does not exist.
"""
