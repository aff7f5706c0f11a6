"""Turn taking without I/O: ``detector`` finds turns and pauses in speech probabilities.

``completeness`` judges by its words whether a turn is over, ``backchannel`` knows signs of
listening, ``pre_roll`` keeps the sound before a start.
"""
