"""Admission of telephony calls: signed webhooks, their answers, one-time tokens, media sockets."""
