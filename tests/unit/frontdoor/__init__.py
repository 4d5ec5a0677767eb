"""Terminal modes, key files and bounds of the front door: no connection is made here."""
