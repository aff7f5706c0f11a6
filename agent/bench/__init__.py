"""Benchmarks of this machine: one module for each ``onebreath bench`` command, and shared parts."""
