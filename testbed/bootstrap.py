"""What the testbed's plc knows before its first visitor: accounts, certificates, tokens (in a child of its own)."""

from testbed.daemons import Layout


def prepare(layout: Layout) -> None:
    """Make the CA, sites, accounts and enrolment tokens through plc's own functions; repeatable at each start."""
    raise NotImplementedError
