"""The provider's end of a call, for ``onebreath telephony-check`` and tests."""
