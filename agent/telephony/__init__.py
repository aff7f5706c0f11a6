"""Telephony calls over the media sockets of providers and PBXs.

``access`` admits calls, ``dialects`` read and write the providers' protocols, ``media`` moves the
audio of a call, ``check`` tests a set-up from the provider's end.
"""
