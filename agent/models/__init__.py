"""The models: a catalogue of names, files and licences, and the store that verifies them."""
