"""The whole system under Hypothesis: any order of verbs, messages, crashes and clock steps.

Real: the tables in PostgreSQL, the step code, the agent, the node managers with their stores, every document and its
checks. In memory: the wire (requests go into the services' applications), the queue (a list), the clocks (one for all,
PostgreSQL's now() too).
"""
