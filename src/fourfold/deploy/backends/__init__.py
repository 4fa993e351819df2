"""What programs become: numpy references, ONNX, C."""
