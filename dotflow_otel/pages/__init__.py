"""Pages of runs, to be looked at in a browser: one file, or served."""
