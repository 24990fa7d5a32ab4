"""The surrogate derivative of a library's module, read from it, against the gradient that the module itself computes."""

import numpy as np
import pytest

import varflow as vf

torch = pytest.importorskip("torch")

from varflow.torch_models.tracing.modules import surrogate_of_module  # noqa: E402

S = vf.surrogates
V = np.concatenate([-np.geomspace(0.01, 3, 60), np.geomspace(0.01, 3, 60)])


def snntorch(**options):
    return pytest.importorskip("snntorch").Leaky(0.5, **options)


def spike_grad(name, **arguments):
    return getattr(pytest.importorskip("snntorch.surrogate"), name)(**arguments)


def norse(method, alpha):
    norse = pytest.importorskip("norse.torch")
    return norse.LIFBoxCell(norse.LIFBoxParameters(method=method, alpha=torch.as_tensor(alpha)))


def spikingjelly(name, **arguments):
    room = pytest.importorskip("spikingjelly.activation_based")
    surrogate = __import__("spikingjelly.activation_based.surrogate", fromlist=["x"])
    neuron = __import__("spikingjelly.activation_based.neuron", fromlist=["x"])
    assert room
    return neuron.LIFNode(surrogate_function=getattr(surrogate, name)(**arguments))


def sinabs(name, threshold=1.0, **arguments):
    layers = pytest.importorskip("sinabs.layers")
    functions = __import__("sinabs.activation.surrogate_gradient_fn", fromlist=["x"])
    return layers.LIF(
        tau_mem=20.0, spike_threshold=torch.tensor(threshold), surrogate_grad_fn=getattr(functions, name)(**arguments)
    )


MODULES = {
    "atan(alpha=2)": snntorch,
    "atan(alpha=0.7)": lambda: snntorch(spike_grad=spike_grad("atan", alpha=0.7)),
    "fast_sigmoid(slope=25)": lambda: snntorch(spike_grad=spike_grad("fast_sigmoid")),
    "sigmoid(slope=4)": lambda: snntorch(spike_grad=spike_grad("sigmoid", slope=4)),
    "straight_through_estimator()": lambda: snntorch(spike_grad=spike_grad("straight_through_estimator")),
    "snntorch_triangular(threshold=0.5)": lambda: snntorch(spike_grad=spike_grad("triangular", threshold=0.5)),
    "spike_rate_escape(beta=2, slope=3)": lambda: snntorch(spike_grad=spike_grad("spike_rate_escape", beta=2, slope=3)),
    "SFS(slope=5, B=-1)": lambda: snntorch(spike_grad=spike_grad("SFS", slope=5, B=-1)),
    "leaky_spike_operator(slope=0)": lambda: snntorch(spike_grad=spike_grad("heaviside")),
    "norse_super(alpha=100)": lambda: norse("super", 100.0),
    "norse_triangle(alpha=0.3)": lambda: norse("triangle", 0.3),
    "norse_heavi_erfc(alpha=2)": lambda: norse("heavi_erfc", 2.0),
    "spikingjelly_sigmoid(alpha=4)": lambda: spikingjelly("Sigmoid"),
    "spikingjelly_soft_sign(alpha=3)": lambda: spikingjelly("SoftSign", alpha=3.0),
    "spikingjelly_leaky_k_relu(leak=0.1, k=1)": lambda: spikingjelly("LeakyKReLU", leak=0.1),
    "spikingjelly_squarewave_fourier_series(n=3, T_period=8)": lambda: spikingjelly("SquarewaveFourierSeries", n=3),
    "sinabs_single_exponential(grad_width=0.5, grad_scale=1, spike_threshold=0.3)": lambda: sinabs("SingleExponential", 0.3),
    "sinabs_multi_gaussian(mu=0, sigma=0.5, h=0.15, s=6, grad_scale=1)": lambda: sinabs("MultiGaussian"),
}


def first_spike(module):
    """``∂S/∂H`` at the first step, from the module: ``v`` above the threshold, and the input scale divided out."""
    neuron = __import__("varflow.model.library_neurons", fromlist=["x"]).recognise("lif", module).neuron
    current = torch.tensor((V + neuron.threshold) / neuron.input_scale, requires_grad=True)
    given = current[:, None, None] if hasattr(module, "record_states") else current[:, None]
    out = module(given)
    (out[0] if isinstance(out, tuple) else out).sum().backward()
    return current.grad.numpy() / neuron.input_scale


@pytest.mark.parametrize("name", MODULES)
def test_the_surrogate_of_a_module(name):
    module = MODULES[name]()
    found = surrogate_of_module(module)
    assert repr(found) == name
    np.testing.assert_allclose(found(V), first_spike(module), rtol=1e-5, atol=1e-6)


def test_surrogates_of_ones_own_are_differentiated():
    def square(v, gradient, spikes):
        return gradient * (v.abs() < 0.25)

    module = snntorch(spike_grad=spike_grad("custom_surrogate", custom_surrogate_function=square))
    found = surrogate_of_module(module)
    assert found.family == "own"
    np.testing.assert_array_equal(found(V), S.box(0.25)(V))
    steep = surrogate_of_module(snntorch(spike_grad=lambda v: torch.sigmoid(3 * v)))
    np.testing.assert_allclose(steep(V), S.sigmoid(3.0)(V), rtol=1e-9)


def test_thresholds_that_are_not_there_before_the_first_step():
    """sinabs' adaptive neurons: the surrogate is known if it does not move with the threshold, else gradients are measured."""
    layers = pytest.importorskip("sinabs.layers")
    gaussian = layers.ALIF(10.0, 10.0, surrogate_grad_fn=pytest.importorskip("sinabs.activation").Gaussian(sigma=0.3))
    assert surrogate_of_module(gaussian) == S.sinabs_gaussian(sigma=0.3)
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(24, 32), layers.ALIF(tau_mem=10.0, tau_adapt=10.0), torch.nn.Linear(32, 4))
    assert surrogate_of_module(model[1]) is None
    (layer,) = vf.audit(model, 9 * torch.rand(6, 8, 24), gradients=True).layers
    assert layer.gradient_norm > 0


def test_modules_without_a_surrogate():
    assert surrogate_of_module(torch.nn.Linear(2, 2)) is None
    assert surrogate_of_module(snntorch(spike_grad=spike_grad("SSO"))) is None
    assert surrogate_of_module(snntorch(surrogate_disable=True)) is None
    assert surrogate_of_module(snntorch(spike_grad=spike_grad("atan", alpha=-1.0))) is None
