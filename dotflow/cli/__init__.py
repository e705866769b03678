"""The command line. Only the program `dotflow` loads it; it needs the extra `dotflow[cli]`."""
