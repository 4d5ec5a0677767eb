"""Who is who, and who may: identities, certificates, revocation, signed documents, SSH public keys.

The lowest layer: bytes and a time in, a value or a ``Refusal`` out. Nothing here opens a file or a socket.
"""
