"""Renderings as Markdown, for a comment or a step summary."""
