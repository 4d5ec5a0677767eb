"""`python -m testbed` is `dslice`."""

from testbed.main import main

main()
