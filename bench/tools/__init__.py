"""What the benchmarks share: a testbed, what its processes use, the other contenders, tables and the chart."""
