"""What the SDK costs, always measured beside its peers in the same run: `python -m benchmarks`."""
