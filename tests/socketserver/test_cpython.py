"""CPython's own tests of `socketserver` pass on ours."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys

import pytest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
# 27 in 3.11.7, less the one that is skipped; later versions only added some.
AT_LEAST = 25

PROGRAM = f"""
import json, sys, unittest, warnings
sys.path.insert(0, {ROOT!r})
import srvctl.socketserver as ours
for name in ours.__all__:
    getattr(ours, name)
sys.modules["socketserver"] = ours
from test import support
support.use_resources = ["network"]
import test.test_socketserver as theirs
assert theirs.socketserver is ours
# It compares __all__ with the standard library's; ours has names of its own besides.
del theirs.MiscTestCase.test_all
result = unittest.TextTestRunner().run(unittest.defaultTestLoader.loadTestsFromModule(theirs))
bad = [str(case) for case, _ in result.failures + result.errors]
print(json.dumps({{"run": result.testsRun, "skipped": len(result.skipped), "bad": bad}}))
"""


def test_the_test_suite_of_the_standard_library_passes(tmp_path):
    """A program that runs on the standard library's module runs on ours: so say that module's own tests."""
    try:
        found = importlib.util.find_spec("test.test_socketserver")
    except ImportError:
        found = None
    if found is None:
        pytest.skip("this interpreter was installed without its test package")
    done = subprocess.run([sys.executable, "-c", PROGRAM], cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["bad"] == [], done.stderr
    assert result["run"] - result["skipped"] >= AT_LEAST, result
