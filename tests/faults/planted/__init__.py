"""Bugs planted into a copy of the tree, one at a time, each of which something must find (`python -m tests.faults
--planted`): they show that the harness, the state machine and the tests can fail.
"""
