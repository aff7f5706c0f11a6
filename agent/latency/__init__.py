"""The latency test: a headless caller for any agent, its connections, load, figures and reports.

``onebreath latency``, ``report``, ``call`` and the benchmarks use it; docs/latency.md defines the
figures.
"""
