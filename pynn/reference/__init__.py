"""Every op in plain NumPy, as short as its formula: the specification, the tests' oracle, the benchmarks' baseline."""
