"""The fault harness (`python -m tests.faults`): the real stack, broken on purpose, and what must hold afterwards.

A case is a way to break something (`breaking/`). While it is at work, slices are created, given a key, renewed and
deleted (`life`); when it has ended, all of it must come right within 120 s, and the tables and the nodes' own stores
are compared (`evidence`, `invariants`: I1 to I6 of docs/lifecycle.md, "Invariants").

Allowed here: everything that a user and an operator can do, signals to the testbed's own processes, reads of its
databases. Forbidden: making a step right by hand.
"""
