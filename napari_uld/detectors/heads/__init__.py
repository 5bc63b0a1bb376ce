"""What makes detections of features."""
