"""Settings of workers, beat and Flower: environment variables `DSLICE_*`, read once at the start of a process."""

from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """One worker, beat or Flower process. Durations are whole seconds.

    Args:
        state_dir: svmd's folder with key.pem, cert.pem, ca.pem; svmd renews them, workers read them again.
        slice_key_file: 32 random bytes in hex that encrypt slice private keys; made when absent; never in the database.
        queues: which queues this worker serves, comma separated, most urgent first.
        threads: messages at work at once; `reserved` of them are kept for interactive verbs.
        retries, retry_within: how often, and for how long, a transient error is tried again while a user waits.
        sweep, autorenew, clean, reconcile: how often beat starts each.
        publish_again: a released step that nobody has taken is published again after this, then after twice that …
        grace: nodes end a sliver this long after its lease.
        silent: a node that has not answered for this long is replaced in slices that heal.
    """

    model_config = SettingsConfigDict(env_prefix="DSLICE_", extra="ignore", populate_by_name=True)

    database_url: str = ""
    broker_url: str = "redis://127.0.0.1:6379/0"
    state_dir: Path = Path()
    plc_url: str = ""
    name: str = "svm"
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    clock_offset: int = 0
    slice_key_file: Path | None = None
    metrics_listen: str = ""
    smtp_url: str = ""

    queues: str = Field("interactive,renewals,housekeeping", validation_alias="DSLICE_WORKER_QUEUES")
    threads: int = Field(48, ge=2, validation_alias="DSLICE_WORKER_THREADS")
    reserved: int = Field(16, ge=0, validation_alias="DSLICE_WORKER_RESERVED")

    retries: int = Field(3, ge=0)
    retry_within: int = Field(30, ge=0)
    background_retries: int = Field(6, ge=0)
    background_retry_within: int = Field(600, ge=0)
    step_seconds: int = Field(45, ge=1, le=45)

    sweep: int = Field(15, ge=1, validation_alias="DSLICE_SWEEP_SECONDS")
    autorenew: int = Field(60, ge=1, validation_alias="DSLICE_AUTORENEW_SECONDS")
    clean: int = Field(300, ge=1, validation_alias="DSLICE_CLEAN_SECONDS")
    reconcile: int = Field(120, ge=1, validation_alias="DSLICE_RECONCILE_SECONDS")
    canary: int = Field(60, ge=1, validation_alias="DSLICE_CANARY_SECONDS")
    publish_again: int = Field(60, ge=1, validation_alias="DSLICE_PUBLISH_AGAIN_SECONDS")
    grace: int = Field(60, ge=0)
    silent: int = Field(900, ge=1, validation_alias="DSLICE_SILENT_SECONDS")

    flower_listen: str = "127.0.0.1:5555"
    flower_auth: SecretStr = SecretStr("")
