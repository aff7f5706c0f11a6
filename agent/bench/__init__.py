"""Figures of this machine: one module for each `onebreath bench`, and what they share."""
