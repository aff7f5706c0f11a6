"""Several processes behind one port: a parent that hands out connections, and its workers.

The parent (``supervisor``) holds the port and loads no model. It accepts each connection, chooses
a worker (``dispatch``) and passes the socket to it (``plan``, ``connections``); what is said on the
connection it never sees. It starts workers again when they die (``backoff``), passes signals on,
and answers health and metrics for all (``merged_health``). (ADR 30)
"""
