"""trust/ is pure, so are these tests: no files, no sockets, no real time; keys are made once a session."""
