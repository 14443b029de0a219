"""Safety: memorisation, privacy, protection, provenance, measurement."""
