"""A bench of the SSH clients that people bring: each does what they do with it, at the front door and at a real sshd.

`client.py` says what is done, `commandline.py` and `libraries.py` who does it and how; docs/clients.md shows the table.
Both servers are asked for the same; where one answers otherwise, `differences.py` says how and why, or a test fails.
"""
