"""Benchmarks: what Jackfield costs, beside libvirtd and beside the raw cost.

``scripts/bench`` runs them; what the figures mean is in ``docs/performance.md``.
"""
