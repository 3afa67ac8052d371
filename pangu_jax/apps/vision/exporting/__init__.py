"""Models as files that run without this library: StableHLO, ONNX, LiteRT."""
