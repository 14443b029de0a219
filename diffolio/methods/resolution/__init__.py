"""Resolution methods."""
