"""Every example in a docstring runs and gives what it says."""

import doctest
import importlib
import pkgutil

import tenfold


def modules():
    for info in pkgutil.walk_packages(tenfold.__path__, "tenfold."):
        if not info.name.endswith("__main__"):
            yield importlib.import_module(info.name)


def test_examples_in_docstrings():
    finder, runner = doctest.DocTestFinder(), doctest.DocTestRunner()
    complaints = []
    for module in modules():
        for example in finder.find(module, module.__name__):
            runner.run(example, out=complaints.append)
    assert not complaints, "".join(complaints)
    assert runner.summarize(verbose=False).attempted > 0
