"""The front door driven by the real OpenSSH client, into real slivers."""
