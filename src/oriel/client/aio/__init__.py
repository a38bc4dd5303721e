"""The asynchronous SDK, by hand. `oriel.client.sync` is generated from it by scripts/sync_client."""
