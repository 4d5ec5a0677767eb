"""Settings of workers, beat and Flower."""

from pathlib import Path

from pydantic import Field, SecretStr, field_validator

from lifecycle.seal import KEY_FILE
from models.states import Queue
from rpc.settings import (
    BrokerUrl,
    DaemonSettings,
    DatabaseUrlOrNone,
    HostPort,
    HttpsUrlOrNone,
    MailServer,
    Networks,
    split_networks,
)
from tasks.context import Policy
from tasks.retry import Patience


class Settings(DaemonSettings):
    """One worker, beat or Flower process. Durations are whole seconds.

    Args:
        state_dir: svmd's folder with key.pem, cert.pem, ca.pem; svmd renews them, workers read them again.
        slice_key_file: 64 hex digits that encrypt slice private keys; made when absent; empty: state_dir/slice-key.
        queues: which queues this worker serves, comma separated, most urgent first.
        threads: messages at work at once; `reserved` of them are kept for interactive verbs.
        retries, retry_within: how often, and for how long, a transient error is tried again while a user waits;
            `background_…`: in work that beat began.
        step_seconds: a whole step's deadline, which bounds a warm stop; its claim lapses `claim_slack` later.
        sweep, autorenew, deliver, clean, notify, reconcile, canary: how often beat starts each.
        publish_again: a released step that nobody has taken is published again after this, then after twice that …
        grace: nodes end a sliver this long after its lease.
        silent: a node that has not answered for this long is replaced in slices that heal.
        history_days: for how long ended operations and deleted slices are kept, for `svm history`.
        stuck: a worker that hears nothing for so long while a canary waits ends itself, to be started anew; 0: never.
        smtp_url, mail_from: the mail server, as in `rpc.smtp`, and the sender of letters to owners; empty: no letters.
        links_url: the public URL of svmd's page for links in letters; empty: letters have no link.
        hooks_allow: networks that webhooks may go to although they are not public, comma separated.
        flower_listen, flower_auth: where Flower answers, and its `user:password`.
    """

    database_url: DatabaseUrlOrNone = SecretStr("")
    broker_url: BrokerUrl = SecretStr("redis://127.0.0.1:6379/0")
    state_dir: Path = Path()
    plc_url: HttpsUrlOrNone = ""
    slice_key_file: Path | None = None
    smtp_url: MailServer = ""
    mail_from: str = "svm@localhost"
    links_url: HttpsUrlOrNone = ""
    hooks_allow: Networks = ""

    queues: str = Field(",".join(Queue), validation_alias="DSLICE_WORKER_QUEUES")
    threads: int = Field(48, ge=2, validation_alias="DSLICE_WORKER_THREADS")
    reserved: int = Field(16, ge=0, validation_alias="DSLICE_WORKER_RESERVED")

    retries: int = Field(3, ge=0)
    retry_within: int = Field(30, ge=0)
    background_retries: int = Field(6, ge=0)
    background_retry_within: int = Field(600, ge=0)
    step_seconds: int = Field(45, ge=1, le=45)
    claim_slack: int = Field(30, ge=1, validation_alias="DSLICE_CLAIM_SLACK_SECONDS")

    sweep: int = Field(15, ge=1, validation_alias="DSLICE_SWEEP_SECONDS")
    autorenew: int = Field(15, ge=1, validation_alias="DSLICE_AUTORENEW_SECONDS")
    deliver: int = Field(15, ge=1, validation_alias="DSLICE_DELIVER_SECONDS")
    clean: int = Field(300, ge=1, validation_alias="DSLICE_CLEAN_SECONDS")
    notify: int = Field(300, ge=1, validation_alias="DSLICE_NOTIFY_SECONDS")
    reconcile: int = Field(120, ge=1, validation_alias="DSLICE_RECONCILE_SECONDS")
    canary: int = Field(60, ge=1, validation_alias="DSLICE_CANARY_SECONDS")
    publish_again: int = Field(60, ge=1, validation_alias="DSLICE_PUBLISH_AGAIN_SECONDS")
    grace: int = Field(60, ge=0)
    silent: int = Field(900, ge=1, validation_alias="DSLICE_SILENT_SECONDS")
    history_days: int = Field(365, ge=15)  # longer than any lease
    stuck: int = Field(240, ge=0, validation_alias="DSLICE_STUCK_SECONDS")

    flower_listen: HostPort = "127.0.0.1:5555"
    flower_auth: SecretStr = SecretStr("")

    @field_validator("queues")
    @classmethod
    def _known(cls, value: str) -> str:
        for name in value.split(","):
            if name not in set(Queue):
                raise ValueError(f"no queue {name!r}; there are {', '.join(Queue)}")
        return value

    @property
    def served(self) -> list[Queue]:
        """The queues that this worker serves."""
        return [Queue(name) for name in self.queues.split(",")]

    @property
    def policy(self) -> Policy:
        """What steps and periodic tasks need of it."""
        return Policy(
            step=self.step_seconds,
            slack=self.claim_slack,
            patience=Patience(self.retries, self.retry_within),
            background=Patience(self.background_retries, self.background_retry_within, first=5.0),
            publish_again=self.publish_again,
            grace=self.grace,
            silent=self.silent,
            history_days=self.history_days,
            smtp_url=self.smtp_url,
            mail_from=self.mail_from,
            links_url=self.links_url,
            hooks_allow=split_networks(self.hooks_allow),
        )

    @property
    def key_file(self) -> Path:
        """Where the key to the slices' private keys is."""
        return self.slice_key_file or self.state_dir / KEY_FILE
