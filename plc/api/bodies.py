"""What callers send, strictly: nothing unknown, nothing too long. A body that does not fit is `bad-input`."""

from typing import Annotated, Literal
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from trust.jws import MAX_TOKEN

Email = Annotated[str, Field(max_length=254)]
Password = Annotated[str, Field(max_length=512)]
Text = Annotated[str, Field(max_length=1000)]
Pem = Annotated[str, Field(max_length=16_384)]


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SignUp(Body):
    email: Email
    password: Password
    name: Text
    site: Text
    title: Text = ""
    contact: dict[Text, Text] = {}


class CertificateRequestBody(Body):
    email: Email
    password: Password
    request: Pem


class StatusBody(Body):
    """``proof``: a JWS by the key whose SubjectPublicKeyInfo has the SHA-256 ``key`` (plc/client/proofs.py)."""

    email: Email
    key: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    proof: Annotated[str, Field(max_length=MAX_TOKEN)]


class RenewalBody(Body):
    request: Pem


class RevocationBody(Body):
    serial: Annotated[str, Field(pattern="^[0-9a-f]{1,40}$")]


class EnrolmentBody(Body):
    secret: Annotated[str, Field(max_length=100)]
    request: Pem
    addresses: Annotated[list[Text], Field(max_length=100)] = []


class Announcement(Body):
    url: Text


class SiteBody(Body):
    name: Text


class KeyBody(Body):
    key: Annotated[str, Field(max_length=20_000)]


class AccountBody(Body):
    """``enabled`` false disables, with a reason; ``stop`` also ends the slivers now."""

    enabled: bool
    reason: Text = ""
    stop: bool = False


class PiBody(Body):
    pi: bool


class PasswordBody(Body):
    old: Password
    new: Password


class DecisionBody(Body):
    approve: bool
    reason: Text = ""


class DrainBody(Body):
    """``tell``: slices with slivers there, by their owners' e-mails."""

    reason: Text
    until: AwareDatetime | None = None
    renews: bool = True
    replaces: bool = False
    tell: Annotated[dict[Email, Annotated[list[Text], Field(min_length=1)]], Field(max_length=10_000)] = {}


class RetirementBody(Body):
    reason: Text


class OrdersBody(Body):
    """Signed by who sends them; ``free`` gives the slice's name back."""

    orders: Annotated[list[Annotated[str, Field(max_length=MAX_TOKEN)]], Field(min_length=1, max_length=500)]
    free: bool = False


class Interval(Body):
    """As ``plc.client.usage.Used``."""

    id: Annotated[str, Field(pattern="^[0-9a-z-]{1,64}$")]
    kind: Literal["granted", "used"]
    slice: Annotated[str, Field(pattern="^[a-z][a-z0-9_]{1,30}$")]
    slice_id: UUID
    owner: Email
    began: AwareDatetime
    bound: AwareDatetime
    ended: AwareDatetime | None = None


class UsageBody(Body):
    intervals: Annotated[list[Interval], Field(max_length=1_000)]


class DoneBody(Body):
    orders: Annotated[list[Annotated[str, Field(pattern="^[A-Za-z0-9_-]{1,64}$")]], Field(max_length=5_000)]


class RegistrationBody(Body):
    owner: Annotated[str, Field(max_length=300)]


class ReleaseBody(Body):
    slice_id: UUID
    held_until: AwareDatetime | None = None
