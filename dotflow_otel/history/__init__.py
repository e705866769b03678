"""What runs did, in a local file: also those whose process was killed."""
