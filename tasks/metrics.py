"""What a worker counts, for Prometheus."""

from prometheus_client import Counter, Gauge, Histogram

STEPS = Counter("dslice_steps", "Steps recorded, by kind and outcome (done, failed, again, lost)", ["kind", "outcome"])
STEP_SECONDS = Histogram(
    "dslice_step_seconds",
    "From claim to record, by kind",
    ["kind"],
    buckets=(0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 45),
)
RUNNING_SECONDS = Histogram(
    "dslice_running_seconds",
    "From the request to a VM that runs, by node",
    buckets=(0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600),
)
SWEPT = Counter("dslice_swept_steps", "Due steps that nobody held, found by sweeps", ["was"])
HEARD = Gauge("dslice_worker_silence_seconds", "Since this worker last heard a message")
