"""The documentation: hand-written pages from ``docs/``, the rest from the methods' cards, the evidence and the docstrings.

``python -m docs.builder`` writes everything that Zensical needs, and the site, to ``build/docs``. Nothing here names
a method, a paper or a bundled model: what is there is asked of the registry, the catalogue and ``evidence/``.
"""
