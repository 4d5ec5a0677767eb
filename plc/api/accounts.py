"""Routes of accounts, sites and SSH keys."""

from fastapi import APIRouter, Depends, Request

from plc import accounts, deactivation, keys
from plc.accounts import Account, Actor, Application
from plc.api.bodies import AccountBody, KeyBody, PasswordBody, PiBody, SignUp, SiteBody
from plc.api.callers import Callers
from plc.central import Central
from plc.client.values import CONTACT
from plc.throttle import SIGN_UP, attempt
from rpc.server import open_route
from trust.identity import Role


def address_of(request: Request) -> str:
    return request.client.host if request.client else "unknown"


def sign_up_routes(central: Central, callers: Callers) -> APIRouter:
    """Open: sites, sign-up. Users: their password. Admins: sites."""
    router = APIRouter()

    @router.get("/sites")
    @open_route
    def sites() -> dict[str, list[str]]:
        with central.begin() as connection:
            return {"sites": list(accounts.sites(connection))}

    @router.post("/sites", status_code=201)
    def add_site(body: SiteBody, actor: Actor = Depends(callers.actor())) -> None:
        with central.begin() as connection:
            accounts.add_site(connection, actor, body.name, central.clock.now())

    @router.post("/accounts", status_code=202)
    @open_route
    def sign_up(body: SignUp, request: Request) -> None:
        with central.begin() as connection:
            attempt(connection, f"sign-up {address_of(request)}", SIGN_UP, central.clock.now())
        wanted = Application(body.email, body.name, body.site, body.title, _columns(body.contact)).checked()
        hashed = central.passwords.hash(body.password)
        with central.begin() as connection:
            accounts.sign_up(connection, wanted, hashed, central.settings.ca_operator, central.clock.now())

    @router.put("/users/{email}/password", status_code=204)
    def password(email: str, body: PasswordBody, request: Request, who: Account = Depends(callers.user())) -> None:
        central.log_in(who.email, body.old, address_of(request))
        hashed = central.passwords.hash(body.new)
        with central.begin() as connection:
            accounts.set_password(connection, Actor.of(who), email, hashed, central.clock.now())

    return router


def user_routes(central: Central, callers: Callers) -> APIRouter:
    """What `pluserinfo` shows, and what PIs and admins change."""
    router = APIRouter()

    @router.get("/users")
    def users(actor: Actor = Depends(callers.reader())) -> dict[str, object]:
        with central.begin() as connection:
            found = accounts.visible_to(connection, actor)
            return {"users": [_shown(actor, whom, keys.keys_of(connection, whom)) for whom in found]}

    @router.get("/users/{email}")
    def user(email: str, actor: Actor = Depends(callers.actor(Role.SVM, Role.AGENT))) -> dict[str, object]:
        with central.begin() as connection:
            whom = accounts.visible(connection, actor, email)
            return _shown(actor, whom, keys.keys_of(connection, whom))

    @router.put("/users/{email}/account")
    def decide(email: str, body: AccountBody, actor: Actor = Depends(callers.actor())) -> dict[str, list[str]]:
        now = central.clock.now()
        with central.begin() as connection:
            if body.enabled:
                accounts.enable(connection, actor, email, now)
                return {"slices": []}
            held = deactivation.disable(connection, actor, email, body.reason, body.stop, central.settings, now)
            return {"slices": list(held)}

    @router.put("/users/{email}/pi", status_code=204)
    def set_pi(email: str, body: PiBody, actor: Actor = Depends(callers.actor())) -> None:
        with central.begin() as connection:
            deactivation.set_pi(connection, actor, email, body.pi, central.settings, central.clock.now())

    return router


def key_routes(central: Central, callers: Callers) -> APIRouter:
    """SSH public keys: read by every user and service that acts for one, changed by their owner."""
    router = APIRouter()

    @router.get("/users/{email}/keys")
    def read(email: str, actor: Actor = Depends(callers.actor(Role.SVM, Role.AGENT))) -> dict[str, list[str]]:
        with central.begin() as connection:
            return {"keys": list(keys.keys_of(connection, accounts.visible(connection, actor, email)))}

    @router.post("/users/{email}/keys", status_code=201)
    def add(email: str, body: KeyBody, actor: Actor = Depends(callers.actor())) -> dict[str, str]:
        with central.begin() as connection:
            return {"fingerprint": keys.add_key(connection, actor, email, body.key, central.clock.now())}

    @router.delete("/users/{email}/keys", status_code=204)
    def remove(email: str, fingerprint: str, actor: Actor = Depends(callers.actor())) -> None:
        with central.begin() as connection:
            keys.remove_key(connection, actor, email, fingerprint, central.clock.now())

    return router


def _shown(actor: Actor, whom: Account, lines: object) -> dict[str, object]:
    """As ``plc.client.values.User`` reads it."""
    contact = {field: whom.contact["province" if field == "state" else field] for field in CONTACT}
    return {
        "email": whom.email,
        "name": whom.name,
        "site": whom.site,
        "title": whom.title,
        "is_admin": whom.is_admin,
        "is_pi": whom.is_pi,
        "account": whom.state,
        "contact": contact if accounts.may_see_contact(actor, whom) else None,
        "keys": lines,
    }


def _columns(contact: dict[str, str]) -> dict[str, str]:
    """A contact's fields by column; there `state` is the account's own."""
    return {"province" if field == "state" else field: text for field, text in contact.items()}
