"""Weight distributions of all kinds, by name."""

import scipy.stats as st

import varflow as vf

__all__ = ["DISTRIBUTIONS"]

W = vf.weights
DISTRIBUTIONS = {
    "normal": "normal",
    "uniform": "uniform",
    "sign": "sign",
    "exponential": "exponential",
    "lognormal": "lognormal",
    "lognormal(0.5)": W.lognormal(0.5),
    "ternary": W.ternary(0.4),
    "sparse": W.sparse(0.3),
    "sparse sign": W.sparse(0.4, "sign"),
    "sparse exponential": W.sparse(0.3, "exponential"),
    "in-degree": W.fixed_in_degree(5),
    "in-degree sign": W.fixed_in_degree(6, "sign"),
    "in-degree exponential": W.fixed_in_degree(6, "exponential"),
    "laplace": st.laplace(),
    "triangular": st.triang(0.3),
    "gamma": st.gamma(0.7),
    "binomial": st.binom(3, 0.3),
    "logistic": st.Normal(mu=1.0, sigma=2.0),
}
