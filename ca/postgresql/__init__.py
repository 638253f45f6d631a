"""The PostgreSQL engine: many connections, and transactions that give way to each other. Only this room
knows it.

Work is a plain function (``ca/storage.py``) and the driver, asyncpg, is asynchronous: each work runs in a
greenlet of its own, which gives way while the server is at it. All of them run in one thread with a loop of
its own, so that callers with and without a loop are served alike. What only reads sees one snapshot. What
writes is READ COMMITTED, holds what it reads (``ca/dialect.py``), and runs again when it had to give way.
"""
