"""The digest: papers as records. Nothing here knows of torch."""
