"""`python -m testbed` is `dslice`."""

from admin.main import main

main()
