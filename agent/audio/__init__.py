"""Sound as float32 arrays: ``samples`` (chunks, PCM, files), ``polyphase`` (resampling).

``vad`` gives speech probabilities, ``echo`` finds the agent's own voice in them, and
``smart_turn`` judges by its sound whether a turn is over.
"""
