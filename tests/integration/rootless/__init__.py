"""Slivers of a node manager that is not root: the tests of `slivers`, run by such a user beside them."""
