"""What the ledgers count; one update per request or transaction, never per claim."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

CLAIMS = Counter("ursa_capacity_claims_total", "Claims that were answered.", ["outcome"])
RELEASES = Counter("ursa_capacity_releases_total", "Releases that were answered.", ["outcome"])
QUEUED = Gauge("ursa_capacity_queue_items", "Claims and releases that are under way.")
MOVES = Counter("ursa_capacity_transactions_total", "Transactions of a ledger with its claims.", ["outcome"])
ITEMS = Counter("ursa_capacity_transaction_items_total", "Claims and releases in stored transactions.")
