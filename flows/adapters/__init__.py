"""Other people's records turned into our events, one file per format."""
