"""Manifests under audit: leaks, shortcuts, broken files; two of them merged or compared."""
