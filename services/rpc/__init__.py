"""gRPC as Ursa speaks it: channels, servers, credentials, health, reflection, and errors as rich statuses.

Every failure that crosses a process boundary is a ``StatusError`` here and a ``google.rpc.Status`` with details on the
wire, translated in one place. Nothing here knows what a pod or a node is: kinds come in as rows of the kinds table.
"""
