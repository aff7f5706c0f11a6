"""Calls at run time: ``call`` connects a transport, a session and the engines.

``engines`` loads the engines, ``engine_tasks`` is their work for a call, ``audio_input`` makes
frames of the caller's sound, ``threads`` divides the cores.
"""
