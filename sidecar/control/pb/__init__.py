"""Generated from protos/ by setup.py: the canary.v1 messages in official protobuf."""
