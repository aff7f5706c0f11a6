"""Training of a drafter (dllm_core/draft): conversations, the base's replies to them with its
hidden states, training, evaluation, packed weights."""
