"""The protocols of the providers, as pure functions between messages and events."""
