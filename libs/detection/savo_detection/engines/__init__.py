"""Inference engines: backends, selection, parity with ONNX Runtime, threads and CPUs."""
