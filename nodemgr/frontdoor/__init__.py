"""The SSH front door of a node: users' own OpenSSH clients in, sessions inside their slivers out."""

from nodemgr.frontdoor.server import FrontDoorServer

__all__ = ["FrontDoorServer"]
