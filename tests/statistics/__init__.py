"""Statistical tests of the sampler: each gives the probability of what was found, for a perfect sampler."""
