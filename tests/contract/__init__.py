"""The public contract, row by row, against any gateway: `pytest tests/contract --base-url https://...`."""
