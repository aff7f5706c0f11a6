"""Teaching a model to denoise: masked-diffusion fine-tuning with low-rank adapters."""
