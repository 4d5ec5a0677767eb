"""Every `DSLICE_…` variable that something reads, so that a misspelt one is named at a daemon's start."""

import tomllib
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path

KNOWN = frozenset(
    [
        "DSLICE_ACCEPT_ENV",
        "DSLICE_ADVERTISE_SECONDS",
        "DSLICE_AGENTS",
        "DSLICE_AGENT_URL",
        "DSLICE_AUTORENEW_SECONDS",
        "DSLICE_BACKGROUND_RETRIES",
        "DSLICE_BACKGROUND_RETRY_WITHIN",
        "DSLICE_BACKUP_DATABASE_URL",
        "DSLICE_BACKUP_FOLDERS",
        "DSLICE_BACKUP_PROGRAMS",
        "DSLICE_BROKER_URL",
        "DSLICE_CANARY_SECONDS",
        "DSLICE_CA_FILE",
        "DSLICE_CA_FINGERPRINT",
        "DSLICE_CA_OPERATOR",
        "DSLICE_CLAIM_SLACK_SECONDS",
        "DSLICE_CLEAN_SECONDS",
        "DSLICE_CLOCK_OFFSET",
        "DSLICE_CONFIG",
        "DSLICE_CONTROL_SOCKET",
        "DSLICE_DATABASE_URL",
        "DSLICE_DELIVER_SECONDS",
        "DSLICE_DIRECTORY_FILE",
        "DSLICE_DISK_FLOOR_MB",
        "DSLICE_DISK_MB",
        "DSLICE_DISK_RESERVE_MB",
        "DSLICE_DISK_SECONDS",
        "DSLICE_ENROLL_TOKEN",
        "DSLICE_ENROLL_TOKEN_FILE",
        "DSLICE_EXPIRY_SECONDS",
        "DSLICE_FLOWER_AUTH",
        "DSLICE_FLOWER_LISTEN",
        "DSLICE_FRONTDOOR",
        "DSLICE_GRACE",
        "DSLICE_HISTORY_DAYS",
        "DSLICE_HOME",
        "DSLICE_HOOKS_ALLOW",
        "DSLICE_IMAGES",
        "DSLICE_KEEPER",
        "DSLICE_LINKS_LISTEN",
        "DSLICE_LINKS_URL",
        "DSLICE_LISTEN",
        "DSLICE_LOG_FORMAT",
        "DSLICE_LOG_LEVEL",
        "DSLICE_MAILBOX",
        "DSLICE_MAIL_FROM",
        "DSLICE_MAX_LEASELEN",
        "DSLICE_MEMORY_MB",
        "DSLICE_METRICS_FILE",
        "DSLICE_METRICS_LISTEN",
        "DSLICE_METRICS_TOKEN",
        "DSLICE_METRICS_TOKEN_FILE",
        "DSLICE_MOST_PROCESSES",
        "DSLICE_NAME",
        "DSLICE_NAMES_PER_USER",
        "DSLICE_NEIGHBOURS_SECONDS",
        "DSLICE_NODE_ADDRESS",
        "DSLICE_NODE_SITE",
        "DSLICE_NOTIFY_SECONDS",
        "DSLICE_PLC_OPEN",
        "DSLICE_PLC_URL",
        "DSLICE_PODMAN_URL",
        "DSLICE_PUBLISH_AGAIN_SECONDS",
        "DSLICE_READY_SLIVERS",
        "DSLICE_RECONCILE_SECONDS",
        "DSLICE_RETRIES",
        "DSLICE_RETRY_WITHIN",
        "DSLICE_ROLE_SILENCE_SECONDS",
        "DSLICE_SERVICE_LIFETIME",
        "DSLICE_SILENT_SECONDS",
        "DSLICE_SIMULATED_CALLS",
        "DSLICE_SIMULATED_LATENCY_MS",
        "DSLICE_SIMULATED_NODES",
        "DSLICE_SLICE_KEY_FILE",
        "DSLICE_SLIVER_DRIVER",
        "DSLICE_SLIVER_MB",
        "DSLICE_SLIVER_PROCESSES",
        "DSLICE_SLOTS",
        "DSLICE_SMTP_URL",
        "DSLICE_STATE_DIR",
        "DSLICE_STEP_SECONDS",
        "DSLICE_STOPS_SECONDS",
        "DSLICE_STUCK_SECONDS",
        "DSLICE_SVMD_URL",
        "DSLICE_SWEEP_SECONDS",
        "DSLICE_TICKETS_PER_USER",
        "DSLICE_TICKETS_SHARE",
        "DSLICE_USAGE_SECONDS",
        "DSLICE_USER_LIFETIME",
        "DSLICE_WORKER_QUEUES",
        "DSLICE_WORKER_RESERVED",
        "DSLICE_WORKER_THREADS",
    ]
)
PREFIX = "DSLICE_"
FOR_TESTS = "DSLICE_TEST_"


def misspelt(environment: Mapping[str, str]) -> Iterator[str]:
    """A line for each variable, and each name in the file that DSLICE_CONFIG names, that nothing reads."""
    names = [name for name in sorted(environment) if name.startswith(PREFIX) and not name.startswith(FOR_TESTS)]
    for name in [*names, *_in_file(environment.get("DSLICE_CONFIG", ""))]:
        if name not in KNOWN:
            like = get_close_matches(name.removeprefix(PREFIX), [known.removeprefix(PREFIX) for known in KNOWN], 1)
            yield f"nothing reads {name}: " + (f"is {PREFIX}{like[0]} meant?" if like else "take it away")


def _in_file(path: str) -> list[str]:
    try:
        found = tomllib.loads(Path(path).read_text()) if path else {}
    except (OSError, ValueError):
        return []  # the daemon says so
    return [f"{PREFIX}{name.upper().removeprefix(PREFIX)}" for name in sorted(found)]
