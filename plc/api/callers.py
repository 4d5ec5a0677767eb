"""Who is calling: the certificate's identity, and for users their account as it is at this moment."""

from collections.abc import Callable
from dataclasses import dataclass

from fastapi import Depends

from plc.accounts import OPERATOR, Account, Actor, load, require_admin, require_enabled
from plc.ca import require_unrevoked
from plc.central import Central
from rpc.server import Guard
from trust.authorize import Action
from trust.identity import Role
from trust.peers import Peer


@dataclass(frozen=True, slots=True)
class Callers:
    """Makes the dependencies of one app's routes."""

    central: Central
    guard: Guard

    def peer(self, *roles: Role, action: Action | None = None) -> Callable[..., Peer]:
        """One of these roles, with a certificate that is not revoked by the database, which is ahead of every list."""

        def dependency(peer: Peer = Depends(self.guard.role(*roles, action=action))) -> Peer:
            with self.central.begin() as connection:
                require_unrevoked(connection, peer.serial)
            return peer

        return dependency

    def user(self) -> Callable[..., Account]:
        """A user whose account is enabled now, whatever the certificate still says."""

        def dependency(peer: Peer = Depends(self.peer(Role.USER))) -> Account:
            return self._enabled(peer)

        return dependency

    def actor(self, *services: Role) -> Callable[..., Actor]:
        """A user as above, or one of these services."""

        def dependency(peer: Peer = Depends(self.peer(Role.USER, *services))) -> Actor:
            if peer.identity.role is Role.USER:
                return Actor.of(self._enabled(peer))
            return Actor(peer.identity.uri, is_service=True)

        return dependency

    def reader(self) -> Callable[..., Actor]:
        """A user as above, or plc itself, which is its operator at plc's machine."""

        def dependency(peer: Peer = Depends(self.peer(Role.USER, Role.PLC))) -> Actor:
            return OPERATOR if peer.identity.role is Role.PLC else Actor.of(self._enabled(peer))

        return dependency

    def operator(self, action: Action | None = None) -> Callable[..., Actor]:
        """An admin, whose account says so at this moment; or plc itself, which is its operator at plc's machine."""

        def dependency(peer: Peer = Depends(self.peer(Role.USER, Role.PLC, action=action))) -> Actor:
            if peer.identity.role is Role.PLC:
                return OPERATOR
            actor = Actor.of(self._enabled(peer))
            require_admin(actor, "operate PlanetLab")
            return actor

        return dependency

    def _enabled(self, peer: Peer) -> Account:
        with self.central.begin() as connection:
            who = load(connection, peer.identity.name)
        require_enabled(who, self.central.settings.ca_operator)
        return who
