"""SEMANTICS' tables row by row: every kind, typed and multiplexed, with and without watch caches."""
