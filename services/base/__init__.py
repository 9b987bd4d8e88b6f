"""What every room stands on: clock, randomness, ids, backoff, task supervision, configuration, telemetry.

Nothing here knows gRPC, etcd or the API. Time, chance and identity are objects that are passed in, so that every rule
above can be tested on a fake clock with a seeded source.
"""
