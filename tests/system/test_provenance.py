"""Versions that are recorded with scores."""

import sys
import types

from dgunet_jax.system.provenance import versions


def test_versions_have_opencv_by_its_own_version(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", types.SimpleNamespace(__version__="9.8.7-any"))
    assert versions()["opencv"] == "9.8.7-any"
    monkeypatch.setitem(sys.modules, "cv2", None)
    assert "opencv" not in versions()
