"""Programs of the repository itself: what ./test and scripts/check run."""
