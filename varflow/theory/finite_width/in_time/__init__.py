"""Finite width of neurons with memory: the chain ``M_{l+1} = (1/n) Σ_i s_i s_iᵀ`` of second moments over the steps."""
