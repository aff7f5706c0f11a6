"""Block-diffusion drafters: small networks that propose what a base model then checks.

config.py says what a drafter is, network.py is the plain network. After DFlash (arXiv 2602.06036):
a block of masks is denoised in one pass over the base's own activations.
"""
