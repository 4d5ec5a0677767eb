"""Small programs around libraries, run by the interpreter that has the library: HOST PORT USER KEY KNOWN_HOSTS VERB …

Verbs: `run COMMAND`, `put HERE THERE` and `get THERE HERE` for folders, `dial HOST PORT` between the standard streams.
"""
