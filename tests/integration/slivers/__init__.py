"""Every sliver driver that works here, through one suite, and the sliver's user as its node's enemy."""
