"""The reverse proxy: requests that passed the gate go on to the service behind it, with the caller's name.

Read `rules` and `heads` (pure), then `gateway.wire.front` and `relay`; `exchange`, `upstream` and
`tunnel` are the connections. README.md has the rest.
"""
