"""The commands: each a thin face over the floors below."""
