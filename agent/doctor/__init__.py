"""``onebreath doctor``: readings of this machine, and checks that judge them."""
