"""The guest's agent: what the keeper asks of a desktop from inside it. `python3 -m agent`, as root."""
