"""The conversation of a call as a pure state machine: ``Session.handle(input, now)``.

Inputs are in ``events``, results in ``commands`` and ``notices``. ``user_turn`` is the caller's
side, ``replies`` the agent's, ``barge_in`` decides where both speak.
"""
