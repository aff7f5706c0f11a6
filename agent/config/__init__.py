"""Settings: their sections, defaults and bounds, and the sources that they are read from."""
