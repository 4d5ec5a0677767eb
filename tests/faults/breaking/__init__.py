"""Ways to break a testbed, by what is broken: each is a context manager that makes it whole again at its end."""
