"""Teaching a model to denoise: masked-diffusion fine-tuning with low-rank adapters.

docs/adapt.md is the guide; `tasks` has the pieces of an adaptation.
"""
