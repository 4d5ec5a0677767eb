"""What man pages say beyond a program's own help: files, environment, exit status, examples, the slice file.

A section is a list of (what, its meaning), or lines that stay as they are.
"""

from collections.abc import Mapping, Sequence

Terms = Sequence[tuple[str, str]]
Section = Terms | str

_KEY_FILES: Terms = (
    ("~/.planetlab", "The key directory, which others may not read; $PLANETLAB_HOME names another."),
    (
        "~/.planetlab/key.pem, cert.pem, ca.pem",
        "The user's key, the certificate of it, and the CA's own that is trusted.",
    ),
    ("~/.planetlab/config.toml", "plc, svmd, ca_file and ca_fingerprint, where no variable says them."),
)
_USER_VARIABLES: Terms = (
    ("PLANETLAB_HOME", "The key directory; ~/.planetlab if it is not set."),
    ("DSLICE_PLC_URL", "Where plc answers: https://HOST:PORT."),
    ("DSLICE_CA_FILE", "The CA's certificate, to be trusted from the first contact on."),
    ("DSLICE_CA_FINGERPRINT", "Its SHA-256 (hex), by which plkeygen knows the CA at the first contact."),
)
_EXIT: Terms = (
    ("0", "All done."),
    ("1", "All failed, or refused."),
    ("2", "A usage error, or bad input: nothing was begun."),
    ("3", "Some nodes failed."),
    ("4", "Not authenticated, or not allowed."),
    ("5", "A service cannot be reached."),
    ("130", "Ctrl-C; the operation goes on (svm watch SLICE)."),
)
_SLICE_FILE = """\
<?xml version="1.0"?>
<slice>
  <name>oceanstore</name>
  <numnodes>2</numnodes>
  <leaselen>1209600</leaselen>
  <ips>141.213.4.201 216.165.109.81 216.165.109.82</ips>
</slice>"""
_ELEMENTS: Terms = (
    ("<name>", "The slice's name and login: a lower-case letter, then 1 to 30 of a-z, 0-9 and _."),
    ("<numnodes>", "How many nodes, 1 to 100,000: exactly so many or none."),
    ("<leaselen>", "Seconds that a lease lasts, and each renewal of it: 1 to 1,209,600 (two weeks)."),
    ("<ips>", "May be left out. The only nodes to take, by IP address: at least numnodes, the most wanted first."),
)

PAGES: Mapping[str, Mapping[str, Section]] = {
    "svm": {
        "SLICE FILE": _SLICE_FILE,
        "ELEMENTS OF THE SLICE FILE": _ELEMENTS,
        "EXIT STATUS": _EXIT,
        "ENVIRONMENT": (
            *_USER_VARIABLES,
            ("DSLICE_SVMD_URL", "Where svmd answers, if not where plc's directory says."),
            ("NO_COLOR, TERM", "No colours where the first is set, or the second is dumb."),
        ),
        "FILES": (
            *_KEY_FILES,
            (
                "~/.planetlab/slices/SLICE/ssh_config, known_hosts",
                "A slice's nodes for ssh, scp and rsync, with their keys; written anew each time.",
            ),
        ),
        "EXAMPLES": """\
svm getads                                    # the nodes there are
svm createslice oceanstore.xml
svm addkey oceanstore ~/.ssh/id_ed25519.pub
svm ssh oceanstore 141.213.4.201
svm run oceanstore -- uptime                  # on all nodes at once
svm renewslice oceanstore
svm --json status oceanstore
svm deleteslice oceanstore""",
        "SEE ALSO": "plkeygen(1), pluserinfo(1), ssh(1)",
    },
    "svm-createslice": {
        "SLICE FILE": _SLICE_FILE,
        "ELEMENTS OF THE SLICE FILE": _ELEMENTS,
        "EXAMPLES": """\
svm createslice --dry-run oceanstore.xml      # which nodes it would take
svm -p 64 createslice oceanstore.xml          # 64 nodes at once
svm createslice --replace oceanstore.xml      # other nodes for those that fail""",
        "SEE ALSO": "svm(1)",
    },
    "plkeygen": {
        "EXIT STATUS": _EXIT,
        "ENVIRONMENT": _USER_VARIABLES,
        "FILES": _KEY_FILES,
        "EXAMPLES": """\
plkeygen                # makes a key and sends a request to the CA's operator
plkeygen --refresh      # fetches the certificate once it is approved
plkeygen --status       # until when it counts
plkeygen --renew        # the next one, with the one that still counts""",
        "SEE ALSO": "svm(1), pluserinfo(1)",
    },
    "pluserinfo": {
        "EXIT STATUS": _EXIT,
        "ENVIRONMENT": _USER_VARIABLES,
        "FILES": _KEY_FILES,
        "EXAMPLES": """\
pluserinfo llp@cs.princeton.edu
svm addkey oceanstore <(pluserinfo --key llp@cs.princeton.edu)""",
        "SEE ALSO": "svm(1), plkeygen(1)",
    },
    "dslice": {
        "EXIT STATUS": (
            ("0", "Done; of a daemon: it was told to stop."),
            ("1", "Refused, or it failed; one line on stderr says why and what to do."),
            ("2", "A usage error."),
            ("70", "A daemon met what it cannot go on with: its supervisor starts it anew."),
            ("130", "Ctrl-C."),
        ),
        "ENVIRONMENT": (
            ("DSLICE_CONFIG", "A TOML file with a daemon's settings; a variable takes precedence over it."),
            ("DSLICE_...", "A daemon's settings: docs/operating.md, Settings, has all of them."),
            ("DSLICE_HOME", "The testbed's folder, of up and the verbs that need a testbed; .dslice here if not set."),
            ("DSLICE_LOG_LEVEL, DSLICE_LOG_FORMAT", "INFO and json; text is for people."),
            ("DSLICE_METRICS_LISTEN", "Where a daemon shows its metrics, and health asks whether it is ready."),
        ),
        "FILES": (
            ("/etc/dslice/ROLE.toml", "A daemon's settings, where the units of deploy/systemd look for them."),
            ("/var/lib/dslice/ROLE", "Its DSLICE_STATE_DIR there: key, certificate, and a node's slivers."),
            (".dslice", "A testbed: databases, logs, secrets, users' key directories."),
        ),
        "EXAMPLES": """\
dslice up --detach                            # a whole testbed on this machine
eval "$(dslice env)"; svm getads
dslice logs -f worker1
dslice down

dslice plc token node n4 192.0.2.14           # at plc: an invitation for a node
dslice health --wait 60 127.0.0.1:9100        # whether a daemon is ready, and why not""",
        "SEE ALSO": "svm(1)",
    },
}
