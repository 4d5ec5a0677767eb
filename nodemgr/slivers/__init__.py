"""Drivers: what makes, enters and removes the slivers of one node."""
