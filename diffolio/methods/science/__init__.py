"""Science: what diffusion models are, measured: likelihoods, paths, theory that can be checked."""
