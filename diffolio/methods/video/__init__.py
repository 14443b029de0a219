"""Making and editing clips."""
