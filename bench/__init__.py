"""Benchmarks: the budgets of the design, measured against libvirtd and against the raw cost.

``scripts/bench`` runs them; what the figures mean is in ``docs/performance.md``.
"""
