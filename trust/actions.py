"""What a caller does to a slice, and how old the revocation list may be for it (docs/protocol.md, "Identities")."""

from enum import StrEnum

# Services fetch the list every 20 s and plc signs one each minute: older than this, plc is out of reach.
FRESH = 300


class Action(StrEnum):
    """What a call does to a slice; ``authorize`` and the freshness of the revocation list depend on it."""

    CREATE = "create"
    RENEW = "renew"
    DELETE = "delete"
    ACCESS = "access"
    REMOVE_KEYS = "remove-keys"
    READ = "read"

    @property
    def greatest_crl_age(self) -> int | None:
        """Seconds; None if the action may go ahead whatever the list's age, even without one.

        What ends access must work when plc does not, and an hour without plc must cost nobody a lease.
        """
        return _GREATEST_CRL_AGE[self]


_GREATEST_CRL_AGE = {
    Action.CREATE: FRESH,
    Action.ACCESS: FRESH,
    Action.RENEW: 3600,
    Action.DELETE: None,
    Action.REMOVE_KEYS: None,
    Action.READ: None,
}
