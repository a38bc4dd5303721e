"""The synchronous SDK, generated from `oriel.client.aio` by scripts/sync_client."""
