"""What people look at: page templates, plots, marked quotes, audio players, and text made harmless for Markdown."""
