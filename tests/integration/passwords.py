"""What is hashed for a test need not withstand anybody: a real hash takes a third of a second of both cores."""

from argon2 import PasswordHasher

CHEAP = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
