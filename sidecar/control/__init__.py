"""The control stream: both ends of delta xDS, and what people ask of running processes.

`keeper` owns the states and says what the sidecars should have; `server` tells them; `client`
follows. The protocol itself lives in two classes without I/O, `conversation` (controller side)
and `following` (sidecar side), so that every dialogue can be tested message by message.
"""
