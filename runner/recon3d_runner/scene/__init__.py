"""From twelve PNGs to six calibrated views: load, mask, dequantise, calibrate."""
