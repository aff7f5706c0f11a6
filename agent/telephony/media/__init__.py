"""The media of one telephony call: handshake, pacing, marks, DTMF, announcement, recording."""
