"""One command per figure: `.venv/bin/python -m bench.NAME [--json]`.

People's table on stderr, one JSON document on stdout: ours, a named rival measured in the same run,
their ratio, and the raw samples. The machines are shared and noisy: believe ratios and medians.
"""
