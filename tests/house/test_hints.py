"""Near misses are answered with what to write."""

import inspect

import pytest

import varflow as vf


@pytest.mark.parametrize(
    ("call", "hint"),
    [
        (lambda: vf.Neuron(beta=0.9), "Neuron(): got an unexpected keyword argument 'beta': write decay=0.9"),
        (lambda: vf.Neuron(theta=1), "write threshold=1"),
        (lambda: vf.gain(1.0), "gain(): too many positional arguments: write threshold=1.0"),
        (lambda: vf.lookup(1.0, 512), "write threshold=1.0, fan_in=512"),
        (lambda: vf.Network(100, 10, 2.5), "write width=100, depth=10, gain=2.5"),
        (lambda: vf.Network(width=100, depth=10, gian=2.5), "write gain=2.5"),
    ],
)
def test_arguments_of_another_name_or_without_one(call, hint):
    with pytest.raises(TypeError) as error:
        call()
    assert str(error.value).endswith(hint)


def test_nothing_is_hinted_at_where_nothing_is_alike_and_signatures_stay():
    with pytest.raises(TypeError, match=r"'tau'$"):
        vf.Neuron(tau=2.0)
    assert "threshold" in inspect.signature(vf.gain).parameters
    assert inspect.isfunction(vf.gain)
    assert next(iter(inspect.signature(vf.Neuron).parameters)) == "threshold"


def test_a_type_error_within_is_passed_on():
    class Odd:
        def __float__(self):
            raise TypeError("an own error")

    with pytest.raises((TypeError, vf.DomainError)) as error:
        vf.gain(threshold=Odd())
    assert "write" not in str(error.value)


def test_names_in_the_wrong_place():
    for name, place in {"init_model": "init", "snntorch_leaky": "neurons", "plot_audit": "plots"}.items():
        with pytest.raises(AttributeError, match=f"it is vf.{place}.{name}$"):
            getattr(vf, name)
    with pytest.raises(AttributeError, match=r"no attribute 'nothing'$"):
        vf.nothing  # noqa: B018
