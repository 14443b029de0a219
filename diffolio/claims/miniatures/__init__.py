"""Claims of the bundled models: how good each is by the reader of its world."""
